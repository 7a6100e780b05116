package tools

import (
	"errors"
	"strings"
	"testing"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"freshet.dev/freshet"
)

// hints are what a tool says of itself.
func hints(readOnly bool, destructive ...bool) *sdk.ToolAnnotations {
	a := &sdk.ToolAnnotations{ReadOnlyHint: readOnly}
	for _, d := range destructive {
		a.DestructiveHint = &d
	}
	return a
}

func TestPolicy(t *testing.T) {
	reader := &sdk.Tool{Name: "get_item", Annotations: hints(true)}
	writer := &sdk.Tool{Name: "put_item", Annotations: hints(false)}
	silent := &sdk.Tool{Name: "run"}
	readOnly := Policy{ReadOnly: true}
	for _, test := range []struct {
		name   string
		policy Policy
		tool   *sdk.Tool // nil: one that the upstream does not list
		want   Verdict
	}{
		{"the zero policy allows a reader", Policy{}, reader, Verdict{Reads: true}},
		{"the zero policy allows a writer", Policy{}, writer, Verdict{}},
		{"the zero policy allows what nobody lists", Policy{}, nil, Verdict{}},

		{"read-only allows what says that it reads", readOnly, reader, Verdict{Reads: true}},
		{"read-only refuses what says that it does not", readOnly, writer, Verdict{Refused: refusedWriting}},
		{"read-only refuses what says nothing", readOnly, silent, Verdict{Refused: refusedWriting}},
		{"read-only refuses what says something else", readOnly, &sdk.Tool{Name: "x", Annotations: &sdk.ToolAnnotations{IdempotentHint: true, Title: "x"}},
			Verdict{Refused: refusedWriting}},
		{"not destructive is not read-only", readOnly, &sdk.Tool{Name: "x", Annotations: hints(false, false)}, Verdict{Refused: refusedWriting}},
		{"who reads and destroys is not believed", readOnly, &sdk.Tool{Name: "x", Annotations: hints(true, true)}, Verdict{Refused: refusedWriting}},
		{"who reads and does not destroy is", readOnly, &sdk.Tool{Name: "x", Annotations: hints(true, false)}, Verdict{Reads: true}},
		{"read-only refuses what nobody lists", readOnly, nil, Verdict{Refused: refusedUnknown}},
		{"the operator's word does not make a tool known", Policy{ReadOnly: true, Read: []string{"*"}}, nil, Verdict{Refused: refusedUnknown, Reads: true}},

		{"the operator says that it reads", Policy{ReadOnly: true, Read: []string{"put_item"}}, writer, Verdict{Reads: true}},
		{"the operator says that it writes", Policy{ReadOnly: true, Write: []string{"get_*"}}, reader, Verdict{Refused: refusedWriting, Writes: true}},
		{"the operator's word on another changes nothing", Policy{ReadOnly: true, Write: []string{"get_items", "get_i", "et_item", "GET_ITEM"}}, reader, Verdict{Reads: true}},
		{"writes are all but", Policy{ReadOnly: true, Write: []string{"*"}, Read: []string{"get_*"}}, reader, Verdict{Reads: true}},
		{"reads are all but", Policy{ReadOnly: true, Read: []string{"*"}, Write: []string{"get_*"}}, reader, Verdict{Refused: refusedWriting, Writes: true}},
		{"a name wins over the same with a star", Policy{ReadOnly: true, Write: []string{"get_item*"}, Read: []string{"get_item"}}, reader, Verdict{Reads: true}},
		{"write wins over the same in read", Policy{ReadOnly: true, Write: []string{"get_*"}, Read: []string{"get_*"}}, reader, Verdict{Refused: refusedWriting, Writes: true}},

		{"allowed by name", Policy{Allow: []string{"x", "get_item"}}, reader, Verdict{Reads: true}},
		{"allowed by its beginning", Policy{Allow: []string{"get_*"}}, reader, Verdict{Reads: true}},
		{"allowed with all", Policy{Allow: []string{"*"}}, writer, Verdict{}},
		{"not in the list", Policy{Allow: []string{"x", "get", "get_item_", "get_items*"}}, reader, Verdict{Refused: refusedName, Reads: true}},
		{"an empty list is none", Policy{Allow: []string{}}, reader, Verdict{Refused: refusedName, Reads: true}},
		{"a list of what nobody lists", Policy{Allow: []string{"*"}}, nil, Verdict{Refused: refusedUnknown}},
		{"denied", Policy{Deny: []string{"put_*"}}, writer, Verdict{Refused: refusedName}},
		{"denied and allowed", Policy{Deny: []string{"put_*"}, Allow: []string{"put_item"}}, writer, Verdict{Refused: refusedName}},
		{"not denied", Policy{Deny: []string{"put_*"}}, reader, Verdict{Reads: true}},
		{"a policy that denies others refuses what nobody lists", Policy{Deny: []string{"x"}}, nil, Verdict{Refused: refusedUnknown}},
		{"allowed and not a reader", Policy{ReadOnly: true, Allow: []string{"*"}}, writer, Verdict{Refused: refusedWriting}},

		{"approval of all", Policy{Approve: Approve{All: true}}, reader, Verdict{Approval: true, Reads: true}},
		{"approval of writers: a reader", Policy{Approve: Approve{Writes: true}}, reader, Verdict{Reads: true}},
		{"approval of writers: a writer", Policy{Approve: Approve{Writes: true}}, writer, Verdict{Approval: true}},
		{"approval of writers: who says nothing", Policy{Approve: Approve{Writes: true}}, silent, Verdict{Approval: true}},
		{"approval of writers: by the operator's word", Policy{Approve: Approve{Writes: true}, Write: []string{"get_item"}}, reader, Verdict{Approval: true, Writes: true}},
		{"approval of writers: who reads by the operator's word", Policy{Approve: Approve{Writes: true}, Read: []string{"run"}}, silent, Verdict{Reads: true}},
		{"approval by name", Policy{Approve: Approve{Names: []string{"get_*"}}}, reader, Verdict{Approval: true, Reads: true}},
		{"approval of another", Policy{Approve: Approve{Names: []string{"put_*"}}}, reader, Verdict{Reads: true}},
		{"approval of what nobody lists", Policy{Approve: Approve{All: true}}, nil, Verdict{Refused: refusedUnknown, Approval: true}},
		{"approval by name of what nobody lists", Policy{Approve: Approve{Names: []string{"x"}}}, nil, Verdict{Refused: refusedUnknown}},
		{"approval of writers, of what nobody lists", Policy{Approve: Approve{Writes: true}}, nil, Verdict{Refused: refusedUnknown, Approval: true}},
		{"a word on another refuses what nobody lists", Policy{Read: []string{"x"}}, nil, Verdict{Refused: refusedUnknown}},
		{"likewise", Policy{Write: []string{"x"}}, nil, Verdict{Refused: refusedUnknown}},
	} {
		t.Run(test.name, func(t *testing.T) {
			name := "unlisted"
			if test.tool != nil {
				name = test.tool.Name
			}
			if got := test.policy.Judge(name, test.tool); got != test.want {
				t.Errorf("got %+v, want %+v", got, test.want)
			}
		})
	}
}

func TestEntriesThatAreNoNamesAreRefused(t *testing.T) {
	good := Policy{Allow: []string{"get_*", "*"}, Deny: []string{"a/b"}, Read: []string{"a.b"}, Write: []string{"a-b"}, Approve: Approve{Names: []string{"a:b"}}}
	if err := good.Check(); err != nil {
		t.Error(err)
	}
	for want, p := range map[string]Policy{
		"tools to allow: a * that is not at the end":   {Allow: []string{"*_get"}},
		"tools to deny: a * that is not at the end":    {Deny: []string{"a", "a*b*"}},
		"tools to read: is empty":                      {Read: []string{""}},
		"tools to write: not the name of a tool":       {Write: []string{"a b"}},
		"tools to approve: a * that is not at the end": {Approve: Approve{Names: []string{"**"}}},
	} {
		err := p.Check()
		if err == nil || err.Error() != want || !errors.Is(err, freshet.Invalid) || freshet.AsError(err).Hint == "" {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func TestRefusalsSayWhoDecided(t *testing.T) {
	for _, text := range []string{refusedName, refusedWriting, refusedUnknown} {
		if !strings.Contains(text, "the operator of this bridge") {
			t.Errorf("%q does not say who decided", text)
		}
	}
}
