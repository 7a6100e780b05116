package lab

import (
	"crypto/rand"
	"encoding/xml"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4/jwt"
)

const (
	stsNamespace = "https://sts.amazonaws.com/doc/2011-06-15/"
	// roleID is the unique id of every role.
	roleID = "AROALAB"
)

// stsError is an error of the Query protocol.
type stsError struct {
	status     int
	code, text string
}

// sts answers POST /. GetCallerIdentity proves that keys work: nothing is given, so nothing is counted, and it takes no time.
func (c *Cloud) sts() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		req, ok := read(w, r)
		if !ok {
			return
		}
		if req.form.Get("Action") == "GetCallerIdentity" {
			c.callerIdentity(req).write(w)
			return
		}
		c.answer(w, req, STS, func(r *request, s Settings) reply {
			switch r.form.Get("Action") {
			case "AssumeRole":
				return c.assumeRole(r, s)
			case "AssumeRoleWithWebIdentity":
				return c.assumeRoleWithWebIdentity(r, s)
			}
			return (&stsError{400, "InvalidAction", "Could not find operation for version 2011-06-15"}).reply()
		})
	})
}

func (c *Cloud) assumeRole(r *request, s Settings) reply {
	// Whoever has keys may assume any role.
	if _, refusal := c.caller(r); refusal != nil {
		return refusal.reply()
	}
	role, life, refusal := assumed(r, s)
	if refusal != nil {
		return refusal.reply()
	}
	return c.keysReply(r, "AssumeRole", role, life, "")
}

func (c *Cloud) assumeRoleWithWebIdentity(r *request, s Settings) reply {
	role, life, refusal := assumed(r, s)
	if refusal != nil {
		return refusal.reply()
	}
	invalid := func(text string) reply { return (&stsError{400, "InvalidIdentityToken", text}).reply() }
	got, ok := verify(r.form.Get("WebIdentityToken"), c.oidc.public.Key)
	switch {
	case r.form.Get("WebIdentityToken") == "":
		return (&stsError{400, "ValidationError", "1 validation error detected: Value at 'webIdentityToken' failed to satisfy constraint: Member must not be null"}).reply()
	case !ok:
		return invalid("Couldn't retrieve verification key from your identity provider, please reference AssumeRoleWithWebIdentity documentation for requirements")
	case got.Issuer != r.base():
		return invalid("No OpenIDConnect provider found in your account for the token's issuer")
	case !got.Audience.Contains(AudienceSTS):
		return invalid("Incorrect token audience")
	}
	switch err := alive(got, r.now()); {
	case errors.Is(err, jwt.ErrExpired):
		return (&stsError{400, "ExpiredTokenException", "Token expired"}).reply()
	case err != nil:
		return invalid("Token is not valid yet")
	}
	return c.keysReply(r, "AssumeRoleWithWebIdentity", role, life, got.Subject)
}

// role is a session of a role.
type role struct{ arn, id string }

// assumed reads what both ways to assume a role have in common.
func assumed(r *request, s Settings) (role, Settings, *stsError) {
	invalid := func(text string) (role, Settings, *stsError) {
		return role{}, s, &stsError{400, "ValidationError", "1 validation error detected: " + text}
	}
	name := r.form.Get("RoleSessionName")
	if len(name) < 2 || len(name) > 64 || strings.Trim(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_+=,.@-") != "" {
		return invalid(`Value at 'roleSessionName' failed to satisfy constraint: Member must satisfy regular expression pattern: [\w+=,.@-]*`)
	}
	p := strings.SplitN(r.form.Get("RoleArn"), ":", 6)
	if len(p) != 6 || p[0] != "arn" || p[2] != "iam" || len(p[4]) != 12 || strings.Trim(p[4], "0123456789") != "" || len(p[5]) > 1024 {
		return invalid("Value at 'roleArn' failed to satisfy constraint: it is not the ARN of a role")
	}
	path, ok := strings.CutPrefix(p[5], "role/")
	short := path[strings.LastIndexByte(path, '/')+1:]
	if !ok || short == "" {
		return invalid("Value at 'roleArn' failed to satisfy constraint: it is not the ARN of a role")
	}
	if text := r.form.Get("DurationSeconds"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 900 || n > 43200 {
			return invalid("Value at 'durationSeconds' failed to satisfy constraint: Member must have value between 900 and 43200")
		}
		// SDKs always ask for some duration, and a lab's keys shall be able to end sooner than AWS's.
		if asked := time.Duration(n) * time.Second; s.Lifetime == 0 || asked < s.Lifetime {
			s.Lifetime = asked
		}
	}
	return role{"arn:" + p[1] + ":sts::" + p[4] + ":assumed-role/" + short + "/" + name, roleID + ":" + name}, s, nil
}

// xmlKeys are keys in STS's answers.
type xmlKeys struct {
	AccessKeyID     string `xml:"AccessKeyId"`
	SecretAccessKey string
	SessionToken    string
	Expiration      string
}

type xmlRole struct {
	AssumedRoleID string `xml:"AssumedRoleId"`
	ARN           string `xml:"Arn"`
}

func (c *Cloud) keysReply(r *request, action string, as role, s Settings, subject string) reply {
	expires := s.expires(r.now())
	k := c.vault.issue(as.arn, expires.Add(-r.skew)) // they end when they do; only what is said of it is by another clock
	result := struct {
		XMLName     xml.Name
		Credentials xmlKeys
		User        xmlRole `xml:"AssumedRoleUser"`
		Subject     string  `xml:"SubjectFromWebIdentityToken,omitempty"`
		Audience    string  `xml:",omitempty"`
	}{
		XMLName:     xml.Name{Local: action + "Result"},
		Credentials: xmlKeys{k.AccessKeyID, k.secret, k.token, expires.UTC().Format(time.RFC3339)},
		User:        xmlRole{as.id, as.arn},
		Subject:     subject,
	}
	if subject != "" {
		result.Audience = AudienceSTS
	}
	return stsReply(action, result)
}

func (c *Cloud) callerIdentity(r *request) reply {
	who, refusal := c.caller(r)
	if refusal != nil {
		return refusal.reply()
	}
	return stsReply("GetCallerIdentity", struct {
		XMLName xml.Name `xml:"GetCallerIdentityResult"`
		ARN     string   `xml:"Arn"`
		UserID  string   `xml:"UserId"`
		Account string
	}{ARN: who.arn, UserID: who.userID, Account: strings.Split(who.arn, ":")[4]})
}

// requestID is what every answer of STS has.
type requestID struct {
	RequestID string `xml:"RequestId"`
}

func stsReply(action string, result any) reply {
	return xmlReply(200, struct {
		XMLName  xml.Name
		Result   any
		Metadata requestID `xml:"ResponseMetadata"`
	}{XMLName: xml.Name{Space: stsNamespace, Local: action + "Response"}, Result: result, Metadata: requestID{uuid()}})
}

func (e *stsError) reply() reply {
	type body struct{ Type, Code, Message string }
	return xmlReply(e.status, struct {
		XMLName xml.Name
		Error   body
		requestID
	}{XMLName: xml.Name{Space: stsNamespace, Local: "ErrorResponse"}, Error: body{e.whose(), e.code, e.text}, requestID: requestID{uuid()}})
}

// whose fault an error is.
func (e *stsError) whose() string {
	if e.code == "InternalFailure" || e.code == "ServiceUnavailable" {
		return "Receiver"
	}
	return "Sender"
}

func xmlReply(status int, v any) reply {
	body, err := xml.Marshal(v)
	if err != nil {
		return broken
	}
	return reply{status: status, contentType: "text/xml", body: body}
}

// containerKeys are the keys of a container's role, as ECS and EKS give them.
func (c *Cloud) containerKeys(r *request, s Settings) reply {
	if !same(r.Header.Get("Authorization"), c.credentials.ContainerToken) {
		return containerError(http.StatusForbidden, "AccessDenied", "the Authorization header is not this container's token")
	}
	expires := s.expires(r.now())
	k := c.vault.issue("arn:aws:sts::"+Account+":assumed-role/container/"+strings.ToLower(rand.Text()[:12]), expires.Add(-r.skew))
	return object(200, map[string]string{
		"AccessKeyId": k.AccessKeyID, "SecretAccessKey": k.secret, "Token": k.token,
		"Expiration": expires.UTC().Format(time.RFC3339), "AccountId": Account, "RoleArn": "arn:aws:iam::" + Account + ":role/container",
	})
}

// containerError is an error as the AWS SDKs read it: Go the lower-case names, JavaScript the others.
func containerError(status int, code, text string) reply {
	return object(status, map[string]string{"code": code, "Code": code, "message": text, "Message": text})
}
