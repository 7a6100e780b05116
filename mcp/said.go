package mcp

import (
	"fmt"
	"runtime"
	"strings"
	"sync"
	"time"

	"freshet.dev/freshet"
)

// said remembers what was logged already. It forgets all before it grows.
type said struct {
	mu   sync.Mutex
	what map[string]struct{}
}

// first reports whether this was not said yet, and takes it as said.
func (s *said) first(text string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.what[text]; ok {
		return false
	}
	if len(s.what) >= 1000 || s.what == nil {
		s.what = map[string]struct{}{}
	}
	s.what[text] = struct{}{}
	return true
}

// fault is a panic as an error: it is one request's failure, not the program's. It is logged once for each place where it comes about;
// the value is shown nowhere, since it may hold anything. nil: there was none.
func (b *Bridge) fault(during string, panicked any) *freshet.Error {
	if panicked == nil {
		return nil
	}
	var pcs [32]uintptr
	var stack strings.Builder
	for frames := runtime.CallersFrames(pcs[:runtime.Callers(3, pcs[:])]); ; {
		f, more := frames.Next()
		fmt.Fprintf(&stack, "%s:%d\n", f.Function, f.Line)
		if !more {
			break
		}
	}
	if b.faults.first(during + "\n" + stack.String()) {
		b.log.Error("mcp: a fault of freshet's own; please report it", "during", during, "panic", fmt.Sprintf("%T", panicked), "stack", stack.String())
	}
	return &freshet.Error{Kind: freshet.Bug, Why: "a fault of freshet's own", Hint: "its log says where; please report it"}
}

// seldom lets one thing of many through in a while.
type seldom struct {
	mu   sync.Mutex
	last freshet.Instant
}

func (s *seldom) now(every time.Duration) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.last.IsZero() && s.last.Elapsed() < every {
		return false
	}
	s.last = freshet.Now()
	return true
}

// flight is something that several wait for and one does.
type flight[T any] struct {
	done  chan struct{}
	value T
	err   error
}
