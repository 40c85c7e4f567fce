package fetch

import (
	"slices"
	"testing"
)

func FuzzParseOrder(f *testing.F) {
	for _, s := range []string{"2,1,3\n", "1", "", "1,1", "0,1", "3,2,1,", "1, 2"} {
		f.Add(s, uint8(3))
	}
	f.Fuzz(func(t *testing.T, s string, n uint8) {
		order, err := parseOrder(s, int(n))
		if err != nil {
			return
		}
		slices.Sort(order)
		for i, k := range order {
			if i != k {
				t.Fatalf("%q of %d: %v", s, n, order)
			}
		}
		if len(order) != int(n) {
			t.Fatalf("%q: %d numbers, want %d", s, len(order), n)
		}
	})
}
