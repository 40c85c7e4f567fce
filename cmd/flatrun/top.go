package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"golang.org/x/sys/unix"

	"github.com/flatrun/flatrun/cmd/show"
	"github.com/flatrun/flatrun/mount/enter"
)

// topInterval is how often top looks.
const topInterval = time.Second

// runTop shows what the user's mounts are doing: again and again on a terminal, once elsewhere.
func runTop(p *program, _ *options, args []string) error {
	only := ""
	if len(args) > 0 {
		only = args[0]
	}
	_, failed := unix.IoctlGetTermios(int(os.Stdout.Fd()), unix.TCGETS)
	before, err := p.sessions()
	if err != nil {
		return err
	}
	if only != "" && !mounted(before, only) {
		return fatal("%s is not mounted; flatrun status shows what is", only)
	}
	end := make(chan os.Signal, 1)
	signal.Notify(end, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(end)
	for last := time.Now(); ; {
		select {
		case <-end:
			return nil
		case <-time.After(topInterval):
		}
		now, err := p.sessions()
		if err != nil {
			return err
		}
		var b strings.Builder
		writeTop(&b, before, now, time.Since(last), only)
		if failed != nil {
			return p.print(b.String())
		}
		last, before = time.Now(), now
		// To the upper left corner; each line's rest and what is below the last one are cleared.
		if err := p.print("\x1b[H" + strings.ReplaceAll(b.String(), "\n", "\x1b[K\n") + "\x1b[J"); err != nil {
			return err
		}
	}
}

func mounted(list []enter.Status, fqrn string) bool {
	return slices.ContainsFunc(list, func(s enter.Status) bool {
		return slices.ContainsFunc(s.Mounts, func(m enter.MountStatus) bool { return m.FQRN == fqrn })
	})
}

// sessions asks for the state of all sessions and mounts.
func (p *program) sessions() ([]enter.Status, error) {
	var answer bytes.Buffer
	if err := p.callSession(&answer, "status"); err != nil {
		return nil, err
	}
	var list []enter.Status
	if err := json.Unmarshal(answer.Bytes(), &list); err != nil {
		return nil, fatal("status of sessions: %w", err)
	}
	return list, nil
}

// writeTop writes a table of mounts with their rates since before, and what readers waited for longest.
func writeTop(b *strings.Builder, before, now []enter.Status, passed time.Duration, only string) {
	was := map[string]enter.MountStatus{}
	for _, s := range before {
		for _, m := range s.Mounts {
			was[s.Dir+m.FQRN] = m
		}
	}
	w := tabwriter.NewWriter(b, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(w, "REPOSITORY\tREVISION\tLOOKUP/s\tREAD/s\tOTHER/s\tP99\tNETWORK/s\tFETCHED\tFAILED\tMEMORY\t\n")
	var slow []enter.SlowObject
	for _, s := range now {
		for _, m := range s.Mounts {
			if only != "" && m.FQRN != only {
				continue
			}
			old := was[s.Dir+m.FQRN]
			rate := func(now, before uint64) string { return perSecond(float64(now-min(before, now)), passed) }
			lookups, reads, all := m.Requests["LOOKUP"], m.Requests["READ"], total(m.Requests)
			oldLookups, oldReads := old.Requests["LOOKUP"], old.Requests["READ"]
			fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%s\t%s\t%s\t%s\t%d\t%s\t\n", m.FQRN, m.Revision, rate(lookups, oldLookups), rate(reads, oldReads),
				rate(all-lookups-reads, total(old.Requests)-oldLookups-oldReads), percentile(m.Latency, old.Latency, 0.99),
				show.Size(int64(float64(m.Bytes-min(old.Bytes, m.Bytes))/passed.Seconds())), show.Size(m.Bytes), m.Failed, show.Size(s.Memory))
			slow = append(slow, m.Slowest...)
		}
	}
	w.Flush()
	for _, s := range now {
		if s.Hung != "" && only == "" {
			fmt.Fprintf(b, "%s: %s\n", s.Key, s.Hung)
		}
	}
	slices.SortFunc(slow, func(a, b enter.SlowObject) int { return int(b.Took - a.Took) })
	if len(slow) > 0 {
		fmt.Fprintf(b, "\nslowest files\n")
	}
	for _, o := range slow[:min(len(slow), 10)] {
		fmt.Fprintf(b, "%10s  %8s  %s\n", o.Took.Round(time.Millisecond), show.Size(o.Size), o.Path)
	}
}

func total(requests map[string]uint64) (n uint64) {
	for _, c := range requests {
		n += c
	}
	return n
}

func perSecond(n float64, passed time.Duration) string {
	return fmt.Sprintf("%.0f", n/passed.Seconds())
}

// percentile is the time within which that part of the requests since before was answered, "-" for none.
func percentile(now, before map[string][]uint64, part float64) string {
	var counts []uint64
	var all uint64
	for op, row := range now {
		for i, c := range row {
			if i < len(before[op]) {
				c -= min(before[op][i], c)
			}
			if i == len(counts) {
				counts = append(counts, 0)
			}
			counts[i] += c
			all += c
		}
	}
	seen := uint64(0)
	for i, c := range counts {
		if seen += c; all > 0 && float64(seen) >= part*float64(all) {
			return (time.Duration(1<<i) * time.Microsecond).String()
		}
	}
	return "-"
}
