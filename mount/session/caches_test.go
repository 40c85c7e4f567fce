package session

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"testing"

	"github.com/flatrun/flatrun/mount/cas"
	"github.com/flatrun/flatrun/mount/config"
)

// answer is a store that always says the same.
type answer struct{ err error }

func (a answer) Open(context.Context, cas.Object) (*os.File, error) {
	if a.err != nil {
		return nil, a.err
	}
	return os.Open(os.DevNull)
}

func TestTiers(t *testing.T) {
	bad := errors.New("bad disk")
	none, broken, good := answer{fs.ErrNotExist}, answer{bad}, answer{}
	for _, tt := range []struct {
		tiers tiers
		want  error
	}{
		{nil, fs.ErrNotExist}, {tiers{none, none}, fs.ErrNotExist}, {tiers{none, good}, nil}, {tiers{broken, good}, nil},
		{tiers{none, broken, none}, bad},
	} {
		f, err := tt.tiers.Open(t.Context(), cas.Object{})
		if !errors.Is(err, tt.want) || (f == nil) != (tt.want != nil) || tt.want == bad && errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%v: %v, want %v", tt.tiers, err, tt.want)
		}
		if f != nil {
			f.Close()
		}
	}
}

func TestOpenCaches(t *testing.T) {
	var settings config.Config
	settings.Cache.Dir, settings.Cache.Limit, settings.Cache.Lower = t.TempDir(), 1000, []string{t.TempDir()}
	c, err := openCaches(&settings, nil)
	if err != nil || c.lower == nil {
		t.Fatalf("%+v %v", c, err)
	}
	if s := c.status(); s.Limit != 1000 || s.Dir != settings.Cache.Dir || s.Bytes != 0 {
		t.Errorf("status %+v", s)
	}
	settings.Cache.Lower = []string{"/nonexistent"}
	if _, err := openCaches(&settings, nil); err == nil {
		t.Error("a lower cache that does not exist was opened")
	}
}
