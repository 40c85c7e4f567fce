package config

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// siteFiles is a host as a site sets it up: the client's package, a domain's
// servers with and without the content delivery network, and local files.
var siteFiles = map[string]string{
	"etc/cvmfs/default.conf": `# do not edit
CVMFS_CLIENT_PROFILE=
CVMFS_CACHE_BASE=/var/lib/cvmfs
CVMFS_TIMEOUT=5
CVMFS_TIMEOUT_DIRECT=10
CVMFS_KEYS_DIR=/etc/cvmfs/keys
CVMFS_PROXY_RESET_AFTER=300
CVMFS_MAX_RETRIES=1
CVMFS_USE_GEOAPI=no
if [ "x$CVMFS_BASE_ENV" = "x" ]; then
  readonly CVMFS_USER=cvmfs
  readonly CVMFS_MOUNT_DIR=/cvmfs
  readonly CVMFS_BASE_ENV=1
fi
`,
	"etc/debian_version": "12.5\n",
	"etc/cvmfs/default.d/50-domain.conf": `
CVMFS_CONFIG_REPO_DEFAULT_ENV=
if [ -f /etc/debian_version ] && grep -q "wheezy\|jessie" /etc/debian_version;
then
    :
else
    CVMFS_CONFIG_REPOSITORY=config.example.org
fi
CVMFS_DEFAULT_DOMAIN=example.org
`,
	"etc/cvmfs/default.d/README": "A='",
	"etc/cvmfs/default.local":    "CVMFS_HTTP_PROXY='http://squid1:3128|http://squid2:3128;DIRECT'\nCVMFS_REPOSITORIES=atlas,cms.other.org\n",
	"etc/cvmfs/domain.d/example.org.conf": `
if [ "$CVMFS_CONFIG_REPO_DEFAULT_ENV" = "" ]; then
  if [ "$CVMFS_USE_CDN" = "yes" ]; then
    CVMFS_SERVER_URL="http://cdn.example.org/cvmfs/@fqrn@"
  else
    CVMFS_SERVER_URL="http://s1.example.org/cvmfs/@fqrn@;http://s2.example.org:8000/cvmfs/@org@"
  fi
  CVMFS_KEYS_DIR=/etc/cvmfs/keys/example.org
  CVMFS_USE_GEOAPI=yes
fi
`,
	"etc/cvmfs/keys/example.org/b.pub": "b",
	"etc/cvmfs/keys/example.org/a.pub": "a",
	"etc/cvmfs/keys/example.org/c.crt": "c",
	"etc/cvmfs/keys/other.pub":         "o",
	"etc/cvmfs/blacklist":              "# refused\nAB:CD\n\n<atlas.example.org 7\n",
}

// with is siteFiles and more.
func with(more map[string]string) map[string]string {
	files := maps.Clone(siteFiles)
	maps.Copy(files, more)
	return files
}

func TestOfficialFiles(t *testing.T) {
	c, root := load(t, siteFiles, nil)
	r, err := c.Repository("atlas.example.org")
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"http://s1.example.org/cvmfs/atlas.example.org", "http://s2.example.org:8000/cvmfs/atlas"}; !slices.Equal(r.Servers, want) {
		t.Errorf("servers %q, want %q", r.Servers, want)
	}
	keys := filepath.Join(root, "etc/cvmfs/keys/example.org")
	if want := []string{keys + "/a.pub", keys + "/b.pub"}; !slices.Equal(r.PublicKeys, want) {
		t.Errorf("keys %q, want %q", r.PublicKeys, want)
	}
	if r.Proxies != "http://squid1:3128|http://squid2:3128;DIRECT" || r.Timeout != 5*time.Second || r.TimeoutDirect != 10*time.Second ||
		!r.GeoAPI || r.MaxRetries != 1 || r.ProxyReset != 300*time.Second || r.Tag != "" {
		t.Errorf("got %+v", r)
	}
	if want := []string{"AB:CD", "<atlas.example.org 7"}; !slices.Equal(r.Blacklist, want) {
		t.Errorf("blacklist %q, want %q", r.Blacklist, want)
	}
	for key, want := range map[string]string{
		"servers": "domain.d/example.org.conf:6", "proxies": "default.local:1", "timeout": "default.conf:4", "geo_api": "domain.d/example.org.conf:9",
	} {
		if got := r.Origins[key]; got != filepath.Join(root, "etc/cvmfs", want) {
			t.Errorf("%s comes from %s, want %s", key, got, want)
		}
	}
	c, _ = load(t, with(map[string]string{"etc/flatrun/config.yaml": "repositories: {atlas.example.org: {blacklist: 'EF:01'}}\n"}), nil)
	if ours, err := c.Repository("atlas.example.org"); err != nil || !slices.Equal(ours.Blacklist, []string{"AB:CD", "<atlas.example.org 7", "EF:01"}) {
		t.Errorf("our blacklist in addition: %+v, %v", ours, err)
	}
	if r.Variables["CVMFS_CACHE_BASE"] != "/var/lib/cvmfs" || len(r.Warnings) != 0 {
		t.Errorf("variables %v, warnings %q", r.Variables, r.Warnings)
	}
	if short, err := c.Repository("atlas"); err != nil || short.FQRN != "atlas.example.org" {
		t.Errorf("short name: %+v, %v", short, err)
	}
	if want := []string{"atlas.example.org", "cms.other.org"}; !slices.Equal(c.Names(), want) {
		t.Errorf("names %q, want %q", c.Names(), want)
	}
}

func TestOfficialOrder(t *testing.T) {
	files := with(map[string]string{
		"etc/cvmfs/domain.d/example.org.local":       "CVMFS_TIMEOUT=6\nCVMFS_SERVER_URL=http://local/@fqrn@\n",
		"etc/cvmfs/config.d/atlas.example.org.conf":  "CVMFS_TIMEOUT=7; CVMFS_REPOSITORY_TAG=v1\nexport CVMFS_MAX_TTL=30\n",
		"etc/cvmfs/config.d/atlas.example.org.local": "CVMFS_TIMEOUT_DIRECT=\"$CVMFS_TIMEOUT\"\nCVMFS_EXTERNAL_URL=\"http://e/;http://f/\"\nCVMFS_MAX_RETRIES=0\n",
	})
	c, _ := load(t, files, map[string]string{"CVMFS_USE_CDN": "yes"}) // which the files must not see
	r, err := c.Repository("atlas.example.org")
	if err != nil {
		t.Fatal(err)
	}
	if r.Servers[0] != "http://local/atlas.example.org" || r.Timeout != 7*time.Second || r.TimeoutDirect != 7*time.Second ||
		r.Tag != "v1" || r.MaxTTL != 30*time.Minute || len(r.ExternalServers) != 2 || r.MaxRetries != -1 {
		t.Errorf("got %+v", r)
	}
	r, err = c.Repository("cms.example.org")
	if err != nil || r.Timeout != 6*time.Second || r.Tag != "" {
		t.Errorf("another repository: %+v, %v", r, err)
	}
}

func TestConfigRepository(t *testing.T) {
	files := with(map[string]string{
		"cvmfs/config.example.org/etc/cvmfs/default.conf": "CVMFS_HTTP_PROXY='auto;http://remote:1'\nCVMFS_CONFIG_REPO_DEFAULT_ENV=1\nCVMFS_CONFIG_REPOSITORY=evil.example.org\n",
		"cvmfs/config.example.org/etc/cvmfs/common.conf":  "if [ -z \"$CVMFS_USE_CDN\" ] && [ \"$CVMFS_CLIENT_PROFILE\" != custom ]; then\n  CVMFS_FALLBACK_PROXY=http://backup:3126\nfi\n",
		"cvmfs/config.example.org/etc/cvmfs/domain.d/example.org.conf": `
CVMFS_FALLBACK_PROXY="$CVMFS_FALLBACK_PROXY"
. ../common.conf
CVMFS_SERVER_URL=http://remote/@fqrn@
CVMFS_KEYS_DIR=$CVMFS_MOUNT_DIR/$CVMFS_CONFIG_REPOSITORY/etc/cvmfs/keys
`,
		"cvmfs/config.example.org/etc/cvmfs/keys/r.pub": "",
		"cvmfs/config.example.org/etc/cvmfs/blacklist":  "11:22\n",
	})
	c, root := load(t, files, nil)
	r, err := c.Repository("atlas.example.org")
	if err != nil {
		t.Fatal(err)
	}
	if r.Servers[0] != "http://remote/atlas.example.org" || r.Proxies != "http://squid1:3128|http://squid2:3128;DIRECT" || r.FallbackProxies != "http://backup:3126" ||
		!slices.Equal(r.PublicKeys, []string{filepath.Join(root, "cvmfs/config.example.org/etc/cvmfs/keys/r.pub")}) || !slices.Contains(r.Blacklist, "11:22") {
		t.Errorf("got %+v", r)
	}
	// It configures others but not itself.
	r, err = c.Repository("config.example.org")
	if err != nil || r.Servers[0] != "http://s1.example.org/cvmfs/config.example.org" {
		t.Errorf("itself: %+v, %v", r, err)
	}
	delete(files, "etc/cvmfs/default.local")
	c, _ = load(t, files, nil)
	r, err = c.Repository("atlas.example.org")
	if err != nil || r.Proxies != "auto;http://remote:1" || r.Origins["proxies"] != filepath.Join(c.root, "cvmfs/config.example.org/etc/cvmfs/default.conf:1") {
		t.Errorf("proxies of the config repository: %+v, %v", r, err)
	}
}

func TestPublicKeyBeforeKeysDir(t *testing.T) {
	files := with(map[string]string{
		"etc/cvmfs/config.d/atlas.example.org.local": "CVMFS_PUBLIC_KEY=/etc/cvmfs/keys/other.pub:/etc/cvmfs/keys/example.org/a.pub\n",
	})
	c, root := load(t, files, nil)
	r, err := c.Repository("atlas.example.org")
	keys := filepath.Join(root, "etc/cvmfs/keys")
	if want := []string{keys + "/other.pub", keys + "/example.org/a.pub"}; err != nil || !slices.Equal(r.PublicKeys, want) {
		t.Errorf("keys %+v, %v; want %q", r, err, want)
	}
}

func TestUnknownRepository(t *testing.T) {
	c, _ := load(t, siteFiles, nil)
	_, err := c.Repository("atals.other.org")
	if !errors.Is(err, ErrUnknown) || !strings.Contains(err.Error(), "atals.other.org") {
		t.Errorf("error %v", err)
	}
	_, err = c.Repository("cms.other.orgg")
	if !errors.Is(err, ErrUnknown) || !strings.Contains(err.Error(), "did you mean cms.other.org?") {
		t.Errorf("error %v has no hint", err)
	}
	c, _ = load(t, nil, nil)
	_, err = c.Repository("x.y")
	if !errors.Is(err, ErrUnknown) || !strings.Contains(err.Error(), "config.yaml") {
		t.Errorf("error %v does not say what to do", err)
	}
	for _, name := range []string{"", "atlas", "../x.y", "a b.c"} {
		if r, err := c.Repository(name); err == nil {
			t.Errorf("Repository(%q) = %+v", name, r)
		}
	}
}

// TestNoKeys: without a key nothing can be verified, so nothing is configured.
func TestNoKeys(t *testing.T) {
	for name, local := range map[string]string{
		"no such directory": "CVMFS_KEYS_DIR=/etc/none\n",
		"no such file":      "CVMFS_PUBLIC_KEY=/etc/none.pub\n",
		"empty directory":   "CVMFS_KEYS_DIR=/etc/cvmfs/config.d\n",
	} {
		c, root := load(t, with(map[string]string{"etc/cvmfs/config.d/atlas.example.org.local": local}), nil)
		_, err := c.Repository("atlas.example.org")
		if err == nil || !strings.Contains(err.Error(), "public key") || !strings.Contains(err.Error(), root+"/etc/cvmfs/config.d/atlas.example.org.local:1") {
			t.Errorf("%s: error %v", name, err)
		}
	}
	c, _ := load(t, map[string]string{"etc/flatrun/config.yaml": "repositories: {a.example.org: {servers: 'http://x/a'}}\n"}, nil)
	if _, err := c.Repository("a.example.org"); err == nil || !strings.Contains(err.Error(), "public_keys is not given") {
		t.Errorf("no keys at all: %v", err)
	}
}

// TestOfficialFaults: what is not understood is an error where it is needed, and
// our own files can stand in for it.
func TestOfficialFaults(t *testing.T) {
	tests := []struct{ name, local, fault, cure string }{
		{"loop", "for x in 1; do CVMFS_TIMEOUT=$x; done\n", `.local:1: "for" is not understood`, "servers: 'http://x/y', public_keys: /etc"},
		{"command", "CVMFS_SERVER_URL=http://$(hostname)/@fqrn@\n", ".local:1: CVMFS_SERVER_URL: the output of $(hostname)", "servers: 'http://x/y'"},
		{"condition", "if hostname -d | grep -q cern; then CVMFS_HTTP_PROXY=http://x:1; fi\n", ".local:1: CVMFS_HTTP_PROXY: it depends on a condition", "proxies: DIRECT"},
		{"number", "CVMFS_TIMEOUT=soon\n", `.local:1: CVMFS_TIMEOUT: "soon" is not a duration`, "timeout: 3"},
		{"server", "CVMFS_SERVER_URL=s1.example.org\n", `.local:1: servers: "s1.example.org" is not an http`, "servers: 'http://x/y'"},
		{"script", "CVMFS_HTTP_PROXY=auto; CVMFS_PAC_URLS=$(x)\n", ".local:1: CVMFS_PAC_URLS: the output of $(x)", "pac_urls: 'http://wpad/wpad.dat'"},
		{"no script needed", "CVMFS_PAC_URLS=$(x)\n", "", ""},
		{"not needed", "CVMFS_DEBUGLOG=/tmp/$(hostname)\nhostname\n", "", ""},
	}
	for _, tt := range tests {
		files := with(map[string]string{"etc/cvmfs/config.d/atlas.example.org.local": tt.local})
		c, _ := load(t, files, nil)
		r, err := c.Repository("atlas.example.org")
		if tt.fault == "" {
			if err != nil || len(r.Warnings) != 1 || r.Variables["CVMFS_DEBUGLOG"] != "" {
				t.Errorf("%s: %+v, %v", tt.name, r, err)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), tt.fault) {
			t.Errorf("%s: error %v, want %q", tt.name, err, tt.fault)
		}
		files["etc/flatrun/config.yaml"] = "repositories: {atlas.example.org: {" + tt.cure + "}}\n"
		files["etc/k.pub"] = ""
		root := write(t, files)
		files["etc/flatrun/config.yaml"] = strings.ReplaceAll(files["etc/flatrun/config.yaml"], ": /etc", ": "+root+"/etc")
		c, _ = load(t, files, nil)
		if r, err := c.Repository("atlas.example.org"); err != nil {
			t.Errorf("%s: with %s: %v", tt.name, tt.cure, err)
		} else if tt.name != "server" && len(r.Warnings) == 0 {
			t.Errorf("%s: cured, but without a warning", tt.name)
		}
	}
}

func TestUnreadableFileIsAWarning(t *testing.T) {
	root := write(t, siteFiles)
	if err := os.Mkdir(filepath.Join(root, "etc/cvmfs/domain.d/example.org.local"), 0o755); err != nil {
		t.Fatal(err)
	}
	c, err := Load(Options{Root: root, Env: environment(nil)})
	if err != nil {
		t.Fatal(err)
	}
	r, err := c.Repository("atlas.example.org")
	if err != nil || len(r.Warnings) != 1 || !strings.Contains(r.Warnings[0], "example.org.local is not read") {
		t.Errorf("%+v, %v", r, err)
	}
}
