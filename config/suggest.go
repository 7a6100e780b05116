package config

import "strings"

// didYouMean is " (did you mean x?)" for the known word nearest to one that is not, or nothing if none is near.
func didYouMean(word string, known []string) string {
	if len(word) > 64 {
		return ""
	}
	best, least := "", max(1, min(3, len(word)/3))+1
	for _, k := range known {
		if d := distance(fold(word), fold(k)); d < least {
			best, least = k, d
		}
	}
	if best == "" {
		return ""
	}
	return " (did you mean " + best + "?)"
}

// fold drops what people confuse: clientId, client-id and client_id are one.
func fold(s string) string {
	return strings.ToLower(strings.NewReplacer("-", "", "_", "").Replace(s))
}

// distance is how many bytes must be changed, added, dropped or swapped with a neighbour to make b of a.
func distance(a, b string) int {
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}

// looksLikeKey reports whether a key may be shown. Settings' names are letters with something between them; a secret
// that somebody forgot the key of is not.
func looksLikeKey(s string) bool {
	return s != "" && len(s) <= 32 &&
		strings.Trim(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_-") == ""
}
