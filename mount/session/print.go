package session

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/flatrun/flatrun/mount/enter"
)

// WriteStatus prints sessions and mounts for people.
func WriteStatus(w io.Writer, all []enter.Status) error {
	var b strings.Builder
	if len(all) == 0 {
		b.WriteString("no session, nothing mounted\n")
	}
	for i, s := range all {
		if i > 0 {
			b.WriteString("\n")
		}
		writeSession(&b, s)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func writeSession(b *strings.Builder, s enter.Status) {
	since := s.Started.Format(time.DateTime)
	if s.Host {
		fmt.Fprintf(b, "mount, process %d, since %s\n", s.PID, since)
	} else {
		fmt.Fprintf(b, "session %s, process %d, since %s, %s inside, ends %s after the last\n",
			s.Key, s.PID, since, count(s.Users, "process", "processes"), s.Idle)
	}
	limit := "no limit"
	if s.Cache.Limit > 0 {
		limit = "limit " + size(s.Cache.Limit)
	}
	fmt.Fprintf(b, "  cache  %s: %s in %s, %s\n", s.Cache.Dir, size(s.Cache.Bytes), count(int(s.Cache.Objects), "object", "objects"), limit)
	for _, m := range s.Mounts {
		writeMount(b, m)
	}
	for _, e := range s.Errors {
		fmt.Fprintf(b, "  error  %s\n", e)
	}
}

func writeMount(b *strings.Builder, m enter.MountStatus) {
	tag := ""
	if m.Tag != "" {
		tag = " (tag " + m.Tag + ")"
	}
	fmt.Fprintf(b, "  %s%s at %s\n", m.FQRN, tag, m.Mountpath)
	fmt.Fprintf(b, "    revision  %d of %s, root %s, checked %s\n",
		m.Revision, m.Published.UTC().Format("2006-01-02 15:04:05 UTC"), m.RootHash, m.Checked.Format(time.DateTime))
	fmt.Fprintf(b, "    network   server %s, proxy %s\n", m.Server, m.Proxy)
	if m.Offline != "" {
		fmt.Fprintf(b, "    offline   %s\n", m.Offline)
	}
	fmt.Fprintf(b, "    objects   %d fetched (%s), %d from the cache\n", m.Fetched, size(m.Bytes), m.Hits)
	var kinds []string
	for kind, n := range m.Requests {
		if n > 0 {
			kinds = append(kinds, fmt.Sprintf("%s %d", kind, n))
		}
	}
	slices.Sort(kinds)
	fmt.Fprintf(b, "    requests  %s\n", strings.Join(kinds, ", "))
	for _, f := range m.Failures {
		fmt.Fprintf(b, "    failure   %s\n", f)
	}
}

func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// size prints bytes with a decimal unit, as the cache's limit is written.
func size(n int64) string {
	f, unit := float64(n), "B"
	for _, u := range []string{"kB", "MB", "GB", "TB"} {
		if f < 1000 {
			break
		}
		f, unit = f/1000, u
	}
	if unit == "B" {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %s", f, unit)
}
