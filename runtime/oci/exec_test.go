package oci

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

func TestOverride(t *testing.T) {
	yes := true
	base := func() *specs.Process {
		return &specs.Process{Args: []string{"init"}, Env: []string{"A=1"}, Cwd: "/", Terminal: true, ApparmorProfile: "old", User: specs.User{UID: 1, GID: 1}}
	}
	p := base()
	if err := (&ExecRequest{Args: []string{"sh"}}).override(p); err != nil {
		t.Fatal(err)
	}
	if p.Args[0] != "sh" || p.Terminal || p.Cwd != "/" || p.User.UID != 1 || p.ApparmorProfile != "old" || p.NoNewPrivileges || p.Capabilities != nil {
		t.Errorf("nothing asked for but a command: %+v", p)
	}
	p = base()
	q := &ExecRequest{Args: []string{"sh"}, Env: []string{"A=2"}, Cwd: "/tmp", User: "5:6", AdditionalGIDs: []uint32{9}, Capabilities: []string{"CAP_KILL"}, NoNewPrivs: &yes, Terminal: true, AppArmor: "new", Label: "l"}
	if err := q.override(p); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(p.Env, []string{"A=1", "A=2"}) || p.Cwd != "/tmp" || p.User.UID != 5 || p.User.GID != 6 || !slices.Equal(p.User.AdditionalGids, []uint32{9}) || !p.NoNewPrivileges || !p.Terminal || p.ApparmorProfile != "new" || p.SelinuxLabel != "l" {
		t.Errorf("everything asked for: %+v", p)
	}
	if c := p.Capabilities; !slices.Contains(c.Bounding, "CAP_KILL") || !slices.Contains(c.Permitted, "CAP_KILL") || !slices.Contains(c.Effective, "CAP_KILL") || len(c.Inheritable)+len(c.Ambient) > 0 {
		t.Errorf("capabilities %+v", c)
	}
}

func TestReadProcess(t *testing.T) {
	file := filepath.Join(t.TempDir(), "process.json")
	for text, want := range map[string]string{
		`{"cwd":"/","args":["a"]}`: "",
		`null`:                     "process is missing",
		`{"cwd":"/"}`:              "args is empty",
		`{"args":["a"]}`:           "cwd",
		`{"args":`:                 "unexpected end",
		`[]`:                       "cannot unmarshal",
	} {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := readProcess(file); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}

// FuzzProcess reads any process object, as exec --process gets it, as far as libcontainer's own form.
func FuzzProcess(f *testing.F) {
	data, err := json.Marshal(ExampleSpec(false).Process)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte(`{"cwd":"/","args":[""],"execCPUAffinity":{"initial":"0-99999999"},"scheduler":{},"ioPriority":{},"capabilities":{}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var p *specs.Process
		if json.Unmarshal(data, &p) != nil || checkProcess(p) != nil {
			return
		}
		_, _ = newProcess(p)
	})
}
