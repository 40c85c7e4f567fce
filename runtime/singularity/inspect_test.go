package singularity

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/flatrun/flatrun/runtime/image"
)

var described = map[string]string{
	".singularity.d/labels.json":                  `{"version": "1.2"}`,
	".singularity.d/runscript":                    "#!/bin/sh\necho run\n\n",
	".singularity.d/startscript":                  "start\n",
	".singularity.d/test":                         "test\n",
	".singularity.d/runscript.help":               "help\n",
	".singularity.d/Singularity":                  "Bootstrap: docker\n",
	".singularity.d/env/10-docker2singularity.sh": "export A=1\n",
	".singularity.d/env/90-environment.sh":        "export B=1\n",
	".singularity.d/env/95-apps.sh":               "x\n",
	"scif/apps/foo/scif/runscript":                "foo run\n",
	"scif/apps/foo/scif/test":                     "foo test\n",
	"scif/apps/foo/scif/runscript.help":           "foo help\n",
	"scif/apps/foo/scif/labels.json":              `{"app": "foo"}`,
	"scif/apps/foo/scif/env/90-environment.sh":    "export FOO=1\n",
	"scif/apps/notes.txt":                         "not an application\n",
}

func inspected(t *testing.T, files map[string]string, config *image.Config, want Wanted) (*Metadata, error) {
	t.Helper()
	root, err := OpenRoot(makeImage(t, files))
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	return Inspect(root, config, want)
}

func TestInspect(t *testing.T) {
	foo := &App{Environment: map[string]string{"/scif/apps/foo/scif/env/90-environment.sh": "export FOO=1"}, Labels: map[string]string{"app": "foo"}, Runscript: "foo run", Test: "foo test", Helpfile: "foo help"}
	cases := []struct {
		name  string
		files map[string]string
		oci   *image.Config
		want  Wanted
		got   Attributes
	}{
		{"labels", described, nil, Wanted{Labels: true}, Attributes{Labels: map[string]string{"version": "1.2"}}},
		{"scripts", described, nil, Wanted{Runscript: true, Startscript: true, Test: true, Help: true, Deffile: true},
			Attributes{Runscript: "#!/bin/sh\necho run", Startscript: "start", Test: "test", Helpfile: "help", Deffile: "Bootstrap: docker"}},
		{"environment", described, nil, Wanted{Environment: true}, Attributes{Environment: map[string]string{
			"/.singularity.d/env/10-docker2singularity.sh": "export A=1", "/.singularity.d/env/90-environment.sh": "export B=1"}}},
		{"applications", described, nil, Wanted{Apps: true}, Attributes{Apps: map[string]*App{"foo": {}}}},
		{"one application", described, nil, Wanted{App: "foo", Labels: true, Runscript: true, Test: true, Help: true, Environment: true}, Attributes{Apps: map[string]*App{"foo": foo}}},
		{"an application that is absent", described, nil, Wanted{App: "bar", Runscript: true}, Attributes{}},
		{"nothing there", map[string]string{"bin/sh": ""}, nil, All(), Attributes{}},
		{"OCI configuration", map[string]string{"bin/sh": ""}, &image.Config{Labels: map[string]string{"l": "v"}, Env: []string{"A=1", "B=2"}, Entrypoint: []string{"/e"}, Cmd: []string{"c"}}, All(),
			Attributes{Labels: map[string]string{"l": "v"}, Environment: map[string]string{"OCI configuration": "A=1\nB=2"}, Runscript: "/e c"}},
		{"scripts before OCI configuration", described, &image.Config{Labels: map[string]string{"l": "v"}}, Wanted{Labels: true}, Attributes{Labels: map[string]string{"version": "1.2"}}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			m, err := inspected(t, c.files, c.oci, c.want)
			if err != nil {
				t.Fatal(err)
			}
			if m.Type != "container" || !reflect.DeepEqual(m.Data.Attributes, c.got) {
				text, _ := json.MarshalIndent(m, "", " ")
				t.Errorf("got %s\nwant %+v", text, c.got)
			}
		})
	}
}

func TestInspectBroken(t *testing.T) {
	_, err := inspected(t, map[string]string{".singularity.d/labels.json": "{"}, nil, Wanted{Labels: true})
	if err == nil || !strings.Contains(err.Error(), "labels.json is not valid") {
		t.Errorf("broken labels: %v", err)
	}
	_, err = inspected(t, map[string]string{".singularity.d/runscript/x": ""}, nil, Wanted{Runscript: true})
	if err == nil {
		t.Error("a directory was taken for a script")
	}
}

func TestCompletePath(t *testing.T) {
	for path, want := range map[string]string{
		"":                  DefaultPath,
		"/bin":              "/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin",
		DefaultPath:         DefaultPath,
		"/x:/usr/bin:/x":    "/x:/usr/bin:/x:/usr/local/sbin:/usr/local/bin:/usr/sbin:/sbin:/bin",
		DefaultPath + ":/x": DefaultPath + ":/x",
	} {
		if got := completePath(path); got != want {
			t.Errorf("completePath(%q) = %q, want %q", path, got, want)
		}
	}
}

func TestCovers(t *testing.T) {
	outside := makeImage(t, map[string]string{"a": "outside", "sub/b": "deeper"})
	root, err := OpenRoot(makeImage(t, map[string]string{"opt/a": "inside", "opt/c": "kept", "tmp/x": "hidden"}),
		Cover{Target: "/tmp"}, Cover{Target: "/opt/a", Source: outside + "/a"}, Cover{Target: "/srv/", Source: outside}, Cover{Target: "/srv/sub", Source: outside})
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	for name, want := range map[string]string{"/opt/a": "outside", "/opt/c": "kept", "/opt/../opt/c": "kept", "/srv/a": "outside", "/srv/sub/a": "outside", "opt/c": "kept"} {
		if got, err := root.readFile(name); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v; want %q", name, got, err, want)
		}
	}
	for name, want := range map[string]bool{"/tmp/x": true, "/tmp": true, "/tmpx": false, "/opt": true, "/opt/c": false, "/opt/d": false, "/srv/none": false} {
		if got := root.MayBeDir(name); got != want {
			t.Errorf("MayBeDir(%s) = %t", name, got)
		}
	}
	if _, err := root.readFile("/tmp/x"); err == nil {
		t.Error("a hidden file was read")
	}
}
