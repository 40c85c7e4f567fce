package main

import (
	"strings"
	"testing"
	"time"

	"github.com/flatrun/flatrun/mount/enter"
)

func TestTop(t *testing.T) {
	mount := func(reads uint64, bytes int64, latency ...uint64) enter.Status {
		return enter.Status{Dir: "/run/s", Memory: 20e6, Mounts: []enter.MountStatus{{
			FQRN: "one.example.org", Revision: 7, Bytes: bytes, Requests: map[string]uint64{"READ": reads, "LOOKUP": 5, "GETATTR": 1},
			Latency: map[string][]uint64{"READ": latency},
			Slowest: []enter.SlowObject{{Path: "/quick", Took: time.Millisecond}, {Path: "/slow", Took: time.Second, Size: 1000}},
			Failed:  1,
		}, {FQRN: "two.example.org"}}}
	}
	var b strings.Builder
	writeTop(&b, []enter.Status{mount(100, 1000, 50, 50)}, []enter.Status{mount(300, 5000, 50, 50, 198, 0, 2)}, 2*time.Second, "one.example.org")
	lines := strings.Split(b.String(), "\n")
	if got, want := strings.Fields(lines[1]), "one.example.org 7 0 100 0 4µs 2 kB 5 kB 1 20 MB"; strings.Join(got, " ") != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if strings.Contains(b.String(), "two.example.org") || strings.Index(b.String(), "/slow") > strings.Index(b.String(), "/quick") {
		t.Errorf("got\n%s", b.String())
	}
	b.Reset()
	writeTop(&b, nil, []enter.Status{{Key: "login", Hung: "it is stopped"}}, time.Second, "")
	if !strings.HasSuffix(b.String(), "login: it is stopped\n") {
		t.Errorf("of a session that hangs: %s", b.String())
	}
	if list := []enter.Status{{}, mount(1, 1)}; !mounted(list, "two.example.org") || mounted(list, "three.example.org") {
		t.Error("what is mounted is not known")
	}
	if got := percentile(nil, nil, 0.99); got != "-" {
		t.Errorf("of nothing: %s", got)
	}
	if got := percentile(map[string][]uint64{"READ": {0, 0, 0, 100}}, nil, 0.99); got != "8µs" {
		t.Errorf("of one bucket: %s", got)
	}
}
