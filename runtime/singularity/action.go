package singularity

import (
	"fmt"
	"sort"
	"strings"
)

// hostPrefix marks the host's variables while the image's shell evaluates the
// scripts, which must not see them.
const hostPrefix = "__FLATRUN_HOST_"

// actionScript leaves the evaluation to the image's own shell: it is given the
// same steps as a script, and then becomes the command.
func (e *evaluation) actionScript(args []string, need needShell) (Process, error) {
	if !e.root.executable("/bin/sh") {
		return Process{}, fmt.Errorf("environment of image %s: %w, and it has no /bin/sh", e.settings.Container, need)
	}
	env := make(variables, len(e.host))
	for name, value := range e.host {
		if isFunction(name) {
			env.set(name, value.Str) // no shell but bash would know what to do with it
			continue
		}
		env.set(hostPrefix+name, value.Str)
	}
	for name, value := range e.start() {
		env.set(name, value.Str)
	}
	var b strings.Builder
	b.WriteString(scriptHead)
	e.writeInject(&b)
	b.WriteString(scriptSource)
	e.writeConfig(&b)
	b.WriteString(scriptPaths)
	e.writeRestore(&b)
	b.WriteString(scriptTail)
	words := append([]string{"/bin/sh", "-c", b.String(), "/.singularity.d/actions/" + e.settings.Action}, args...)
	return Process{Args: words, Env: env.environ(), Shell: need.why}, nil
}

// The parts of the script that do not depend on the image. They have to run in
// any POSIX shell. __complete appends the default directories that PATH lacks.
// Shells set some variables on their own, which must not pass for the image's.
const scriptHead = `export PWD
__here=$PWD
unset PATH PS1 SHLVL TERM SHELL HOSTNAME HOSTTYPE MACHTYPE OSTYPE
__complete() {
    __old=${PATH:-}
    for __dir in /usr/local/sbin /usr/local/bin /usr/sbin /usr/bin /sbin /bin; do
        case ":$__old:" in
        *":$__dir:"*) ;;
        *) __old="${__old:+$__old:}$__dir" ;;
        esac
    done
    PATH=$__old
    export PATH
}
__libraries() {
    [ "${LD_LIBRARY_PATH:-}" = /.singularity.d/libs ] || return 0
    if [ -z "${PREPEND_LD_LIBRARY_PATH:-}" ] && [ -z "${APPEND_LD_LIBRARY_PATH:-}" ]; then
        case "$(cd /.singularity.d/libs 2>/dev/null && echo *)" in
        "" | "*") return 0 ;;
        esac
    fi
    for __dir in $( (/sbin/ldconfig -Nv | /bin/sed '/^\t/d;s/:.*//') 2>/dev/null ); do
        __dirs="${__dirs:+$__dirs:}$__dir"
    done
    LD_LIBRARY_PATH="${__dirs:+$__dirs:}$LD_LIBRARY_PATH"
    export LD_LIBRARY_PATH
}
`

const scriptSource = `if [ -d /.singularity.d/env ]; then
    for __script in /.singularity.d/env/*.sh; do
        [ -f "$__script" ] || continue
        case "$__script" in
        */99-runtimevars.sh) continue ;;
        */90-environment.sh) [ -n "${PATH+x}" ] || __complete ;;
        esac
        . "$__script"
        case "$__script" in
        */10-docker2singularity.sh | */10-docker.sh) __complete ;;
        */99-base.sh) __inject ;;
        esac
    done
elif [ -f /environment ]; then
    . /environment
    __complete
    __inject
else
`

const scriptPaths = `[ -z "${SING_USER_DEFINED_PREPEND_PATH:-}" ] || PATH="$SING_USER_DEFINED_PREPEND_PATH:$PATH"
[ -z "${SING_USER_DEFINED_APPEND_PATH:-}" ] || PATH="$PATH:$SING_USER_DEFINED_APPEND_PATH"
[ -z "${SING_USER_DEFINED_PATH:-}" ] || PATH=$SING_USER_DEFINED_PATH
unset SING_USER_DEFINED_PREPEND_PATH SING_USER_DEFINED_APPEND_PATH SING_USER_DEFINED_PATH
export PATH
if [ -n "${LD_LIBRARY_PATH:-}" ]; then
    [ -z "${PREPEND_LD_LIBRARY_PATH:-}" ] || LD_LIBRARY_PATH="$PREPEND_LD_LIBRARY_PATH:$LD_LIBRARY_PATH"
    [ -z "${APPEND_LD_LIBRARY_PATH:-}" ] || LD_LIBRARY_PATH="$LD_LIBRARY_PATH:$APPEND_LD_LIBRARY_PATH"
fi
`

const scriptTail = `PS1=${PS1:-Apptainer> }
if [ -z "${PROMPT_COMMAND:-}" ]; then
    PROMPT_COMMAND="PS1=\"$PS1\"; unset PROMPT_COMMAND"
else
    PROMPT_COMMAND="$PROMPT_COMMAND; PROMPT_COMMAND=\"\${PROMPT_COMMAND%%; PROMPT_COMMAND=*}\"; PS1=\"$PS1\""
fi
APPTAINER_ENVIRONMENT=${APPTAINER_ENVIRONMENT:-/.singularity.d/env/91-environment.sh}
SINGULARITY_ENVIRONMENT=$APPTAINER_ENVIRONMENT
export PS1 PROMPT_COMMAND APPTAINER_ENVIRONMENT SINGULARITY_ENVIRONMENT
[ "$PWD" = "$__here" ] || cd "$__here"
unset -f __complete __libraries __inject
unset __old __dir __dirs __script __here
case "$1" in
*/*)
    [ -e "$1" ] || { echo "FATAL:   $1: no such file in the image" >&2; exit 255; }
    [ -x "$1" ] && [ ! -d "$1" ] || { echo "FATAL:   $1: is not executable" >&2; exit 255; } ;;
*) command -v "$1" >/dev/null 2>&1 || { echo "FATAL:   $1: no such command in the image (PATH is $PATH)" >&2; exit 255; } ;;
esac
exec "$@"
`

// writeConfig ends scriptSource with what an image without scripts gets: the
// variables of its OCI configuration.
func (e *evaluation) writeConfig(b *strings.Builder) {
	if config := e.settings.Config; config != nil {
		for _, kv := range config.Env {
			if name, value, ok := strings.Cut(kv, "="); ok && validName(name) {
				fmt.Fprintf(b, "    export %s=%s\n", name, quote(value))
			}
		}
		b.WriteString("    __complete\n")
	}
	b.WriteString("    __inject\nfi\n")
}

// writeInject makes a function that sets what the user asked for.
func (e *evaluation) writeInject(b *strings.Builder) {
	fmt.Fprintf(b, "__inject() {\n    [ -n \"${PATH+x}\" ] || export PATH=%s\n", DefaultPath)
	for _, v := range e.injected {
		value := v.value
		if v.name == "LD_LIBRARY_PATH" && value != "" {
			value += ":" + libraryDir
		}
		if v.literal {
			value = quote(value)
		} else {
			value = doubleQuoted(value)
		}
		fmt.Fprintf(b, "    export %s=%s\n", v.name, value)
	}
	b.WriteString("    __libraries\n}\n")
}

// writeRestore brings the host's variables back where nothing took their place.
func (e *evaluation) writeRestore(b *strings.Builder) {
	names := make([]string, 0, len(e.host))
	for name := range e.host {
		if !isFunction(name) {
			names = append(names, name)
		}
	}
	sort.Strings(names)
	for _, name := range names {
		fmt.Fprintf(b, "if [ -z \"${%[1]s+x}\" ]; then export %[1]s=\"$%[2]s%[1]s\"; elif [ -z \"$%[1]s\" ]; then unset %[1]s; fi; unset %[2]s%[1]s\n", name, hostPrefix)
	}
	for _, name := range frozen {
		if v, ok := e.host[name]; ok {
			fmt.Fprintf(b, "export %s=%s\n", name, quote(v.Str))
		}
	}
}

// doubleQuoted makes s one word of a shell that is evaluated.
func doubleQuoted(s string) string { return `"` + strings.ReplaceAll(s, `"`, `\"`) + `"` }

// quote makes s one literal word of a shell.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
