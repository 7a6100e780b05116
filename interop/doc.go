// Package interop tests freshet against the programs it has to get along with: identity providers, an STS, and the
// clients of other vendors. Its tests build the product from the folder above and run it as its users do; no part of it
// is imported.
//
//	go test ./...                              what is missing is installed, or the test is skipped
//	FRESHET_REQUIRE_PARTIES=1 go test ./...    what cannot be installed fails the test
//	FRESHET_ROTATION=10m go test -run Rotation -timeout 90m .
//	FRESHET_SOAK=10m go test -run Soak -timeout 30m .
package interop
