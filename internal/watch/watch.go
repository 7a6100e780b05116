// Package watch tells when files change, however they are replaced: written in place, renamed over, swapped by a symbolic link
// as Kubernetes does with its volumes, missing at first and there later.
//
// It watches the folders that hold a file and the links on the way to it, not the file itself, which a rename would take away.
// That a folder further up is moved is not noticed. Where the system cannot watch (a network file system, or too many watches), nothing is told, and whoever reads the file finds
// the change when next it reads it.
package watch

import (
	"errors"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/fsnotify/fsnotify"
)

// settle is how long after a first event the files are looked at: who writes them may not have finished. What comes later is an
// event of its own.
const settle = 100 * time.Millisecond

// Watcher watches sets of files. Its methods may be called by many goroutines.
type Watcher struct {
	log    *slog.Logger
	system *fsnotify.Watcher // nil: there is none to be had
	poke   chan struct{}     // holds one wish to look at everything
	done   chan struct{}

	looking sync.Mutex // held while files are looked at, by whoever does; hits and requests never wait for it
	sets    []*set
	refused map[string]bool // folders that cannot be watched, so that each is logged once

	mu    sync.Mutex
	names map[string]map[string]struct{} // folder watched → names in it that matter
}

// Set is some files that are watched together.
type Set struct {
	Key string // tells it from the others, from one call of Watch to the next
	// Files lists absolute paths, there or not. It is called again after each change, for it may depend on what the files say.
	Files func() []string
	// Changed is called, from the watcher's goroutine, soon after one of the files has become another than before.
	Changed func()
}

type set struct {
	Set
	state map[string]state // as it was when last looked at
}

// state tells one content of a file, and who may read it, from another without reading it. The zero state is a file that is not
// there.
type state struct {
	device, inode uint64
	size          int64
	modified      time.Time
	mode          fs.FileMode
	uid, gid      uint32
}

// New starts a watcher of nothing. A system that cannot watch is logged, and the watcher then tells nothing.
func New(log *slog.Logger) *Watcher {
	w := &Watcher{log: log, poke: make(chan struct{}, 1), done: make(chan struct{}), refused: make(map[string]bool)}
	system, err := fsnotify.NewWatcher()
	if err != nil {
		log.Warn("files cannot be watched: their changes are found when they are next read", "error", err)
		close(w.done)
		return w
	}
	w.system = system
	go w.run()
	return w
}

// Watch watches these sets, and no others any more. A set whose key was there before goes on from what was seen then, so that no
// change falls between. It takes O(files).
func (w *Watcher) Watch(sets []Set) {
	if w.system == nil {
		return
	}
	w.looking.Lock()
	defer w.looking.Unlock()
	before := make(map[string]map[string]state, len(w.sets))
	for _, s := range w.sets {
		before[s.Key] = s.state
	}
	w.sets = nil
	for _, s := range sets {
		w.sets = append(w.sets, &set{s, before[s.Key]})
	}
	w.follow()
	for _, s := range w.sets {
		if s.state == nil {
			s.state = look(s.Files())
		}
	}
	select {
	case w.poke <- struct{}{}: // compares what was kept
	default:
	}
}

// Close ends every watch. Changed is not called any more once it has returned.
func (w *Watcher) Close() {
	if w.system != nil {
		_ = w.system.Close()
	}
	<-w.done
}

// run waits for events until the watcher is closed.
func (w *Watcher) run() {
	defer close(w.done)
	var settled <-chan time.Time // nil: nothing has happened
	for {
		happened := false
		select {
		case e, ok := <-w.system.Events:
			if !ok {
				return
			}
			happened = w.matters(e.Name)
		case err, ok := <-w.system.Errors:
			if !ok {
				return
			}
			w.log.Debug("file watch", "error", err)
			happened = true // events may have been lost
		case <-w.poke:
			happened = true
		case <-settled:
			settled = nil
			w.check()
		}
		if happened && settled == nil {
			settled = time.After(settle)
		}
	}
}

// matters reports whether an event is about a name that leads to a file.
func (w *Watcher) matters(path string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	_, named := w.names[filepath.Dir(path)][filepath.Base(path)]
	_, itself := w.names[path] // the folder was moved or removed
	return named || itself
}

// check looks at every set, and tells of those that have changed. It takes O(files).
func (w *Watcher) check() {
	w.looking.Lock()
	w.follow()
	var changed []*set
	for _, s := range w.sets {
		if now := look(s.Files()); !maps.Equal(now, s.state) {
			s.state = now
			changed = append(changed, s)
		}
	}
	w.looking.Unlock()
	for _, s := range changed {
		s.Changed()
	}
}

// follow watches the folders that lead to the files, and no others. What leads on from a folder may come while that is not yet
// watched, so it goes over all again until there is nothing to add. w.looking is held.
func (w *Watcher) follow() {
	for {
		names := make(map[string]map[string]struct{})
		for _, s := range w.sets {
			for _, path := range s.Files() {
				trail(path, func(dir, name string) {
					if names[dir] == nil {
						names[dir] = make(map[string]struct{})
					}
					names[dir][name] = struct{}{}
				})
			}
		}
		w.mu.Lock()
		w.names = names // before the folders are watched: every event of theirs is judged by them
		w.mu.Unlock()
		watched := make(map[string]bool)
		for _, dir := range w.system.WatchList() {
			if watched[dir] = true; names[dir] == nil {
				_ = w.system.Remove(dir)
			}
		}
		added := false
		for dir := range names {
			if watched[dir] {
				continue
			}
			switch err := w.system.Add(dir); {
			case err == nil:
				added = true
			case !w.refused[dir] && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fsnotify.ErrClosed):
				w.refused[dir] = true
				w.log.Warn("a folder cannot be watched: changes in it are found when its files are next read", "folder", dir, "error", err)
			}
		}
		if !added {
			return
		}
	}
}

// maxLinks is how many symbolic links a path may lead through, as in Linux.
const maxLinks = 40

// trail calls visit with each folder, free of links, and the name in it that leads to path: that of each link on the way, and in the
// end that of the file, or of the first folder that is not there.
func trail(path string, visit func(dir, name string)) {
	links := 0
	dir, rest := "/", split(path)
	for len(rest) > 0 {
		name := rest[0]
		rest = rest[1:]
		if name == ".." {
			dir = filepath.Dir(dir)
			continue
		}
		full := filepath.Join(dir, name)
		info, err := os.Lstat(full)
		switch {
		case err != nil || len(rest) == 0 && info.Mode()&fs.ModeSymlink == 0:
			visit(dir, name)
			return
		case info.Mode()&fs.ModeSymlink != 0:
			visit(dir, name)
			target, err := os.Readlink(full)
			if links++; err != nil || links > maxLinks {
				return
			}
			if filepath.IsAbs(target) {
				dir = "/"
			}
			rest = append(split(target), rest...)
		default:
			dir = full
		}
	}
}

// split is a path's names. It keeps "..", which after a link leads elsewhere than the text says.
func split(path string) []string {
	return slices.DeleteFunc(strings.Split(path, "/"), func(name string) bool { return name == "" || name == "." })
}

// look is the state of some files, links followed.
func look(paths []string) map[string]state {
	all := make(map[string]state, len(paths))
	for _, path := range paths {
		var s state
		if info, err := os.Stat(path); err == nil {
			s = state{size: info.Size(), modified: info.ModTime(), mode: info.Mode()}
			if sys, ok := info.Sys().(*syscall.Stat_t); ok {
				s.device, s.inode, s.uid, s.gid = uint64(sys.Dev), sys.Ino, sys.Uid, sys.Gid
			}
		}
		all[path] = s
	}
	return all
}
