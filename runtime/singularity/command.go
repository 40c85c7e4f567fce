package singularity

import (
	"fmt"
	"path"
	"strings"
)

// words are what the action runs. Empty without an error: nothing is to be run.
func (s *Settings) words(root *Root) ([]string, error) {
	switch s.Action {
	case "exec":
		return s.Args, nil
	case "shell":
		return s.shellWords(root)
	case "run":
		return s.runWords(root)
	case "test":
		return s.scriptWords(root, "test", "test", "No tests", "No test script found in container, exiting")
	case "start":
		return s.scriptWords(root, "startscript", "startscript", "No startscript", "No instance start script found in container")
	}
	return nil, fmt.Errorf("unknown action %q", s.Action)
}

// shellWords chooses the shell: the user's, bash without the host's habits, sh.
func (s *Settings) shellWords(root *Root) ([]string, error) {
	switch {
	case s.Shell != "" && strings.HasPrefix(s.Shell, "/") && root.executable(s.Shell):
		return []string{s.Shell}, nil
	case root.executable("/bin/bash"):
		return []string{"/bin/bash", "--norc"}, nil
	case root.executable("/bin/sh"):
		return []string{"/bin/sh"}, nil
	}
	return nil, &ActionError{"/bin/sh does not exist in container"}
}

// runWords chooses what the image was made for.
func (s *Settings) runWords(root *Root) ([]string, error) {
	if s.App != "" {
		return s.appWords(root, "runscript", "no runscript")
	}
	for _, script := range [...]string{"/.singularity.d/runscript", "/apptainer", "/singularity"} {
		if root.executable(script) {
			return append([]string{script}, s.Args...), nil
		}
	}
	if s.Config != nil {
		if words := s.Config.Command(s.Args); len(words) > 0 {
			return words, nil
		}
	}
	if root.executable("/bin/sh") {
		s.Log.Info("No runscript found in container, executing /bin/sh")
		return append([]string{"/bin/sh"}, s.Args...), nil
	}
	return nil, &ActionError{"No runscript and no /bin/sh executable found in container, aborting"}
}

// scriptWords is a script that images may lack without harm.
func (s *Settings) scriptWords(root *Root, script, appScript, appMissing, missing string) ([]string, error) {
	if s.App != "" {
		return s.appWords(root, appScript, appMissing)
	}
	if name := "/.singularity.d/" + script; root.executable(name) {
		return append([]string{name}, s.Args...), nil
	}
	s.Log.Info(missing)
	if root.executable("/bin/sh") {
		// The container is started all the same: batch systems test in this way
		// whether it can be.
		return []string{"/bin/sh", "-c", ":"}, nil
	}
	return nil, nil
}

// appWords is a script of a SCIF application.
func (s *Settings) appWords(root *Root, script, missing string) ([]string, error) {
	if name := path.Join("/scif/apps", s.App, "scif", script); root.executable(name) {
		return append([]string{name}, s.Args...), nil
	}
	return nil, &ActionError{fmt.Sprintf("%s for contained app: %s", missing, s.App)}
}
