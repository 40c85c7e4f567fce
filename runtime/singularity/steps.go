package singularity

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// errNotDirectory is what a listing of a file fails with, errIsDirectory what
// reading a directory does.
var (
	errNotDirectory error = unix.ENOTDIR
	errIsDirectory  error = unix.EISDIR
)

// boundScripts are environment scripts that binds add to the image's, which the
// listing of a directory does not show.
func (e *evaluation) boundScripts() []string {
	var names []string
	for _, c := range e.root.cover {
		name, ok := strings.CutPrefix(c.Target, envDir+"/")
		if ok && strings.HasSuffix(name, ".sh") && !strings.Contains(name, "/") && !contains(e.scripts, name) {
			names = append(names, name)
		}
	}
	return names
}

// finishPath applies what the user wants of PATH, last of all.
func (e *evaluation) finishPath(vars variables) {
	take := func(name string) string {
		value := vars.get(name)
		delete(vars, name)
		return value
	}
	prepend, add, replace := take("SING_USER_DEFINED_PREPEND_PATH"), take("SING_USER_DEFINED_APPEND_PATH"), take("SING_USER_DEFINED_PATH")
	path := vars.get("PATH")
	if prepend != "" {
		path = prepend + ":" + path
	}
	if add != "" {
		path += ":" + add
	}
	if replace != "" {
		path = replace
	}
	vars.set("PATH", path)
}

// defaultLibraries keeps libraries of the host from hiding the image's own.
// LD_LIBRARY_PATH is searched before the system's directories, so where the
// host's libraries are all that is in it, the image's directories have to be
// named before them: those of its loader cache, or what its ldconfig says.
func (e *evaluation) defaultLibraries() error {
	vars := e.shell.vars
	if vars.get("LD_LIBRARY_PATH") != libraryDir {
		return nil
	}
	if vars.get("PREPEND_LD_LIBRARY_PATH") == "" && vars.get("APPEND_LD_LIBRARY_PATH") == "" && !e.anyIn(libraryDir) {
		return nil
	}
	if dirs := e.settings.Libraries; len(dirs) > 0 {
		vars.set("LD_LIBRARY_PATH", strings.Join(append(slices.Clone(dirs), libraryDir), ":"))
		return nil
	}
	return needShell{errors.New("ldconfig of the image is asked for its library directories")}
}

// anyIn reports whether a directory has, or is covered to have, visible entries.
func (e *evaluation) anyIn(dir string) bool {
	for _, c := range e.root.cover {
		if rest, ok := below(c.Target, dir); ok && rest != "" {
			return true
		}
	}
	entries, err := e.root.readDir(dir)
	if errors.Is(err, errUnknown) {
		return true
	}
	for _, entry := range entries {
		if !strings.HasPrefix(entry.Name(), ".") {
			return true
		}
	}
	return false
}

// finishLibraries applies what the user wants of LD_LIBRARY_PATH.
func (e *evaluation) finishLibraries(vars variables) {
	path := vars.get("LD_LIBRARY_PATH")
	if path == "" {
		return
	}
	if p := vars.get("PREPEND_LD_LIBRARY_PATH"); p != "" {
		path = p + ":" + path
	}
	if p := vars.get("APPEND_LD_LIBRARY_PATH"); p != "" {
		path += ":" + p
	}
	vars.set("LD_LIBRARY_PATH", path)
}

// restore sets the host's variables that the image did not; one that the image
// left empty goes away.
func restore(vars, host variables) {
	for name, value := range host {
		switch v, ok := vars[name]; {
		case !ok || !v.Set:
			vars[name] = value
		case v.Str == "":
			delete(vars, name)
		}
	}
}

// prompt makes interactive shells show where they are. bash sets its own prompt
// when it starts, so it gets ours once more before its first prompt.
func prompt(vars variables) {
	ps1 := vars.get("PS1")
	if ps1 == "" {
		ps1 = "Apptainer> "
	}
	vars.set("PS1", ps1)
	if command := vars.get("PROMPT_COMMAND"); command == "" {
		vars.set("PROMPT_COMMAND", fmt.Sprintf(`PS1="%s"; unset PROMPT_COMMAND`, ps1))
	} else {
		vars.set("PROMPT_COMMAND", fmt.Sprintf(`%s; PROMPT_COMMAND="${PROMPT_COMMAND%%%%; PROMPT_COMMAND=*}"; PS1="%s"`, command, ps1))
	}
	script := vars.get("APPTAINER_ENVIRONMENT")
	if script == "" {
		script = envDir + "/91-environment.sh"
	}
	vars.set("APPTAINER_ENVIRONMENT", script)
	vars.set("SINGULARITY_ENVIRONMENT", script)
}

func contains(list []string, s string) bool {
	for _, x := range list {
		if x == s {
			return true
		}
	}
	return false
}
