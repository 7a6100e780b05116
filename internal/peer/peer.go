// Package peer asks the kernel who is at the other end of a Unix socket.
package peer

import (
	"errors"
	"net"
	"syscall"
)

// Credentials are those the peer had when it connected (client) or began to listen (server).
type Credentials struct {
	UID  uint32
	GIDs []uint32 // its primary group and, where the kernel tells, the supplementary ones
	PID  int      // 0 where the kernel does not tell
}

// Of reads a connection's peer. An error means that nothing is known, and so that nothing may be granted.
func Of(c net.Conn) (Credentials, error) {
	sc, ok := c.(syscall.Conn)
	if !ok {
		return Credentials{}, errors.New("not a socket")
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return Credentials{}, err
	}
	var cred Credentials
	var failed error
	if err := raw.Control(func(fd uintptr) { cred, failed = read(int(fd)) }); err != nil {
		return Credentials{}, err
	}
	if failed == nil && cred.UID == noUser {
		failed = errors.New("the kernel knows no peer")
	}
	if failed != nil {
		return Credentials{}, failed
	}
	return cred, nil
}

// noUser is what Linux answers for a socket that has no peer credentials, such as one of TCP.
const noUser = ^uint32(0)
