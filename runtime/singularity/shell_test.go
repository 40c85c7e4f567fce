package singularity

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/flatrun/flatrun/runtime/image"
)

// TestNeedShell: what cannot be judged from outside is left to the image's shell.
func TestNeedShell(t *testing.T) {
	cases := []struct{ name, script, why string }{
		{"a program", "export A=$(id -u)\n", "it runs id"},
		{"a program in a pipe", "echo x | tr x y\n", "it runs tr"},
		{"a builtin that asks the system", "umask 077\n", "it runs umask"},
		{"looking for a program", "command -v python\n", "it runs command"},
		{"the working directory", "export HERE=$PWD\n", "working directory"},
		{"a file that is bound", "if [ -f /tmp/x ]; then export A=1; fi\n", "not known"},
		{"writing", "echo x > /opt/x\n", "it writes /opt/x"},
		{"rights", "[ -w /etc ] && export A=1\n", "it asks for the rights"},
		{"a trap", "trap 'echo' EXIT\n", "it runs trap"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			files := with(map[string]string{".singularity.d/env/91-environment.sh": c.script, "etc/x": ""})
			p, _, err := prepare(t, files, Settings{Environ: []string{"HOSTVAR=1"}}, Cover{Target: "/tmp"})
			if err != nil {
				t.Fatal(err)
			}
			if p.Shell == nil || !strings.Contains(p.Shell.Error(), c.why) {
				t.Fatalf("Shell = %v, want %q", p.Shell, c.why)
			}
			if p.Args[0] != "/bin/sh" || p.Args[1] != "-c" || p.Args[4] != "env" {
				t.Errorf("Args = %q", p.Args)
			}
			checkEnv(t, p.Env, []string{hostPrefix + "HOSTVAR=1", "-HOSTVAR", "-PATH"})
		})
	}
	files := with(map[string]string{".singularity.d/env/91-environment.sh": "A=$(id)\n"})
	delete(files, "bin/sh")
	if _, _, err := prepare(t, files, Settings{}); err == nil || !strings.Contains(err.Error(), "it runs id, and it has no /bin/sh") {
		t.Errorf("without a shell: %v", err)
	}
}

func TestValueNeedsShell(t *testing.T) {
	p, _, err := prepare(t, ducc, Settings{Environ: []string{"APPTAINERENV_WHO=$(id -u)"}})
	if err != nil || p.Shell == nil {
		t.Fatalf("Shell = %v, %v", p.Shell, err)
	}
	if !strings.Contains(p.Args[2], `export WHO="$(id -u)"`) {
		t.Errorf("script lacks the value:\n%s", p.Args[2])
	}
}

func TestLibrariesNeedShell(t *testing.T) {
	for name, files := range map[string]map[string]string{
		"library": with(map[string]string{".singularity.d/libs/libcuda.so": ""}),
		"user":    with(nil),
	} {
		s := Settings{}
		if name == "user" {
			s.Environ = []string{"APPTAINERENV_APPEND_LD_LIBRARY_PATH=/x"}
		}
		p, _, err := prepare(t, files, s)
		if err != nil || p.Shell == nil || !strings.Contains(p.Shell.Error(), "ldconfig") {
			t.Errorf("%s: Shell = %v, %v", name, p.Shell, err)
		}
	}
	p, _, err := prepare(t, ducc, Settings{}, Cover{Target: libraryDir + "/os-release", Source: "/etc/os-release"})
	if err != nil || p.Shell == nil {
		t.Errorf("bound library: Shell = %v, %v", p.Shell, err)
	}
}

func TestScriptThatEnds(t *testing.T) {
	_, _, err := prepare(t, ducc, Settings{App: "nope"})
	var exit *Exit
	if !errors.As(err, &exit) || exit.Code != 1 {
		t.Errorf("err = %v, want exit 1", err)
	}
	files := with(map[string]string{".singularity.d/env/91-environment.sh": "while :; do :; done\n"})
	_, _, err = prepare(t, files, Settings{Timeout: 50 * time.Millisecond})
	if err == nil || !strings.Contains(err.Error(), "stopped after 50ms") {
		t.Errorf("endless script: %v", err)
	}
}

func TestBoundScripts(t *testing.T) {
	script := filepath.Join(t.TempDir(), "x.sh")
	if err := os.WriteFile(script, []byte("export BOUND=$FOO\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, target := range []string{envDir + "/91-environment.sh", envDir + "/92-new.sh"} {
		p, _, err := prepare(t, ducc, Settings{}, Cover{Target: target, Source: script})
		if err != nil || p.Shell != nil {
			t.Fatalf("%v, %v", p.Shell, err)
		}
		checkEnv(t, p.Env, []string{"BOUND=bar baz"})
	}
	p, _, err := prepare(t, map[string]string{"bin/sh": ""}, Settings{Action: "run", Args: []string{"a"}}, Cover{Target: "/.singularity.d/runscript", Source: executableFile(t)})
	if err != nil || !slices.Equal(p.Args, []string{"/.singularity.d/runscript", "a"}) {
		t.Errorf("bound run script: %q, %v", p.Args, err)
	}
}

func executableFile(t *testing.T) string {
	name := filepath.Join(t.TempDir(), "x")
	if err := os.WriteFile(name, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestWords(t *testing.T) {
	oci := &image.Config{Entrypoint: []string{"/entry"}, Cmd: []string{"cmd"}}
	bare := map[string]string{"bin/sh": "x"}
	bash := map[string]string{"bin/sh": "x", "bin/bash": "-> ../usr/bin/bash", "usr/bin/bash": "x", "bin/zsh": "x"}
	run := with(map[string]string{".singularity.d/runscript": "x", ".singularity.d/test": "x", "scif/apps/foo/scif/runscript": "x", "scif/apps/foo/scif/test": "x"})
	old := map[string]string{"singularity": "x"}
	cases := []struct {
		name   string
		files  map[string]string
		s      Settings
		want   string
		fail   string
		logged string
	}{
		{name: "exec", files: bare, s: Settings{Action: "exec", Args: []string{"a", "b"}}, want: "a b"},
		{name: "shell: bash", files: bash, s: Settings{Action: "shell"}, want: "/bin/bash --norc"},
		{name: "shell: sh", files: bare, s: Settings{Action: "shell"}, want: "/bin/sh"},
		{name: "shell: chosen", files: bash, s: Settings{Action: "shell", Shell: "/bin/zsh"}, want: "/bin/zsh"},
		{name: "shell: chosen but absent", files: bash, s: Settings{Action: "shell", Shell: "/bin/fish"}, want: "/bin/bash --norc"},
		{name: "shell: none", files: old, s: Settings{Action: "shell"}, fail: "/bin/sh does not exist in container"},
		{name: "run: script", files: run, s: Settings{Action: "run", Args: []string{"a"}}, want: "/.singularity.d/runscript a"},
		{name: "run: old script", files: old, s: Settings{Action: "run"}, want: "/singularity"},
		{name: "run: application", files: run, s: Settings{Action: "run", App: "foo"}, want: "/scif/apps/foo/scif/runscript"},
		{name: "run: no application", files: run, s: Settings{Action: "run", App: "bar"}, fail: "no runscript for contained app: bar"},
		{name: "run: OCI", files: bare, s: Settings{Action: "run", Config: oci}, want: "/entry cmd"},
		{name: "run: OCI with arguments", files: bare, s: Settings{Action: "run", Config: oci, Args: []string{"a"}}, want: "/entry a"},
		{name: "run: nothing", files: bare, s: Settings{Action: "run", Args: []string{"-c", "x"}}, want: "/bin/sh -c x", logged: "No runscript found in container, executing /bin/sh"},
		{name: "run: not even a shell", files: nil, s: Settings{Action: "run"}, fail: "No runscript and no /bin/sh executable found in container, aborting"},
		{name: "test", files: run, s: Settings{Action: "test"}, want: "/.singularity.d/test"},
		{name: "test: application", files: run, s: Settings{Action: "test", App: "foo"}, want: "/scif/apps/foo/scif/test"},
		{name: "test: none", files: bare, s: Settings{Action: "test"}, want: "/bin/sh -c :", logged: "No test script found in container, exiting"},
		{name: "test: not even a shell", files: nil, s: Settings{Action: "test"}, want: "", logged: "No test script found in container, exiting"},
		{name: "start: none", files: bare, s: Settings{Action: "start"}, want: "/bin/sh -c :", logged: "No instance start script found in container"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			root, err := OpenRoot(makeImage(t, c.files))
			if err != nil {
				t.Fatal(err)
			}
			defer root.Close()
			var log strings.Builder
			c.s.Log = lines(&log)
			got, err := c.s.words(root)
			if c.fail != "" {
				var action *ActionError
				if !errors.As(err, &action) || action.Reason != c.fail {
					t.Errorf("err = %v, want %q", err, c.fail)
				}
				return
			}
			if err != nil || strings.Join(got, " ") != c.want {
				t.Errorf("words = %q, %v; want %q", got, err, c.want)
			}
			if !strings.Contains(log.String(), c.logged) {
				t.Errorf("log %q lacks %q", log.String(), c.logged)
			}
		})
	}
}

func TestEnvFile(t *testing.T) {
	cases := []struct{ text, want, fail string }{
		{text: "A=1\n# x\nexport B='two words'\nC=\"$A$HOSTVAR\"\n", want: "A=1 B=two words C=1host"},
		{text: `P="\$PATH:/x"`, want: "P=$PATH:/x"},
		{text: "A=1\nunset A\n", want: ""},
		{text: "if [ -n \"$HOSTVAR\" ]; then A=yes; fi\n", want: "A=yes"},
		{text: "A=$(id)\n", fail: "could not run id"},
		{text: "cat /etc/passwd\n", fail: "could not run cat"},
		{text: ". /etc/profile\n", fail: "could not run ."},
		{text: "A=1 > /tmp/x\n", fail: "could not open /tmp/x"},
		{text: "A='\n", fail: "without closing quote"},
	}
	for _, c := range cases {
		s := Settings{Environ: []string{"HOSTVAR=host"}, EnvFiles: []EnvFile{{"file.env", []byte(c.text)}}}
		list, err := s.fileSettings()
		if c.fail != "" {
			if err == nil || !strings.Contains(err.Error(), c.fail) || !strings.Contains(err.Error(), "while processing file.env") {
				t.Errorf("%q: %v, want %q", c.text, err, c.fail)
			}
			continue
		}
		var got []string
		for _, v := range list {
			got = append(got, v.name+"="+v.value)
		}
		if err != nil || strings.Join(got, " ") != c.want {
			t.Errorf("%q: %q, %v; want %q", c.text, got, err, c.want)
		}
	}
}

func TestRootStaysInside(t *testing.T) {
	outside := t.TempDir()
	if err := os.WriteFile(filepath.Join(outside, "secret"), []byte("s"), 0o644); err != nil {
		t.Fatal(err)
	}
	root, err := OpenRoot(makeImage(t, map[string]string{"up": "-> ../../../../../.." + outside + "/secret", "abs": "-> " + outside + "/secret", "in/file": "x", "ok": "-> /in/file"}))
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	for _, name := range []string{"/up", "/abs", "/../../" + outside + "/secret"} {
		if data, err := root.readFile(name); err == nil {
			t.Errorf("%s left the image: %q", name, data)
		}
	}
	if data, err := root.readFile("/ok"); err != nil || string(data) != "x" {
		t.Errorf("link inside: %q, %v", data, err)
	}
	if _, err := OpenRoot(filepath.Join(outside, "secret")); err == nil {
		t.Error("a file was taken for an image")
	}
}

// FuzzEnvScript feeds scripts to the interpreter: whatever they do, it must
// answer, and must not touch anything but the image.
func FuzzEnvScript(f *testing.F) {
	for _, s := range []string{appsScript, baseScript, "export A=${B:-$(id)}\n", "a() { b; }; a\n", "for i in *; do echo $i; done\n", "cat <<X\n$A\nX\n", "[[ a =~ b ]] && declare -A m\n"} {
		f.Add(s)
	}
	dir := f.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, envDir), 0o755); err != nil {
		f.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(dir, "bin"), 0o755); err != nil {
		f.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "bin/sh"), nil, 0o755); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, script string) {
		if err := os.WriteFile(filepath.Join(dir, envDir, "91-environment.sh"), []byte(script), 0o644); err != nil {
			t.Fatal(err)
		}
		root, err := OpenRoot(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer root.Close()
		Prepare(Settings{Action: "exec", Args: []string{"true"}, Home: "/", Timeout: 100 * time.Millisecond}, root)
	})
}

func BenchmarkPrepare(b *testing.B) {
	t := &testing.T{}
	_ = t
	dir := b.TempDir()
	for name, text := range ducc {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			b.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o755); err != nil {
			b.Fatal(err)
		}
	}
	environ := os.Environ()
	for b.Loop() {
		root, err := OpenRoot(dir)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := Prepare(Settings{Action: "exec", Args: []string{"true"}, Environ: environ, Home: "/"}, root); err != nil {
			b.Fatal(err)
		}
		root.Close()
	}
}
