package convert

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

var errLost = errors.New("connection lost")

// TestSteady reads a blob whose transfers break off at some bytes; -1 is one that cannot be begun.
func TestSteady(t *testing.T) {
	const blob = "0123456789"
	for _, c := range []struct {
		name  string
		ends  []int
		want  string
		fails bool
	}{
		{"whole", nil, blob, false},
		{"once", []int{4}, blob, false},
		{"at once", []int{0}, blob, false},
		{"further each time", []int{2, 4, 9}, blob, false},
		{"before what was read", []int{5, 3}, blob, false},
		{"away for a moment", []int{5, -1, -1}, blob, false},
		{"away", []int{5, -1, -1, -1}, "01234", true},
		{"again and again", []int{1, 2, 3, 4}, "0123", true},
	} {
		opened := 0
		open := func() (io.ReadCloser, error) {
			n := opened
			opened++
			switch {
			case n >= len(c.ends):
				return io.NopCloser(strings.NewReader(blob)), nil
			case c.ends[n] < 0:
				return nil, errLost
			}
			return io.NopCloser(io.MultiReader(strings.NewReader(blob[:c.ends[n]]), iotest.ErrReader(lostError{errLost}))), nil
		}
		s, err := newSteady(t.Context(), open)
		if err != nil {
			t.Fatal(err)
		}
		s.wait = func(context.Context, time.Duration) error { return nil }
		got, err := io.ReadAll(iotest.OneByteReader(s))
		if string(got) != c.want || errors.Is(err, errLost) != c.fails {
			t.Errorf("%s: %q, %v", c.name, got, err)
		}
	}
}

// TestSteadyWrong does not ask again for a blob whose transfer was well and that is another.
func TestSteadyWrong(t *testing.T) {
	s, err := newSteady(t.Context(), func() (io.ReadCloser, error) {
		return io.NopCloser(io.MultiReader(strings.NewReader("0123"), iotest.ErrReader(errLost))), nil
	})
	if err != nil {
		t.Fatal(err)
	}
	s.wait = func(context.Context, time.Duration) error { t.Error("asked again"); return nil }
	if got, err := io.ReadAll(s); string(got) != "0123" || !errors.Is(err, errLost) {
		t.Errorf("%q, %v", got, err)
	}
}
