package demo

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"
)

var update = flag.Bool("update", false, "write what is printed into the golden files")

func bytesOf(n int64) *int64 { return &n }

// sample is a ledger in which no two figures are alike.
func sample() *Ledger {
	l := &Ledger{
		Version: "1.2.3", Callers: 200, Machine: Machine{OS: "linux", Arch: "amd64", CPUs: 2, MemoryBytes: bytesOf(24e9)},
		AzureCLI: AzureCLI{WallMS: 617.3, ProcessorMS: 80, MemoryBytes: 16 << 20}, IssuerLatencyMS: 250,
		Rows: []Row{
			{
				Client: azureCLI, Module: "example.com/azidentity", Release: "v1.15.0", Door: "azure.Wrap, shared",
				Without: Figures{
					Callers: 200, IssuerCalls: 188, Processes: 199, PeakMemoryBytes: bytesOf(2.44e9), WallMS: 12101.5, P50MS: 10099.9, P99MS: 11801,
					Failures: 63, Failure: "AzureCLICredential: signal: killed",
				},
				With: Figures{Callers: 200, IssuerCalls: 1, Processes: 1, PeakMemoryBytes: bytesOf(24e6), WallMS: 621, P50MS: 620, P99MS: 620.9},
			},
			{
				Client: oauthClient, Module: "example.com/oauth2", Release: "v0.37.0", Door: "oauth-token", Daemon: true,
				Without: Figures{Callers: 200, IssuerCalls: 200, WallMS: 390, P50MS: 350, P99MS: 388}, // memory unknown
				With:    Figures{Callers: 200, IssuerCalls: 2, WallMS: 310, P50MS: 303, P99MS: 309},
			},
		},
		Cancelled:   Moments{Moment{50, 1, 48, 47}, Moment{50, 1, 49, 1}},
		Rejected:    Moments{Moment{50, 0, 46, 45}, Moment{50, 0, 44, 1}},
		WallSeconds: 18.93,
	}
	for _, r := range l.Rows {
		l.Total.Without.add(r.Without)
		l.Total.With.add(r.With)
	}
	return l
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s: got\n%s\nwant\n%s", name, got, want)
	}
}

// TestTable pins what a person sees: it fits a terminal of 100 columns, and is the same with colours but for them.
func TestTable(t *testing.T) {
	var plain, coloured bytes.Buffer
	if err := sample().Print(&plain, false); err != nil {
		t.Fatal(err)
	}
	if err := sample().Print(&coloured, true); err != nil {
		t.Fatal(err)
	}
	golden(t, "table.txt", plain.Bytes())
	for _, line := range strings.Split(plain.String(), "\n") {
		if n := utf8.RuneCountInString(line); n > tableWidth || strings.HasSuffix(line, " ") {
			t.Errorf("%d columns, or blanks at the end: %q", n, line)
		}
	}
	if strings.Contains(plain.String(), "\x1b") {
		t.Error("colours that nobody asked for")
	}
	stripped := regexp.MustCompile("\x1b\\[[0-9;]*m").ReplaceAllString(coloured.String(), "")
	if stripped != plain.String() || stripped == coloured.String() {
		t.Errorf("with colours got\n%q", coloured.String())
	}
}

func TestLittleMemoryIsSaid(t *testing.T) {
	l := sample()
	l.AzureCLI.Reduced = true
	var b bytes.Buffer
	if err := l.Print(&b, false); err != nil {
		t.Fatal(err)
	}
	if text := strings.Join(strings.Fields(b.String()), " "); !strings.Contains(text, "16 MiB, less than usual as this machine has little memory:") {
		t.Errorf("got %s", text)
	}
}

// TestDocument pins the names and units of the JSON document, which other programs read.
func TestDocument(t *testing.T) {
	got, err := json.MarshalIndent(sample(), "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "ledger.json", append(got, '\n'))
}

// TestTotal adds up what adds up, and takes the largest of the peaks.
func TestTotal(t *testing.T) {
	got := sample().Total
	if got.Without.IssuerCalls != 388 || got.Without.Processes != 199 || got.Without.Failures != 63 || *got.Without.PeakMemoryBytes != 2.44e9 {
		t.Errorf("without: got %+v", got.Without)
	}
	if got.With.IssuerCalls != 3 || got.With.Processes != 1 || got.With.Failures != 0 || *got.With.PeakMemoryBytes != 24e6 {
		t.Errorf("with: got %+v", got.With)
	}
	var s Sum
	s.add(Figures{})
	if s.PeakMemoryBytes != nil {
		t.Error("a peak where none was measured")
	}
}
