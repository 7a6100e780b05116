package demo

import (
	"context"
	"crypto/rand"
	"errors"
	"net"
	"os"
	"path/filepath"
	"time"

	"freshet.dev/freshet"
	"freshet.dev/lab"
)

// stage is where a demo happens: a cloud in this process, and a folder that ends with it.
type stage struct {
	cfg      Config
	dir      string // everything that is written is in it
	home     string // of the children
	bin      string // with an az
	weight   int64  // of an az's memory, in bytes
	cloud    *lab.Cloud
	paths    lab.Endpoints
	endCloud context.CancelFunc
	door     string // secret of freshet's endpoints
	progress progress
	closers  []func()
}

// latency is how long an issuer takes, of the order of Entra's and STS's from a developer's desk.
const latency = 250 * time.Millisecond

// longest is the longest path of a socket that every system takes (sockaddr_un has 104 bytes on macOS, 108 on Linux).
const longest = 103

// set makes a stage. close ends it; a stage that could not be made leaves nothing.
func set(cfg Config) (s *stage, err error) {
	s = &stage{cfg: cfg, door: rand.Text() + rand.Text(), progress: progress{w: cfg.Progress, columns: cfg.Columns}}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	if err := s.makeFolder(); err != nil {
		return nil, freshet.Errorf(freshet.Unavailable, "demo: temp folder: %w", err).WithHint("free its disk, or set TMPDIR to another folder")
	}
	if err := s.newCloud(); err != nil {
		return nil, err
	}
	if err := s.writeAz(); err != nil {
		return nil, freshet.Errorf(freshet.Unavailable, "demo: temp folder: %w", err)
	}
	return s, nil
}

// newCloud puts a cloud in the place of the one there is, if any, which ends. A request of a phase that has ended, by an az that
// was killed, may still be on its way: it must not be counted as one of the next.
func (s *stage) newCloud() error {
	if s.endCloud != nil {
		s.endCloud()
	}
	settings := lab.Settings{Latency: latency}
	cloud, err := lab.New(lab.Config{Issuers: map[string]lab.Settings{
		lab.Entra: settings, lab.OAuth: settings, lab.STS: settings, lab.ManagedIdentity: settings,
		// It stands for a container's agent, which asks both issuers of the chain that freshet is given.
		lab.Container: {Latency: 2 * latency},
	}})
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return freshet.Errorf(freshet.Unavailable, "demo: no loopback port to listen at: %w", err)
	}
	s.cloud, s.paths = cloud, cloud.Paths("http://"+l.Addr().String())
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = cloud.Serve(ctx, l)
	}()
	s.endCloud = cancel
	s.closers = append(s.closers, func() { cancel(); <-served })
	if err := s.writeConfiguration(); err != nil {
		return freshet.Errorf(freshet.Unavailable, "demo: temp folder: %w", err)
	}
	return nil
}

// makeFolder makes the stage's folder, in /tmp where the temp folder's path is too long for a socket in it.
func (s *stage) makeFolder() (err error) {
	const pattern = "freshet-demo-"
	if s.dir, err = os.MkdirTemp("", pattern); err == nil && len(s.socket()) > longest {
		_ = os.Remove(s.dir)
		s.dir, err = os.MkdirTemp("/tmp", pattern)
	}
	if err != nil {
		return err
	}
	s.closers = append(s.closers, func() { _ = os.RemoveAll(s.dir) })
	s.home, s.bin = filepath.Join(s.dir, "home"), filepath.Join(s.dir, "bin")
	return errors.Join(os.Mkdir(s.home, 0o700), os.Mkdir(s.bin, 0o700))
}

func (s *stage) close() {
	for i := len(s.closers) - 1; i >= 0; i-- {
		s.closers[i]()
	}
	s.closers = nil
}
