// Package json prints a credential as the local API answers it.
package json

import (
	"encoding/json"

	"freshet.dev/freshet"
	"freshet.dev/internal/wire"
)

// Render prints any type, as one line.
func Render(a freshet.Answer) ([]byte, error) {
	b, err := json.Marshal(wire.Of(a))
	return append(b, '\n'), err
}
