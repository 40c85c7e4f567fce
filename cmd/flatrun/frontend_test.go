package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/flatrun/flatrun/mount/enter"
)

// TestFrontend runs the cases of testdata/frontend against the real program,
// under the names that callers use, as the user who runs the tests.
func TestFrontend(t *testing.T) {
	files, err := filepath.Glob("../../testdata/frontend/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	rig := newRig(t)
	for _, file := range files {
		cases, err := readCases(file)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			for _, c := range cases {
				t.Run(c.name, func(t *testing.T) { rig.run(t, c) })
			}
		})
	}
}

// frontCase is one case; see testdata/frontend/README.md.
type frontCase struct {
	name, command  string
	env, needs     []string
	stdin          []string
	stdout, absent []string
	exact          []string // lines of standard output
	stderr, silent []string
	files          []string // "name text"
	code           int
}

// readCases reads a file of cases.
func readCases(file string) ([]frontCase, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var cases []frontCase
	for n, line := range strings.Split(string(data), "\n") {
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		key, value, _ := strings.Cut(line, " ")
		if key == "==" {
			cases = append(cases, frontCase{name: value})
			continue
		}
		if len(cases) == 0 {
			return nil, fmt.Errorf("%s:%d: no case yet", file, n+1)
		}
		if err := cases[len(cases)-1].add(key, value); err != nil {
			return nil, fmt.Errorf("%s:%d: %w", file, n+1, err)
		}
	}
	return cases, nil
}

// add takes one line of a case.
func (c *frontCase) add(key, value string) error {
	lists := map[string]*[]string{
		"+": &c.env, "<": &c.stdin, ">": &c.exact, ">~": &c.stdout, ">!": &c.absent, "2~": &c.stderr, "2!": &c.silent, "@": &c.files,
	}
	switch list := lists[key]; {
	case list != nil:
		*list = append(*list, value)
	case key == "$":
		c.command = value
	case key == "needs":
		c.needs = strings.Fields(value)
	case key == "?":
		_, err := fmt.Sscan(value, &c.code)
		return err
	default:
		return fmt.Errorf("line starts with %q", key)
	}
	return nil
}

// rig is what all cases share: the program, the images, what the host can do.
type rig struct {
	bin, home, data, runtime string
	config                   string // of the repository
	images                   map[string]string
	missing                  map[string]string // need → why it is not there
}

func newRig(t *testing.T) *rig {
	r := &rig{bin: buildPrograms(t), home: t.TempDir(), data: t.TempDir(), runtime: t.TempDir(), missing: make(map[string]string)}
	if err := os.Chmod(r.runtime, 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(r.home, "file"), "at home\n")
	r.makeAtHome(t)
	write(t, filepath.Join(r.data, "file"), "data\n")
	r.images = makeImages(t)
	r.images["gpu"] = makeDriver(t)
	serveRepository(t, r)
	t.Cleanup(r.stopAll)
	for _, tool := range []string{"perl", "squashfuse"} {
		if _, err := exec.LookPath(tool); err != nil {
			r.missing[tool] = err.Error()
		}
	}
	if _, _, err := enter.SubIDs(); err != nil {
		r.missing["subids"] = err.Error()
	}
	r.probe("userns", "exec", r.images["bare"], "true")
	r.probe("pidns", "exec", "--pid", r.images["bare"], "true")
	r.probe("overlay", "exec", "--writable-tmpfs", r.images["bare"], "true")
	return r
}

// makeAtHome makes the command athome, which runs another one where the password file has {home} for the caller, as it has
// HOME for everybody else: by a file of its own over the host's, in namespaces that map only the caller.
func (r *rig) makeAtHome(t *testing.T) {
	passwd := filepath.Join(t.TempDir(), "passwd")
	write(t, passwd, fmt.Sprintf("root:x:0:0:root:/root:/bin/sh\ntester:x:%d:%d::%s:/bin/sh\n", os.Getuid(), os.Getgid(), r.home))
	script := `#!/bin/sh
exec unshare --user --map-root-user --mount sh -c 'mount --bind %s /etc/passwd && exec unshare --user --map-user=%d --map-group=%d -- "$@"' sh "$@"
`
	name := filepath.Join(r.bin, "athome")
	write(t, name, fmt.Sprintf(script, passwd, os.Getuid(), os.Getgid()))
	if err := os.Chmod(name, 0o755); err != nil {
		t.Fatal(err)
	}
}

// probe finds out whether the host can do what some cases need. A host without
// user namespaces says so by itself; everything else must work.
func (r *rig) probe(need string, args ...string) {
	cmd := exec.Command(filepath.Join(r.bin, "flatrun"), args...)
	cmd.Env = r.environ(nil)
	if out, err := cmd.CombinedOutput(); err != nil && strings.Contains(string(out), "namespace") || need == "overlay" && err != nil {
		r.missing[need] = strings.TrimSpace(string(out))
	}
}

func (r *rig) environ(more []string) []string {
	return append([]string{
		"HOME=" + r.home, "PATH=" + r.bin + ":/usr/bin:/bin:/usr/sbin:/sbin", "USER=" + os.Getenv("USER"), "TERM=dumb",
		"XDG_RUNTIME_DIR=" + r.runtime, "FLATRUN_CONFIG=" + r.config, // sessions of the tests are not those of the user
	}, more...)
}

// run runs one case and compares.
func (r *rig) run(t *testing.T, c frontCase) {
	for _, need := range c.needs {
		if why, ok := r.missing[need]; ok {
			t.Skipf("this host lacks %s: %s", need, why)
		}
	}
	work := t.TempDir()
	replace := r.replacer(work)
	for _, f := range c.files {
		name, text, _ := strings.Cut(f, " ")
		appendTo(t, filepath.Join(work, name), replace.Replace(text)+"\n")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", replace.Replace(c.command))
	cmd.Dir = work
	for i := range c.env {
		c.env[i] = replace.Replace(c.env[i])
	}
	cmd.Env = append(r.environ(c.env), "PWD="+work)
	if len(c.stdin) > 0 {
		cmd.Stdin = strings.NewReader(strings.Join(c.stdin, "\n") + "\n")
	}
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	if code := cmd.ProcessState.ExitCode(); code != c.code {
		t.Errorf("exit code %d, want %d", code, c.code)
	}
	c.compare(t, replace, stdout.String(), stderr.String())
	if t.Failed() {
		t.Logf("$ %s\n%sstdout: %q\nstderr: %q", replace.Replace(c.command), strings.Join(c.env, "\n"), stdout.String(), stderr.String())
	}
}

func (c frontCase) compare(t *testing.T, replace *strings.Replacer, stdout, stderr string) {
	if len(c.exact) > 0 {
		if want := replace.Replace(strings.Join(c.exact, "\n")); strings.TrimSuffix(stdout, "\n") != want && stdout != want {
			t.Errorf("standard output is %q, want %q", stdout, want)
		}
	}
	for _, check := range []struct {
		what, text string
		patterns   []string
		want       bool
	}{
		{"standard output", stdout, c.stdout, true}, {"standard output", stdout, c.absent, false},
		{"standard error", stderr, c.stderr, true}, {"standard error", stderr, c.silent, false},
	} {
		for _, p := range check.patterns {
			re, err := regexp.Compile("(?m)" + replace.Replace(p))
			if err != nil {
				t.Fatal(err)
			}
			if re.MatchString(check.text) != check.want {
				t.Errorf("%s: match of %q is %t", check.what, p, !check.want)
			}
		}
	}
}

// replacer knows the names in braces.
func (r *rig) replacer(work string) *strings.Replacer {
	pairs := []string{"{work}", work, "{home}", r.home, "{data}", r.data}
	for name, dir := range r.images {
		pairs = append(pairs, "{"+name+"}", dir)
	}
	return strings.NewReplacer(pairs...)
}

// buildPrograms builds flatrun and its session as make does, and gives flatrun
// the names it is called by.
func buildPrograms(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	cmd := exec.Command("go", "build", "-tags", "osusergo,netgo", "-ldflags", `-s -w -linkmode external -extldflags "-static -Wl,--no-warnings"`, "-o", dir, ".", "../flatrun-session")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	for _, name := range []string{"apptainer", "singularity"} {
		if err := os.Symlink("flatrun", filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// TestCasesAreMany keeps the table from shrinking unnoticed.
func TestCasesAreMany(t *testing.T) {
	files, _ := filepath.Glob("../../testdata/frontend/*.txt")
	var names []string
	for _, file := range files {
		cases, err := readCases(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range cases {
			name := filepath.Base(file) + ": " + c.name
			if c.command == "" {
				t.Errorf("%s has no command", name)
			}
			if slices.Contains(names, name) {
				t.Errorf("%s is there twice", name)
			}
			names = append(names, name)
		}
	}
	if len(names) < 150 {
		t.Errorf("%d cases; want at least 150", len(names))
	}
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func appendTo(t *testing.T, name, text string) {
	t.Helper()
	f, err := os.OpenFile(name, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(text); err != nil {
		t.Fatal(err)
	}
}
