package tools

import (
	"fmt"
	"slices"
	"strings"

	"freshet.dev/mcp/canonical"
)

const (
	around   = 3       // lines shown before and after what differs
	maxLines = 200     // of one tool's diff: what people read
	maxGone  = 100     // of them, those that are no more: what is new must have its place
	maxCells = 4 << 20 // comparisons of lines for all tools of a list: some 10 ms and 16 MiB
	// maxCellsOfOne is for a tool that is checked by itself, as each of a list may be: 500 lines against 500.
	maxCellsOfOne = maxCells / 16
)

// budget bounds what a server that lies at length can make the differences of one list cost. Once it is spent, what differs is shown
// as all that was and all that is.
type budget struct{ cells int }

// line is one of a diff: ' ', '-' or '+', and its text.
type line struct {
	op   byte
	text string
}

// diff compares two tools, of which one may be nil, line by line.
func (b *budget) diff(old, now map[string]any) string {
	lines := b.compare(linesOf(old), linesOf(now))
	shown := make([]bool, len(lines))
	for i, l := range lines {
		for j := max(0, i-around); l.op != ' ' && j <= min(len(lines)-1, i+around); j++ {
			shown[j] = true
		}
	}
	var text strings.Builder
	count, gone, gap := 0, 0, false
	for i, l := range lines {
		if l.op == '-' {
			gone++
		}
		switch {
		case !shown[i], l.op == '-' && gone > maxGone:
			gap = true
			continue
		case count >= maxLines:
			fmt.Fprintf(&text, "  … and more: %d lines in all\n", len(lines))
			return text.String()
		case gap:
			text.WriteString("  …\n")
		}
		gap = false
		count++
		text.WriteByte(l.op)
		text.WriteByte(' ')
		text.WriteString(l.text)
		text.WriteByte('\n')
	}
	return text.String()
}

func linesOf(tool map[string]any) []string {
	if tool == nil {
		return nil
	}
	return canonical.Lines(tool)
}

// compare is the shortest way from one text to the other, or, where that would take too long, all of one and all of the other
// between what they begin and end with alike.
func (b *budget) compare(old, now []string) []line {
	var head, tail []line
	for len(old) > 0 && len(now) > 0 && old[0] == now[0] {
		head = append(head, line{' ', old[0]})
		old, now = old[1:], now[1:]
	}
	for len(old) > 0 && len(now) > 0 && old[len(old)-1] == now[len(now)-1] {
		tail = append(tail, line{' ', old[len(old)-1]})
		old, now = old[:len(old)-1], now[:len(now)-1]
	}
	slices.Reverse(tail)
	cells := (len(old) + 1) * (len(now) + 1)
	if cells > b.cells {
		for _, text := range old {
			head = append(head, line{'-', text})
		}
		for _, text := range now {
			head = append(head, line{'+', text})
		}
		return append(head, tail...)
	}
	b.cells -= cells
	// common[i*width+j] is how many lines old[i:] and now[j:] have in common, in order.
	width := len(now) + 1
	common := make([]int32, cells)
	for i := len(old) - 1; i >= 0; i-- {
		for j := len(now) - 1; j >= 0; j-- {
			if old[i] == now[j] {
				common[i*width+j] = common[(i+1)*width+j+1] + 1
			} else {
				common[i*width+j] = max(common[(i+1)*width+j], common[i*width+j+1])
			}
		}
	}
	i, j := 0, 0
	for i < len(old) || j < len(now) {
		switch {
		case i < len(old) && j < len(now) && old[i] == now[j]:
			head = append(head, line{' ', old[i]})
			i, j = i+1, j+1
		case j == len(now) || i < len(old) && common[(i+1)*width+j] >= common[i*width+j+1]:
			head = append(head, line{'-', old[i]})
			i++
		default:
			head = append(head, line{'+', now[j]})
			j++
		}
	}
	return append(head, tail...)
}
