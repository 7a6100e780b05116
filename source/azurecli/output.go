package azurecli

import (
	"bytes"
	"encoding/json"
	"math"
	"strings"
	"time"

	"freshet.dev/freshet"
	"freshet.dev/internal/expiry"
)

const (
	// keeps is how long before a token's end az begins to ask for another; until then it answers with the same.
	keeps = 5 * time.Minute
	// behind is how long after that a refresh comes: az compares whole seconds of another process's clock reading.
	behind = 5 * time.Second
)

// parse reads what az printed.
func parse(out []byte, sent freshet.Instant) (*freshet.Credential, error) {
	text := bytes.TrimSpace(bytes.TrimPrefix(out, []byte("\xef\xbb\xbf")))
	if len(text) == 0 {
		return nil, freshet.Errorf(freshet.Malformed, "az: printed nothing")
	}
	var doc struct {
		Token   string      `json:"accessToken"`
		Type    string      `json:"tokenType"`
		Epoch   json.Number `json:"expires_on"`
		Expires string      `json:"expiresOn"`
	}
	if json.Unmarshal(text, &doc) != nil {
		return nil, freshet.Errorf(freshet.Malformed, "az: printed what is not the JSON of a token")
	}
	if doc.Type != "" && !strings.EqualFold(doc.Type, "Bearer") {
		return nil, freshet.Errorf(freshet.Malformed, "az: printed a token of another type than Bearer")
	}
	v := freshet.Validity{Sent: sent}
	switch epoch, err := doc.Epoch.Float64(); {
	case doc.Epoch != "" && err != nil:
		return nil, freshet.Errorf(freshet.Malformed, "az: printed an expires_on that is no number")
	case epoch > 0: // azidentity too takes 0 for absent
		v.Expires = time.Unix(int64(min(epoch, math.MaxInt32*1000)), 0)
	case doc.Expires != "":
		if v.Expires, err = expiry.Local(doc.Expires); err != nil {
			return nil, freshet.Errorf(freshet.Malformed, "az: printed an expiresOn that is no local time")
		}
	}
	if left := v.Expires.Sub(sent.Wall()); left > keeps+behind {
		v.RefreshIn, v.NoneSooner = left-keeps+behind, true
	}
	cred, err := freshet.NewBearer(doc.Token, "Bearer", v)
	if err != nil {
		e := *freshet.AsError(err)
		e.Why = "az: " + e.Why
		return nil, &e
	}
	return cred, nil
}
