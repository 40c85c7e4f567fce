package cdi

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

const nvidia = `{
  "cdiVersion": "0.5.0", "kind": "nvidia.com/gpu",
  "devices": [
    {"name": "0", "containerEdits": {"deviceNodes": [{"path": "/dev/nvidia0"}], "env": ["GPU=0"]}},
    {"name": "1", "containerEdits": {"deviceNodes": [{"path": "/dev/nvidia1", "hostPath": "/dev/host1", "permissions": "rw"}]}},
    {"name": "all", "containerEdits": {"deviceNodes": [{"path": "/dev/nvidia0"}, {"path": "/dev/nvidia1", "hostPath": "/dev/host1", "permissions": "rw"}]}}
  ],
  "containerEdits": {
    "env": ["NVIDIA_VISIBLE_DEVICES=void"],
    "deviceNodes": [{"path": "/dev/nvidiactl", "type": "c", "major": 195, "minor": 255}],
    "mounts": [{"hostPath": "/usr/bin/nvidia-smi", "containerPath": "/usr/bin/nvidia-smi", "options": ["ro", "nosuid", "nodev", "bind"]}],
    "hooks": [{"hookName": "createContainer", "path": "/usr/bin/nvidia-ctk", "args": ["nvidia-ctk", "hook"]}]
  }
}`

func dir(t *testing.T, files map[string]string) string {
	t.Helper()
	d := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(d, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return d
}

func TestFind(t *testing.T) {
	d := dir(t, map[string]string{"nvidia.json": nvidia, "README": "no specification"})
	got, err := Find([]string{"nvidia.com/gpu=0", "nvidia.com/gpu=1", "nvidia.com/gpu=all"}, Options{Dirs: []string{d, filepath.Join(d, "none")}})
	want := Edits{
		Env:         []string{"NVIDIA_VISIBLE_DEVICES=void", "GPU=0"},
		DeviceNodes: []DeviceNode{{"/dev/nvidiactl", "/dev/nvidiactl", ""}, {"/dev/nvidia0", "/dev/nvidia0", ""}, {"/dev/nvidia1", "/dev/host1", "rw"}},
		Mounts:      []Mount{{"/usr/bin/nvidia-smi", "/usr/bin/nvidia-smi", []string{"ro", "nosuid", "nodev", "bind"}}},
		Hooks:       []Hook{{"createContainer", "/usr/bin/nvidia-ctk"}},
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v\nwant %+v", got, err, want)
	}
	if got, err := Find(nil, Options{Dirs: []string{d}}); err != nil || !reflect.DeepEqual(got, Edits{}) {
		t.Errorf("no device: %+v, %v", got, err)
	}
}

// TestStrongest: a device in two directories is that of the last.
func TestStrongest(t *testing.T) {
	spec := func(value string) string {
		return `{"cdiVersion":"1.0.0","kind":"v.org/c","devices":[{"name":"d","containerEdits":{"env":["FROM=` + value + `"]}}]}`
	}
	first, second := dir(t, map[string]string{"a.json": spec("a"), "b.json": spec("b")}), dir(t, map[string]string{"a.json": spec("c")})
	for _, tt := range []struct {
		dirs []string
		want string
	}{{[]string{first, second}, "FROM=c"}, {[]string{second, first}, "FROM=b"}} {
		if got, err := Find([]string{"v.org/c=d"}, Options{Dirs: tt.dirs}); err != nil || !slices.Equal(got.Env, []string{tt.want}) {
			t.Errorf("%v: %v, %v", tt.dirs, got.Env, err)
		}
	}
}

func TestFindRefuses(t *testing.T) {
	d := dir(t, map[string]string{"nvidia.json": nvidia, "broken.json": "{", "x.yaml": "kind: v.org/c"})
	for _, tt := range []struct{ name, want string }{
		{"nvidia.com/gpu=7", "device nvidia.com/gpu=7 is in no specification below " + d + "; there are nvidia.com/gpu=0, nvidia.com/gpu=1, nvidia.com/gpu=all; "},
		{"nvidia.com/gpu=7", filepath.Join(d, "broken.json") + ": "},
		{"nvidia.com/gpu=7", "YAML cannot be read here"},
		{"nvidia.com/gpu", "want vendor/class=name"}, {"gpu=0", "want vendor/class=name"}, {"nvidia.com/gpu=", "want vendor/class=name"}, {"", "want vendor/class=name"},
	} {
		if got, err := Find([]string{tt.name}, Options{Dirs: []string{d}}); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q: %+v, %v; want %q", tt.name, got, err, tt.want)
		}
	}
	if _, err := Find([]string{"nvidia.com/gpu=1"}, Options{Dirs: []string{d}}); err != nil {
		t.Errorf("a broken file beside is in the way: %v", err)
	}
	if _, err := Find([]string{"v.org/c=d"}, Options{Dirs: []string{t.TempDir()}}); err == nil || strings.Contains(err.Error(), "there are") {
		t.Errorf("empty directory: %v", err)
	}
}

func TestConvert(t *testing.T) {
	d := dir(t, map[string]string{"a.yaml": "A", "b.yml": "B"})
	convert := func(file string) ([]byte, error) {
		if strings.HasSuffix(file, "b.yml") {
			return nil, errors.New("no mapping")
		}
		return []byte(nvidia), nil
	}
	o := Options{Dirs: []string{d}, Convert: convert}
	if got, err := Find([]string{"nvidia.com/gpu=0"}, o); err != nil || len(got.DeviceNodes) != 2 {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := Find([]string{"nvidia.com/gpu=9"}, o); err == nil || !strings.Contains(err.Error(), "b.yml: no mapping") {
		t.Error(err)
	}
}

func TestParseRefuses(t *testing.T) {
	for text, want := range map[string]string{
		`{"cdiVersion":"2.0","kind":"a/b"}`: "cdiVersion", `{"kind":"a/b"}`: "cdiVersion", `{"cdiVersion":"0.3.0","kind":"ab"}`: "vendor/class", `{"cdiVersion":"0.3.0","kind":"a/b","devices":[{}]}`: "no name",
		`{"cdiVersion":"0.3.0","kind":"a/b","containerEdits":{"env":["X"]}}`:                                                               "NAME=value",
		`{"cdiVersion":"0.3.0","kind":"a/b","containerEdits":{"mounts":[{"hostPath":"x","containerPath":"/y"}]}}`:                          "absolute",
		`{"cdiVersion":"0.3.0","kind":"a/b","devices":[{"name":"d","containerEdits":{"deviceNodes":[{"path":"dev"}]}}]}`:                   "absolute",
		`{"cdiVersion":"0.3.0","kind":"a/b","devices":[{"name":"d","containerEdits":{"deviceNodes":[{"path":"/dev/a","hostPath":"b"}]}}]}`: "absolute",
		`[]`: "cannot unmarshal",
	} {
		if s, err := Parse([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %+v, %v; want %q", text, s, err, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(nvidia))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := Parse(data)
		if err != nil {
			return
		}
		for _, m := range s.Edits.Mounts {
			if !filepath.IsAbs(m.ContainerPath) {
				t.Fatal(m)
			}
		}
	})
}
