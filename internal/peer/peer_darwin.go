package peer

import "golang.org/x/sys/unix"

func read(fd int) (Credentials, error) {
	x, err := unix.GetsockoptXucred(fd, unix.SOL_LOCAL, unix.LOCAL_PEERCRED)
	if err != nil {
		return Credentials{}, err
	}
	c := Credentials{UID: x.Uid, GIDs: x.Groups[:min(int(x.Ngroups), len(x.Groups))]}
	if pid, err := unix.GetsockoptInt(fd, unix.SOL_LOCAL, unix.LOCAL_PEERPID); err == nil {
		c.PID = pid
	}
	return c, nil
}
