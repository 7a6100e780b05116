package lab

import (
	"cmp"
	"encoding/json"
	"maps"
	"strings"
)

// Model is the one model that the lab's OpenAI API has, as OpenAI's clients speak it:
// https://platform.openai.com/docs/api-reference.
//
//	POST /openai/v1/chat/completions   {"model":"lab-1","messages":[…]}, with "stream":true as server-sent events
//	POST /openai/v1/responses          {"model":"lab-1","input":…}, likewise
//	GET  /openai/v1/models
//
// Who asks must have an access token of the OAuth issuer, as Bearer or in the header api-key, as Azure's clients send theirs. The
// answer has as many words as max_completion_tokens says, and means nothing. Of an answer that is streamed each word is an event,
// sent when it is due: [Settings] say how many there are, and what is between two.
const Model = "lab-1"

// question is what the API reads of a request. max_tokens is the older name of max_completion_tokens, and max_output_tokens the
// one in /responses.
type question struct {
	Model               string            `json:"model"`
	Messages            []json.RawMessage `json:"messages"`
	Input               json.RawMessage   `json:"input"`
	Stream              bool              `json:"stream"`
	StreamOptions       streamOptions     `json:"stream_options"`
	MaxTokens           int               `json:"max_tokens"`
	MaxCompletionTokens int               `json:"max_completion_tokens"`
	MaxOutputTokens     int               `json:"max_output_tokens"`
}

type streamOptions struct {
	IncludeUsage bool `json:"include_usage"`
}

// words is how many are asked for, or else what the settings say.
func (q question) words(s Settings) int {
	if n := max(q.MaxTokens, q.MaxCompletionTokens, q.MaxOutputTokens); n > 0 {
		return min(n, maxEvents)
	}
	return cmp.Or(s.Events, defaultEvents)
}

// openaiChat answers a conversation.
func (c *Cloud) openaiChat(r *request, s Settings) reply {
	q, refusal, ok := c.openaiAsked(r)
	switch {
	case !ok:
		return refusal
	case len(q.Messages) == 0:
		return openaiError(400, "invalid_request_error", "missing_required_parameter", "Missing required parameter: 'messages'.")
	}
	n := q.words(s)
	common := map[string]any{"id": "chatcmpl-" + uuid(), "created": r.now().Unix(), "model": q.Model}
	with := func(object string, choice map[string]any) map[string]any {
		doc := maps.Clone(common)
		doc["object"], doc["choices"] = object, []any{}
		if choice != nil {
			choice["index"], choice["logprobs"] = 0, nil
			doc["choices"] = []any{choice}
		}
		return doc
	}
	usage := map[string]int{"prompt_tokens": len(q.Messages), "completion_tokens": n, "total_tokens": len(q.Messages) + n}
	if !q.Stream {
		doc := with("chat.completion", map[string]any{
			"message": map[string]any{"role": "assistant", "content": text(n), "refusal": nil}, "finish_reason": "stop",
		})
		doc["usage"] = usage
		return object(200, doc)
	}
	e := events{pause: s.Pause}
	chunk := func(delta map[string]any, reason any) {
		e.add("", with("chat.completion.chunk", map[string]any{"delta": delta, "finish_reason": reason}))
	}
	for i := range n {
		delta := map[string]any{"content": word(i)}
		if i == 0 {
			delta["role"] = "assistant"
		}
		chunk(delta, nil)
	}
	chunk(map[string]any{}, "stop")
	if q.StreamOptions.IncludeUsage {
		doc := with("chat.completion.chunk", nil)
		doc["usage"] = usage
		e.add("", doc)
	}
	e.body = append(e.body, "data: [DONE]\n\n"...) // at once with what is before it
	return e.reply()
}

// openaiResponse answers in the form of the newer of the two APIs.
func (c *Cloud) openaiResponse(r *request, s Settings) reply {
	q, refusal, ok := c.openaiAsked(r)
	switch {
	case !ok:
		return refusal
	case len(q.Input) == 0:
		return openaiError(400, "invalid_request_error", "missing_required_parameter", "Missing required parameter: 'input'.")
	}
	n := q.words(s)
	item := "msg_" + uuid()
	response := func(status string, output ...any) map[string]any {
		return map[string]any{
			"id": "resp_" + item[len("msg_"):], "object": "response", "created_at": r.now().Unix(), "status": status, "model": q.Model,
			"error": nil, "incomplete_details": nil, "output": append([]any{}, output...), "parallel_tool_calls": true, "tools": []any{},
		}
	}
	whole := response("completed", map[string]any{
		"type": "message", "id": item, "status": "completed", "role": "assistant",
		"content": []any{map[string]any{"type": "output_text", "text": text(n), "annotations": []any{}}},
	})
	whole["usage"] = map[string]int{"input_tokens": 1, "output_tokens": n, "total_tokens": 1 + n}
	if !q.Stream {
		return object(200, whole)
	}
	e := events{pause: s.Pause}
	add := func(name string, doc map[string]any) {
		doc["type"], doc["sequence_number"] = name, len(e.ends)
		e.add(name, doc)
	}
	add("response.created", map[string]any{"response": response("in_progress")})
	for i := range n {
		add("response.output_text.delta", map[string]any{"item_id": item, "output_index": 0, "content_index": 0, "delta": word(i)})
	}
	add("response.output_text.done", map[string]any{"item_id": item, "output_index": 0, "content_index": 0, "text": text(n)})
	add("response.completed", map[string]any{"response": whole})
	return e.reply()
}

// openaiModels tells what models there are.
func (c *Cloud) openaiModels(r *request, _ Settings) reply {
	if refusal, ok := c.openaiCaller(r); !ok {
		return refusal
	}
	model := map[string]any{"id": Model, "object": "model", "created": r.now().Unix(), "owned_by": "lab"}
	return object(200, map[string]any{"object": "list", "data": []any{model}})
}

// openaiAsked reads a question of somebody who may ask. Otherwise it says why not.
func (c *Cloud) openaiAsked(r *request) (q question, refusal reply, ok bool) {
	if refusal, ok = c.openaiCaller(r); !ok {
		return q, refusal, false
	}
	switch {
	case json.Unmarshal(r.body, &q) != nil:
		return q, openaiError(400, "invalid_request_error", nil, "We could not parse the JSON body of your request."), false
	case q.Model == "":
		return q, openaiError(400, "invalid_request_error", nil, "you must provide a model parameter"), false
	case q.Model != Model:
		return q, openaiError(404, "invalid_request_error", "model_not_found", "The model does not exist or you do not have access to it."), false
	}
	return q, reply{}, true
}

// openaiCaller finds out whether a request has an access token that the OAuth issuer gave, and that is alive. Otherwise it says why
// not, as RFC 6750 §3 and OpenAI's clients want it.
func (c *Cloud) openaiCaller(r *request) (refusal reply, ok bool) {
	token := r.Header.Get("Api-Key")
	if scheme, value, _ := strings.Cut(r.Header.Get("Authorization"), " "); strings.EqualFold(scheme, "Bearer") {
		token = value
	}
	if token == "" {
		a := openaiError(401, "invalid_request_error", nil, "You didn't provide an API key.")
		return a.with("WWW-Authenticate", "Bearer"), false
	}
	c.issuers[OpenAI].see(token)
	got, signed := verify(token, c.oidc.public.Key)
	if !signed || alive(got, r.now()) != nil {
		a := openaiError(401, "invalid_request_error", "invalid_api_key", "Incorrect API key provided.")
		return a.with("WWW-Authenticate", `Bearer error="invalid_token"`), false
	}
	return reply{}, true
}

// openaiError is an error in OpenAI's shape. A code may be nil.
func openaiError(status int, typ string, code any, message string) reply {
	return object(status, map[string]any{"error": map[string]any{"message": message, "type": typ, "param": nil, "code": code}})
}

// word is the nth word of any answer, with the space after it.
func word(n int) string {
	words := [...]string{"this", "is", "what", "a", "lab", "has", "to", "say", "about", "that", "and"}
	return words[n%len(words)] + " "
}

func text(words int) string {
	var b strings.Builder
	for i := range words {
		b.WriteString(word(i))
	}
	return b.String()
}
