package main

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// testProgram is an invocation that writes into buffers.
func testProgram(name string, environ ...string) (p *program, stdout, stderr *bytes.Buffer) {
	stdout, stderr = &bytes.Buffer{}, &bytes.Buffer{}
	p = newProgram(name, environ)
	p.stdout, p.log = stdout, newMessages(stderr)
	return p, stdout, stderr
}

// parseExec reads flags of exec.
func parseExec(t *testing.T, environ []string, args ...string) (*options, []string, string, error) {
	t.Helper()
	p, _, stderr := testProgram("flatrun", environ...)
	o := &options{}
	rest, err := p.parseVerb(findVerb("exec"), o, args)
	return o, rest, stderr.String(), err
}

// TestFlagTables: every flag of every verb can be defined, is there once, and
// says something in the help unless it is hidden.
func TestFlagTables(t *testing.T) {
	p, _, _ := testProgram("flatrun")
	var check func(v *verb)
	check = func(v *verb) {
		for i := range v.verbs {
			check(&v.verbs[i])
		}
		if v.run == nil && v.refuse == "" && v.verbs == nil {
			t.Errorf("%s does nothing", v.name)
		}
		set := p.newFlagSet(v.name)
		for _, f := range p.verbFlags(v, &options{}) {
			if set.Lookup(f.name) != nil {
				t.Errorf("%s: --%s is there twice", v.name, f.name)
				continue
			}
			f.define(set)
			if set.Lookup(f.name) == nil {
				t.Errorf("%s: --%s has a value of a kind that define does not know: %T", v.name, f.name, f.value)
			}
			if !f.hidden && f.help == "" {
				t.Errorf("%s: --%s has no help", v.name, f.name)
			}
		}
	}
	all := verbs()
	for i := range all {
		check(&all[i])
	}
}

// TestKnownFlags: the flags of Apptainer's exec are all there, with their short forms.
func TestKnownFlags(t *testing.T) {
	const flags = `add-caps allow-setuid app apply-cgroups bind:B blkio-weight blkio-weight-device cdi-dirs cleanenv:e compat contain:c
		containall:C containlibs cpu-shares cpus cpuset-cpus cpuset-mems cwd device disable-cache dmtcp-launch dmtcp-restart dns
		docker-host docker-login docker-password docker-username drop-caps env env-file fakeroot:f fusemount home:H hostname
		ignore-fakeroot-command ignore-subuid ignore-userns intel-hpu ipc:i keep-privs memory memory-reservation memory-swap mount net:n
		netns-path network network-args no-env no-eval no-home no-https no-init no-mount no-nv no-pid no-privs no-rocm no-umask nohttps nv
		nvccli oom-kill-disable overlay:o passphrase pem-path pid:p pids-limit pwd rocm runscript-timeout scratch:S security sharens
		tmpdir underlay unsquash userns:u uts workdir:W writable:w writable-tmpfs compat32 authfile`
	p, _, _ := testProgram("flatrun")
	set := p.newFlagSet("exec")
	for _, f := range p.verbFlags(findVerb("exec"), &options{}) {
		f.define(set)
	}
	for _, want := range strings.Fields(flags) {
		name, short, _ := strings.Cut(want, ":")
		if f := set.Lookup(name); f == nil || f.Shorthand != short {
			t.Errorf("--%s (-%s) is missing or has another short form", name, short)
		}
	}
}

func TestTwins(t *testing.T) {
	cases := []struct {
		name    string
		environ []string
		args    []string
		got     func(*options) any
		want    any
		log     string
	}{
		{"own name is strongest", []string{"SINGULARITY_WORKDIR=/s", "APPTAINER_WORKDIR=/a", "FLATRUN_WORKDIR=/f"}, nil, func(o *options) any { return o.Workdir }, "/f", "different values"},
		{"then Apptainer's", []string{"SINGULARITY_WORKDIR=/a", "APPTAINER_WORKDIR=/a"}, nil, func(o *options) any { return o.Workdir }, "/a", ""},
		{"then Singularity's", []string{"SINGULARITY_WORKDIR=/s"}, nil, func(o *options) any { return o.Workdir }, "/s", "APPTAINER_WORKDIR is preferred"},
		{"the flag is stronger", []string{"APPTAINER_WORKDIR=/a"}, []string{"-W", "/flag"}, func(o *options) any { return o.Workdir }, "/flag", ""},
		{"an empty one is none", []string{"APPTAINER_WORKDIR= "}, nil, func(o *options) any { return o.Workdir }, "", ""},
		{"binds add up", []string{"APPTAINER_BIND=/a", "APPTAINER_BINDPATH=/b"}, []string{"-B", "/c"}, func(o *options) any { return []string(o.Bind) }, []string{"/c", "/a", "/b"}, ""},
		{"lists are trimmed", []string{"APPTAINER_NOENV=A , B"}, nil, func(o *options) any { return o.NoEnv }, []string{"A", "B"}, ""},
		{"lists stand back", []string{"APPTAINER_NOENV=A"}, []string{"--no-env", "C,D", "--no-env", "E"}, func(o *options) any { return o.NoEnv }, []string{"C", "D", "E"}, ""},
		{"booleans", []string{"APPTAINER_CONTAINALL=1"}, nil, func(o *options) any { return o.Contain && o.PID && o.IPC && o.CleanEnv }, true, ""},
		{"booleans that are off", []string{"APPTAINER_CONTAIN=0"}, nil, func(o *options) any { return o.Contain }, false, ""},
		{"home is noticed", []string{"APPTAINER_HOME=/h"}, nil, func(o *options) any { return o.HomeGiven }, true, ""},
		{"home is left alone", nil, nil, func(o *options) any { return o.HomeGiven }, false, ""},
		{"compat", nil, []string{"--compat"}, func(o *options) any { return o.NoInit && o.NoUmask && o.NoEval && o.WritableTmpfs && o.ContainAll }, true, ""},
		{"no-pid is last", nil, []string{"-C", "--no-pid"}, func(o *options) any { return o.PID }, false, ""},
		{"hostname implies uts", nil, []string{"--hostname", "x"}, func(o *options) any { return o.UTS }, true, ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			o, _, log, err := parseExec(t, c.environ, append(c.args, "image", "cmd", "--flag")...)
			if err != nil {
				t.Fatal(err)
			}
			if got := c.got(o); !reflect.DeepEqual(got, c.want) {
				t.Errorf("got %v, want %v", got, c.want)
			}
			if c.log == "" && log != "" || !strings.Contains(log, c.log) {
				t.Errorf("log is %q, want %q", log, c.log)
			}
		})
	}
}

func TestOperandsEndFlags(t *testing.T) {
	_, rest, _, err := parseExec(t, nil, "-c", "image", "cmd", "-B", "--help", "--")
	if err != nil || !slices.Equal(rest, []string{"image", "cmd", "-B", "--help", "--"}) {
		t.Errorf("rest = %q, %v", rest, err)
	}
	_, rest, _, err = parseExec(t, nil, "-c", "--", "image", "cmd")
	if err != nil || !slices.Equal(rest, []string{"image", "cmd"}) {
		t.Errorf("rest = %q, %v", rest, err)
	}
}

func TestPairs(t *testing.T) {
	cases := []struct{ text, want, fail string }{
		{text: "A=1", want: "A=1"},
		{text: "A=1,B=2", want: "A=1|B=2"},
		{text: "A=1,2,3", want: "A=1,2,3"},
		{text: "A=1,2,B=3,4", want: "A=1,2|B=3,4"},
		{text: "PATH=/a:/b,", want: "PATH=/a:/b,"},
		{text: "A=x=y,B=", want: "A=x=y|B="},
		{text: `"A=1,B=2",C=3`, want: "A=1,B=2|C=3"},
		{text: "A=", want: "A="},
		{text: "=x", want: "=x"},
		{text: "A=1,=2", want: "A=1,=2"},
		{text: "A", fail: "must be formatted as key=value"},
		{text: "", fail: "must be formatted as key=value"},
	}
	for _, c := range cases {
		var p pairs
		err := p.Set(c.text)
		if c.fail != "" {
			if err == nil || !strings.Contains(err.Error(), c.fail) {
				t.Errorf("%q: %v, want %q", c.text, err, c.fail)
			}
			continue
		}
		var got []string
		for _, kv := range p {
			got = append(got, kv[0]+"="+kv[1])
		}
		if err != nil || strings.Join(got, "|") != c.want {
			t.Errorf("%q: %q, %v; want %q", c.text, got, err, c.want)
		}
	}
	var p pairs
	p.Set("A=1,B=2")
	p.Set("A=3")
	if len(p) != 2 || p[1] != [2]string{"A", "3"} {
		t.Errorf("set twice: %q", p)
	}
}

func TestExitCodes(t *testing.T) {
	cases := []struct {
		err    error
		code   int
		stderr string
	}{
		{nil, 0, ""},
		{exitCode(37), 37, ""},
		{fmt.Errorf("payload: %w", exitCode(3)), 3, ""},
		{usageError{reason: "odd"}, 1, "Error for command \"flatrun\": odd\n"},
		{usageError{verb: findVerb("exec"), reason: "odd"}, 1, "Error for command \"exec\": odd\n"},
		{scriptError{"no shell"}, 1, "ERROR:   no shell\n"},
		{errors.New("broken"), 255, "FATAL:   broken\n"},
	}
	for _, c := range cases {
		p, _, stderr := testProgram("flatrun")
		if code := p.exit(c.err); code != c.code || !strings.HasPrefix(stderr.String(), c.stderr) || c.stderr == "" && stderr.Len() > 0 {
			t.Errorf("%v: code %d, %q; want %d, %q", c.err, code, stderr, c.code, c.stderr)
		}
	}
}

func TestMessages(t *testing.T) {
	cases := []struct{ args, want string }{
		{"", "FATAL ERROR WARNING INFO"},
		{"-q", "FATAL ERROR WARNING"},
		{"-s", "FATAL ERROR"},
		{"-v", "FATAL ERROR WARNING INFO"},
		{"-d", "FATAL ERROR WARNING INFO DEBUG"},
		{"-q -d", "FATAL ERROR WARNING INFO DEBUG"},
		{"--silent --nocolor", "FATAL ERROR"},
	}
	for _, c := range cases {
		p, _, stderr := testProgram("flatrun")
		if _, err := p.parseGlobal(append(strings.Fields(c.args), "exec")); err != nil {
			t.Fatal(err)
		}
		p.log.fatal(errors.New("x"))
		p.log.errorf("x")
		p.log.warnf("x")
		p.log.infof("x")
		p.log.debugf("x")
		got := strings.Join(strings.FieldsFunc(strings.ReplaceAll(stderr.String(), " ", ""), func(r rune) bool { return r == '\n' }), " ")
		if got = strings.ReplaceAll(got, ":x", ""); got != c.want {
			t.Errorf("%q shows %q, want %q", c.args, got, c.want)
		}
	}
	p, _, stderr := testProgram("flatrun", "APPTAINER_MESSAGELEVEL=-3")
	p.parseGlobal([]string{"exec"})
	p.log.warnf("x")
	if stderr.Len() > 0 {
		t.Errorf("the outer call's level is not kept: %q", stderr)
	}
}

// TestHeldMessages: the error comes first, whatever was to be said before it.
func TestHeldMessages(t *testing.T) {
	p, _, stderr := testProgram("flatrun")
	p.log.hold = true
	p.log.infof("later")
	if stderr.Len() > 0 {
		t.Errorf("not held: %q", stderr)
	}
	p.log.fatal(errors.New("first"))
	if got := stderr.String(); got != "FATAL:   first\nINFO:    later\n" {
		t.Errorf("got %q", got)
	}
}

func TestSlog(t *testing.T) {
	p, _, stderr := testProgram("flatrun")
	log := p.slog()
	log.Warn("left out", "target", "/x")
	log.Debug("not shown")
	log.With("a", 1).WithGroup("g").Info("plain")
	log.Log(t.Context(), slog.LevelError, "bad")
	if got, want := stderr.String(), "WARNING: left out target=/x\nINFO:    plain\nERROR:   bad\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestHelpFits(t *testing.T) {
	for _, v := range verbs() {
		p, stdout, _ := testProgram("flatrun")
		if err := p.printVerbHelp(&v); err != nil {
			t.Fatal(err)
		}
		text, _, _ := strings.Cut(stdout.String(), "\nExamples:")
		for line := range strings.Lines(text) {
			if len(line) > helpWidth+1 {
				t.Errorf("%s: a line of %d: %q", v.name, len(line), line)
			}
		}
		if !v.hidden && v.refuse == "" && v.verbs == nil && v.examples == "" {
			t.Errorf("%s has no example", v.name)
		}
	}
}

func TestCandidates(t *testing.T) {
	cases := []struct{ words, want string }{
		{"ex", "exec"},
		{"-q ru", "run run-help"},
		{"-c ", ""},
		{"--config file sta", "status"},
		{"exec --con", "--contain --containall"},
		{"exec --bind ", ""},
		{"exec --bind /x --writ", "--writable --writable-tmpfs"},
		{"exec -c --pw", "--pwd"},
		{"exec image --pw", ""},
		{"exec image cm", ""},
		{"config s", "show"},
		{"nonsense ", ""},
		{"--ver", "--verbose --version"},
		{"exec --docker", ""},
	}
	for _, c := range cases {
		p, _, _ := testProgram("flatrun")
		words := strings.Split(c.words, " ")
		if got := strings.Join(p.candidates(words[:len(words)-1], words[len(words)-1]), " "); got != c.want {
			t.Errorf("%q: %q, want %q", c.words, got, c.want)
		}
	}
}
