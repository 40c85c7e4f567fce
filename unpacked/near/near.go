// Package near finds the names that a mistyped one may have meant.
package near

import (
	"cmp"
	"slices"
	"strings"
)

// Matches returns at most n of the names that resemble want, the nearest first.
// A name resembles it when few letters differ (a third of them at most), when
// its last components do ("debian:13" and "registry/library/debian:12"), when
// half of both is the same beginning, or when one contains the other.
func Matches(want string, names []string, n int) []string {
	type match struct {
		name  string
		score int
	}
	var found []match
	for _, name := range names {
		if score, ok := resemblance(want, name); ok {
			found = append(found, match{name, score})
		}
	}
	slices.SortStableFunc(found, func(a, b match) int {
		return cmp.Or(cmp.Compare(a.score, b.score), cmp.Compare(a.name, b.name))
	})
	var out []string
	for _, m := range found {
		if len(out) == n {
			break
		}
		if !slices.Contains(out, m.name) {
			out = append(out, m.name)
		}
	}
	return out
}

// maxLength bounds the work that a hostile name can cause.
const maxLength = 512

// resemblance is smaller for nearer names; false means too far apart.
func resemblance(want, name string) (int, bool) {
	if want == "" || len(want) > maxLength || len(name) > maxLength {
		return 0, false
	}
	w, s := strings.ToLower(want), strings.ToLower(name)
	limit := max(1, len(w)/3)
	best := Distance(w, s)
	if parts := strings.Split(s, "/"); len(parts) > 1 {
		k := min(len(parts), strings.Count(w, "/")+1)
		best = min(best, 1+Distance(w, strings.Join(parts[len(parts)-k:], "/")))
	}
	if best <= limit {
		return best, true
	}
	if 2*commonPrefix(w, s) >= max(len(w), len(s)) ||
		len(w) >= 3 && strings.Contains(s, w) || len(s) >= 3 && strings.Contains(w, s) {
		return limit + 1, true
	}
	return 0, false
}

func commonPrefix(a, b string) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}

// Distance is the number of bytes to insert, delete, replace or swap with the
// neighbour to make b out of a.
func Distance(a, b string) int {
	previous := make([]int, len(b)+1)
	above := make([]int, len(b)+1)
	row := make([]int, len(b)+1)
	for j := range above {
		above[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			differs := 1
			if a[i-1] == b[j-1] {
				differs = 0
			}
			row[j] = min(above[j]+1, row[j-1]+1, above[j-1]+differs)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], previous[j-2]+1)
			}
		}
		previous, above, row = above, row, previous
	}
	return above[len(b)]
}

// Hint is the end of an error message: "; did you mean a or b?", or nothing.
func Hint(want string, names []string) string {
	matches := Matches(want, names, 3)
	if len(matches) == 0 {
		return ""
	}
	return "; did you mean " + strings.Join(matches, " or ") + "?"
}
