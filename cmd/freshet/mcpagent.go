package main

import (
	"bytes"
	"context"
	"encoding/json"
)

// arrival is a line of the agent's, or what is wrong with it.
type arrival struct {
	line []byte // with its end
	message
	refused []byte // the answer to a line that is no message
}

// listen reads what the agent says, until it says no more.
func (f *front) listen(ctx context.Context, lines chan<- arrival) {
	defer close(lines)
	defer close(f.quiet)
	r := newLineReader(f.in, f.most.agent)
	for {
		line, long, err := r.next()
		if err != nil {
			return
		}
		for _, a := range arrivals(line, long, f.most.agent) {
			select {
			case lines <- a:
			case <-ctx.Done():
				return
			}
		}
	}
}

// arrivals reads a line of the agent's: a message, or several in a list, as 2025-03-26 had it. Each of those goes on by itself, and is
// answered so. most is the bound of a line.
func arrivals(line []byte, long *scanner, most int) []arrival {
	if long != nil {
		m, _ := long.message()
		why := "a message of over " + volume(most)
		if m.id == nil || m.method == "" {
			return []arrival{{refused: errorLine(nil, codeParse, why, nil)}}
		}
		return []arrival{{refused: errorLine(m.id, codeRequest, why, nil)}}
	}
	line = bytes.TrimSpace(line)
	if len(line) == 0 {
		return nil
	}
	if !json.Valid(line) {
		return []arrival{{refused: errorLine(nil, codeParse, "not JSON", nil)}}
	}
	var batch []json.RawMessage
	if line[0] == '[' && json.Unmarshal(line, &batch) == nil && len(batch) > 0 {
		var list []arrival
		for _, one := range batch {
			list = append(list, readArrival(one))
		}
		return list
	}
	return []arrival{readArrival(line)}
}

func readArrival(line []byte) arrival {
	m, err := readMessage(line)
	if err != nil {
		return arrival{refused: errorLine(m.id, codeRequest, "not a JSON-RPC message: "+err.Error(), nil)}
	}
	return arrival{line: append(line, '\n'), message: m}
}
