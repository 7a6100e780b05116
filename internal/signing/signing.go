// Package signing is what the proxy and its signers say to each other.
package signing

import (
	"errors"
	"net/http"
)

// Plan is what a signer wants of a request's body before it signs.
type Plan struct {
	// Hash asks for the hex SHA-256 of the body: all of it is read, and kept, before anything is sent. Otherwise the body is sent
	// as it comes, and the signer is given no hash.
	Hash bool
	// Read, if set, is told the header of the request to be sent once the body was read whole; it adds what stood at the body's
	// end. Its error is of kind Invalid, and is the caller's fault. It is called with Hash alone.
	Read func(http.Header) error
}

// ErrRequest is the cause of a signer's error about a request that was prepared, once its body is known.
var ErrRequest = errors.New("the request is at fault")

// Verdict is what an answer says of the credential that its request was signed with.
type Verdict struct {
	// Rejected: this version of the credential is refused, and would be again.
	Rejected bool
	// Claims is the challenge that a new one has to meet, as JSON; "" for none.
	Claims string
	// Resign: the signature's time was off, and is right by now; signing the same again may do.
	Resign bool
}
