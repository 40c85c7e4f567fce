package singularity

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/flatrun/flatrun/runtime/image"
)

// Metadata is what an image tells about itself, in the JSON form that tools read.
type Metadata struct {
	Data struct {
		Attributes Attributes `json:"attributes"`
	} `json:"data"`
	Type string `json:"type"`
}

// Attributes are the parts that were asked for.
type Attributes struct {
	Apps        map[string]*App   `json:"apps,omitempty"`
	Environment map[string]string `json:"environment,omitempty"` // by file
	Labels      map[string]string `json:"labels,omitempty"`
	Runscript   string            `json:"runscript,omitempty"`
	Test        string            `json:"test,omitempty"`
	Helpfile    string            `json:"helpfile,omitempty"`
	Deffile     string            `json:"deffile,omitempty"`
	Startscript string            `json:"startscript,omitempty"`
}

// App is a SCIF application.
type App struct {
	Environment map[string]string `json:"environment,omitempty"`
	Labels      map[string]string `json:"labels,omitempty"`
	Runscript   string            `json:"runscript,omitempty"`
	Test        string            `json:"test,omitempty"`
	Helpfile    string            `json:"helpfile,omitempty"`
}

// Wanted says which parts of the metadata to read.
type Wanted struct {
	Labels, Deffile, Runscript, Startscript, Test, Environment, Help, Apps bool
	App                                                                    string // of one application only
}

// All asks for everything.
func All() Wanted {
	return Wanted{Labels: true, Deffile: true, Runscript: true, Startscript: true, Test: true, Environment: true, Help: true, Apps: true}
}

// Inspect reads an image's metadata. What an image without scripts says in its
// OCI configuration stands in for them.
func Inspect(root *Root, config *image.Config, want Wanted) (*Metadata, error) {
	m := &Metadata{Type: "container"}
	a := &m.Data.Attributes
	apps, err := root.apps()
	if err != nil {
		return nil, err
	}
	if want.App != "" && !slices.Contains(apps, want.App) {
		return m, nil
	}
	for _, name := range apps {
		if !want.Apps && name != want.App {
			continue
		}
		if a.Apps == nil {
			a.Apps = make(map[string]*App)
		}
		if a.Apps[name], err = root.app(name, want); err != nil {
			return nil, err
		}
	}
	if want.App != "" {
		return m, nil
	}
	return m, root.attributes(a, config, want)
}

// attributes reads the parts of the image itself.
func (r *Root) attributes(a *Attributes, config *image.Config, want Wanted) error {
	var errs []error
	read := func(on bool, into *string, names ...string) {
		if on {
			text, err := r.firstText(names...)
			*into = text
			errs = append(errs, err)
		}
	}
	read(want.Runscript, &a.Runscript, "/.singularity.d/runscript")
	read(want.Startscript, &a.Startscript, "/.singularity.d/startscript")
	read(want.Test, &a.Test, "/.singularity.d/test")
	read(want.Help, &a.Helpfile, "/.singularity.d/runscript.help")
	read(want.Deffile, &a.Deffile, "/.singularity.d/Singularity", "/.singularity.d/Apptainer")
	var err error
	if want.Labels {
		a.Labels, err = r.labels("/.singularity.d/labels.json")
		errs = append(errs, err)
	}
	if want.Environment {
		a.Environment, err = r.environment(envDir, true)
		errs = append(errs, err)
	}
	if config != nil {
		a.fill(config, want)
	}
	return errors.Join(errs...)
}

// fill takes from the OCI configuration what the image has no files for.
func (a *Attributes) fill(config *image.Config, want Wanted) {
	if want.Labels && a.Labels == nil && len(config.Labels) > 0 {
		a.Labels = config.Labels
	}
	if want.Environment && a.Environment == nil && len(config.Env) > 0 {
		a.Environment = map[string]string{"OCI configuration": strings.Join(config.Env, "\n")}
	}
	if want.Runscript && a.Runscript == "" {
		a.Runscript = strings.Join(config.Command(nil), " ")
	}
}

// apps lists the SCIF applications.
func (r *Root) apps() ([]string, error) {
	entries, err := r.readDir("/scif/apps")
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, errNotDirectory) {
		return nil, err
	}
	var names []string
	for _, entry := range entries {
		if info, err := r.stat(path.Join("/scif/apps", entry.Name(), "scif")); err == nil && info.IsDir() {
			names = append(names, entry.Name())
		}
	}
	return names, nil
}

func (r *Root) app(name string, want Wanted) (*App, error) {
	dir := path.Join("/scif/apps", name, "scif")
	a := &App{}
	var errs []error
	read := func(on bool, into *string, file string) {
		if on {
			text, err := r.firstText(path.Join(dir, file))
			*into = text
			errs = append(errs, err)
		}
	}
	read(want.Runscript, &a.Runscript, "runscript")
	read(want.Test, &a.Test, "test")
	read(want.Help, &a.Helpfile, "runscript.help")
	var err error
	if want.Labels {
		a.Labels, err = r.labels(path.Join(dir, "labels.json"))
		errs = append(errs, err)
	}
	if want.Environment {
		a.Environment, err = r.environment(path.Join(dir, "env"), false)
		errs = append(errs, err)
	}
	return a, errors.Join(errs...)
}

// firstText returns the first of the files that exists, without trailing empty lines.
func (r *Root) firstText(names ...string) (string, error) {
	for _, name := range names {
		data, err := r.readFile(name)
		if err == nil {
			return strings.TrimRight(string(data), "\n"), nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("read metadata of image: %w", err)
		}
	}
	return "", nil
}

func (r *Root) labels(name string) (map[string]string, error) {
	text, err := r.firstText(name)
	if err != nil || text == "" {
		return nil, err
	}
	var labels map[string]string
	if err := json.Unmarshal([]byte(text), &labels); err != nil {
		return nil, fmt.Errorf("read labels of image: %s is not valid: %w", name, err)
	}
	return labels, nil
}

// environment reads the scripts that set an image's variables: those made from
// a Docker image and those of the image's author.
func (r *Root) environment(dir string, docker bool) (map[string]string, error) {
	entries, err := r.readDir(dir)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, errNotDirectory) {
			err = nil
		}
		return nil, err
	}
	files := make(map[string]string)
	for _, entry := range entries {
		name := entry.Name()
		fromDocker := docker && strings.HasPrefix(name, "10-docker") && strings.HasSuffix(name, ".sh")
		if !fromDocker && !(strings.HasPrefix(name, "9") && strings.HasSuffix(name, "-environment.sh")) {
			continue
		}
		text, err := r.firstText(path.Join(dir, name))
		if err != nil {
			return nil, err
		}
		files[path.Join(dir, name)] = text
	}
	return files, nil
}
