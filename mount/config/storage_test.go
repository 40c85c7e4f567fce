package config

import (
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// storageFiles is a host with a config repository whose domains keep their data
// outside of CVMFS, as the storage federations do.
var storageFiles = map[string]string{
	"etc/cvmfs/default.conf": "CVMFS_TIMEOUT=5\nCVMFS_KEYS_DIR=/etc/cvmfs/keys\nreadonly CVMFS_MOUNT_DIR=/cvmfs\n",
	"etc/cvmfs/default.d/60-federation.conf": `
CVMFS_SEND_INFO_HEADER=yes
CVMFS_CONFIG_REPOSITORY=config.federation.org
CVMFS_DEFAULT_DOMAIN=federation.org
`,
	"etc/cvmfs/default.local": "CVMFS_CLIENT_PROFILE=single\nCVMFS_REPOSITORIES=\"data, soft\"\n",
	"cvmfs/config.federation.org/etc/cvmfs/default.conf": `
CVMFS_HTTP_PROXY="auto;DIRECT"
if [ "$(($$ % 2))" == 1 ]; then
  CVMFS_PAC_URLS="http://one/wpad.dat;http://two/wpad.dat"
else
  CVMFS_PAC_URLS="http://two/wpad.dat;http://one/wpad.dat"
fi
`,
	"cvmfs/config.federation.org/etc/cvmfs/common.conf": `
if [ -z "$CVMFS_USE_CDN" ]; then
  if [ "$CVMFS_HTTP_PROXY" = "DIRECT" ] || [ "$CVMFS_HTTP_PROXY" = "auto;DIRECT" ]; then
    CVMFS_USE_CDN=yes
  fi
fi
`,
	"cvmfs/config.federation.org/etc/cvmfs/domain.d/federation.org.conf": `
. ../common.conf
if [ "$CVMFS_USE_CDN" = "yes" ]; then
    CVMFS_SERVER_URL="http://cdn1/cvmfs/@fqrn@;http://cdn2/cvmfs/@fqrn@"
else
    CVMFS_SERVER_URL="http://s1/cvmfs/@fqrn@"
fi
CVMFS_KEYS_DIR=$CVMFS_MOUNT_DIR/$CVMFS_CONFIG_REPOSITORY/etc/cvmfs/keys/federation.org
CVMFS_EXTERNAL_URL="http://cache1:8000/"
CVMFS_EXTERNAL_URL="$CVMFS_EXTERNAL_URL;http://cache2:8000/"
CVMFS_EXTERNAL_MAX_SERVERS=4
CVMFS_EXTERNAL_TIMEOUT=20
CVMFS_FOLLOW_REDIRECTS=yes
CVMFS_LOW_SPEED_LIMIT=512
`,
	"cvmfs/config.federation.org/etc/cvmfs/config.d/data.federation.org.conf": `
CVMFS_EXTERNAL_URL="https://private1:8443//user/data/;https://private2:8443//user/data/"
CVMFS_AUTHZ_SEARCH_PATH=
. $CVMFS_MOUNT_DIR/$CVMFS_CONFIG_REPOSITORY/libexec/authz.conf
CVMFS_MAX_RETRIES=0
`,
	"cvmfs/config.federation.org/libexec/authz.conf":                           "CVMFS_AUTHZ_SEARCH_PATH=/usr/libexec/authz\nexport X509_CERT_BUNDLE=/etc/ca.pem\n",
	"cvmfs/config.federation.org/etc/cvmfs/keys/federation.org/federation.pub": "",
}

func TestFederation(t *testing.T) {
	c, root := load(t, storageFiles, nil)
	if want := []string{"data.federation.org", "soft.federation.org"}; !slices.Equal(c.Names(), want) {
		t.Errorf("names %q, want %q", c.Names(), want)
	}
	r, err := c.Repository("data")
	if err != nil {
		t.Fatal(err)
	}
	want := Repository{
		Servers:         []string{"http://cdn1/cvmfs/data.federation.org", "http://cdn2/cvmfs/data.federation.org"},
		ExternalServers: []string{"https://private1:8443//user/data/", "https://private2:8443//user/data/"},
	}
	if !slices.Equal(r.Servers, want.Servers) || !slices.Equal(r.ExternalServers, want.ExternalServers) {
		t.Errorf("servers %q, external %q", r.Servers, r.ExternalServers)
	}
	if r.Proxies != "auto;DIRECT" || !r.FollowRedirects || r.LowSpeedLimit != 512 || r.MaxRetries != -1 ||
		r.ExternalMaxServers != 4 || r.ExternalTimeout != 20*time.Second || r.CABundle != "/etc/ca.pem" {
		t.Errorf("got %+v", r)
	}
	if key := filepath.Join(root, "cvmfs/config.federation.org/etc/cvmfs/keys/federation.org/federation.pub"); !slices.Equal(r.PublicKeys, []string{key}) {
		t.Errorf("keys %q", r.PublicKeys)
	}
	// Which one comes first depends on the process's number.
	slices.Sort(r.PACURLs)
	if !slices.Equal(r.PACURLs, []string{"http://one/wpad.dat", "http://two/wpad.dat"}) {
		t.Errorf("auto-configuration by %q", r.PACURLs)
	}
	if r.Variables["CVMFS_AUTHZ_SEARCH_PATH"] != "/usr/libexec/authz" {
		t.Errorf("variables %v", r.Variables)
	}
	soft, err := c.Repository("soft.federation.org")
	if err != nil || !slices.Equal(soft.ExternalServers, []string{"http://cache1:8000/", "http://cache2:8000/"}) || soft.MaxRetries != 0 {
		t.Errorf("its neighbour: %+v, %v", soft, err)
	}
	if _, err := c.Repository("config.federation.org"); err == nil || !strings.Contains(err.Error(), "config.federation.org") {
		t.Errorf("nothing on this host serves the config repository, but: %v", err)
	}
}

// TestConcurrentUse: a session asks for repositories from many requests.
func TestConcurrentUse(t *testing.T) {
	c, _ := load(t, storageFiles, nil)
	var group sync.WaitGroup
	for _, name := range []string{"data", "soft", "data", "none.example.org", "soft", "data"} {
		group.Go(func() {
			r, err := c.Repository(name)
			if (err != nil) != (name == "none.example.org") {
				t.Errorf("%s: %v, %v", name, r, err)
			}
			c.Names()
		})
	}
	group.Wait()
}

// TestIndependentRepositories: what one repository's caller does to the result
// does not reach the next.
func TestIndependentRepositories(t *testing.T) {
	c, _ := load(t, storageFiles, nil)
	first, err := c.Repository("soft")
	if err != nil {
		t.Fatal(err)
	}
	first.Servers[0], first.Variables["CVMFS_TIMEOUT"] = "changed", "changed"
	second, err := c.Repository("soft")
	if err != nil || second.Servers[0] == "changed" || second.Variables["CVMFS_TIMEOUT"] == "changed" {
		t.Errorf("got %+v, %v", second, err)
	}
}
