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

var update = flag.Bool("update", false, "rewrite docs/clients.md's tables")

const clientsDocument = "../docs/clients.md"

// clientsMarker separates the document's prose from what a run makes.
const clientsMarker = "<!-- what follows is made by a run: cd interop && go test -run TestClientMatrix . -update -->\n"

// row is what one client does in one case, in the words of the document.
type row struct {
	dialect          string
	client           party.Asker
	setup, situation string

	got     string // the credential, another identity's, or an error
	why     string // whether the error says freshet's reason
	answers string // what freshet answered
	within  string // from the first answer to the last; differs between runs
	fell    string // whether the client went on to another identity
}

// order is that of the cases in the document; situations are those of every endpoint.
var (
	order      = []string{granted, wrongSecret, denied, issuerDown, gone}
	situations = order[:4]
)

// document compares the rows with those of docs/clients.md, or writes them there. Of a run without some of the clients, the
// others' rows are compared.
func (m *matrix) document(t *testing.T) {
	t.Helper()
	if t.Failed() {
		return // there are better messages already
	}
	slices.SortFunc(m.rows, func(a, b row) int {
		return cmp.Or(cmp.Compare(a.dialect, b.dialect), cmp.Compare(a.client.Name, b.client.Name), cmp.Compare(a.setup, b.setup),
			cmp.Compare(slices.Index(order, a.situation), slices.Index(order, b.situation)))
	})
	text, err := os.ReadFile(clientsDocument)
	if err != nil {
		t.Fatal(err)
	}
	prose, tables, ok := strings.Cut(string(text), clientsMarker)
	if !ok {
		t.Fatalf("%s has no line %q", clientsDocument, clientsMarker)
	}
	if *update {
		if len(m.missing) > 0 || len(m.rows) != m.planned {
			t.Fatalf("%d of %d rows, without %q: the tables are made by a run of all", len(m.rows), m.planned, m.missing)
		}
		if err := os.WriteFile(clientsDocument, []byte(prose+clientsMarker+makeTables(m.rows)), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	const remedy = "If that is right: cd interop && go test -run TestClientMatrix . -update"
	written := readTables(tables)
	for _, r := range m.rows {
		got := r.cells()
		want, ok := written[r.name()]
		delete(written, r.name())
		if !ok {
			t.Errorf("%s: is not in %s\n%s", r.name(), clientsDocument, remedy)
		} else if !slices.Equal(r.facts(got), r.facts(want)) {
			t.Errorf("%s: differs from %s:\ngot  %q\nwant %q\n%s", r.name(), clientsDocument, got, want, remedy)
		}
	}
	if len(m.missing) == 0 && len(m.rows) == m.planned {
		for name := range written {
			t.Errorf("%s: is in %s, and no run makes it\n%s", name, clientsDocument, remedy)
		}
	}
}

// header is the columns of each dialect's table.
var header = []string{"client", "version", "set-up", "case", "the program got", "says why", "freshet answered", "within", "another identity"}

// Columns that are not facts of every run.
const (
	versionColumn = 1
	withinColumn  = 7
)

func (r row) cells() []string {
	return []string{r.client.Name, r.client.Version, r.setup, r.situation, r.got, r.why, r.answers, r.within, r.fell}
}

// name is the cells that tell a row from the others.
func (r row) name() string { return nameOf(r.dialect, r.cells()) }

func nameOf(dialect string, cells []string) string {
	return strings.Join([]string{dialect, cells[0], cells[2], cells[3]}, ", ")
}

// facts are the cells that every run has alike: not how long it took, nor a version that the machine decides.
func (r row) facts(cells []string) []string {
	f := slices.Clone(cells)
	f[withinColumn] = ""
	if !r.client.Pinned {
		f[versionColumn] = ""
	}
	return f
}

func makeTables(rows []row) string {
	var b strings.Builder
	dialect := ""
	for _, r := range rows {
		if r.dialect != dialect {
			dialect = r.dialect
			b.WriteString("\n## " + dialect + "\n\n" + line(header) + strings.Repeat("|---", len(header)) + "|\n")
		}
		b.WriteString(line(r.cells()))
	}
	return b.String()
}

func line(cells []string) string { return "| " + strings.Join(cells, " | ") + " |\n" }

// readTables reads what makeTables wrote: name of a row → its cells.
func readTables(text string) map[string][]string {
	written := map[string][]string{}
	dialect := ""
	for l := range strings.Lines(text) {
		l = strings.TrimSuffix(l, "\n")
		if heading, ok := strings.CutPrefix(l, "## "); ok {
			dialect = heading
		} else if cells := strings.Split(strings.TrimSuffix(strings.TrimPrefix(l, "| "), " |"), " | "); len(cells) == len(header) && cells[0] != header[0] {
			written[nameOf(dialect, cells)] = cells
		}
	}
	return written
}
