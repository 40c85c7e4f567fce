package session

import (
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
	settings.Cache.Lower = []string{"/nonexistent"}
	if _, err := openCaches(&settings, nil); err == nil {
		t.Error("a lower cache that does not exist was opened")
	}
}
