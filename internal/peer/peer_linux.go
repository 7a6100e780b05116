package peer

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

func read(fd int) (Credentials, error) {
	u, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return Credentials{}, err
	}
	c := Credentials{UID: u.Uid, GIDs: []uint32{u.Gid}, PID: int(u.Pid)}
	// SO_PEERGROUPS (Linux 4.13) answers ERANGE with the size it needs. Without it the primary group alone counts, which can
	// only grant less.
	var none byte
	size := uint32(0)
	if getsockopt(fd, unix.SO_PEERGROUPS, unsafe.Pointer(&none), &size) == unix.ERANGE && size >= 4 && size <= 65536*4 {
		groups := make([]uint32, size/4)
		if getsockopt(fd, unix.SO_PEERGROUPS, unsafe.Pointer(&groups[0]), &size) == 0 {
			c.GIDs = append(c.GIDs, groups[:size/4]...)
		}
	}
	return c, nil
}

func getsockopt(fd, name int, value unsafe.Pointer, size *uint32) unix.Errno {
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, uintptr(name), uintptr(value), uintptr(unsafe.Pointer(size)), 0)
	return errno
}
