package singularity

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"mvdan.cc/sh/v3/syntax"
)

// The prefixes of variables that are meant for the container, the stronger first.
var injectPrefixes = [...]string{"APPTAINERENV_", "SINGULARITYENV_"}

// The prefixes of the runtime's own variables, which stay outside.
var ownPrefixes = [...]string{"APPTAINER_", "SINGULARITY_", "FLATRUN_"}

// alwaysPassed are the host's variables that --cleanenv leaves.
var alwaysPassed = map[string]bool{
	"TERM": true, "http_proxy": true, "HTTP_PROXY": true, "https_proxy": true, "HTTPS_PROXY": true, "no_proxy": true,
	"NO_PROXY": true, "all_proxy": true, "ALL_PROXY": true, "ftp_proxy": true, "FTP_PROXY": true,
}

// neverPassed are the host's variables that mean nothing inside; true marks
// those that APPTAINERENV_ may set all the same.
var neverPassed = map[string]bool{
	"HOME": false, "PATH": false, "LD_LIBRARY_PATH": true,
	"APPTAINER_SHELL": false, "APPTAINER_APPNAME": false, "SINGULARITY_SHELL": false, "SINGULARITY_APPNAME": false,
}

// searchPathNames are the names under which the settings of PATH travel to the
// step that applies them; images have scripts that know these names.
var searchPathNames = map[string]string{
	"PATH": "SING_USER_DEFINED_PATH", "PREPEND_PATH": "SING_USER_DEFINED_PREPEND_PATH", "APPEND_PATH": "SING_USER_DEFINED_APPEND_PATH",
}

// setting is a variable to be set in the container.
type setting struct {
	name, value string
	literal     bool // not to be evaluated
}

// injections collects what the user sets in the container, each name once, in
// the order of setting: --env, files, APPTAINERENV_, SINGULARITYENV_ decide in
// this order, and the weaker come first so that the stronger may refer to them.
func (s *Settings) injections(log *slog.Logger) ([]setting, error) {
	levels := make([][]setting, 0, 4)
	files, err := s.fileSettings()
	if err != nil {
		return nil, err
	}
	given := make([]setting, 0, len(s.Env))
	for _, kv := range s.Env {
		given = append(given, setting{name: kv[0], value: kv[1]})
	}
	for _, v := range files {
		if slices.ContainsFunc(given, func(g setting) bool { return g.name == v.name }) {
			log.Warn(fmt.Sprintf("Ignored environment file variable %s: override from --env", v.name))
		}
	}
	levels = append(levels, permitted(given, "--env ", log), permitted(files, "--env-file ", log))
	for _, prefix := range injectPrefixes {
		levels = append(levels, permitted(prefixed(s.Environ, prefix), prefix, log))
	}
	warnLegacy(levels[3], levels[2], log)
	taken := make(map[string]bool)
	for i, level := range levels {
		kept := level[:0]
		for _, v := range level {
			if !taken[v.name] {
				kept = append(kept, v)
			}
		}
		for _, v := range kept {
			taken[v.name] = true
		}
		levels[i] = kept
	}
	var all []setting
	for i := len(levels) - 1; i >= 0; i-- {
		all = append(all, levels[i]...)
	}
	for i := range all {
		all[i].literal = s.NoEval || !evaluable(all[i], log)
	}
	return all, nil
}

// evaluable reports whether a shell can make something of a value.
func evaluable(v setting, log *slog.Logger) bool {
	if !strings.ContainsAny(v.value, "$`\\") {
		return true
	}
	_, err := syntax.NewParser().Parse(strings.NewReader(doubleQuoted(v.value)), v.name)
	if err != nil {
		log.Warn(fmt.Sprintf("The value of %s is taken as it is, since it cannot be evaluated: %s", v.name, err))
	}
	return err == nil
}

// prefixed lists the variables of the environment that have a prefix, without it.
func prefixed(environ []string, prefix string) []setting {
	var list []setting
	for _, kv := range environ {
		if rest, ok := strings.CutPrefix(kv, prefix); ok {
			if name, value, ok := strings.Cut(rest, "="); ok && name != "" {
				list = append(list, setting{name: name, value: value})
			}
		}
	}
	return list
}

// permitted leaves out what may not be set, and renames the settings of PATH.
func permitted(list []setting, origin string, log *slog.Logger) []setting {
	kept := list[:0]
	for _, v := range list {
		if may, known := neverPassed[v.name]; known && !may && searchPathNames[v.name] == "" {
			log.Warn(fmt.Sprintf("Overriding %s environment variable with %s is not permitted", v.name, origin+v.name))
			continue
		}
		if v.name == "UID" || v.name == "GID" || v.name == "EUID" {
			continue // read-only in shells
		}
		if !validName(v.name) {
			log.Warn(fmt.Sprintf("Ignore environment variable %q: not a valid name", v.name))
			continue
		}
		if name := searchPathNames[v.name]; name != "" {
			v.name = name
		}
		kept = append(kept, v)
	}
	return kept
}

// warnLegacy tells about the older prefix where the newer one would do.
func warnLegacy(legacy, current []setting, log *slog.Logger) {
	newer := make(map[string]string, len(current))
	for _, v := range current {
		newer[v.name] = v.value
	}
	for _, v := range legacy {
		name := strings.TrimPrefix(v.name, "SING_USER_DEFINED_")
		value, ok := newer[v.name]
		switch {
		case !ok:
			log.Info(fmt.Sprintf("Environment variable %s is set, but %s is preferred", injectPrefixes[1]+name, injectPrefixes[0]+name))
		case value != v.value:
			log.Warn(fmt.Sprintf("%s and %s have different values, using the latter", injectPrefixes[1]+name, injectPrefixes[0]+name))
		}
	}
}

// host is the environment that the container starts from: what passes of the
// caller's, and what the runtime tells.
func (s *Settings) host(injected []setting) variables {
	vars := make(variables, len(s.Environ)+24)
	both := func(name, value string) {
		vars.set("APPTAINER_"+name, value)
		vars.set("SINGULARITY_"+name, value)
	}
	if s.NoEval {
		both("NO_EVAL", "1")
	}
	if s.CleanEnv {
		vars.set("LANG", "C")
	} else {
		vars.set("USER_PATH", s.userPath())
	}
	s.pass(vars)
	for _, v := range injected {
		delete(vars, v.name)
	}
	both("CONTAINER", s.Container)
	both("NAME", s.Name)
	both("BIND", s.Bind)
	both("APPNAME", s.App)
	if s.Shell != "" {
		both("SHELL", s.Shell)
	}
	if s.Instance != "" {
		both("INSTANCE", s.Instance)
	}
	vars.set("APPTAINER_COMMAND", s.Action)
	vars.set("HOME", s.Home)
	vars.set("PATH", DefaultPath)
	if s.Dir != "" {
		vars.set("PWD", s.Dir)
	}
	return vars
}

// pass copies the caller's variables that may pass.
func (s *Settings) pass(vars variables) {
	blocked := make(map[string]bool, len(s.NoEnv))
	for _, name := range s.NoEnv {
		blocked[name] = true
	}
	for _, kv := range s.Environ {
		name, value, ok := strings.Cut(kv, "=")
		if !ok || !validName(name) && !isFunction(name) || own(name) {
			continue
		}
		_, never := neverPassed[name]
		if alwaysPassed[name] || !never && !s.CleanEnv && !blocked[name] {
			vars.set(name, value)
		}
	}
}

// isFunction reports whether a variable holds a function that bash exports.
func isFunction(name string) bool {
	return strings.HasPrefix(name, "BASH_FUNC_") && strings.HasSuffix(name, "%%")
}

func own(name string) bool {
	for _, prefix := range ownPrefixes {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	for _, prefix := range injectPrefixes {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

// userPath is the caller's search path, which images may use if they dare.
func (s *Settings) userPath() string {
	for _, kv := range s.Environ {
		if p, ok := strings.CutPrefix(kv, "PATH="); ok {
			return p + ":/bin:/usr/bin:/sbin:/usr/sbin:/usr/local/bin:/usr/local/sbin"
		}
	}
	return ":/bin:/usr/bin:/sbin:/usr/sbin:/usr/local/bin:/usr/local/sbin"
}
