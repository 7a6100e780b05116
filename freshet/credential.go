package freshet

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"freshet.dev/freshet/internal/clock"
)

// Type says what a credential consists of.
type Type string

// The types of credential.
const (
	Bearer  Type = "bearer"   // an access token (RFC 6750)
	AWS     Type = "aws"      // access key id, secret access key, session token
	Basic   Type = "basic"    // user name and password
	IDToken Type = "id_token" // a signed statement about a subject (OpenID Connect Core §2)
)

// AWSKeys are the parts of an AWS credential. They are always of one version.
type AWSKeys struct {
	AccessKeyID     string
	SecretAccessKey Secret
	SessionToken    Secret // empty for long-term keys
	AccountID       string // empty where the issuer did not say
}

// Credential is one version of a credential: immutable, and safe for any number of goroutines. It prints redacted.
type Credential struct {
	// Behind a pointer, because fmt calls no method of an unexported field, nor of a pointer that a verb does not suit: what
	// it shows of a struct that holds a *Credential is then this address.
	*credential
}

type credential struct {
	typ         Type
	token       Secret // bearer, id_token
	tokenType   string
	parts       *parts // aws, basic; nil for tokens, which are the many
	fingerprint string
	audience    []string // of a JWT; nil where there is none to read
	life        life
}

// parts are what a credential that is no token consists of.
type parts struct {
	aws      AWSKeys
	username string
	password Secret
}

// life is a credential's validity, worked out once.
type life struct {
	sent       clock.Reading // when the request for it was sent
	lifetime   time.Duration // 0 for static ones
	refreshIn  time.Duration // the issuer's wish, counted from sent; 0 without one
	noneSooner bool          // see [Validity]
}

// expires is the wall clock's time as the issuer gave it, corrected by how much its clock is off, and the monotonic one's by the
// lifetime it granted; Never for static credentials.
func (l *life) expires() clock.Reading {
	if l.lifetime == 0 {
		return clock.Never
	}
	return l.sent.Add(l.lifetime)
}

// Validity is what an issuer said of a credential's life. One of Expires, Lifetime and Static is set, or Expires and Lifetime,
// of which the sooner counts; a token that is a JWT may leave all three to its exp claim.
type Validity struct {
	// Sent is when the request for the credential was sent: a lifetime counts from there, since the issuer may have begun to
	// count at once. Zero means now.
	Sent Instant
	// Date is the issuer's clock when it answered, in whole seconds, as of HTTP's Date (RFC 9110 §6.6.1); zero where it is not
	// known. By it Expires, or the exp that stands in for it, is corrected where the two clocks differ. The answer is taken to
	// have come just now: the credential is made as soon as it is there.
	Date time.Time
	// Expires is absolute: on the issuer's clock if there is a Date, else on this machine's.
	Expires time.Time
	// Lifetime is relative to Sent, and so the same by any clock.
	Lifetime time.Duration
	// Static says that the credential does not expire.
	Static bool
	// RefreshIn is when the issuer wishes it replaced, relative to Sent; 0 where it said nothing.
	RefreshIn time.Duration
	// NoneSooner says that there is no newer one before RefreshIn, as of an issuer that answers from a cache of its own: to ask
	// sooner brings the same again. It is due at that time, whatever else is configured, and not a moment earlier.
	NoneSooner bool
}

// maxLifetime bounds what is believed of an expiry: past it, a unit was confused or a field misread.
const maxLifetime = 10 * 365 * 24 * time.Hour

// NewBearer makes a bearer token; tokenType is as the issuer names it, and "" means "Bearer". It becomes the scheme of a header,
// and so has to be a token of RFC 9110 §5.6.2. A JWT's exp fills in for a missing validity. Errors are of kind [Malformed].
func NewBearer(token, tokenType string, v Validity) (*Credential, error) {
	switch {
	case tokenType == "":
		tokenType = "Bearer"
	case strings.Trim(tokenType, tchar) != "":
		return nil, Errorf(Malformed, "token type has characters that no token type has")
	}
	return newToken(Bearer, token, tokenType, v)
}

// NewIDToken makes an ID token, or any JWT that serves as an assertion. Its exp fills in for a missing validity. Errors are of
// kind [Malformed].
func NewIDToken(token string, v Validity) (*Credential, error) {
	return newToken(IDToken, token, "", v)
}

// tchar are the characters of a token of RFC 9110 §5.6.2.
const tchar = "!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// invisible reports a character that is in no secret which an issuer makes up: a line break would begin another header, or another
// variable of an environment file.
func invisible(r rune) bool { return r <= ' ' || r >= 0x7f }

func newToken(typ Type, token, tokenType string, v Validity) (*Credential, error) {
	switch {
	case token == "":
		return nil, Errorf(Malformed, "answer has no token")
	case strings.ContainsFunc(token, invisible):
		return nil, Errorf(Malformed, "token has characters that no token has")
	}
	c := &Credential{&credential{typ: typ, token: Secret(token), tokenType: tokenType}}
	if claims, ok := parseJWT(token); ok {
		c.audience = claims.Audience
		if v.Expires.IsZero() && v.Lifetime == 0 && !v.Static && claims.Expires != 0 {
			v.Expires = time.Unix(claims.Expires, 0)
		}
	}
	sum := sha256.Sum256([]byte(token))
	c.fingerprint = hex.EncodeToString(sum[:16])
	return c.live(v)
}

// NewAWS makes AWS keys, of printable ASCII without spaces. Errors are of kind [Malformed].
func NewAWS(keys AWSKeys, v Validity) (*Credential, error) {
	if keys.AccessKeyID == "" || keys.SecretAccessKey == "" {
		return nil, Errorf(Malformed, "answer lacks an access key id or a secret access key")
	}
	for _, part := range []string{keys.AccessKeyID, string(keys.SecretAccessKey), string(keys.SessionToken), keys.AccountID} {
		if strings.ContainsFunc(part, invisible) {
			return nil, Errorf(Malformed, "keys have characters that no AWS keys have")
		}
	}
	c := &Credential{&credential{typ: AWS, parts: &parts{aws: keys}}}
	h := sha256.New()
	for _, part := range []string{keys.AccessKeyID, string(keys.SecretAccessKey), string(keys.SessionToken)} {
		var n [8]byte
		binary.BigEndian.PutUint64(n[:], uint64(len(part)))
		h.Write(n[:])
		io.WriteString(h, part)
	}
	c.fingerprint = hex.EncodeToString(h.Sum(nil)[:16])
	return c.live(v)
}

// fingerprintKey keys the fingerprints of what a person may have chosen: an unkeyed hash of a password can be guessed at.
var fingerprintKey = rand.Text()

// NewBasic makes a user name and password. Its fingerprint is keyed, and so differs from process to process. Errors are of
// kind [Malformed].
func NewBasic(username, password string, v Validity) (*Credential, error) {
	if username == "" && password == "" {
		return nil, Errorf(Malformed, "answer has neither user name nor password")
	}
	c := &Credential{&credential{typ: Basic, parts: &parts{username: username, password: Secret(password)}}}
	h := hmac.New(sha256.New, []byte(fingerprintKey))
	fmt.Fprintf(h, "%d:%s%s", len(username), username, password)
	c.fingerprint = hex.EncodeToString(h.Sum(nil)[:16])
	return c.live(v)
}

// live works out the life that v describes, and refuses what cannot be true.
func (c *Credential) live(v Validity) (*Credential, error) {
	sent := v.Sent.r
	if v.Sent.IsZero() {
		sent = clock.Now()
	}
	c.life.sent = sent
	if v.Static {
		c.life.refreshIn = max(0, v.RefreshIn)
		return c, nil
	}
	lifetime := v.Lifetime
	if !v.Expires.IsZero() {
		expires := v.Expires.Add(-skew(v.Date, sent, clock.Now()))
		// Seconds before nanoseconds: neither the year 9999 nor the year 1600 fits an int64 of nanoseconds.
		switch ahead := expires.Unix() - sent.Time().Unix(); {
		case ahead > int64(maxLifetime/time.Second):
			if lifetime == 0 {
				return nil, Errorf(Malformed, "answer expires more than 10 years ahead")
			}
		case ahead < 0:
			lifetime = -1
		case lifetime == 0:
			lifetime = time.Duration(expires.UnixNano() - sent.Wall)
		default:
			lifetime = min(lifetime, time.Duration(expires.UnixNano()-sent.Wall))
		}
	}
	switch {
	case lifetime == 0 && v.Expires.IsZero():
		return nil, Errorf(Malformed, "answer does not say when it expires").
			WithHint("add lifetime: to the identity, as its issuer documents it")
	case lifetime > maxLifetime:
		return nil, Errorf(Malformed, "answer expires more than 10 years ahead")
	case lifetime <= 0, !clock.Now().Time().Before(sent.Add(lifetime).Time()):
		return nil, Errorf(Malformed, "answer had expired already").
			WithHint("if the issuer is right, this machine's clock is ahead")
	}
	c.life.lifetime = lifetime
	if v.RefreshIn > 0 && v.RefreshIn < lifetime {
		c.life.refreshIn, c.life.noneSooner = v.RefreshIn, v.NoneSooner
	}
	return c, nil
}

const (
	// minSkew is under what a Date in whole seconds, and an answer on its way, can tell.
	minSkew = 2 * time.Second
	// maxSkew is as far off as a clock gets that nobody notices: further off, signatures made by it are refused at first, and a
	// Date is likelier a mistake.
	maxSkew = 15 * time.Minute
)

// skew is by how much an issuer's clock is ahead of this machine's, as far as its Date tells; 0 where it does not.
//
// The issuer wrote the Date at some moment between sent and now, so the middle is off by half of that time at most. What is no
// more than that, and minSkew, may be none at all: to believe it could lengthen a life.
func skew(date time.Time, sent, now clock.Reading) time.Duration {
	if date.IsZero() {
		return 0
	}
	// The longer by the two clocks: a step or a suspend on the way makes the middle as uncertain as it is long.
	took := time.Duration(max(now.Wall-sent.Wall, now.Mono-sent.Mono, 0))
	middle := sent.Time().Add(took / 2)
	ahead := date.Add(time.Second / 2).Sub(middle) // a Date is cut to whole seconds
	if by := ahead.Abs(); by < minSkew+took/2 || by > maxSkew {
		return 0
	}
	return ahead
}

// Type says what the credential consists of.
func (c *Credential) Type() Type { return c.typ }

// Token is the bearer or ID token; "" for other types.
func (c *Credential) Token() string { return string(c.token) }

// TokenType is how a bearer token is presented, as the issuer named it; "" for other types.
func (c *Credential) TokenType() string { return c.tokenType }

// AWS is the AWS keys, all of one version; zero for other types.
func (c *Credential) AWS() AWSKeys {
	if c.parts == nil {
		return AWSKeys{}
	}
	return c.parts.aws
}

// Basic is the user name and password; empty for other types.
func (c *Credential) Basic() (username, password string) {
	if c.parts == nil {
		return "", ""
	}
	return c.parts.username, string(c.parts.password)
}

// Fingerprint names this version without revealing it: 32 hex digits.
func (c *Credential) Fingerprint() string { return c.fingerprint }

// Expires is when the credential ends, in UTC, by the clock of this machine (see [Validity]); the zero time if it does not.
func (c *Credential) Expires() time.Time {
	if c.Static() {
		return time.Time{}
	}
	return c.life.expires().Time()
}

// Issued is when the request for the credential was sent.
func (c *Credential) Issued() Instant { return Instant{c.life.sent} }

// Lifetime is how long it lives in all, from Issued; 0 if it does not expire.
func (c *Credential) Lifetime() time.Duration { return c.life.lifetime }

// Static reports that the credential does not expire.
func (c *Credential) Static() bool { return c.life.lifetime == 0 }

// Remaining is the life left by whichever clock says less; never negative. It is at least 10 years for static credentials.
func (c *Credential) Remaining() time.Duration { return max(0, clock.Now().Until(c.life.expires())) }

// Audience is the aud of a token that is a JWT; nil for everything else. It is the cache's own slice: do not change it.
func (c *Credential) Audience() []string { return c.audience }

// size is what an entry costs in memory beyond a fixed part, in bytes.
func (c *Credential) size() int64 {
	n := len(c.token) + len(c.tokenType)
	for _, aud := range c.audience {
		n += 16 + len(aud)
	}
	if p := c.parts; p != nil {
		n += len(p.aws.AccessKeyID) + len(p.aws.SecretAccessKey) + len(p.aws.SessionToken) + len(p.username) + len(p.password)
	}
	return int64(n)
}

// String shows the type, fingerprint and expiry.
func (c Credential) String() string {
	if c.credential == nil {
		return "credential(none)"
	}
	if c.Static() {
		return fmt.Sprintf("credential(%s %s static)", c.typ, c.fingerprint)
	}
	return fmt.Sprintf("credential(%s %s expires %s)", c.typ, c.fingerprint, c.life.expires().Time().Format(time.RFC3339))
}

// Format implements [fmt.Formatter], for every verb alike.
func (c Credential) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, c.String()) }

// LogValue implements [slog.LogValuer].
func (c Credential) LogValue() slog.Value { return slog.StringValue(c.String()) }

// MarshalText implements [encoding.TextMarshaler], so that JSON shows no more than String.
func (c Credential) MarshalText() ([]byte, error) { return []byte(c.String()), nil }
