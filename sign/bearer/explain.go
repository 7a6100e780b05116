package bearer

import (
	"encoding/json"
	"net/http"
)

// kinds are statuses as Anthropic's API names them in its errors' type, which OpenAI's resembles.
var kinds = map[int]string{
	http.StatusUnauthorized:          "authentication_error",
	http.StatusForbidden:             "permission_error",
	http.StatusNotFound:              "not_found_error",
	http.StatusRequestEntityTooLarge: "request_too_large",
	http.StatusTooManyRequests:       "rate_limit_error",
	http.StatusGatewayTimeout:        "timeout_error",
}

// Explain is one document in which several kinds of clients find what they look for: OpenAI's and Azure's read error.message and
// error.code, Anthropic's read error.type beside a type of "error", and those that know problem details (RFC 9457) read status, title and
// detail.
func (s *Signer) Explain(status int, code, message string) (contentType string, body []byte) {
	kind := kinds[status]
	switch {
	case kind != "":
	case status >= 500:
		kind = "api_error"
	default:
		kind = "invalid_request_error"
	}
	type inner struct {
		Type    string  `json:"type"`
		Code    string  `json:"code"`
		Message string  `json:"message"`
		Param   *string `json:"param"` // null: OpenAI's always have it
	}
	body, err := json.Marshal(struct {
		Type   string `json:"type"`
		Error  inner  `json:"error"`
		Status int    `json:"status"`
		Title  string `json:"title"`
		Detail string `json:"detail"`
	}{"error", inner{Type: kind, Code: code, Message: message}, status, http.StatusText(status), message})
	if err != nil {
		panic(err) // of strings and a number
	}
	return "application/json", append(body, '\n')
}
