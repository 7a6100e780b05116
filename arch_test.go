package freshet_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// file is a Go file of this repository, parsed.
type file struct {
	path    string // from the root, with slashes
	pkg     string // its folder
	test    bool
	imports []string
	syntax  *ast.File
}

const (
	root    = "freshet.dev"
	library = root + "/freshet"
)

// files parses every Go file of the repository, all modules alike.
func files(t *testing.T) (*token.FileSet, []file) {
	t.Helper()
	fset := token.NewFileSet()
	var list []file
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "node_modules" || d.Name() == "testdata" || len(path) > 1 && strings.HasPrefix(d.Name(), ".")):
			return filepath.SkipDir
		case d.IsDir() || !strings.HasSuffix(path, ".go"):
			return nil
		}
		syntax, err := parser.ParseFile(fset, path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		f := file{path: filepath.ToSlash(path), pkg: filepath.ToSlash(filepath.Dir(path)), test: strings.HasSuffix(path, "_test.go"), syntax: syntax}
		for _, i := range syntax.Imports {
			name, _ := strconv.Unquote(i.Path.Value)
			f.imports = append(f.imports, name)
		}
		list = append(list, f)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(list) < 50 {
		t.Fatalf("found %d Go files: this test runs at the root of the repository", len(list))
	}
	return fset, list
}

// leaf reports whether a folder is a leaf: a source, endpoint, format, signer or store.
func leaf(pkg string) bool {
	kind, name, ok := strings.Cut(pkg, "/")
	return ok && name != "" && slices.Contains([]string{"source", "endpoint", "format", "sign", "store"}, kind)
}

func standard(path string) bool {
	first, _, _ := strings.Cut(path, "/")
	return !strings.Contains(first, ".")
}

func TestLibraryImportsTheStandardLibraryAlone(t *testing.T) {
	_, list := files(t)
	for _, f := range list {
		if !strings.HasPrefix(f.pkg+"/", "freshet/") || f.pkg == "freshet/azure" || f.pkg == "freshet/aws" || f.pkg == "freshet/oauth2" {
			continue
		}
		for _, path := range f.imports {
			if !standard(path) && path != library && !strings.HasPrefix(path, library+"/") {
				t.Errorf("%s imports %s", f.path, path)
			}
		}
	}
}

func TestLeavesImportNoSiblings(t *testing.T) {
	_, list := files(t)
	for _, f := range list {
		if !leaf(f.pkg) {
			continue
		}
		for _, path := range f.imports {
			ours := strings.HasPrefix(path, root+"/")
			allowed := path == library || strings.HasPrefix(path, library+"/") || strings.HasPrefix(path, root+"/internal/") ||
				path == root+"/"+f.pkg
			if ours && !allowed {
				t.Errorf("%s imports %s: a leaf knows the library, internal/ and its vendor", f.path, path)
			}
		}
	}
}

func TestOnlyBuiltinImportsLeaves(t *testing.T) {
	_, list := files(t)
	for _, f := range list {
		for _, path := range f.imports {
			pkg, ours := strings.CutPrefix(path, root+"/")
			if ours && leaf(pkg) && f.pkg != "builtin" && f.pkg != pkg {
				t.Errorf("%s imports %s: only builtin does", f.path, path)
			}
			if path == root+"/builtin" && f.pkg != "daemon" && f.pkg != "cmd/freshet" {
				t.Errorf("%s imports builtin: only daemon and cmd/freshet do", f.path)
			}
		}
	}
}

// TestClocksAreReadInOnePlace keeps time.Now to the package that reads both clocks, and sleeps out of everything. Tests read
// the clock as they like; they do not sleep outside a synctest bubble.
func TestClocksAreReadInOnePlace(t *testing.T) {
	fset, list := files(t)
	for _, f := range list {
		if strings.HasPrefix(f.pkg, "interop") || strings.HasPrefix(f.pkg, "bench") {
			continue // they live in real time
		}
		name := importName(f.syntax, "time")
		if name == "" {
			continue
		}
		bubbles := slices.Contains(f.imports, "testing/synctest")
		ast.Inspect(f.syntax, func(n ast.Node) bool {
			call, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			if x, ok := call.X.(*ast.Ident); !ok || x.Name != name {
				return true
			}
			switch at := fset.Position(call.Pos()); call.Sel.Name {
			case "Now", "Since", "Until":
				if !f.test && f.pkg != "freshet/internal/clock" && f.pkg != "freshet/freshettest" {
					t.Errorf("%s: time.%s: clocks are read by freshet/internal/clock; use freshet.Now", at, call.Sel.Name)
				}
			case "Sleep":
				if !bubbles {
					t.Errorf("%s: time.Sleep outside a synctest bubble", at)
				}
			}
			return true
		})
	}
}

func TestNoInitFunctions(t *testing.T) {
	fset, list := files(t)
	for _, f := range list {
		for _, d := range f.syntax.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
				t.Errorf("%s: init: what exists is named in builtin", fset.Position(fn.Pos()))
			}
		}
	}
}

func TestPackagesAreNamedAfterWhatTheyHold(t *testing.T) {
	_, list := files(t)
	for _, f := range list {
		name := strings.TrimSuffix(f.syntax.Name.Name, "_test")
		if slices.Contains([]string{"util", "utils", "common", "types", "manager", "helper", "helpers", "impl", "misc"}, name) {
			t.Errorf("%s: package %s says nothing", f.path, name)
		}
	}
}

// importName is the name by which a file refers to a package, or "".
func importName(f *ast.File, path string) string {
	for _, i := range f.Imports {
		if i.Path.Value == strconv.Quote(path) {
			if i.Name != nil {
				return i.Name.Name
			}
			return path[strings.LastIndexByte(path, '/')+1:]
		}
	}
	return ""
}

// TestLibraryHasNoDependencies builds a program that uses the library alone, and finds no other module in it.
func TestLibraryHasNoDependencies(t *testing.T) {
	got := consumer(t, nil, []string{library}, "import \""+library+"\"\n\nfunc main() { freshet.NewCache(freshet.CacheConfig{}) }\n")
	if want := []string{library}; !slices.Equal(got, want) {
		t.Errorf("modules: got %v, want %v", got, want)
	}
}

// TestAdaptersBringTheirSDKAlone builds a program that uses an adapter, and one that uses its SDK alone: their modules differ by
// freshet's two.
func TestAdaptersBringTheirSDKAlone(t *testing.T) {
	for _, a := range []struct{ adapter, sdk, alone, wraps string }{
		{"azure", "github.com/Azure/azure-sdk-for-go/sdk/azcore", "_ = azcore.AccessToken{}", "adapter.Wrap(azcore.TokenCredential(nil))"},
		{"aws", "github.com/aws/aws-sdk-go-v2/aws", "_ = aws.Credentials{}", "adapter.Wrap(aws.CredentialsProvider(nil))"},
		{"oauth2", "golang.org/x/oauth2", "_ = oauth2.Token{}", "adapter.Wrap(oauth2.TokenSource(nil))"},
	} {
		t.Run(a.adapter, func(t *testing.T) {
			module := strings.TrimSuffix(a.sdk, "/aws")
			version, err := exec.Command("go", "list", "-m", "-f", "{{.Version}}", module).Output()
			if err != nil {
				t.Fatal(err)
			}
			require := map[string]string{module: strings.TrimSpace(string(version))}
			name := library + "/" + a.adapter
			want := append(consumer(t, require, nil, "import \""+a.sdk+"\"\n\nfunc main() { "+a.alone+" }\n"), library, name)
			slices.Sort(want)
			got := consumer(t, require, []string{library, name}, "import (\n\tadapter \""+name+"\"\n\t\""+a.sdk+"\"\n)\n\nfunc main() { "+
				a.wraps+" }\n")
			if !slices.Equal(got, want) {
				t.Errorf("modules: got %v, want %v", got, want)
			}
		})
	}
}

// consumer builds a program offline, in a module of its own that requires some modules (path → version) and some of ours, and lists
// the modules whose packages it is made of, but its own.
func consumer(t *testing.T, require map[string]string, ours []string, program string) []string {
	t.Helper()
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	mod := "module consumer\n\ngo 1.26\n"
	for path, version := range require {
		mod += "\nrequire " + path + " " + version + "\n"
	}
	for _, path := range ours {
		mod += "\nrequire " + path + " v0.0.0\n\nreplace " + path + " => " + filepath.Join(here, strings.TrimPrefix(path, root)) + "\n"
	}
	dir := t.TempDir()
	for name, text := range map[string]string{"go.mod": mod, "main.go": "package main\n\n" + program} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	run := func(arg ...string) string {
		t.Helper()
		cmd := exec.Command("go", arg...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GOFLAGS=-mod=mod", "GOPROXY=off", "GOSUMDB=off", "GOWORK=off")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("go %s: %v\n%s", strings.Join(arg, " "), err, out)
		}
		return string(out)
	}
	run("build", "-o", os.DevNull, ".")
	list := strings.Fields(run("list", "-deps", "-f", "{{with .Module}}{{.Path}}{{end}}", "."))
	slices.Sort(list)
	return slices.DeleteFunc(slices.Compact(list), func(path string) bool { return path == "consumer" })
}

// TestGuaranteesNameTheirTests checks docs/guarantees.md: every guarantee has an id of its own, and names tests that exist.
func TestGuaranteesNameTheirTests(t *testing.T) {
	_, list := files(t)
	tests := make(map[string]bool)
	for _, f := range list {
		for _, d := range f.syntax.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && f.test && fn.Recv == nil && regexp.MustCompile(`^(Test|Fuzz|Benchmark)`).MatchString(fn.Name.Name) {
				tests[fn.Name.Name] = true
			}
		}
	}
	text, err := os.ReadFile("docs/guarantees.md")
	if err != nil {
		t.Fatal(err)
	}
	row := regexp.MustCompile(`^\| (G[0-9]+) \| (.+) \| (.+) \|$`)
	name := regexp.MustCompile("`([A-Z][A-Za-z0-9_]+)`")
	seen := make(map[string]bool)
	for n, line := range strings.Split(string(text), "\n") {
		if !strings.HasPrefix(line, "| G") {
			continue
		}
		m := row.FindStringSubmatch(line)
		if m == nil {
			t.Errorf("guarantees.md:%d: not | id | guarantee | tests |", n+1)
			continue
		}
		if seen[m[1]] {
			t.Errorf("guarantees.md:%d: %s is there twice", n+1, m[1])
		}
		seen[m[1]] = true
		named := name.FindAllStringSubmatch(m[3], -1)
		if len(named) == 0 {
			t.Errorf("guarantees.md:%d: %s names no test", n+1, m[1])
		}
		for _, test := range named {
			if !tests[test[1]] {
				t.Errorf("guarantees.md:%d: %s names %s, which does not exist", n+1, m[1], test[1])
			}
		}
	}
	if len(seen) < 20 {
		t.Errorf("found %d guarantees", len(seen))
	}
}
