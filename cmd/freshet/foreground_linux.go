package main

import "syscall"

// childAttributes make the kernel end the child if this process is killed.
func childAttributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
