// Package freshettest is the kit that freshet's own leaves and those outside are tested with: conformance suites for sources and
// endpoints, a network in memory for tests in virtual time, a wall clock that steps, and a search for leaked secrets.
//
// It imports the standard library and freshet, and is meant for tests alone.
package freshettest
