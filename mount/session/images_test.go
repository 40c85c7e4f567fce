package session_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/flatrun/flatrun/mount/config"
	"github.com/flatrun/flatrun/mount/repotest"
	"github.com/flatrun/flatrun/mount/session"
)

const platformConfig = `{"architecture":"arm64","os":"linux","variant":"v8","config":{}}`

// catalogue is a repository as publishers lay it out, and with what is none of their doing.
func catalogue(t *testing.T) *repotest.Repo {
	t.Helper()
	armed, flat := id(platformConfig), id(imageConfig)
	root := func(id string) string { return "/.flat/" + id[:2] + "/" + id }
	to := func(id string) string { return "../../.flat/" + id[:2] + "/" + id }
	link := func(path, target string) repotest.File {
		return repotest.File{Path: path, Kind: repotest.Link, Content: target, Mtime: 1_700_000_000}
	}
	return repotest.Build(t, repotest.Spec{FQRN: "images.example.org", Tree: []repotest.File{
		{Path: root(armed), Kind: repotest.Dir, Nested: true}, {Path: root(armed) + "/bin/sh", Content: "12345"}, {Path: root(armed) + "/etc/motd", Content: "123"},
		{Path: podmanFile(armed), Content: platformConfig}, {Path: podmanFile(flat), Content: imageConfig},
		{Path: root(flat) + "/file", Content: "x"},
		link("/registry.example.org/library/tool:1.0", to(flat)), link("/registry.example.org/library/tool:latest", to(flat)),
		link("/registry.example.org/library/tool@sha256:"+flat, to(flat)), // the same by its digest
		link("/registry.example.org/library/tool:1.0@linux-arm64-v8", to(armed)),
		{Path: "/registry.example.org/team", Kind: repotest.Dir, Nested: true},
		link("/registry.example.org/team/deep/er/Tool:2", "../../../../.flat/"+armed[:2]+"/"+armed),
		link("/registry.example.org/team/only@sha256:"+armed, to(armed)),
		link("/registry.example.org/library/notes", "tool:1.0"),
		link("/top:1", "registry.example.org"), // no registry
		{Path: "/registry.example.org/README", Content: "hello"}, {Path: "/.hidden/a:1", Kind: repotest.Link, Content: "x"},
	}})
}

func listing(t *testing.T, settings *config.Config, q session.ImageQuery) ([]session.Image, error) {
	t.Helper()
	return session.Images(t.Context(), settings, q, nil)
}

func references(list []session.Image) []string {
	var names []string
	for _, i := range list {
		name := strings.TrimPrefix(i.Reference(), "registry.example.org/")
		if i.Platform != "" {
			name += " " + i.Platform
		}
		names = append(names, name)
	}
	return names
}

func load(t *testing.T, w *world) *config.Config {
	t.Helper()
	settings, err := config.Load(config.Options{File: w.config})
	if err != nil {
		t.Fatal(err)
	}
	return settings
}

func TestImages(t *testing.T) {
	r := catalogue(t)
	server := repotest.Serve(t, r.Dir)
	w := newWorld(t, map[string]string{r.FQRN: repository(server.URL, r.KeyPath)}, "")
	settings := load(t, w)
	only := "team/only@sha256:" + id(platformConfig)
	for _, tt := range []struct {
		name  string
		query session.ImageQuery
		want  []string
	}{
		{"all", session.ImageQuery{}, []string{"library/tool:1.0", "library/tool:1.0@linux-arm64-v8 linux/arm64/v8", "library/tool:latest", "team/deep/er/Tool:2", only}},
		{"short name", session.ImageQuery{Patterns: []string{"tool:latest"}}, []string{"library/tool:latest"}},
		{"any tag", session.ImageQuery{Patterns: []string{"library/tool"}}, []string{"library/tool:1.0", "library/tool:1.0@linux-arm64-v8 linux/arm64/v8", "library/tool:latest"}},
		{"full name", session.ImageQuery{Patterns: []string{"docker://registry.example.org/library/tool:1.0"}}, []string{"library/tool:1.0", "library/tool:1.0@linux-arm64-v8 linux/arm64/v8"}},
		{"platform", session.ImageQuery{Patterns: []string{"tool:1.0@linux-arm*"}}, []string{"library/tool:1.0@linux-arm64-v8 linux/arm64/v8"}},
		{"star crosses slashes", session.ImageQuery{Patterns: []string{"team/*:?"}}, []string{"team/deep/er/Tool:2"}},
		{"sets", session.ImageQuery{Patterns: []string{"[Tt]ool:[!1l]"}}, []string{"team/deep/er/Tool:2"}},
		{"several", session.ImageQuery{Patterns: []string{"nothing", "only"}}, []string{only}},
		{"no part of a component", session.ImageQuery{Patterns: []string{"ool"}}, nil},
		{"terms", session.ImageQuery{Terms: []string{"TOOL", "deep"}}, []string{"team/deep/er/Tool:2"}},
		{"nothing", session.ImageQuery{Patterns: []string{"x*"}}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			list, err := listing(t, settings, tt.query)
			if got := references(list); err != nil || !slices.Equal(got, tt.want) {
				t.Errorf("%q, %v; want %q", got, err, tt.want)
			}
		})
	}
	if _, err := listing(t, settings, session.ImageQuery{Patterns: []string{"[a"}}); err == nil {
		t.Error("a pattern without end is taken")
	}
	list, err := listing(t, settings, session.ImageQuery{Patterns: []string{"Tool:2"}, Long: true})
	if err != nil || len(list) != 1 {
		t.Fatalf("%v, %v", list, err)
	}
	want := session.Image{
		Name: "registry.example.org/team/deep/er/Tool", Tag: "2", Repository: r.FQRN, Path: "/cvmfs/images.example.org/registry.example.org/team/deep/er/Tool:2",
		ID: "sha256:" + id(platformConfig), Published: time.Unix(1_700_000_000, 0).UTC(), Revision: r.Manifest.Revision, Platform: "linux/arm64/v8", Size: 8, Files: 2,
	}
	if list[0] != want {
		t.Errorf("%+v\nwant %+v", list[0], want)
	}
}

// TestImagesFetchesLittle: names cost the catalogs that they are in, and no image's.
func TestImagesFetchesLittle(t *testing.T) {
	r := catalogue(t)
	server := repotest.Serve(t, r.Dir)
	w := newWorld(t, map[string]string{r.FQRN: repository(server.URL, r.KeyPath)}, "")
	if _, err := listing(t, load(t, w), session.ImageQuery{}); err != nil {
		t.Fatal(err)
	}
	catalogs := 0
	for path, n := range server.Counts() {
		if strings.HasSuffix(path, "C") {
			catalogs += n
		}
	}
	if catalogs != 2 {
		t.Errorf("%d catalogs were fetched, want the root's and the team's: %v", catalogs, server.Counts())
	}
}

// TestImagesOfSeveral: one repository that fails does not hide the others.
func TestImagesOfSeveral(t *testing.T) {
	r := catalogue(t)
	server := repotest.Serve(t, r.Dir)
	w := newWorld(t, map[string]string{
		r.FQRN: repository(server.URL, r.KeyPath), "broken.example.org": repository(server.URL+"/none", r.KeyPath),
	}, "")
	settings := load(t, w)
	list, err := listing(t, settings, session.ImageQuery{Patterns: []string{"latest", "tool:latest"}})
	if len(list) != 1 || err == nil || !strings.Contains(err.Error(), "broken.example.org") {
		t.Errorf("%v, %v", list, err)
	}
	if list, err := listing(t, settings, session.ImageQuery{Repositories: []string{r.FQRN}}); err != nil || len(list) != 5 {
		t.Errorf("%v, %v", list, err)
	}
	if _, err := listing(t, settings, session.ImageQuery{Repositories: []string{"unknown.example.org"}}); err == nil {
		t.Error("an unknown repository is taken")
	}
	if _, err := session.Images(t.Context(), load(t, newWorld(t, nil, "")), session.ImageQuery{}, nil); err == nil || !strings.Contains(err.Error(), "no repository is configured") {
		t.Errorf("nothing configured: %v", err)
	}
}

// TestImagesProgram asks flatrun-session, as flatrun does.
func TestImagesProgram(t *testing.T) {
	r := catalogue(t)
	server := repotest.Serve(t, r.Dir)
	newWorld(t, map[string]string{r.FQRN: repository(server.URL, r.KeyPath)}, "")
	cmd := exec.Command(program(t), "images", `{"Patterns":["tool:latest"]}`)
	cmd.Env, cmd.Stderr = os.Environ(), os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var list []session.Image
	if err := json.Unmarshal(out, &list); err != nil || len(list) != 1 || list[0].Tag != "latest" {
		t.Errorf("%s, %v", out, err)
	}
}
