package site

import (
	"fmt"
	"strconv"
	"strings"
)

// Size is a number of bytes.
type Size int64

// units in the order of printing; the decimal ones come last and only in input.
var units = []struct {
	name  string
	bytes int64
}{
	{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10},
	{"TB", 1e12}, {"GB", 1e9}, {"MB", 1e6}, {"kB", 1e3}, {"KB", 1e3},
	{"T", 1 << 40}, {"G", 1 << 30}, {"M", 1 << 20}, {"K", 1 << 10}, {"k", 1 << 10}, {"B", 1},
}

// ParseSize reads "20GB" (decimal), "20GiB" and "20G" (binary), or bytes.
func ParseSize(s string) (Size, error) {
	number, factor := strings.TrimSpace(s), int64(1)
	for _, u := range units {
		if n, ok := strings.CutSuffix(number, u.name); ok {
			number, factor = strings.TrimSpace(n), u.bytes
			break
		}
	}
	if n, err := strconv.ParseInt(number, 10, 64); err == nil && n >= 0 && n <= (1<<63-1)/factor {
		return Size(n * factor), nil
	}
	x, err := strconv.ParseFloat(number, 64)
	if err != nil || !(x >= 0 && x*float64(factor) < 1<<62) || strings.ContainsAny(number, "xXpPnNiI_") {
		return 0, fmt.Errorf("size %q: want a number with B, kB, MB, GB, TB, KiB, MiB, GiB or TiB", s)
	}
	return Size(x * float64(factor)), nil
}

// UnmarshalText is ParseSize.
func (n *Size) UnmarshalText(text []byte) (err error) {
	*n, err = ParseSize(string(text))
	return err
}

// UnmarshalJSON takes a number, and text as ParseSize does.
func (n *Size) UnmarshalJSON(data []byte) (err error) {
	*n, err = ParseSize(strings.Trim(string(data), `"`))
	return err
}

// String is the size exactly, in the unit that makes it shortest.
func (n Size) String() string {
	text := strconv.FormatInt(int64(n), 10)
	for _, u := range units[:8] {
		if n == 0 || int64(n)%u.bytes != 0 {
			continue
		}
		if s := strconv.FormatInt(int64(n)/u.bytes, 10) + u.name; len(s) <= len(text) {
			text = s
		}
	}
	return text
}
