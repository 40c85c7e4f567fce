package singularity

import (
	"maps"
	"slices"
	"testing"
	"time"

	"mvdan.cc/sh/v3/expand"
)

// start of both ways, with a variable of each sort.
func plainVars() variables {
	vars := variables{"LOCAL": {Set: true, Kind: expand.String, Str: "local"}}
	vars.set("HOME", "/home/u")
	vars.set("EMPTY", "")
	vars.set("SET", "it's set")
	return vars
}

// interpreted runs a script with the interpreter.
func interpreted(script string) (variables, error) {
	s := &shell{root: &Root{cover: []Cover{{Target: "/"}}}, vars: plainVars(), timeout: time.Minute}
	err := s.evaluate(script)
	return s.vars, err
}

func TestPlain(t *testing.T) {
	cases := []struct {
		script string
		plain  bool // whether it is to be understood
	}{
		{"#!/bin/sh\n\n  # x\n", true},
		{"A=1\nB='two words'\nC=\"$A-$B\"\nexport A\n", true},
		{"export A=\"${A:-\"bar baz\"}\" B=${SET}\n", true},
		{"export A=\"${EMPTY:-x}${SET:-y}${NOPE:-}$NOPE\"\n", true},
		{"A=\"\\$SET \\\"q\\\" \\\\ \\n $ $/ :$:\"\n", true},
		{"SET=x\nunset EMPTY NOPE\n", true},
		{"export SET LOCAL\nLOCAL=changed\n", true},
		{"if [ -z \"$NOPE\" ]; then\n    A=1\nelse\n    A=2\nfi\nexport A\n", true},
		{"if test -n \"${SET:-}\"; then\n  if [ -n \"$EMPTY\" ]; then\n A=1\n else\n A=2\n fi\nfi\n", true},
		{"if [ -n \"$NOPE\" ]; then\n  echo \"x\"\n  exit 1\nfi\nA=1\n", true},
		{baseScript, true},
		{appsScript, true},
		{ducc[".singularity.d/env/10-docker2singularity.sh"], true},
		{"A=1 # comment\n", false},
		{"A=1; B=2\n", false},
		{"A=$(id)\n", false},
		{"A=`id`\n", false},
		{"A=~/x\n", false},
		{"A=1 B=2\n", false},
		{"A=a\\ b\n", false},
		{"export A\n", false}, // not set yet
		{"export -n SET\n", false},
		{"A=\"${SET%x}\"\n", false},
		{"A=\"${#SET}\"\n", false},
		{"A=$1\n", false},
		{"A=\"$$\"\n", false},
		{"A=(1 2)\n", false},
		{"A+=1\n", false},
		{"UID=1\n", false},
		{"APPTAINER_NAME=1\n", false},
		{"A=\"open\n", false},
		{"if [ -n \"$SET\" ]; then\n echo \"x\"\nfi\n", false},
		{"if [ -n \"$SET\" ]; then A=1; fi\n", false},
		{"if [ -n \"$SET\" ]\nthen\n A=1\nfi\n", false},
		{"if [ -n \"$SET\" ]; then\n A=1\n", false},
		{"fi\n", false},
		{"if [ -n \"$NOPE\" ]; then\n echo \"x\"; if true; then\n fi\nA=1\nfi\n", false},
		{"if [ -n \"$NOPE\" ]; then\n cat <<X\nfi\nX\nfi\n", false},
		{"for i in 1; do\n A=1\ndone\n", false},
		{"f() {\n A=1\n}\n", false},
		{"set -e\n", false},
	}
	for _, c := range cases {
		s := &shell{vars: plainVars()}
		if got := s.plain([]byte(c.script)); got != c.plain {
			t.Errorf("%q: understood %t, want %t", c.script, got, c.plain)
		}
		if c.plain {
			comparePlain(t, c.script, s.vars)
		} else if want := plainVars(); !slices.Equal(s.vars.environ(), want.environ()) {
			t.Errorf("%q: changed %q", c.script, s.vars.environ())
		}
	}
}

// comparePlain expects what the interpreter finds.
func comparePlain(t *testing.T, script string, got variables) {
	t.Helper()
	want, err := interpreted(script)
	if err != nil {
		t.Errorf("%q: the interpreter says %v", script, err)
		return
	}
	for name := range got {
		if !got[name].Set {
			delete(got, name)
		}
	}
	if !maps.EqualFunc(got, want, func(a, b expand.Variable) bool {
		return a.Set == b.Set && a.Exported == b.Exported && a.Str == b.Str && a.Kind == b.Kind
	}) {
		t.Errorf("%q:\n got %+v\nwant %+v", script, got, want)
	}
}

// FuzzPlain holds the short way against the interpreter.
func FuzzPlain(f *testing.F) {
	for _, s := range []string{baseScript, appsScript, ducc[".singularity.d/env/10-docker2singularity.sh"], "A=\"${B:-\"$C\"}\"\nunset A\n", "if test -z \"$X\"; then\nA=1\nelse\n. \"x\"\nfi\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, script string) {
		s := &shell{vars: plainVars()}
		if s.plain([]byte(script)) {
			comparePlain(t, script, s.vars)
		}
	})
}
