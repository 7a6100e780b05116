package interop

import (
	"cmp"
	"flag"
	"os"
	"slices"
	"strings"
	"testing"

	"freshet.dev/interop/internal/party"
)

var update = flag.Bool("update", false, "rewrite docs/clients.md's table")

const clientsDocument = "../docs/clients.md"

// clientsMarker separates the document's prose from what a run makes.
const clientsMarker = "<!-- what follows is made by a run: cd interop && go test -run TestClientMatrix . -update -->\n"

// row is what one client does in one case.
type row struct {
	dialect          string
	client           party.Asker
	setup, situation string

	got, answers, fell string
	over               string // from the first request to the last; differs between runs
}

// situations are in the order of the document.
var situations = []string{granted, wrongSecret, denied, issuerDown}

// document compares the rows with those of docs/clients.md, or writes them there. Of a run without some of the clients, the
// others' rows are compared.
func (m *matrix) document(t *testing.T) {
	t.Helper()
	if t.Failed() {
		return // there are better messages already
	}
	slices.SortFunc(m.rows, func(a, b row) int {
		return cmp.Or(cmp.Compare(a.dialect, b.dialect), cmp.Compare(a.client.Name, b.client.Name), cmp.Compare(a.setup, b.setup),
			cmp.Compare(slices.Index(situations, a.situation), slices.Index(situations, b.situation)))
	})
	text, err := os.ReadFile(clientsDocument)
	if err != nil {
		t.Fatal(err)
	}
	prose, table, ok := strings.Cut(string(text), clientsMarker)
	if !ok {
		t.Fatalf("%s has no line %q", clientsDocument, clientsMarker)
	}
	whole := m.ran == m.clients
	if *update {
		if !whole {
			t.Fatalf("%d of %d clients ran: the table is made by a run of all", m.ran, m.clients)
		}
		if err := os.WriteFile(clientsDocument, []byte(prose+clientsMarker+tableOf(m.rows)), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	written := map[string][]string{} // the cells that name a row → all of its cells
	for line := range strings.Lines(table) {
		if cells := strings.Split(strings.Trim(line, "| \n"), " | "); len(cells) == columns && cells[0] != "dialect" {
			written[name(cells)] = cells
		}
	}
	const remedy = "If that is right: cd interop && go test -run TestClientMatrix . -update"
	for _, r := range m.rows {
		got := r.cells()
		want, ok := written[name(got)]
		delete(written, name(got))
		if ok && !slices.Equal(r.facts(got), r.facts(want)) {
			t.Errorf("%s: differs from %s:\ngot  %q\nwant %q\n%s", name(got), clientsDocument, got, want, remedy)
		} else if !ok {
			t.Errorf("%s: is not in %s\n%s", name(got), clientsDocument, remedy)
		}
	}
	if whole {
		for name := range written {
			t.Errorf("%s: is in %s, and no run makes it\n%s", name, clientsDocument, remedy)
		}
	}
}

// columns of the table.
const columns = 9

func (r row) cells() []string {
	return []string{r.dialect, r.client.Name, r.client.Version, r.setup, r.situation, r.got, r.answers, r.over, r.fell}
}

// name is the cells that tell a row from the others.
func name(cells []string) string {
	return strings.Join([]string{cells[0], cells[1], cells[3], cells[4]}, ", ")
}

// facts are the cells that every run has alike: not how long it took, nor a version that the machine decides.
func (r row) facts(cells []string) []string {
	f := slices.Clone(cells)
	f[7] = ""
	if !r.client.Pinned {
		f[2] = ""
	}
	return f
}

func tableOf(rows []row) string {
	var b strings.Builder
	b.WriteString("\n| dialect | client | version | set-up | case | the program got | freshet answered | within | another identity |\n|" +
		strings.Repeat("---|", columns) + "\n")
	for _, r := range rows {
		b.WriteString("| " + strings.Join(r.cells(), " | ") + " |\n")
	}
	return b.String()
}
