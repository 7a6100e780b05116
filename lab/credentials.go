package lab

import (
	"crypto/rand"
	"fmt"
	"io"
	"log/slog"
)

// Credentials are what a cloud accepts. All but the ids are secret, random, and worth nothing elsewhere. They print redacted.
type Credentials struct {
	ClientID     string // at Entra and the OAuth issuer
	ClientSecret string // has characters that a careless client encodes wrongly

	AccessKeyID     string // long-term keys at STS
	SecretAccessKey string

	MSIHeader      string // X-IDENTITY-HEADER: the value for IDENTITY_HEADER
	ContainerToken string // Authorization of container credentials: the value for AWS_CONTAINER_AUTHORIZATION_TOKEN
	AzureCLISecret string // for az: the value of $FRESHET_LAB_SECRET
	AdminToken     string // Bearer token of the admin API
}

func newCredentials() Credentials {
	return Credentials{
		ClientID: "freshet-lab",
		// RFC 6749 §2.3.1 has both halves of a Basic header form-encoded first: these tell who does it.
		ClientSecret:    rand.Text() + rand.Text() + "+/%3A:=",
		AccessKeyID:     "AKIA" + rand.Text()[:16],
		SecretAccessKey: (rand.Text() + rand.Text())[:40],
		MSIHeader:       rand.Text() + rand.Text(),
		ContainerToken:  rand.Text() + rand.Text(),
		AzureCLISecret:  rand.Text() + rand.Text(),
		AdminToken:      rand.Text() + rand.Text(),
	}
}

func (c Credentials) String() string { return "lab credentials(redacted)" }

// Format implements [fmt.Formatter], for every verb alike.
func (c Credentials) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, c.String()) }

// LogValue implements [slog.LogValuer].
func (c Credentials) LogValue() slog.Value { return slog.StringValue(c.String()) }

// MarshalText implements [encoding.TextMarshaler], so that JSON shows no more than String.
func (c Credentials) MarshalText() ([]byte, error) { return []byte(c.String()), nil }
