package show

import (
	"math"
	"testing"
)

func TestSize(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0 B", 1: "1 B", 999: "999 B", 1000: "1 kB", 1004: "1 kB", 1005: "1 kB", 1006: "1.01 kB",
		99_949: "99.9 kB", 99_950: "100 kB", 999_499: "999 kB", 999_500: "1 MB", 999_999: "1 MB",
		41_700_000: "41.7 MB", 20_000_000_000: "20 GB", 1e15: "1 PB", 1e18: "1 EB", math.MaxInt64: "9.22 EB",
		-1: "-1 B",
	} {
		if got := Size(n); got != want {
			t.Errorf("Size(%d) = %q, want %q", n, got, want)
		}
	}
}
