//go:build race

package freshet

const raceEnabled = true
