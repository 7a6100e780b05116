package load

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"freshet.dev/bench/internal/measure"
)

// report has wrk print its figures as JSON. A script with a function for each request or answer would slow it.
const report = `
function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format('\n{"requests":%d,"micros":%d,"bytes":%d,"errors":%d,"p50":%d,"p99":%d}\n', summary.requests,
    summary.duration, summary.bytes, e.connect + e.read + e.write + e.status + e.timeout, latency:percentile(50), latency:percentile(99)))
end
`

// runWrk runs wrk for a time, which it takes to a tenth of a second. Every answer has to have as many bytes as size, give or take
// the digits of a time that is left.
func runWrk(ctx context.Context, t Target, s Shape, size int) (Result, error) {
	script, err := os.CreateTemp("", "freshet-bench-*.lua")
	if err != nil {
		return Result{}, err
	}
	defer os.Remove(script.Name())
	_, err = script.WriteString(luaRequest(t, s) + report)
	if closed := script.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return Result{}, err
	}
	threads := min(2, s.Connections)
	cmd := exec.CommandContext(ctx, "wrk", "-t", strconv.Itoa(threads), "-c", strconv.Itoa(s.Connections), "-d", "1h",
		"-s", script.Name(), "http://"+t.Address+t.Path)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		return Result{}, err
	}
	timer := time.AfterFunc(s.For, func() { _ = cmd.Process.Signal(os.Interrupt) }) // then it prints what there is
	defer timer.Stop()
	if err := cmd.Wait(); err != nil {
		return Result{}, fmt.Errorf("wrk: %w", err)
	}
	var sum struct{ Requests, Micros, Bytes, Errors, P50, P99 float64 }
	_, last, _ := strings.Cut(out.String(), "\n{")
	if err := json.Unmarshal([]byte("{"+last), &sum); err != nil || sum.Requests == 0 {
		return Result{}, fmt.Errorf("wrk printed no figures: %v", err)
	}
	const digits = 8
	if each := sum.Bytes / sum.Requests; sum.Errors > 0 || each < float64(size-digits) || each > float64(size+digits) {
		return Result{}, fmt.Errorf("%w: of %.0f requests %.0f failed, and an answer had %.0f bytes instead of %d",
			measure.ErrWrong, sum.Requests, sum.Errors, each, size)
	}
	return Result{Answers: int(sum.Requests), PerSecond: sum.Requests / sum.Micros * 1e6, P50: sum.P50 * 1e3, P99: sum.P99 * 1e3}, nil
}

func luaRequest(t Target, s Shape) string {
	var b strings.Builder
	fmt.Fprintf(&b, "wrk.method = %q\n", t.Method)
	header := t.Header
	if s.Fresh {
		header = append(header[:len(header):len(header)], "Connection: close")
	}
	for _, line := range header {
		name, value, _ := strings.Cut(line, ": ")
		fmt.Fprintf(&b, "wrk.headers[%q] = %q\n", name, value)
	}
	if t.Body != "" {
		fmt.Fprintf(&b, "wrk.body = %q\n", t.Body)
	}
	return b.String()
}
