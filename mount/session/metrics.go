package session

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/flatrun/flatrun/mount/enter"
)

// serveMetrics answers every request at address, unix:PATH or tcp:HOST:PORT, with the state in the text format of
// Prometheus, until stop is called. Whoever can reach a TCP address can read the names of repositories and files.
func serveMetrics(address string, state func() enter.Status) (stop func(), err error) {
	network, where, _ := strings.Cut(address, ":")
	if network != "unix" && network != "tcp" || where == "" {
		return nil, fmt.Errorf("metrics: %q is neither unix:PATH nor tcp:HOST:PORT", address)
	}
	if network == "unix" {
		if err := removeSocket(where); err != nil {
			return nil, fmt.Errorf("metrics: %w", err)
		}
	}
	l, err := net.Listen(network, where)
	if err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	if network == "unix" {
		os.Chmod(where, 0o600)
	}
	server := &http.Server{ReadHeaderTimeout: 10 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		var text bytes.Buffer
		writeMetrics(&text, state())
		w.Header().Set("Content-Type", "text/plain; version=0.0.4")
		w.Write(text.Bytes())
	})}
	go server.Serve(l)
	return func() { server.Close() }, nil
}

// removeSocket removes what a server that was killed left, and nothing that is no socket.
func removeSocket(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err == nil && info.Mode().Type() != os.ModeSocket {
		return fmt.Errorf("%s is no socket, so it is not replaced", path)
	}
	return errors.Join(err, remove(path))
}

// metric is a family of values.
type metric struct {
	name, kind, help string
	values           func(m *enter.MountStatus) float64
}

var mountMetrics = []metric{
	{"flatrun_revision", "gauge", "Revision of the repository that is shown.", func(m *enter.MountStatus) float64 { return float64(m.Revision) }},
	{"flatrun_published_timestamp_seconds", "gauge", "When the revision was published.", func(m *enter.MountStatus) float64 { return float64(m.Published.Unix()) }},
	{"flatrun_checked_timestamp_seconds", "gauge", "When a new revision was last looked for with success.", func(m *enter.MountStatus) float64 { return float64(m.Checked.Unix()) }},
	{"flatrun_offline", "gauge", "1 if no new revision could be looked for, or what is there is not taken.", func(m *enter.MountStatus) float64 { return truth(m.Offline != "" || m.NotTaken != "") }},
	{"flatrun_refused", "gauge", "1 if the user may not see the repository any more.", func(m *enter.MountStatus) float64 { return truth(m.Refused != "") }},
	{"flatrun_fetched_objects_total", "counter", "Objects fetched from the network.", func(m *enter.MountStatus) float64 { return float64(m.Fetched) }},
	{"flatrun_fetched_bytes_total", "counter", "Bytes fetched from the network.", func(m *enter.MountStatus) float64 { return float64(m.Bytes) }},
	{"flatrun_ahead_objects_total", "counter", "Objects fetched before they were read.", func(m *enter.MountStatus) float64 { return float64(m.Ahead.Objects) }},
	{"flatrun_ahead_bytes_total", "counter", "Bytes of these, uncompressed.", func(m *enter.MountStatus) float64 { return float64(m.Ahead.Bytes) }},
	{"flatrun_network_requests_total", "counter", "Requests to servers and proxies.", func(m *enter.MountStatus) float64 { return float64(m.Network.Requests) }},
	{"flatrun_network_failures_total", "counter", "Requests to servers and proxies that failed; most were tried again.", func(m *enter.MountStatus) float64 { return float64(m.Network.Failures) }},
	{"flatrun_network_host_switches_total", "counter", "Turns to another server.", func(m *enter.MountStatus) float64 { return float64(m.Network.HostSwitches) }},
	{"flatrun_network_proxy_switches_total", "counter", "Turns to another proxy.", func(m *enter.MountStatus) float64 { return float64(m.Network.ProxySwitches) }},
	{"flatrun_network_active_transfers", "gauge", "Transfers under way.", func(m *enter.MountStatus) float64 { return float64(m.Network.Active) }},
	{"flatrun_failed_requests_total", "counter", "Requests of the kernel that ended with an error.", func(m *enter.MountStatus) float64 { return float64(m.Failed) }},
	{"flatrun_uncached_objects_total", "counter", "Objects that the cache could not take.", func(m *enter.MountStatus) float64 { return float64(m.Uncached) }},
	{"flatrun_cache_hits_total", "counter", "Objects found in the cache.", func(m *enter.MountStatus) float64 { return float64(m.Hits) }},
}

func truth(is bool) float64 {
	if is {
		return 1
	}
	return 0
}

func writeMetrics(w io.Writer, s enter.Status) {
	for _, f := range mountMetrics {
		header(w, f.name, f.kind, f.help)
		for i := range s.Mounts {
			fmt.Fprintf(w, "%s{repository=%s} %v\n", f.name, label(s.Mounts[i].FQRN), f.values(&s.Mounts[i]))
		}
	}
	header(w, "flatrun_requests_total", "counter", "Requests of the kernel by kind.")
	for _, m := range s.Mounts {
		for _, op := range slices.Sorted(maps.Keys(m.Requests)) {
			fmt.Fprintf(w, "flatrun_requests_total{repository=%s,op=%s} %d\n", label(m.FQRN), label(op), m.Requests[op])
		}
	}
	header(w, "flatrun_request_duration_seconds", "histogram", "Time to the answer by kind of request.")
	for _, m := range s.Mounts {
		for _, op := range slices.Sorted(maps.Keys(m.Latency)) {
			writeHistogram(w, fmt.Sprintf("repository=%s,op=%s", label(m.FQRN), label(op)), m.Latency[op], m.Took[op])
		}
	}
	for _, g := range []struct {
		name, help string
		value      int64
	}{
		{"flatrun_cache_bytes", "Bytes of the objects in the cache.", s.Cache.Bytes},
		{"flatrun_cache_objects", "Objects in the cache.", s.Cache.Objects},
		{"flatrun_cache_limit_bytes", "What the cache may hold, 0 for any amount.", s.Cache.Limit},
		{"flatrun_processes", "Processes inside.", int64(s.Users)},
		{"flatrun_memory_bytes", "Resident memory of the server.", s.Memory},
		{"flatrun_descriptors", "Open descriptors of the server.", int64(s.Descriptors)},
		{"flatrun_goroutines", "Concurrent activities of the server.", int64(s.Goroutines)},
	} {
		header(w, g.name, "gauge", g.help)
		fmt.Fprintf(w, "%s %d\n", g.name, g.value)
	}
}

func header(w io.Writer, name, kind, help string) {
	fmt.Fprintf(w, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind)
}

// writeHistogram writes counts of what took up to 1, 2, 4 … microseconds and, last, longer.
func writeHistogram(w io.Writer, labels string, counts []uint64, sum time.Duration) {
	const name = "flatrun_request_duration_seconds"
	var n uint64
	for i, c := range counts {
		n += c
		if i < len(counts)-1 {
			fmt.Fprintf(w, "%s_bucket{%s,le=\"%g\"} %d\n", name, labels, float64(uint64(1)<<i)/1e6, n)
		}
	}
	fmt.Fprintf(w, "%s_bucket{%s,le=\"+Inf\"} %d\n%[1]s_sum{%[2]s} %[4]g\n%[1]s_count{%[2]s} %[3]d\n", name, labels, n, sum.Seconds())
}

// label quotes a value as the format wants it.
func label(v string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(v) + `"`
}
