package singularity

import (
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"testing"

	"github.com/flatrun/flatrun/runtime/image"
)

// ducc are the files that DUCC writes into the images it unpacks.
var ducc = map[string]string{
	".singularity.d/env/01-base.sh":               "#!/bin/sh\n",
	".singularity.d/env/10-docker2singularity.sh": "#!/bin/sh\nexport PATH=\"/opt/app/bin:/usr/bin:/bin\"\nexport FOO=\"${FOO:-\"bar baz\"}\"\nexport LANG=\"${LANG:-\"C.UTF-8\"}\"\n",
	".singularity.d/env/90-environment.sh":        "#!/bin/sh\n# nothing\n",
	".singularity.d/env/95-apps.sh":               appsScript,
	".singularity.d/env/99-base.sh":               baseScript,
	".singularity.d/env/99-runtimevars.sh":        "#!/bin/sh\nexport WRONG=1\n",
	".singularity.d/libs/.keep":                   "",
	"bin/sh":                                      "x",
}

const appsScript = `#!/bin/sh
if test -n "${SINGULARITY_APPNAME:-}"; then
    export SINGULARITY_APPNAME
    if test -d "/scif/apps/${SINGULARITY_APPNAME:-}/"; then
        SCIF_APPROOT="/scif/apps/${SINGULARITY_APPNAME:-}"
        export SCIF_APPROOT
        PATH="/scif/apps/${SINGULARITY_APPNAME:-}/bin:$PATH"
        if [ -f "/scif/apps/${SINGULARITY_APPNAME:-}/scif/env/90-environment.sh" ]; then
            . "/scif/apps/${SINGULARITY_APPNAME:-}/scif/env/90-environment.sh"
        fi
        export PATH
    else
        echo "Could not locate the container application: ${SINGULARITY_APPNAME}"
        exit 1
    fi
fi
`

const baseScript = `#!/bin/sh
if [ -z "$LD_LIBRARY_PATH" ]; then
    LD_LIBRARY_PATH="/.singularity.d/libs"
else
    LD_LIBRARY_PATH="$LD_LIBRARY_PATH:/.singularity.d/libs"
fi
PS1="Singularity> "
export LD_LIBRARY_PATH PS1
`

// with returns DUCC's files and more.
func with(more map[string]string) map[string]string {
	all := make(map[string]string)
	for name, text := range ducc {
		all[name] = text
	}
	for name, text := range more {
		all[name] = text
	}
	return all
}

// makeImage writes files; text "-> x" makes a link to x. All are executable.
func makeImage(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		if target, ok := strings.CutPrefix(text, "-> "); ok {
			err = os.Symlink(target, file)
		} else {
			err = os.WriteFile(file, []byte(text), 0o755)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// lines is a log that keeps "LEVEL message" lines.
func lines(out *strings.Builder) *slog.Logger {
	return slog.New(slog.NewTextHandler(out, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}))
}

const libs, def = "/.singularity.d/libs", DefaultPath

var environmentCases = []struct {
	name  string
	files map[string]string
	s     Settings
	want  []string // NAME=value, or -NAME for one that must not be set
	log   string
}{
	{
		name: "defaults of DUCC's images", files: ducc,
		s:    Settings{Environ: []string{"PATH=/host", "HOME=/h", "HOSTVAR=1", "FOO=host", "LD_LIBRARY_PATH=/hostlib"}},
		want: []string{"PATH=/opt/app/bin:/usr/bin:/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/sbin", "FOO=bar baz", "HOSTVAR=1", "HOME=/home/u", "LD_LIBRARY_PATH=" + libs, "PS1=Singularity> ", "-WRONG", "USER_PATH=/host:/bin:/usr/bin:/sbin:/usr/sbin:/usr/local/bin:/usr/local/sbin"},
	},
	{
		name: "what the runtime tells", files: ducc,
		s:    Settings{Container: "/img/x", Name: "x", Bind: "/a,/b", Shell: "/bin/zsh"},
		want: []string{"APPTAINER_CONTAINER=/img/x", "SINGULARITY_CONTAINER=/img/x", "APPTAINER_NAME=x", "SINGULARITY_NAME=x", "APPTAINER_BIND=/a,/b", "SINGULARITY_BIND=/a,/b", "APPTAINER_COMMAND=exec", "APPTAINER_ENVIRONMENT=/.singularity.d/env/91-environment.sh", "SINGULARITY_ENVIRONMENT=/.singularity.d/env/91-environment.sh", "APPTAINER_APPNAME=", `PROMPT_COMMAND=PS1="Singularity> "; unset PROMPT_COMMAND`},
	},
	{
		name: "order of strength", files: ducc,
		s: Settings{
			Environ: []string{"APPTAINERENV_A=3", "SINGULARITYENV_A=4", "SINGULARITYENV_B=4", "APPTAINERENV_C=3", "A=6", "B=6", "C=6", "D=6", "APPTAINERENV_FOO=inject"},
			Env:     [][2]string{{"A", "1"}}, EnvFiles: []EnvFile{{"f", []byte("A=2\nC=2\n")}, {"g", []byte("C=two")}},
		},
		want: []string{"A=1", "B=4", "C=two", "D=6", "FOO=inject"},
		log:  "Environment variable SINGULARITYENV_B is set, but APPTAINERENV_B is preferred",
	},
	{
		name: "different values under both prefixes", files: ducc,
		s:    Settings{Environ: []string{"APPTAINERENV_A=1", "SINGULARITYENV_A=2"}},
		want: []string{"A=1"}, log: "SINGULARITYENV_A and APPTAINERENV_A have different values, using the latter",
	},
	{
		name: "cleanenv", files: ducc,
		s: Settings{
			CleanEnv: true,
			Environ:  []string{"A=1", "TERM=xterm", "http_proxy=p", "HTTPS_PROXY=q", "LANG=de", "APPTAINERENV_B=2", "PATH=/x"},
		},
		want: []string{"-A", "TERM=xterm", "http_proxy=p", "HTTPS_PROXY=q", "LANG=C.UTF-8", "B=2", "-USER_PATH"},
	},
	{
		name: "cleanenv of an image without scripts", files: map[string]string{"bin/sh": "x"},
		s:    Settings{CleanEnv: true, Environ: []string{"LANG=de"}},
		want: []string{"LANG=C", "PATH=" + def, "PS1=Apptainer> ", "-LD_LIBRARY_PATH"},
	},
	{
		name: "LANG is the user's to change", files: map[string]string{},
		s:    Settings{CleanEnv: true, Environ: []string{"APPTAINERENV_LANG=en"}},
		want: []string{"LANG=en"},
	},
	{
		name: "no-env", files: ducc,
		s:    Settings{NoEnv: []string{"A", "B"}, Environ: []string{"A=1", "B=2", "C=3", "APPTAINERENV_B=4"}},
		want: []string{"-A", "B=4", "C=3"},
	},
	{
		name: "names that may not be set", files: ducc,
		s:    Settings{Environ: []string{"APPTAINERENV_HOME=/x", "SINGULARITYENV_APPTAINER_APPNAME=y", "APPTAINERENV_=z", "APPTAINERENV_a-b=1"}},
		want: []string{"HOME=/home/u", "APPTAINER_APPNAME=", "-a-b"},
		log:  "Overriding HOME environment variable with APPTAINERENV_HOME is not permitted",
	},
	{
		name: "the runtime's own stay outside", files: ducc,
		s:    Settings{Environ: []string{"APPTAINER_CACHEDIR=/x", "SINGULARITY_TMPDIR=/y", "FLATRUN_CONFIG=/z"}},
		want: []string{"-APPTAINER_CACHEDIR", "-SINGULARITY_TMPDIR", "-FLATRUN_CONFIG"},
	},
	{
		name: "PATH: prepend and append", files: ducc,
		s:    Settings{Environ: []string{"APPTAINERENV_PREPEND_PATH=/p", "SINGULARITYENV_APPEND_PATH=/a"}},
		want: []string{"PATH=/p:/opt/app/bin:/usr/bin:/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/sbin:/a", "-SING_USER_DEFINED_PREPEND_PATH", "-PREPEND_PATH"},
	},
	{
		name: "PATH: replace, comma and all", files: ducc,
		s:    Settings{Environ: []string{"APPTAINERENV_PATH=/usr/bin:/bin,", "APPTAINERENV_PREPEND_PATH=/p"}},
		want: []string{"PATH=/usr/bin:/bin,"},
	},
	{
		name: "PATH: extended by its own value", files: ducc,
		s:    Settings{Env: [][2]string{{"PATH", "$PATH:/foo"}}},
		want: []string{"PATH=/opt/app/bin:/usr/bin:/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/sbin:/foo"},
	},
	{
		name: "LD_LIBRARY_PATH is the user's to set", files: ducc,
		s:    Settings{Env: [][2]string{{"LD_LIBRARY_PATH", "/foo,"}}},
		want: []string{"LD_LIBRARY_PATH=/foo,:" + libs},
	},
	{
		name: "LD_LIBRARY_PATH of the image", files: with(map[string]string{".singularity.d/env/90-environment.sh": "export LD_LIBRARY_PATH=/img\n"}),
		s:    Settings{Environ: []string{"APPTAINERENV_PREPEND_LD_LIBRARY_PATH=/p", "APPTAINERENV_APPEND_LD_LIBRARY_PATH=/a"}},
		want: []string{"LD_LIBRARY_PATH=/p:/img:" + libs + ":/a"},
	},
	{
		name: "values are evaluated", files: ducc,
		s:    Settings{Environ: []string{"APPTAINERENV_A=$FOO", `APPTAINERENV_B="$FOO"`, "APPTAINERENV_C='$FOO'", `APPTAINERENV_D=\$FOO`, `APPTAINERENV_E=${NOPE:-x}`}},
		want: []string{"A=bar baz", `B="bar baz"`, "C='bar baz'", "D=$FOO", "E=x"},
	},
	{
		name: "values are not evaluated with no-eval", files: ducc,
		s:    Settings{NoEval: true, Environ: []string{"APPTAINERENV_A=$FOO", "APPTAINERENV_B=$(id -u)", `APPTAINERENV_C=\$FOO`, "APPTAINERENV_D=it's"}},
		want: []string{"A=$FOO", "B=$(id -u)", `C=\$FOO`, "D=it's", "APPTAINER_NO_EVAL=1"},
	},
	{
		name: "odd values pass unharmed", files: ducc,
		s:    Settings{Environ: []string{"M=Hello\nWorld", `E=a\nb`, "Q=it's \"x\" $HOME `id`", "EMPTY="}},
		want: []string{"M=Hello\nWorld", `E=a\nb`, "Q=it's \"x\" $HOME `id`", "EMPTY="},
	},
	{
		name: "older than 2.3", files: map[string]string{"environment": "PATH=/canary\nOLD=1\nexport PATH OLD\n"},
		s:    Settings{Environ: []string{"OLD=host", "APPTAINERENV_NEW=1"}},
		want: []string{"PATH=/canary:" + def, "OLD=1", "NEW=1"},
	},
	{
		name: "OCI configuration", files: map[string]string{"bin/sh": "x"},
		s:    Settings{Config: &image.Config{Env: []string{"PATH=/oci:/bin", "K=v $x", "BAD"}}, Environ: []string{"K=host", "L=host"}},
		want: []string{"PATH=/oci:/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin", "K=v $x", "L=host"},
	},
	{
		name: "scripts before OCI configuration", files: ducc,
		s:    Settings{Config: &image.Config{Env: []string{"FOO=oci"}}},
		want: []string{"FOO=bar baz"},
	},
	{
		name: "scripts in their order, functions and loops", files: with(map[string]string{
			".singularity.d/env/91-environment.sh": "add() { LIST=\"${LIST:-}$1 \"; }\nfor x in a b; do add $x; done\nexport LIST\n",
			".singularity.d/env/92-more.sh":        "case $LIST in a*) export CASE=yes;; esac\nif [ -f /opt/data ]; then . /opt/data; fi\nadd c\n",
			"opt/data":                             "export DATA=\"$FOO\"\n",
		}),
		want: []string{"LIST=a b c ", "CASE=yes", "DATA=bar baz"},
	},
	{
		name: "links are followed inside the image", files: with(map[string]string{
			".singularity.d/env/91-environment.sh": "-> /etc/link", "etc/link": "-> ../../../etc/real", "etc/real": "export REAL=1\n",
		}),
		want: []string{"REAL=1"},
	},
	{
		name: "what is no script is left out", files: with(map[string]string{".singularity.d/env/92-dir.sh/x": "", ".singularity.d/env/93-none.sh": "-> /nowhere", ".singularity.d/env/README": "export NO=1\n", ".singularity.d/env/94-last.sh": "export LAST=1\n"}),
		want: []string{"LAST=1", "-NO"},
	},
	{
		name: "frozen names", files: with(map[string]string{".singularity.d/env/91-environment.sh": "export APPTAINER_NAME=other\nexport AFTER=1\n"}),
		s:    Settings{Name: "x"},
		want: []string{"APPTAINER_NAME=x", "AFTER=1"},
	},
	{
		name: "SCIF application", files: with(map[string]string{"scif/apps/foo/scif/env/90-environment.sh": "export INAPP=1\n"}),
		s:    Settings{App: "foo"},
		want: []string{"SCIF_APPROOT=/scif/apps/foo", "INAPP=1", "SINGULARITY_APPNAME=foo", "APPTAINER_APPNAME=foo"},
	},
	{
		name: "a prompt of the host's is set aside", files: map[string]string{},
		s:    Settings{Environ: []string{"PS1=host> ", "PROMPT_COMMAND=date"}},
		want: []string{"PS1=host> ", `PROMPT_COMMAND=date; PROMPT_COMMAND="${PROMPT_COMMAND%%; PROMPT_COMMAND=*}"; PS1="host> "`},
	},
}

func prepare(t *testing.T, files map[string]string, s Settings, cover ...Cover) (Process, string, error) {
	t.Helper()
	dir := makeImage(t, files)
	root, err := OpenRoot(dir, cover...)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	var log strings.Builder
	if s.Action == "" {
		s.Action, s.Args = "exec", []string{"env"}
	}
	if s.Home == "" {
		s.Home = "/home/u"
	}
	s.Log = lines(&log)
	p, err := Prepare(s, root)
	return p, log.String(), err
}

func TestEnvironment(t *testing.T) {
	for _, c := range environmentCases {
		t.Run(c.name, func(t *testing.T) {
			p, log, err := prepare(t, c.files, c.s)
			if err != nil {
				t.Fatal(err)
			}
			if p.Shell != nil {
				t.Fatalf("left to the image's shell: %v", p.Shell)
			}
			checkEnv(t, p.Env, c.want)
			if !strings.Contains(log, c.log) {
				t.Errorf("log %q lacks %q", log, c.log)
			}
		})
	}
}

func checkEnv(t *testing.T, env, want []string) {
	t.Helper()
	for _, w := range want {
		name, absent := strings.CutPrefix(w, "-")
		if !absent && !slices.Contains(env, w) {
			name, _, _ = strings.Cut(w, "=")
			t.Errorf("want %q, have %q", w, find(env, name))
		}
		if absent && find(env, name) != "" {
			t.Errorf("%s must not be set: %q", name, find(env, name))
		}
	}
}

func find(env []string, name string) string {
	for _, kv := range env {
		if strings.HasPrefix(kv, name+"=") {
			return kv
		}
	}
	return ""
}

// TestActionScript runs the script for the image's shell with shells of this
// machine, on a copy whose paths point into the image, and expects the
// environment that the interpreter finds.
func TestActionScript(t *testing.T) {
	for _, sh := range []string{"/bin/dash", "/bin/bash", "/bin/busybox"} {
		if _, err := os.Stat(sh); err != nil {
			t.Logf("no %s here", sh)
			continue
		}
		for _, c := range environmentCases {
			if c.name == "links are followed inside the image" || c.name == "what is no script is left out" {
				continue // their links start at the image's root
			}
			t.Run(filepath.Base(sh)+"/"+c.name, func(t *testing.T) { runActionScript(t, sh, c.files, c.s, c.want) })
		}
	}
}

func runActionScript(t *testing.T, sh string, files map[string]string, s Settings, want []string) {
	files = copyOf(files)
	files["bin/sh"] = "x" // what a shell needs to be asked
	dir := makeImage(t, files)
	for name, text := range files {
		text = strings.NewReplacer("/.singularity.d/libs", "/.singularity.d/libs", "/.singularity.d", dir+"/.singularity.d", `"/scif/apps`, `"`+dir+"/scif/apps", "/opt/data", dir+"/opt/data").Replace(text)
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	root, err := OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	s.Action, s.Home, s.Log = "exec", "/home/u", slog.New(slog.DiscardHandler)
	injected, err := s.injections(s.Log)
	if err != nil {
		t.Fatal(err)
	}
	e := &evaluation{settings: &s, root: root, host: s.host(injected), injected: injected}
	p, err := e.actionScript([]string{"/usr/bin/env", "-0"}, needShell{errUnknown})
	if err != nil {
		t.Fatal(err)
	}
	script := strings.NewReplacer("cd /.singularity.d/libs", "cd "+dir+"/.singularity.d/libs", " /.singularity.d/env", " "+dir+"/.singularity.d/env", " /environment", " "+dir+"/environment").Replace(p.Args[2])
	args := append([]string{"-c", script}, p.Args[3:]...)
	if sh == "/bin/busybox" {
		args = append([]string{"sh"}, args...)
	}
	cmd := exec.Command(sh, args...)
	cmd.Env, cmd.Dir = p.Env, "/"
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, stderr.String())
	}
	env := strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00")
	for i := range env {
		env[i] = strings.ReplaceAll(env[i], dir, "")
	}
	sort.Strings(env)
	checkEnv(t, env, want)
	for _, kv := range env {
		if strings.HasPrefix(kv, "__") {
			t.Errorf("left over: %q", kv)
		}
	}
}

func copyOf(files map[string]string) map[string]string {
	out := make(map[string]string, len(files))
	for name, text := range files {
		out[name] = text
	}
	return out
}
