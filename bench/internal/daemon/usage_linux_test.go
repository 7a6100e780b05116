package daemon

import (
	"os"
	"syscall"
	"testing"
)

func TestPeakIsTheMostSinceItWasForgotten(t *testing.T) {
	const size = 256 << 20
	p := &Process{PID: os.Getpid()}
	before, err := p.Memory()
	if err != nil {
		t.Fatal(err)
	}
	b, err := syscall.Mmap(-1, 0, size, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < size; i += 4 << 10 {
		b[i] = 1
	}
	if err := syscall.Munmap(b); err != nil {
		t.Fatal(err)
	}
	if most, err := p.Peak(); err != nil || most < before+size*0.9 {
		t.Errorf("%.0f, %v, want %d more than %.0f", most, err, size, before)
	}
	if err := p.ForgetPeak(); err != nil {
		t.Fatal(err)
	}
	if most, err := p.Peak(); err != nil || most > before+size/2 {
		t.Errorf("%.0f, %v once it was forgotten, want about %.0f", most, err, before)
	}
}
