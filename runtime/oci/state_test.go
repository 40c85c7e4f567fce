package oci

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/runc/libcontainer"
	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/opencontainers/runtime-spec/specs-go/features"
	"golang.org/x/sys/unix"
)

// TestMissing asks every operation for a container that is not there, and for one that cannot be.
func TestMissing(t *testing.T) {
	r := &Runtime{Root: t.TempDir()}
	for name, operation := range map[string]func(id string) error{
		"start":     r.Start,
		"state":     func(id string) error { _, err := r.State(id); return err },
		"kill":      func(id string) error { return r.Kill(id, unix.SIGTERM, true) },
		"delete":    func(id string) error { return r.Delete(id, false) },
		"exec":      func(id string) error { _, err := r.Exec(ExecRequest{ID: id, Args: []string{"x"}}); return err },
		"processes": func(id string) error { _, err := r.Processes(id); return err },
		"pause":     r.Pause,
		"resume":    r.Resume,
		"update":    func(id string) error { return r.Update(id, &specs.LinuxResources{}) },
		"stats":     func(id string) error { _, err := r.Stats(id); return err },
	} {
		if err := operation("c1"); !errors.Is(err, libcontainer.ErrNotExist) || !strings.Contains(err.Error(), `"c1"`) {
			t.Errorf("%s: %v", name, err)
		}
		for _, id := range []string{"", "..", "a/b", "../x", "a b", "ü"} {
			if err := operation(id); !errors.Is(err, libcontainer.ErrInvalidID) {
				t.Errorf("%s of %q: %v", name, id, err)
			}
		}
	}
	if left, err := os.ReadDir(r.Root); err != nil || len(left) > 0 {
		t.Errorf("left in the state directory: %v (%v)", left, err)
	}
}

// TestListBroken leaves out what cannot be read.
func TestListBroken(t *testing.T) {
	r := &Runtime{Root: filepath.Join(t.TempDir(), "none")}
	if list, err := r.List(); err != nil || list == nil || len(list) > 0 {
		t.Errorf("no state directory: %v, %v", list, err)
	}
	for file, text := range map[string]string{"half/state.json": `{"id":`, "empty/x": "", "plain": ""} {
		path := filepath.Join(r.Root, file)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if list, err := r.List(); err != nil || len(list) > 0 {
		t.Errorf("broken ones: %v, %v", list, err)
	}
	if err := r.Delete("empty", true); err != nil {
		t.Errorf("remove what an interrupted create left: %v", err)
	}
	if _, err := os.Stat(filepath.Join(r.Root, "empty")); err == nil {
		t.Error("it is still there")
	}
}

// TestHooksFile takes from libcontainer the hooks that it would run at the wrong time, and those alone.
func TestHooksFile(t *testing.T) {
	r := &Runtime{Root: t.TempDir()}
	hook := func(path string) []specs.Hook { return []specs.Hook{{Path: path}} }
	spec := &specs.Spec{}
	if hooks := takeHooks(spec); hooks.Poststart != nil || hooks.Poststop != nil {
		t.Errorf("no hooks: %+v", hooks)
	}
	spec.Hooks = &specs.Hooks{CreateRuntime: hook("/create"), Poststart: hook("/after"), Poststop: hook("/end")}
	hooks := takeHooks(spec)
	if spec.Hooks.Poststart != nil || spec.Hooks.Poststop != nil || len(spec.Hooks.CreateRuntime) != 1 {
		t.Errorf("left to libcontainer: %+v", spec.Hooks)
	}
	if err := os.Mkdir(filepath.Join(r.Root, "c1"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(r.keepHooks("c1", specs.Hooks{}), r.keepHooks("c1", hooks)); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(r.Root, "c1", hooksFile))
	var got specs.Hooks
	if err == nil {
		err = json.Unmarshal(data, &got)
	}
	if err != nil || got.Poststart[0].Path != "/after" || got.Poststop[0].Path != "/end" {
		t.Errorf("kept: %s (%v)", data, err)
	}
	if err := r.keepHooks("c2", hooks); err == nil {
		t.Error("a state directory that is not there: no error")
	}
}

func TestRunHook(t *testing.T) {
	limit := 1
	for name, tt := range map[string]struct {
		hook specs.Hook
		err  string
	}{
		"state":   {specs.Hook{Path: "/bin/sh", Args: []string{"sh", "-c", `grep -q '"id":"c1"'`}}, ""},
		"fails":   {specs.Hook{Path: "/bin/sh", Args: []string{"sh", "-c", "echo why >&2; exit 2"}}, "why"},
		"hangs":   {specs.Hook{Path: "/bin/sh", Args: []string{"sh", "-c", "exec sleep 1000"}, Timeout: &limit}, "timeout"},
		"missing": {specs.Hook{Path: "/nonexistent"}, "no such file"},
	} {
		err := runHook(tt.hook, &specs.State{ID: "c1"})
		if (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%s: %v, want %q", name, err, tt.err)
		}
	}
}

func TestConvertStats(t *testing.T) {
	s := cgroups.NewStats()
	s.CpuStats.CpuUsage.TotalUsage, s.MemoryStats.Usage.Usage, s.MemoryStats.Usage.Limit, s.PidsStats.Current = 1, 2, 3, 4
	got := convertStats(s)
	if got.CPU.Usage.Total != 1 || got.Memory.Usage.Usage != 2 || got.Memory.Usage.Limit != 3 || got.Pids.Current != 4 {
		t.Errorf("%+v", got)
	}
}

// TestFeaturesComplete survives a way through JSON, which is how it is read.
func TestFeaturesComplete(t *testing.T) {
	data, err := json.Marshal(Features("1.2"))
	var f features.Features
	if err == nil {
		err = json.Unmarshal(data, &f)
	}
	if err != nil || f.Linux.Seccomp.Enabled == nil || !*f.Linux.Cgroup.V2 || !*f.Linux.MountExtensions.IDMap.Enabled || f.Annotations["org.flatrun.version"] != "1.2" {
		t.Errorf("%s (%v)", data, err)
	}
}
