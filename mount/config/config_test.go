package config

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/flatrun/flatrun/mount/config/site"
)

// write makes files below a new directory and returns it.
func write(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		file := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func environment(vars map[string]string) func(string) string {
	return func(name string) string { return vars[name] }
}

// load reads the files of a tree with an environment of its own.
func load(t *testing.T, files, env map[string]string) (*Config, string) {
	t.Helper()
	root := write(t, files)
	for name, value := range env {
		env[name] = strings.ReplaceAll(value, "ROOT", root)
	}
	c, err := Load(Options{Root: root, Env: environment(env)})
	if err != nil {
		t.Fatal(err)
	}
	return c, root
}

func TestDefaults(t *testing.T) {
	c, _ := load(t, nil, nil)
	if c.Cache.Dir != fmt.Sprintf("/var/tmp/flatrun-%d", os.Getuid()) || c.Cache.Limit != 20e9 || c.Session.Idle != time.Minute {
		t.Errorf("cache %+v, session %+v", c.Cache, c.Session)
	}
	if c.Images.DefaultRegistry != "registry.hub.docker.com" || len(c.Images.Search) != 0 || !c.Prefetch.Profiles || !c.Native || !c.Runtime.MountHome {
		t.Errorf("got %+v", c)
	}
	if got := c.Origin("cache.dir"); got != "built in" {
		t.Errorf("origin of cache.dir: %s", got)
	}
}

// TestCore is the configuration that the first journey fixes.
func TestCore(t *testing.T) {
	root := write(t, map[string]string{
		"keys/bench.example.org.pub": "key",
		"c.yaml": `
repositories:
  bench.example.org:
    servers: ["http://127.0.0.1:8000/cvmfs/@fqrn@"]
    public_keys: ["keys/@fqrn@.pub"]
    proxies: "DIRECT"
    tag: ""            # or a tag name, a revision's number, a date, a root hash
cache: {dir: /var/tmp/flatrun-cache, limit: 20GB}
session: {idle: 60s}
`})
	file := filepath.Join(root, "c.yaml")
	for name, o := range map[string]Options{
		"option":   {File: file, Root: root, Env: environment(nil)},
		"variable": {Root: root, Env: environment(map[string]string{"FLATRUN_CONFIG": file})},
	} {
		c, err := Load(o)
		if err != nil {
			t.Fatal(name, err)
		}
		if c.Cache.Dir != "/var/tmp/flatrun-cache" || c.Cache.Limit != 20e9 || c.Session.Idle != time.Minute {
			t.Errorf("%s: %+v", name, c)
		}
		r, err := c.Repository("bench.example.org")
		if err != nil {
			t.Fatal(name, err)
		}
		if r.Servers[0] != "http://127.0.0.1:8000/cvmfs/bench.example.org" || r.Proxies != "DIRECT" || r.Tag != "" ||
			!slices.Equal(r.PublicKeys, []string{filepath.Join(root, "keys/bench.example.org.pub")}) || !r.Native {
			t.Errorf("%s: %+v", name, r)
		}
		if got, want := r.Origins["servers"], file+":4"; got != want {
			t.Errorf("%s: servers come from %s, want %s", name, got, want)
		}
		if got := c.Images.Search; !slices.Equal(got, []string{"bench.example.org"}) {
			t.Errorf("%s: images are searched in %q", name, got)
		}
	}
	if _, err := Load(Options{File: filepath.Join(root, "none.yaml"), Root: root, Env: environment(nil)}); err == nil || !strings.Contains(err.Error(), "none.yaml") {
		t.Errorf("a file that is not there: %v", err)
	}
}

func TestLayers(t *testing.T) {
	files := map[string]string{
		"etc/flatrun/config.yaml": `
cache: {dir: /site, limit: 1GB}
network: {proxies: "http://site:3128", timeout: 7}
images: {search: [a.example.org, b.example.org]}
runtime:
  no_env: LD_PRELOAD,LD_AUDIT
  mount_dev: minimal
  writable_tmpfs_size: 1GiB
  bind:
    - /cvmfs-config
    - {source: /scratch, target: /s, read_only: yes, if_exists: on}
`,
		"user/flatrun/config.yaml": `
cache: {limit: 2GB, dir: "${SCRATCH}/c"}
network: {timeout: 8s}
prefetch: {siblings: no}
native: off
repositories:
  a.example.org: {servers: "http://one/a;http://two/a", timeout: 1m, native: yes, max_retries: 0, proxy_reset: 0, tag: v1, public_keys: /etc}
  b.example.org: {servers: file:///srv/b, public_keys: /etc}
`,
		"home/.config/flatrun/config.yaml": "session: {idle: 5m}\n",
	}
	c, _ := load(t, files, map[string]string{
		"XDG_CONFIG_HOME": "ROOT/user", "HOME": "ROOT/home", "SCRATCH": "/big",
		"FLATRUN_CACHE_LIMIT": "3GB", "FLATRUN_DEFAULT_REGISTRY": "docker.io", "FLATRUN_PREFETCH": "",
	})
	if c.Cache.Dir != "/big/c" || c.Cache.Limit != 3e9 || c.Session.Idle != time.Minute || c.Native || c.Prefetch.Siblings || !c.Prefetch.Libraries {
		t.Errorf("got %+v", c)
	}
	if c.Images.DefaultRegistry != "docker.io" || !slices.Equal(c.Images.Search, []string{"a.example.org", "b.example.org"}) {
		t.Errorf("images %+v", c.Images)
	}
	if got := c.Origin("cache.limit"); got != "environment FLATRUN_CACHE_LIMIT" {
		t.Errorf("origin of cache.limit: %s", got)
	}
	want := []site.Bind{{Source: "/cvmfs-config"}, {Source: "/scratch", Target: "/s", ReadOnly: true, IfExists: true}}
	for i, b := range c.Runtime.Bind {
		if !strings.HasSuffix(b.Origin, fmt.Sprintf("etc/flatrun/config.yaml:%d", 10+i)) {
			t.Errorf("bind %s comes from %s", b, b.Origin)
		}
		if b.Origin = ""; b != want[i] {
			t.Errorf("bind %+v, want %+v", b, want[i])
		}
	}
	if r := c.Runtime; len(r.Bind) != 2 || r.MountDev != site.DevMinimal || r.WritableTmpfsSize != 1<<30 || !slices.Equal(r.NoEnv, []string{"LD_PRELOAD", "LD_AUDIT"}) {
		t.Errorf("runtime %+v", r)
	}
	text, err := c.Runtime.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if r, err := site.Decode(text); err != nil || r.MountDev != site.DevMinimal {
		t.Errorf("through JSON: %+v, %v", r, err)
	}
}

// TestRepositoryLayers: the repository's section is stronger than network, and
// the environment than both.
func TestRepositoryLayers(t *testing.T) {
	files := map[string]string{
		"k.pub": "",
		"etc/flatrun/config.yaml": `
network: {proxies: "http://site:3128", timeout: 7}
repositories:
  a.example.org: {servers: "http://one/a; http://two/a", timeout: 1m, native: no, max_retries: 0, proxy_reset: 0, tag: v1}
`,
		"user/flatrun/config.yaml": `
network: {timeout: 8s}
repositories: {a.example.org: {public_keys: [../../k.pub], blacklist: ["<a.example.org 5"]}}
`}
	c, root := load(t, files, map[string]string{"XDG_CONFIG_HOME": "ROOT/user"})
	r, err := c.Repository("a.example.org")
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(r.Servers, []string{"http://one/a", "http://two/a"}) || r.Proxies != "http://site:3128" || r.Timeout != time.Minute ||
		r.Native || r.MaxRetries != -1 || r.ProxyReset < 24*time.Hour || r.Tag != "v1" ||
		!slices.Equal(r.PublicKeys, []string{filepath.Join(root, "k.pub")}) || !slices.Equal(r.Blacklist, []string{"<a.example.org 5"}) {
		t.Errorf("got %+v", r)
	}
	c, _ = load(t, files, map[string]string{"XDG_CONFIG_HOME": "ROOT/user", "FLATRUN_HTTP_PROXY": "DIRECT", "FLATRUN_TIMEOUT": "3", "FLATRUN_NATIVE": "yes"})
	r, err = c.Repository("a.example.org")
	if err != nil {
		t.Fatal(err)
	}
	if r.Proxies != "DIRECT" || r.Timeout != 3*time.Second || r.TimeoutDirect != 3*time.Second || !r.Native || r.Origins["proxies"] != "environment FLATRUN_HTTP_PROXY" {
		t.Errorf("with an environment: %+v", r)
	}
}

func TestFaults(t *testing.T) {
	tests := []struct{ name, text, fault string }{
		{"unknown key", "cache:\n  dir: /x\n  limits: 1\n", "c.yaml:3: there is no key cache.limits; did you mean limit"},
		{"unknown section", "cach: {}\n", "c.yaml:1: there is no key cach; did you mean cache"},
		{"unknown repository key", "repositories:\n  a.b:\n    server: [x]\n", "c.yaml:3: there is no key repositories.a.b.server; did you mean servers"},
		{"key of another section", "proxies: DIRECT\n", "c.yaml:1: there is no key proxies"},
		{"unknown directive", "runtime:\n  mount_homes: no\n", "c.yaml:2: there is no key runtime.mount_homes; did you mean mount_home"},
		{"twice", "cache: {dir: /a}\ncache: {dir: /b}\n", "c.yaml:2: cache: given twice"},
		{"not yaml", "cache: [\n", "c.yaml: yaml: line"},
		{"no section", "cache: /x\n", "c.yaml:1: cache: want keys and values here"},
		{"list for a word", "cache: {dir: [a]}\n", "c.yaml:1: cache.dir: want one value here"},
		{"list of lists", "images:\n  search: [[a]]\n", "c.yaml:2: images.search: want one word"},
		{"not a list", "- a\n", "c.yaml:1: want keys and values here"},
		{"two documents", "native: yes\n---\nnative: no\n", "c.yaml: more than one YAML document"},
		{"size", "cache: {limit: 20XB}\n", `c.yaml:1: cache.limit: size "20XB"`},
		{"duration", "session: {idle: soon}\n", `c.yaml:1: session.idle: "soon" is not a duration`},
		{"negative duration", "session: {idle: -1s}\n", `c.yaml:1: session.idle: "-1s" is not a duration`},
		{"bool", "native: maybe\n", `c.yaml:1: native: "maybe" is neither yes nor no`},
		{"number", "network: {max_retries: x}\n", `c.yaml:1: network.max_retries: "x" is not a whole number`},
		{"variable", "cache: {dir: $NONE/x}\n", "c.yaml:1: cache.dir: $NONE is not set"},
		{"open variable", "cache: {dir: '${NONE'}\n", "c.yaml:1: cache.dir: ${NONE is not closed"},
		{"empty directory", "cache: {dir: }\n", `c.yaml:1: cache.dir: "" is not an absolute path`},
		{"metrics", "session: {metrics: 'unix:m.sock'}\n", `c.yaml:1: session.metrics: "m.sock" is not an absolute path`},
		{"name", "repositories: {a: {}}\n", `c.yaml:1: repositories: repository "a"`},
		{"repositories", "repositories: [a.b]\n", "c.yaml:1: repositories: want a section for each repository"},
		{"bind", "runtime:\n  bind: [/a, b]\n", `c.yaml:2: runtime.bind: bind "b": the source is not an absolute path`},
		{"bind section", "runtime:\n  bind:\n  - {source: b}\n", `c.yaml:3: runtime.bind: bind "b"`},
		{"bind key", "runtime:\n  bind:\n  - {src: /b}\n", `c.yaml:3: there is no key runtime.bind.src`},
		{"device", "runtime: {mount_dev: some}\n", `c.yaml:1: runtime.mount_dev: "some" is not one of`},
		{"limit", "runtime:\n  limit_container_paths: [x]\n", `c.yaml:2: runtime.limit_container_paths`},
	}
	for _, tt := range tests {
		root := write(t, map[string]string{"c.yaml": tt.text})
		_, err := Load(Options{File: filepath.Join(root, "c.yaml"), Root: root, Env: environment(nil)})
		if err == nil || !strings.Contains(err.Error(), tt.fault) {
			t.Errorf("%s: error %v, want %q", tt.name, err, tt.fault)
		}
	}
	root := write(t, map[string]string{"c.yaml": "a: 1\nb: 2\n"})
	_, err := Load(Options{File: filepath.Join(root, "c.yaml"), Root: root, Env: environment(nil)})
	if err == nil || !strings.Contains(err.Error(), "c.yaml:1: ") || !strings.Contains(err.Error(), "c.yaml:2: ") {
		t.Errorf("not all faults are reported: %v", err)
	}
	_, err = Load(Options{Root: root, Env: environment(map[string]string{"FLATRUN_CACHE_LIMIT": "much"})})
	if err == nil || !strings.Contains(err.Error(), "environment variable FLATRUN_CACHE_LIMIT: size") {
		t.Errorf("bad variable: %v", err)
	}
}

// TestNumbers are numbers of our files that mean nothing; the official files' are left alone, as the official client does.
func TestNumbers(t *testing.T) {
	root := write(t, map[string]string{"k.pub": "", "etc/cvmfs/default.local": "CVMFS_IPFAMILY_PREFER=5\n"})
	for line, fault := range map[string]string{
		"":                        "",
		"ip_family: 5":            "c.yaml:4: ip_family: 5; want 4, 6, or 0",
		"concurrency: -1":         "c.yaml:4: concurrency: -1; want 1 to 1000",
		"concurrency: 100000":     "concurrency: 100000; want",
		"max_servers: -2":         "max_servers: -2; want a number of servers",
		"ip_family: 6":            "",
		"external_max_servers: 1": "",
	} {
		file := filepath.Join(root, "c.yaml")
		text := "repositories:\n  a.b:\n    servers: [http://s/cvmfs/a.b]\n    " + line + "\n    public_keys: [k.pub]\n"
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := Load(Options{File: file, Root: root, Env: environment(nil)})
		if err == nil {
			_, err = c.Repository("a.b")
		}
		if fault == "" && err != nil || fault != "" && (err == nil || !strings.Contains(err.Error(), fault)) {
			t.Errorf("%q: error %v, want %q", line, err, fault)
		}
	}
}

// TestHarmless are files that say nothing.
func TestHarmless(t *testing.T) {
	for _, text := range []string{"", "# nothing\n", "---\n", "cache:\nrepositories:\n", "repositories: {a.b: }\n", "runtime: {bind: }\n", "x: &x {dir: /y}\n"} {
		root := write(t, map[string]string{"c.yaml": text})
		_, err := Load(Options{File: filepath.Join(root, "c.yaml"), Root: root, Env: environment(nil)})
		if (err != nil) != strings.HasPrefix(text, "x:") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// TestAliases: YAML's own way to say something once.
func TestAliases(t *testing.T) {
	c, _ := load(t, map[string]string{"etc/flatrun/config.yaml": `
repositories:
  a.example.org: &common {servers: "http://s/@fqrn@", public_keys: /etc, timeout: 3}
  b.example.org: *common
`}, nil)
	r := c.Repositories["b.example.org"]
	if r == nil || r.Timeout != 3*time.Second || c.Origin("repositories.b.example.org.timeout") == builtIn {
		t.Errorf("got %+v", r)
	}
}

func TestOverridesNameKeys(t *testing.T) {
	c, _ := load(t, nil, nil)
	for _, o := range Overrides() {
		for _, key := range o.Keys {
			env := map[string]string{o.Name: "1"}
			if strings.HasSuffix(key, "dir") || strings.HasSuffix(key, ".lower") {
				env[o.Name] = "/1"
			}
			over, err := Load(Options{Root: c.root, Env: environment(env)})
			if err != nil {
				t.Errorf("%s: %v", o.Name, err)
			} else if got, want := over.Origin(key), "environment "+o.Name; got != want {
				t.Errorf("%s: %s comes from %s", o.Name, key, got)
			}
		}
	}
}

func FuzzYAML(f *testing.F) {
	for _, s := range []string{
		"repositories:\n  a.b: {servers: [\"http://x/@fqrn@\"], public_keys: k, timeout: 5}\ncache: {dir: /x, limit: 20GB}\n",
		"runtime: {bind: [/a:/b:ro, {source: /x}], mount_dev: minimal}\nsession: {idle: 60s}\n",
		"network: &n {proxies: 'a|b;DIRECT'}\nrepositories: {a.b: *n}\n",
		"? [x]\n: y\n", "a: &a [*a]\n", "- b\n", "cache: {<<: {dir: /x}}\n",
	} {
		f.Add([]byte(s))
	}
	root := f.TempDir()
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := Load(Options{Root: root, Env: environment(nil)})
		if err != nil {
			t.Fatal(err)
		}
		if err := c.decode("c.yaml", data); err != nil {
			if !strings.HasPrefix(err.Error(), "c.yaml:") {
				t.Fatalf("fault without a file: %v", err)
			}
			return
		}
		for name := range c.Repositories {
			if r, err := c.Repository(name); err == nil && (len(r.Servers) == 0 || len(r.PublicKeys) == 0) {
				t.Fatalf("a repository without servers or keys: %+v", r)
			}
		}
		if err := c.Explain(&strings.Builder{}); err != nil {
			t.Fatal(err)
		}
	})
}
