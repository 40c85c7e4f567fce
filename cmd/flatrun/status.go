package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/flatrun/flatrun/cmd/show"
	"github.com/flatrun/flatrun/mount/enter"
)

// runStatus shows the user's sessions and mounts on this host.
func runStatus(p *program, o *options, _ []string) error {
	if o.JSON {
		return p.callSession(p.stdout, "status")
	}
	var answer bytes.Buffer
	if err := p.callSession(&answer, "status"); err != nil {
		return err
	}
	var list []enter.Status
	if err := json.Unmarshal(answer.Bytes(), &list); err != nil {
		return fatal("status of sessions: %w", err)
	}
	if len(list) == 0 {
		return p.print("no session is running and no repository is mounted\n")
	}
	var b strings.Builder
	for i, s := range list {
		if i > 0 {
			b.WriteString("\n")
		}
		writeStatus(&b, s)
	}
	return p.print(b.String())
}

// writeStatus describes one session in lines of "what: value".
func writeStatus(b *strings.Builder, s enter.Status) {
	kind := "session"
	if s.Host {
		kind = "mount"
	}
	if s.Hung != "" {
		fmt.Fprintf(b, "%s %s\n  hangs       %s\n", kind, s.Key, s.Hung)
		return
	}
	fmt.Fprintf(b, "%s %s, process %d, since %s\n", kind, s.Key, s.PID, s.Started.Local().Format(time.DateTime))
	if !s.Host {
		fmt.Fprintf(b, "  in use by   %d processes, %d connections; ends %s after the last\n", s.Users, s.Clients, s.Idle)
	}
	if s.Unkept {
		fmt.Fprintf(b, "  keeper      gone: should process %d be killed, what uses it loses its files\n", s.PID)
	}
	for _, m := range s.Mounts {
		fmt.Fprintf(b, "  repository  %s revision %d of %s", m.FQRN, m.Revision, m.Published.Local().Format(time.DateTime))
		if m.Tag != "" {
			fmt.Fprintf(b, " (tag %s)", m.Tag)
		}
		fmt.Fprintf(b, "\n    mounted at  %s\n    server      %s\n    proxy       %s\n", m.Mountpath, m.Server, m.Proxy)
		fmt.Fprintf(b, "    fetched     %d objects, %s; %d found in the cache\n", m.Fetched, show.Size(m.Bytes), m.Hits)
		if m.Uncached > 0 {
			fmt.Fprintf(b, "    not cached  %d of them: the cache has no room, or is not writable\n", m.Uncached)
		}
		for i, h := range m.Held {
			if h.Containers > 0 || i < len(m.Held)-1 {
				fmt.Fprintf(b, "    kept        revision %d by %d containers\n", h.Revision, h.Containers)
			}
		}
		if m.Offline != "" {
			fmt.Fprintf(b, "    offline     %s\n", m.Offline)
		}
		if m.NotTaken != "" {
			fmt.Fprintf(b, "    not taken   %s\n", m.NotTaken)
		}
		if m.Refused != "" {
			fmt.Fprintf(b, "    refused     %s\n", m.Refused)
		}
		for _, f := range m.Failures {
			fmt.Fprintf(b, "    failed      %s\n", f)
		}
	}
	limit := "no limit"
	if s.Cache.Limit > 0 {
		limit = "of " + show.Size(s.Cache.Limit)
	}
	fmt.Fprintf(b, "  cache       %s: %s in %d objects, %s\n", s.Cache.Dir, show.Size(s.Cache.Bytes), s.Cache.Objects, limit)
	for _, l := range s.Cache.LeftOut {
		fmt.Fprintf(b, "  lower       %s\n", l)
	}
	for _, e := range s.Errors {
		fmt.Fprintf(b, "  error       %s\n", e)
	}
}
