package fusefs

import (
	"fmt"
	"testing"
	"time"

	"github.com/flatrun/flatrun/mount/cas"
)

func TestSlowest(t *testing.T) {
	var fs FS
	asked := 0
	for i := range 40 {
		took := time.Duration(i*7%40+1) * 10 * time.Millisecond
		fs.slowest.add(cas.Object{Size: int64(i)}, func() string { asked++; return fmt.Sprint("/", took) }, took)
	}
	fs.slowest.add(cas.Object{}, func() string { asked += 1000; return "" }, notSlow-1)
	got := fs.Slowest()
	if len(got) != maxSlowest || asked >= 40 {
		t.Fatalf("%d are kept, %d paths were looked up", len(got), asked)
	}
	for i, s := range got {
		if want := time.Duration(40-i) * 10 * time.Millisecond; s.Took != want || s.Path != fmt.Sprint("/", want) {
			t.Errorf("place %d: %+v, want %s", i, s, want)
		}
	}
}
