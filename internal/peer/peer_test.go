package peer

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestBothEndsKnowEachOther(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client, err1 := net.Dial("unix", path)
	server, err2 := l.Accept()
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	defer server.Close()
	groups, err := os.Getgroups()
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]net.Conn{"client": client, "server": server} {
		got, err := Of(c)
		if err != nil || got.UID != uint32(os.Getuid()) || got.PID != 0 && got.PID != os.Getpid() || !slices.Contains(got.GIDs, uint32(os.Getgid())) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
		for _, g := range groups {
			if !slices.Contains(got.GIDs, uint32(g)) {
				t.Errorf("%s: group %d is not among %v", name, g, got.GIDs)
			}
		}
	}
}

func TestWhatIsNoUnixSocketHasNoPeer(t *testing.T) {
	near, far := net.Pipe()
	defer near.Close()
	defer far.Close()
	if c, err := Of(near); err == nil {
		t.Errorf("a pipe: %+v", c)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	tcp, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	if c, err := Of(tcp); err == nil {
		t.Errorf("a TCP connection: %+v", c)
	}
	tcp.Close()
	if c, err := Of(tcp); err == nil {
		t.Errorf("a closed one: %+v", c)
	}
}
