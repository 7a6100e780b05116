// Package loop is what the Go clients of the interoperability tests have in common: a call made over and over for some
// time, and an account of it. The clients in other languages print the same account.
package loop

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"
)

// keptErrors is how many failures a summary quotes; their number is in the count.
const keptErrors = 5

// Work is a client's command line.
type Work struct {
	Endpoint, Bucket, Key string
	For, Pause            time.Duration
}

// Summary is the account of a loop.
type Summary struct {
	Client   string   `json:"client"`
	Calls    int      `json:"calls"`
	Failures int      `json:"failures"`
	Errors   []string `json:"errors"`
}

// Parse reads ENDPOINT BUCKET KEY SECONDS PAUSE.
func Parse(args []string) (Work, error) {
	if len(args) != 5 {
		return Work{}, fmt.Errorf("%d arguments", len(args))
	}
	work := Work{Endpoint: args[0], Bucket: args[1], Key: args[2]}
	var err error
	if work.For, err = seconds(args[3]); err != nil {
		return Work{}, err
	}
	work.Pause, err = seconds(args[4])
	return work, err
}

func seconds(arg string) (time.Duration, error) {
	n, err := strconv.ParseFloat(arg, 64)
	return time.Duration(n * float64(time.Second)), err
}

// Run calls until the time is over or ctx is done, with a pause after each call, and reports failures on stderr as they
// happen: the account of a client that is killed is lost with it.
func Run(ctx context.Context, client string, length, pause time.Duration, call func() error) Summary {
	ctx, cancel := context.WithTimeout(ctx, length)
	defer cancel()
	summary := Summary{Client: client, Errors: []string{}}
	for ctx.Err() == nil {
		summary.Calls++
		if err := call(); err != nil {
			summary.fail(err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
	return summary
}

func (s *Summary) fail(err error) {
	s.Failures++
	if len(s.Errors) < keptErrors {
		s.Errors = append(s.Errors, err.Error())
	}
	fmt.Fprintf(os.Stderr, "failure: %s: %v\n", s.Client, err)
}

// Print writes the summary as one line of JSON.
func (s Summary) Print(w io.Writer) error { return json.NewEncoder(w).Encode(s) }
