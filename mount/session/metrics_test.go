package session

import (
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/flatrun/flatrun/mount/enter"
)

func TestMetrics(t *testing.T) {
	state := enter.Status{
		Users: 3, Memory: 1 << 20, Cache: enter.CacheStatus{Bytes: 5, Objects: 2},
		Mounts: []enter.MountStatus{{
			FQRN: `a"b.example.org`, Revision: 7, Bytes: 100, Offline: "no route",
			Requests: map[string]uint64{"READ": 3}, Latency: map[string][]uint64{"READ": {1, 0, 1, 1}}, Took: map[string]time.Duration{"READ": 1500 * time.Millisecond},
			Refused: "not a member", Failed: 9, Ahead: enter.Ahead{Objects: 4}, Network: enter.Network{Requests: 11},
		}},
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "m")
	if err := os.WriteFile(path, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"", "unix:", "tcp", "http://x", "unix:" + path, "tcp:127.0.0.1:x"} {
		if stop, err := serveMetrics(bad, nil); err == nil {
			stop()
			t.Errorf("%q is served", bad)
		}
	}
	path = filepath.Join(dir, "socket")
	left, err := net.ListenUnix("unix", &net.UnixAddr{Net: "unix", Name: path})
	if err != nil {
		t.Skip(err)
	}
	left.SetUnlinkOnClose(false)
	left.Close() // as a server that was killed leaves it
	stop, err := serveMetrics("unix:"+path, func() enter.Status { return state })
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	client := http.Client{Transport: &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
		return net.Dial("unix", path)
	}}}
	defer client.CloseIdleConnections()
	resp, err := client.Get("http://flatrun/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`flatrun_revision{repository="a\"b.example.org"} 7`, `flatrun_offline{repository="a\"b.example.org"} 1`,
		`flatrun_requests_total{repository="a\"b.example.org",op="READ"} 3`,
		`flatrun_request_duration_seconds_bucket{repository="a\"b.example.org",op="READ",le="1e-06"} 1`,
		`flatrun_request_duration_seconds_bucket{repository="a\"b.example.org",op="READ",le="4e-06"} 2`,
		`flatrun_request_duration_seconds_bucket{repository="a\"b.example.org",op="READ",le="+Inf"} 3`,
		`flatrun_request_duration_seconds_count{repository="a\"b.example.org",op="READ"} 3`,
		`flatrun_request_duration_seconds_sum{repository="a\"b.example.org",op="READ"} 1.5`, `flatrun_refused{repository="a\"b.example.org"} 1`,
		`flatrun_failed_requests_total{repository="a\"b.example.org"} 9`, `flatrun_ahead_objects_total{repository="a\"b.example.org"} 4`,
		`flatrun_network_requests_total{repository="a\"b.example.org"} 11`,
		"flatrun_cache_bytes 5", "flatrun_processes 3", "flatrun_memory_bytes 1048576", "# TYPE flatrun_request_duration_seconds histogram",
	} {
		if !strings.Contains(string(text), want+"\n") {
			t.Errorf("there is no line %s in\n%s", want, text)
		}
	}
}
