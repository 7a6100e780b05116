package chance

// Lot is a number for a name and a key at a moment: whose is lower goes first. It is nobody's for long, and the same whenever it is
// asked for, so that a simulation runs alike each time. (It is FNV-1a over what it is given, mixed as SplitMix64 does.)
func Lot(name, key string, at int64) uint64 {
	const prime = 1099511628211
	x := uint64(14695981039346656037)
	for _, s := range [...]string{name, key} {
		for i := range len(s) {
			x = (x ^ uint64(s[i])) * prime
		}
		x *= prime // so that the name's end and the key's beginning cannot trade places
	}
	x ^= uint64(at)
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
