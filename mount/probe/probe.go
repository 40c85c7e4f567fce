// Package probe finds out what this host offers to containers without privileges, and says so in the kernel's own words.
//
// Nothing is guessed from version numbers: a user namespace is made, FUSE and
// overlayfs are mounted in it. That happens in short-lived children, so the
// calling process stays as it is.
//
// UserNamespace, FUSE and the other single probes are for code that chooses
// between ways and for tests that skip; each really runs once per process. Run
// makes the table of flatrun doctor.
package probe

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
)

// State says how a probe ended.
type State string

const (
	OK      State = "ok"
	Warning State = "warn" // something works less well, or not at all, that most runs do not need
	Failed  State = "fail"
	Info    State = "info" // neither good nor bad
)

// Result is one row of the table.
type Result struct {
	Name     string `json:"name"`
	State    State  `json:"state"`
	Required bool   `json:"required"`         // no container can be run where this failed
	Detail   string `json:"detail,omitempty"` // what was found
	Reason   string `json:"reason,omitempty"` // the kernel's, where it refused
	Advice   string `json:"advice,omitempty"` // what an administrator would do
}

// Report is the table.
type Report struct {
	Results []Result `json:"results"`
}

// OK tells whether containers can be run at all.
func (r Report) OK() bool {
	for _, row := range r.Results {
		if row.Required && row.State == Failed {
			return false
		}
	}
	return true
}

// JSON writes the report for machines.
func (r Report) JSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(struct {
		OK bool `json:"ok"`
		Report
	}{r.OK(), r})
}

// Text writes the report for people: one line for each probe, and below those
// that are not well the reason and the way out.
func (r Report) Text(w io.Writer) error {
	width := 0
	for _, row := range r.Results {
		width = max(width, len(row.Name))
	}
	var b strings.Builder
	for _, row := range r.Results {
		line := strings.Trim(row.Detail+"; "+row.Reason, "; ")
		fmt.Fprintf(&b, "%s\n", strings.TrimRight(fmt.Sprintf("%-4s  %-*s  %s", row.State, width, row.Name, line), " "))
		if row.Advice != "" {
			fmt.Fprintf(&b, "%*s→ %s\n", width+8, "", row.Advice)
		}
	}
	if r.OK() {
		b.WriteString("containers can be run on this host\n")
	} else {
		b.WriteString("containers cannot be run on this host: see the lines that begin with fail\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// Options say what to look at. The zero value is this host.
type Options struct {
	Env  func(name string) string // nil = os.Getenv
	Root string                   // directory to read files such as /proc/sys/… below; "" = "/"; the real probes do not care
}

// Run makes all probes but those of what the configuration names, such as Cache. It takes some milliseconds.
func Run(o Options) Report {
	h := host{root: o.Root, env: o.Env, uid: os.Getuid(), gid: os.Getgid()}
	if h.env == nil {
		h.env = os.Getenv
	}
	h.name = h.userName()
	native := h.cvmfs()
	return Report{[]Result{
		h.kernel(),
		h.nested(),
		h.userNamespace(),
		h.limits(),
		h.restrictions(),
		h.mounts(),
		h.fuseDevice(),
		h.fuse(native.State == OK),
		h.fusermount(),
		h.overlay(),
		h.pidNamespace(),
		h.subordinate(),
		h.cgroup(),
		h.seccomp(),
		native,
	}}
}

// host is what the probes have in common.
type host struct {
	root     string
	env      func(string) string
	uid, gid int
	name     string // of the user
}

// path is where a file of the host is read.
func (h host) path(name string) string { return h.root + name }

// read is the trimmed content of a small file, "" if there is none.
func (h host) read(name string) string {
	data, err := os.ReadFile(h.path(name))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(data))
}

// exists tells whether there is such a file.
func (h host) exists(name string) bool {
	_, err := os.Lstat(h.path(name))
	return err == nil
}

// userName is the name by which /etc/subuid may know the user. Package os/user
// would ask the C library, which a static program had better not.
func (h host) userName() string {
	for line := range strings.Lines(h.read("/etc/passwd")) {
		f := strings.Split(line, ":")
		if len(f) > 2 && f[2] == strconv.Itoa(h.uid) {
			return f[0]
		}
	}
	if name := h.env("USER"); name != "" {
		return name // of a directory service
	}
	return strconv.Itoa(h.uid)
}
