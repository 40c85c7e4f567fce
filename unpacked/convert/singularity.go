package convert

import (
	"encoding/json"
	"strings"

	"golang.org/x/sys/unix"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// skeletonFile is one entry that a flat image gets where its layers have none.
type skeletonFile struct {
	path string
	mode uint32 // st_mode
	text string // content, or a symbolic link's target
}

const (
	modeDir    = unix.S_IFDIR | 0o755
	modeTmp    = unix.S_IFDIR | 0o1777
	modeScript = 0o100755
	modeFile   = 0o100644
	modeLink   = 0o120777
)

// skeleton is what Singularity, Apptainer and flatrun look for in a directory image: the scripts below /.singularity.d
// that set the environment and start the image's program, and the mount points of every container. The names and their
// order are the interface (frontends source env/*.sh in lexical order); the scripts are our own.
func skeleton(c *v1.ConfigFile) []skeletonFile {
	files := []skeletonFile{
		{"", modeDir, ""},
		{"/.exec", modeLink, ".singularity.d/actions/exec"},
		{"/.run", modeLink, ".singularity.d/actions/run"},
		{"/.shell", modeLink, ".singularity.d/actions/shell"},
		{"/.test", modeLink, ".singularity.d/actions/test"},
		{"/.singularity.d", modeDir, ""},
		{"/.singularity.d/actions", modeDir, ""},
		{"/.singularity.d/actions/exec", modeScript, action(`exec "$@"`)},
		{"/.singularity.d/actions/run", modeScript, action(`exec /.singularity.d/runscript "$@"`)},
		{"/.singularity.d/actions/shell", modeScript, action(shellAction)},
		{"/.singularity.d/actions/start", modeScript, action(`exec /.singularity.d/startscript "$@"`)},
		{"/.singularity.d/actions/test", modeScript, action(testAction)},
		{"/.singularity.d/env", modeDir, ""},
		{"/.singularity.d/env/01-base.sh", modeScript, "#!/bin/sh\n"},
		{"/.singularity.d/env/10-docker2singularity.sh", modeScript, imageEnvironment(c.Config.Env)},
		{"/.singularity.d/env/90-environment.sh", modeScript, "#!/bin/sh\n# Variables of this image's own go here.\n"},
		{"/.singularity.d/env/91-environment.sh", modeScript, "#!/bin/sh\n"},
		{"/.singularity.d/env/95-apps.sh", modeScript, "#!/bin/sh\n"},
		{"/.singularity.d/env/99-base.sh", modeScript, baseEnvironment},
		{"/.singularity.d/env/99-runtimevars.sh", modeScript, runtimeEnvironment},
		{"/.singularity.d/labels.json", modeFile, labels(c.Config.Labels)},
		{"/.singularity.d/libs", modeDir, ""},
		{"/.singularity.d/runscript", modeScript, runscript(c.Config.Entrypoint, c.Config.Cmd)},
		{"/.singularity.d/startscript", modeScript, "#!/bin/sh\n"},
		{"/environment", modeLink, ".singularity.d/env/90-environment.sh"},
		{"/singularity", modeLink, ".singularity.d/runscript"},
	}
	for _, dir := range []string{"/dev", "/etc", "/home", "/proc", "/root", "/sys", "/var"} {
		files = append(files, skeletonFile{dir, modeDir, ""})
	}
	return append(files, skeletonFile{"/tmp", modeTmp, ""}, skeletonFile{"/var/tmp", modeTmp, ""})
}

// action is a script that a runtime without an own starter executes: environment first.
func action(last string) string {
	return "#!/bin/sh\nfor script in /.singularity.d/env/*.sh; do\n\t[ ! -f \"$script\" ] || . \"$script\"\ndone\n" + last + "\n"
}

const shellAction = `[ -z "${SINGULARITY_SHELL:-}" ] || exec "$SINGULARITY_SHELL" "$@"
[ ! -x /bin/bash ] || exec /bin/bash --norc "$@"
exec /bin/sh "$@"`

const testAction = `[ ! -x /.singularity.d/test ] || exec /.singularity.d/test "$@"
echo "this image has no test script"`

const baseEnvironment = `#!/bin/sh
# Libraries that the host lends (of a GPU, say) come after the image's own.
LD_LIBRARY_PATH="${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}/.singularity.d/libs"
export LD_LIBRARY_PATH
`

const runtimeEnvironment = `#!/bin/sh
# What the caller adds to the search path with SINGULARITYENV_PREPEND_PATH and SINGULARITYENV_APPEND_PATH.
[ -z "${SING_USER_DEFINED_PREPEND_PATH:-}" ] || PATH="$SING_USER_DEFINED_PREPEND_PATH:$PATH"
[ -z "${SING_USER_DEFINED_PATH:-}" ] || PATH="$SING_USER_DEFINED_PATH"
[ -z "${SING_USER_DEFINED_APPEND_PATH:-}" ] || PATH="$PATH:$SING_USER_DEFINED_APPEND_PATH"
export PATH
unset SING_USER_DEFINED_PREPEND_PATH SING_USER_DEFINED_PATH SING_USER_DEFINED_APPEND_PATH
`

// imageEnvironment sets the image's variables: the search path always, others unless the caller has set them.
func imageEnvironment(env []string) string {
	var b strings.Builder
	b.WriteString("#!/bin/sh\n")
	for _, kv := range env {
		k, v, _ := strings.Cut(kv, "=")
		if !isVariable(k) {
			continue // a shell cannot set it
		}
		if k == "PATH" {
			b.WriteString("export PATH=" + doubleQuoted(v) + "\n")
		} else {
			b.WriteString("export " + k + `="${` + k + ":-" + doubleQuoted(v) + "}\"\n")
		}
	}
	return b.String()
}

func isVariable(s string) bool {
	for i, c := range []byte(s) {
		letter := c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if !letter && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return s != ""
}

// runscript starts the image's program as Docker would: arguments replace the command, never the entry point.
func runscript(entrypoint, cmd []string) string {
	start := "#!/bin/sh\n"
	if len(entrypoint)+len(cmd) == 0 {
		return start + "[ $# -gt 0 ] || set -- /bin/sh\nexec \"$@\"\n"
	}
	if len(cmd) > 0 {
		start += "[ $# -gt 0 ] || set -- " + words(cmd) + "\n"
	}
	if len(entrypoint) > 0 {
		return start + "exec " + words(entrypoint) + " \"$@\"\n"
	}
	return start + "exec \"$@\"\n"
}

func words(list []string) string {
	quoted := make([]string, len(list))
	for i, w := range list {
		quoted[i] = "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
	}
	return strings.Join(quoted, " ")
}

// doubleQuoted is s as a word of sh whose special characters mean themselves.
func doubleQuoted(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "$", `\$`, "`", "\\`").Replace(s) + `"`
}

func labels(l map[string]string) string {
	if l == nil {
		l = map[string]string{}
	}
	b, err := json.MarshalIndent(l, "", "\t")
	if err != nil { // a map of strings always can be written
		return "{}\n"
	}
	return string(b) + "\n"
}
