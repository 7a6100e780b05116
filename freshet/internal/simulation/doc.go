// Package simulation plays days in the life of a freshet.Cache in virtual time, and checks after every event what of its promises
// can be told from outside. All of it is test code:
//
//	go test -run TestSimulation                          two days
//	go test -run TestSimulation -seeds 1000              as many as one likes
//	go test -run TestSimulation -plan "seed=3 until=2h"  one, or the part of it that a failure printed
//	go test -run TestPlantedBugs -bugs                   does it find what was planted?
//
// The engine is the real one, and nothing of it is replaced but the clock (testing/synctest) and what jitter is drawn from. A plan
// is drawn from a seed: 5,000 keys of 200 tenants at 5 issuers, callers through the day, and what goes wrong. The world plays
// it; its issuers grant what they grant and fail as the plan says. The model hears of every retrieval and every answer, and
// knows from them alone what must hold: it shares no code with the engine and looks at nothing inside it.
//
// A seed has one history, whatever the machine. Where a rule is broken, the run is repeated with fewer faults, tenants and hours for
// as long as the same rule breaks, and what is left is printed.
package simulation
