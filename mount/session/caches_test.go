package session

import (
	"strings"
	"testing"

	"github.com/flatrun/flatrun/mount/config"
)

func TestOpenCaches(t *testing.T) {
	var settings config.Config
	settings.Cache.Dir, settings.Cache.Limit, settings.Cache.Lower = t.TempDir(), 1000, []string{t.TempDir()}
	c, err := openCaches(&settings, nil)
	if err != nil || c.lower.Store() == nil {
		t.Fatalf("%+v %v", c, err)
	}
	if s := c.status(); s.Limit != 1000 || s.Dir != settings.Cache.Dir || s.Bytes != 0 {
		t.Errorf("status %+v", s)
	}
	settings.Cache.Lower = []string{"/nonexistent", t.TempDir()}
	c, err = openCaches(&settings, nil)
	if left := c.status().LeftOut; err != nil || c.lower.Store() == nil || len(left) != 1 || !strings.Contains(left[0], "/nonexistent") {
		t.Errorf("with a lower cache that does not exist: %q, %v", left, err)
	}
}
