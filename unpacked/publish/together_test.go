package publish

import (
	"cmp"
	"errors"
	"fmt"
	"iter"
	"testing"
)

func TestTogether(t *testing.T) {
	stream := func(end error, numbers ...int) iter.Seq2[int, error] {
		return func(yield func(int, error) bool) {
			for _, n := range numbers {
				if !yield(n, nil) {
					return
				}
			}
			if end != nil {
				yield(0, end)
			}
		}
	}
	show := func(n *int) string {
		if n == nil {
			return "-"
		}
		return fmt.Sprint(*n)
	}
	lost := errors.New("lost")
	for _, tt := range []struct {
		a, b iter.Seq2[int, error]
		want string
	}{
		{stream(nil), stream(nil), ""},
		{stream(nil, 1, 3, 4), stream(nil, 2, 3), "1/- -/2 3/3 4/- "},
		{stream(nil, 1), stream(nil, 2, 3), "1/- -/2 -/3 "},
		{stream(lost, 1), stream(nil, 2, 3), "1/- lost"},
		{stream(nil, 2), stream(lost, 1), "-/1 lost"},
		{stream(nil), stream(lost), "lost"},
	} {
		got := ""
		for at, err := range Together(tt.a, tt.b, func(x, y *int) int { return cmp.Compare(*x, *y) }) {
			if err != nil {
				got += err.Error()
				continue
			}
			got += show(at.A) + "/" + show(at.B) + " "
		}
		if got != tt.want {
			t.Errorf("got %q, want %q", got, tt.want)
		}
	}
}
