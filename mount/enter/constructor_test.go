package enter_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/flatrun/flatrun/mount/enter"
)

// TestCommandLine shows for which command lines the constructor makes a namespace by itself.
func TestCommandLine(t *testing.T) {
	runtimeDir(t)
	needNamespaces(t)
	dir := t.TempDir()
	for _, name := range []string{"img", "exec"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	tests := []struct {
		args string
		want enter.Kind
	}{
		{"exec D/img true", enter.Own},
		{"run D/img", enter.Own},
		{"shell D/img", enter.Own},
		{"test D/img", enter.Own},
		{"exec img true", enter.Own}, // a relative name, as image.Classify has it
		{"exec ./img true", enter.Own},
		{"exec ../" + filepath.Base(dir) + "/img true", enter.Own},
		{"exec exec true", enter.Own},
		{"--debug -v exec D/img true", enter.Own},
		{"-c D/exec exec D/img true", enter.Own},
		{"--config D/exec exec D/img true", enter.Own},
		{"--config=D/exec exec D/img true", enter.Own},
		{"exec --bind /a:/b --cleanenv D/img true", enter.Own},
		{"exec -B /a:/b -ce -B/c:/d D/img true", enter.Own},
		{"exec --bind=/a:/b -- D/img --pid", enter.Own},
		{"exec D/img cmd --pid -f", enter.Own}, // the command's own flags

		{"version", enter.None},
		{"", enter.None},
		{"exec", enter.None},
		{"exec --bind D/img", enter.None},
		{"inspect D/img", enter.None},
		{"instance start D/img name", enter.None},
		{"exec instance://name true", enter.None},
		{"exec D/missing true", enter.None},
		{"exec registry.example.org/library/debian:12 true", enter.None}, // no session there
		{"exec --pid D/img true", enter.None},
		{"exec -f D/img true", enter.None},
		{"exec -ef D/img true", enter.None},
		{"exec --hostname x D/img true", enter.None},
		{"exec --hostname=x D/img true", enter.None},
		{"exec -C D/img true", enter.None},
		{"exec --never-heard-of D/img true", enter.None}, // which may have a value
		{"exec -Z D/img true", enter.None},
	}
	for _, tt := range tests {
		t.Run(tt.args, func(t *testing.T) {
			cmd := program(t, "report", nil, strings.Fields(strings.ReplaceAll(tt.args, "D/", dir+"/"))...)
			cmd.Dir = dir
			if r := reportOf(t, cmd); r.Kind != tt.want || r.Err != "" {
				t.Errorf("kind %d, error %q, want kind %d", r.Kind, r.Err, tt.want)
			}
		})
	}
}

func TestVariablesNeedPlan(t *testing.T) {
	runtimeDir(t)
	needNamespaces(t)
	for variable, want := range map[string]enter.Kind{
		"APPTAINER_PID=1": enter.None, "SINGULARITY_FAKEROOT=yes": enter.None, "FLATRUN_NETWORK_ARGS=x": enter.None,
		"APPTAINER_FUSESPEC=x": enter.None, "APPTAINER_CONTAINALL=1": enter.None,
		"APPTAINER_PID=": enter.Own, "APPTAINER_BIND=/a": enter.Own, "PID=1": enter.Own, "APPTAINERENV_PID=1": enter.Own,
	} {
		cmd := program(t, "report", nil, "exec", "/", "true")
		cmd.Env = append(cmd.Env, variable)
		if r := reportOf(t, cmd); r.Kind != want {
			t.Errorf("%s: kind %d, want %d", variable, r.Kind, want)
		}
	}
}

func TestOwnNamespace(t *testing.T) {
	runtimeDir(t)
	needNamespaces(t)
	wd := t.TempDir()
	cmd := program(t, "report", nil, "exec", "/", "true")
	cmd.Dir = wd
	r := reportOf(t, cmd)
	uid, gid := os.Getuid(), os.Getgid()
	if r.UID != uid || r.GID != gid || r.Inside != uid || r.UIDMap != fmt.Sprintf("%d %d 1", uid, uid) || r.GIDMap != fmt.Sprintf("%d %d 1", gid, gid) {
		t.Errorf("ids are not the caller's: %+v", r)
	}
	if !r.CanMount {
		t.Error("cannot mount")
	}
	if r.Wd != wd {
		t.Errorf("working directory is %s, want %s", r.Wd, wd)
	}
	if r.Planned || r.New != 0 {
		t.Errorf("more was done than needed: %+v", r)
	}
}

func TestFlagKind(t *testing.T) {
	for _, tt := range []struct {
		name               string
		known, value, plan bool
	}{
		{"bind", true, true, false}, {"pid", true, false, true}, {"hostname", true, true, true}, {"cleanenv", true, false, false},
		{"", false, false, false}, {"bin", false, false, false}, {"bindx", false, false, false},
	} {
		if known, value, plan := enter.FlagKind(tt.name); known != tt.known || value != tt.value || plan != tt.plan {
			t.Errorf("%q: %v %v %v, want %v %v %v", tt.name, known, value, plan, tt.known, tt.value, tt.plan)
		}
	}
}

func TestPlainDirectory(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for image, want := range map[string]bool{
		dir: true, dir + "/": true, "/": true, ".": true, file: false, dir + "/none": false, "": false,
		"cvmfs://" + dir: false, "/cvmfs/none.example.org": false, "/" + strings.Repeat("x", 5000): false,
	} {
		if got := enter.PlainDirectory(image); got != want {
			t.Errorf("%.40q: %v, want %v", image, got, want)
		}
	}
}
