package config

import (
	"bytes"
	"errors"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

const (
	maxBytes = 1 << 20
	// maxDepth is far over what any setting needs. The parser recurses, and slows down with the square of the depth.
	maxDepth = 32
)

// parse turns the file's bytes into the one mapping it must be.
func parse(name string, data []byte) (body ast.Node, errs Errors) {
	fail := func(pos Position, what, why, help string) (ast.Node, Errors) {
		return nil, append(errs, &Error{File: name, Line: pos.Line, Col: pos.Col, What: what, Why: why, Help: help})
	}
	start := Position{1, 1}
	if len(data) > maxBytes {
		return fail(start, "file", "over 1 MiB", "")
	}
	text := string(bytes.TrimPrefix(data, []byte("\ufeff")))
	if pos, ok := unprintable(text); ok {
		return fail(pos, "file", "not text in UTF-8", "save it as UTF-8, without control characters")
	}
	tokens := lexer.Tokenize(text)
	if pos, ok := tooDeep(tokens); ok {
		return fail(pos, "yaml", "nested too deeply", "")
	}
	file, err := parseTokens(tokens)
	if err != nil {
		pos, why := syntax(err)
		return fail(pos, "yaml", why, "")
	}

	for _, doc := range file.Docs {
		switch {
		case doc.Body == nil && body == nil:
		case doc.Body != nil && doc.Body.Type() == ast.DirectiveType:
			_, errs = fail(position(doc.Body), "yaml", "directives are not accepted", "remove the line")
		case body != nil:
			pos := start
			if doc.Start != nil {
				pos = tokenPosition(doc.Start)
			} else if doc.Body != nil {
				pos = position(doc.Body)
			}
			return fail(pos, "yaml", "a second document is not accepted", "keep everything in one, without ---")
		default:
			body = doc.Body
		}
	}
	if body == nil && errs == nil {
		return fail(start, "file", "empty", "the least is: version: 1, and identities:")
	}
	if body != nil {
		errs = append(errs, forbidden(name, body)...)
	}
	return body, errs
}

// parseTokens runs the parser. Its panics are on malformed files too, so they are errors in the file.
func parseTokens(tokens token.Tokens) (file *ast.File, err error) {
	defer func() {
		if recover() != nil {
			file, err = nil, errors.New("parser panicked")
		}
	}()
	return parser.Parse(tokens, 0, parser.AllowDuplicateMapKey()) // duplicates are reported with the rest
}

// unprintable finds the first byte that YAML does not allow in a file.
func unprintable(text string) (Position, bool) {
	line, col := 1, 1
	for i := 0; i < len(text); {
		r, n := utf8.DecodeRuneInString(text[i:])
		switch {
		case r == utf8.RuneError && n == 1,
			r < ' ' && r != '\t' && r != '\n' && r != '\r', r >= 0x7f && r < 0xa0 && r != 0x85, r == '\ufeff':
			return Position{line, col}, true
		case r == '\n':
			line, col = line+1, 0
		}
		col++
		i += n
	}
	return Position{}, false
}

// tooDeep finds the first token that is nested too deeply by brackets, or by dashes and question marks on one line.
// Other nesting takes a column a level, which bounds it enough.
func tooDeep(tokens token.Tokens) (Position, bool) {
	brackets, marks, line := 0, 0, 0
	for _, tk := range tokens {
		if tk.Position.Line != line {
			line, marks = tk.Position.Line, 0
		}
		switch tk.Type {
		case token.SequenceStartType, token.MappingStartType:
			brackets++
		case token.SequenceEndType, token.MappingEndType:
			brackets--
		case token.SequenceEntryType, token.MappingKeyType:
			marks++
		}
		if brackets > maxDepth || marks > maxDepth {
			return tokenPosition(tk), true
		}
	}
	return Position{}, false
}

// syntaxWords are what the parser's messages mean to somebody writing a configuration, by a part of the message. The
// messages themselves may quote the file.
var syntaxWords = []struct{ part, why string }{
	{"end character of double-quoted", "a double quote is never closed"},
	{"end character of single-quoted", "a single quote is never closed"},
	{"tab character", "a tab where spaces are needed"},
	{"'\t'", "a tab where spaces are needed"},
	{"mapping value is not allowed", "a second colon in one value: quote the value, or start a new line"},
	{"reserved character", "a value that starts with @ or a backtick: quote it"},
	{"escape", "an unknown escape in double quotes: use single quotes"},
	{"UTF-", "an unknown escape in double quotes: use single quotes"},
	{"flow map", "a { is never closed, or a comma is missing"},
	{"'}' must be", "a { is never closed, or a comma is missing"},
	{"corresponding to '}'", "a } without its {"},
	{"']' must be", "a [ is never closed, or a comma is missing"},
	{"sequence end token", "a [ is never closed, or a comma is missing"},
	{"corresponding to ']'", "a ] without its ["},
	{"non-map value", "a value where a key is needed: look at the indentation, and for a missing colon"},
	{"not allowed in this context", "a value where none can be: look at the indentation"},
	{"invalid key", "not a key: look at the indentation"},
	{"unexpected key", "not a key: look at the indentation"},
	{"alias", "anchors, aliases and merge keys are not accepted"},
	{"anchor", "anchors, aliases and merge keys are not accepted"},
	{"merge key", "anchors, aliases and merge keys are not accepted"},
	{"tag", "tags are not accepted"},
	{"directive", "directives are not accepted"},
	{"YAML version", "directives are not accepted"},
	{"document separator", "a second document is not accepted"},
}

// syntax reduces the parser's error to a position and words of ours.
func syntax(err error) (Position, string) {
	pos := Position{1, 1}
	var at yaml.Error
	if !errors.As(err, &at) {
		return pos, "not valid YAML"
	}
	if tk := at.GetToken(); tk != nil {
		pos = tokenPosition(tk)
	}
	for _, w := range syntaxWords {
		if strings.Contains(at.GetMessage(), w.part) {
			return pos, w.why
		}
	}
	return pos, "not valid YAML"
}
