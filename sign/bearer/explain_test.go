package bearer

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
)

func response(status int, challenges ...string) *http.Response {
	return &http.Response{StatusCode: status, Header: challenged(challenges...)}
}

// Each struct is what one family of clients reads of an error.
func TestExplainIsReadByEveryFamilyOfClients(t *testing.T) {
	for status, kind := range map[int]string{
		400: "invalid_request_error", 401: "authentication_error", 403: "permission_error", 404: "not_found_error", 405: "invalid_request_error",
		413: "request_too_large", 429: "rate_limit_error", 500: "api_error", 502: "api_error", 503: "api_error", 504: "timeout_error",
	} {
		const code, message = "no_credential", `the "identity" <prod> has none`
		contentType, body := signer(t, "").Explain(status, code, message)
		if contentType != "application/json" || !strings.HasSuffix(string(body), "}\n") {
			t.Errorf("%d: got %s, %s", status, contentType, body)
		}
		var openai struct { // openai-node's core/error.mjs, and azcore's ResponseError
			Error struct {
				Message, Type, Code string
				Param               *string
			}
		}
		var anthropic struct { // its API's "Errors": {"type": "error", "error": {"type", "message"}}
			Type  string
			Error struct{ Type, Message string }
		}
		var problem struct { // RFC 9457 §3.1
			Status        int
			Title, Detail string
		}
		for _, into := range []any{&openai, &anthropic, &problem} {
			if err := json.Unmarshal(body, into); err != nil {
				t.Fatal(err)
			}
		}
		if e := openai.Error; e.Message != message || e.Type != kind || e.Code != code || e.Param != nil || !strings.Contains(string(body), `"param":null`) {
			t.Errorf("%d: OpenAI's clients read %+v of %s", status, e, body)
		}
		if anthropic.Type != "error" || anthropic.Error.Type != kind || anthropic.Error.Message != message {
			t.Errorf("%d: Anthropic's clients read %+v of %s", status, anthropic, body)
		}
		if problem.Status != status || problem.Title != http.StatusText(status) || problem.Detail != message {
			t.Errorf("%d: a problem's readers get %+v of %s", status, problem, body)
		}
	}
}
