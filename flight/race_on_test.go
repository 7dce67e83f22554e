//go:build race

package flight

// raceEnabled: the race detector allocates where the program does not.
const raceEnabled = true
