// Package watch tells when files change, however they are replaced: written in place, renamed over, swapped by a symbolic link
// as Kubernetes does with its volumes, missing at first and there later.
//
// It watches the folders that hold a file and the links on the way to it, not the file itself, which a rename would take away. That
// a folder further up is moved is not noticed. Where the system cannot watch (a network file system, or too many watches), nothing is told, and whoever reads the file finds
// the change when next it reads it.
package watch

import (
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

// Watcher watches any number of sets of files. Its methods may be called by many goroutines.
type Watcher struct {
	log    *slog.Logger
	system *fsnotify.Watcher // nil: there is none to be had
	done   chan struct{}

	mu      sync.Mutex
	sets    map[*set]struct{}
	names   map[string]map[string]struct{} // folder watched → names in it that matter
	refused map[string]bool                // folders that cannot be watched, so that each is logged once
}

// set is some files that are watched together.
type set struct {
	files   func() []string
	changed func()
	state   map[string]state // as it was when last looked at
}

// state tells one content of a file from another without reading it. The zero state is a file that is not there.
type state struct {
	device, inode uint64
	size          int64
	modified      time.Time
	mode          fs.FileMode
}

// New starts a watcher. A system that cannot watch is logged, and the watcher then tells nothing.
func New(log *slog.Logger) *Watcher {
	w := &Watcher{
		log: log, done: make(chan struct{}), sets: make(map[*set]struct{}), names: make(map[string]map[string]struct{}),
		refused: make(map[string]bool),
	}
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

// Add calls changed, from the watcher's goroutine, soon after one of the files has become another than before. files are absolute
// paths, there or not; it is called again after each change, for they may depend on what the files say. The watch ends when the
// function that Add returns is called; a call of changed that is under way then still ends.
func (w *Watcher) Add(files func() []string, changed func()) (remove func()) {
	s := &set{files: files, changed: changed, state: look(files())}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sets[s] = struct{}{}
	w.follow()
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.sets, s)
		w.follow()
	}
}

// Close ends every watch.
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
		select {
		case e, ok := <-w.system.Events:
			if !ok {
				return
			}
			if settled == nil && w.matters(e.Name) {
				settled = time.After(settle)
			}
		case err, ok := <-w.system.Errors:
			if !ok {
				return
			}
			// Events may have been lost: look at everything.
			w.log.Debug("file watch", "error", err)
			if settled == nil {
				settled = time.After(settle)
			}
		case <-settled:
			settled = nil
			w.check()
		}
	}
}

// matters reports whether an event is about a name that leads to a file.
func (w *Watcher) matters(path string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	names, watched := w.names[filepath.Dir(path)]
	_, named := names[filepath.Base(path)]
	_, itself := w.names[path] // the folder was moved or removed
	return watched && named || itself
}

// check looks at every set, and tells of those that have changed. It takes O(files).
func (w *Watcher) check() {
	w.mu.Lock()
	var changed []*set
	for s := range w.sets {
		if now := look(s.files()); !maps.Equal(now, s.state) {
			s.state = now
			changed = append(changed, s)
		}
	}
	w.follow()
	w.mu.Unlock()
	for _, s := range changed {
		w.mu.Lock()
		_, there := w.sets[s]
		w.mu.Unlock()
		if there {
			s.changed()
		}
	}
}

// follow watches the folders that lead to the files, and no others. w.mu is held.
func (w *Watcher) follow() {
	if w.system == nil {
		return
	}
	names := make(map[string]map[string]struct{})
	for s := range w.sets {
		for path := range s.state {
			trail(path, func(dir, name string) {
				if names[dir] == nil {
					names[dir] = make(map[string]struct{})
				}
				names[dir][name] = struct{}{}
			})
		}
	}
	watched := w.system.WatchList()
	for _, dir := range watched {
		if names[dir] == nil {
			_ = w.system.Remove(dir)
		}
	}
	for dir := range names {
		if slices.Contains(watched, dir) {
			continue
		}
		if err := w.system.Add(dir); err != nil && !w.refused[dir] {
			w.refused[dir] = true
			w.log.Warn("a folder cannot be watched: changes in it are found when its files are next read", "folder", dir, "error", err)
		}
	}
	w.names = names
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
				s.device, s.inode = uint64(sys.Dev), sys.Ino
			}
		}
		all[path] = s
	}
	return all
}
