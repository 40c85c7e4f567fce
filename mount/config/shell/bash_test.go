package shell

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// bash runs a script in the real thing and returns the variables that are set.
func bash(t *testing.T, file string, env map[string]string, names []string) map[string]string {
	t.Helper()
	program, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("no bash to compare with:", err)
	}
	const show = `cd "$(dirname "$1")"; . "$1" >/dev/null 2>&1; shift; for v; do printf '%s=%s\0' "$v" "${!v-unset}"; done`
	args := append([]string{"--norc", "--noprofile", "-c", show, "bash", file}, names...)
	cmd := exec.Command(program, args...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
	for name, value := range env {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("bash %s: %v", file, err)
	}
	vars := make(map[string]string)
	for pair := range bytes.SplitSeq(bytes.TrimSuffix(out, []byte{0}), []byte{0}) {
		name, value, _ := strings.Cut(string(pair), "=")
		vars[name] = value
	}
	return vars
}

// interpret runs the same file here.
func interpret(t *testing.T, file string, env map[string]string) *Interpreter {
	t.Helper()
	in := &Interpreter{
		Vars:     make(map[string]Var),
		Lookup:   func(name string) (string, bool) { v, ok := env[name]; return v, ok },
		ReadFile: os.ReadFile,
		Stat:     os.Stat,
	}
	if err := in.Run(file); err != nil {
		t.Fatalf("%v", err)
	}
	return in
}

// value is what bash would print of a variable.
func (in *Interpreter) value(name string) string {
	if v, ok := in.Vars[name]; ok {
		return v.Value
	}
	if v, ok := in.Lookup(name); ok && !in.gone[name] {
		return v
	}
	return "unset"
}

// TestOfficialStyle: files in the style of those that the client's packages and
// the experiments' config repositories hold mean what they mean to bash.
func TestOfficialStyle(t *testing.T) {
	var files []string
	err := filepath.WalkDir("testdata/etc/cvmfs", func(path string, d fs.DirEntry, err error) error {
		if err == nil && (strings.HasSuffix(path, ".conf") || strings.HasSuffix(path, ".local")) {
			path, err = filepath.Abs(path)
			files = append(files, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	environments := []map[string]string{
		{},
		{"CVMFS_USE_CDN": "yes", "CVMFS_MOUNT_DIR": "/cvmfs", "CVMFS_CONFIG_REPOSITORY": "config.example.org"},
		{"CVMFS_USE_CDN": "no", "CVMFS_HTTP_PROXY": "http://squid:3128"},
		{"CVMFS_CLIENT_PROFILE": "single"},
		{"CVMFS_CLIENT_PROFILE": "custom", "CVMFS_CACHE_BASE": "/big", "CVMFS_BASE_ENV": "1"},
		{"CVMFS_HTTP_PROXY": "DIRECT"},
	}
	for _, file := range files {
		for _, env := range environments {
			in := interpret(t, file, env)
			names := slices.Sorted(maps.Keys(in.Vars))
			want := bash(t, file, env, names)
			for _, name := range names {
				if v := in.Vars[name]; v.Value != want[name] || v.Unknown != "" {
					t.Errorf("%s with %v: %s = %q (%s), bash says %q", file, env, name, v.Value, v.Unknown, want[name])
				}
			}
			if len(in.Warnings) > 0 {
				t.Errorf("%s: warnings %q", file, in.Warnings)
			}
		}
	}
}

// generator writes random scripts of the supported language.
type generator struct {
	*rand.Rand
	b bytes.Buffer
}

var names = []string{"A", "B", "C", "D"}

func (g *generator) pick(words ...string) string { return words[g.IntN(len(words))] }

func (g *generator) name() string { return g.pick(names...) }

func (g *generator) word(depth int) string {
	var b strings.Builder
	for range 1 + g.IntN(3) {
		switch g.IntN(9) {
		case 0:
			b.WriteString(g.pick("x", "http://h:80/@fqrn@", "a,b", "1", "-", "."))
		case 1:
			b.WriteString("'" + g.pick("", "a b", "$A", `\`, `"`, ";|&") + "'")
		case 2:
			b.WriteString(`"` + g.pick("", "a  b", `\$A`, `\\`, `\"`, "'", ";#", "$") + `"`)
		case 3:
			b.WriteString("$" + g.name())
		case 4:
			b.WriteString(`"$` + g.name() + g.pick("", "/x", " ") + `"`)
		case 5:
			b.WriteString("${" + g.name() + "}")
		case 6:
			b.WriteString(`\` + g.pick("a", " ", "$", `\`, "'", ";"))
		default:
			if depth > 0 {
				b.WriteString(`"${` + g.name() + g.pick(":-", "-", ":+", "+", ":=", "=") + g.pick("", "d", "$"+g.name(), "${"+g.name()+":-e}") + `}"`)
			}
		}
	}
	return b.String()
}

func (g *generator) condition() string {
	quoted := func() string { return `"$` + g.name() + `"` }
	test := g.pick(
		"[ "+quoted()+" = "+g.pick("x", "''", quoted())+" ]",
		"[ "+quoted()+" != "+g.pick("1", `""`)+" ]",
		"[ "+g.pick("-z ", "-n ", "! -z ", "")+quoted()+" ]",
		"test x"+g.name()+" == x"+quoted(),
		"[ -z "+quoted()+" "+g.pick("-a", "-o")+" -n "+quoted()+" ]",
		"[ "+g.pick("-d /", "-f /none", "-e /etc")+" ]",
		"true", "false", "! true",
	)
	if g.IntN(3) == 0 {
		test += g.pick(" && ", " || ") + g.pick("true", "false", "[ -n "+quoted()+" ]")
	}
	return test
}

func (g *generator) commands(depth int) {
	for range 1 + g.IntN(4) {
		switch k := g.IntN(8); {
		case k == 0 && depth > 0:
			fmt.Fprintf(&g.b, "if %s%sthen\n", g.condition(), g.pick("; ", "\n", ";\n\n"))
			g.commands(depth - 1)
			if g.IntN(2) == 0 {
				fmt.Fprintf(&g.b, "elif %s; then # comment\n", g.condition())
				g.commands(depth - 1)
			}
			if g.IntN(2) == 0 {
				g.b.WriteString("else\n")
				g.commands(depth - 1)
			}
			g.b.WriteString("fi\n")
		case k == 1:
			fmt.Fprintf(&g.b, "%s && %s=%s || %s=%s\n", g.condition(), g.name(), g.word(1), g.name(), g.word(1))
		case k == 2:
			fmt.Fprintf(&g.b, "%s=%s; %s=%s # x='\n", g.name(), g.word(1), g.name(), g.word(1))
		case k == 3:
			fmt.Fprintf(&g.b, "export %s=\"%s\"\n", g.name(), g.pick("", "v", "$"+g.name()))
		case k == 4:
			fmt.Fprintf(&g.b, "%s+=%s\n", g.name(), g.word(0))
		case k == 5 && g.IntN(2) == 0:
			fmt.Fprintf(&g.b, "%s=$((%s %s (%s - %d)))\n", g.name(), g.pick("1", "-2", "7"), g.pick("+", "-", "*", "/", "%"), g.pick("40", "(5*3)"), g.IntN(9))
		case k == 5:
			fmt.Fprintf(&g.b, "unset %s\n", g.name())
		default:
			fmt.Fprintf(&g.b, "%s=%s\n", g.name(), g.word(1))
		}
	}
}

// TestSameAsBash holds random scripts against bash. The seeds are fixed.
func TestSameAsBash(t *testing.T) {
	dir := t.TempDir()
	for seed := range uint64(150) {
		g := &generator{Rand: rand.New(rand.NewPCG(seed, 1))}
		g.commands(3)
		file := filepath.Join(dir, fmt.Sprint(seed))
		if err := os.WriteFile(file, g.b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
		env := map[string]string{"A": "x", "B": ""}
		in := interpret(t, file, env)
		want := bash(t, file, env, names)
		for _, name := range names {
			if v := in.Vars[name]; v.Unknown != "" {
				t.Errorf("seed %d: %s is unknown: %s\n%s", seed, name, v.Unknown, &g.b)
			} else if got := in.value(name); got != want[name] {
				t.Errorf("seed %d: %s = %q, bash says %q\n%s", seed, name, got, want[name], &g.b)
			}
		}
		if t.Failed() {
			return
		}
	}
}

func TestFaultIsAnError(t *testing.T) {
	err := &Error{Origin{"/f", 3}, fs.ErrNotExist}
	if !errors.Is(err, fs.ErrNotExist) || err.Error() != "/f:3: file does not exist" {
		t.Errorf("got %v", err)
	}
	if got := (Origin{File: "environment"}).String(); got != "environment" {
		t.Errorf("got %q", got)
	}
}
