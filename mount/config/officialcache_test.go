package config

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestOfficialCaches(t *testing.T) {
	memory := fmt.Sprintf("/dev/shm/flatrun-%d", os.Getuid())
	for name, tt := range map[string]struct {
		lines   string // @ is the root of the test
		dir     string // "" for the built-in one
		limit   int64  // 0 for the built-in one
		lower   []string
		warning string
	}{
		"nothing":     {"", "", 0, nil, ""},
		"base":        {"CVMFS_CACHE_BASE=/var/lib/cvmfs\nCVMFS_QUOTA_LIMIT=4000\nCVMFS_SHARED_CACHE=yes\nCVMFS_WORKSPACE=/x\nCVMFS_RELOAD_SOCKETS=/y", "", 0, nil, ""},
		"alien":       {"CVMFS_ALIEN_CACHE=@/alien", "", 0, []string{"alien"}, ""},
		"alien gone":  {"CVMFS_ALIEN_CACHE=@/none", "", 0, nil, "none is not there"},
		"no dir":      {"CVMFS_ALIEN_CACHE=@/etc/cvmfs/default.conf", "", 0, nil, "not a directory"},
		"posix":       {"CVMFS_CACHE_PRIMARY=p\nCVMFS_CACHE_p_TYPE=posix\nCVMFS_CACHE_p_QUOTA_LIMIT=100\nCVMFS_CACHE_p_BASE=/x", "", 100 << 20, nil, ""},
		"unmanaged":   {"CVMFS_CACHE_PRIMARY=p\nCVMFS_CACHE_p_TYPE=posix\nCVMFS_CACHE_p_QUOTA_LIMIT=-1\nCVMFS_CACHE_p_ALIEN=@/alien\nCVMFS_CACHE_p_SHARED=no", "", 0, []string{"alien"}, ""},
		"ram":         {"CVMFS_CACHE_PRIMARY=m\nCVMFS_CACHE_m_TYPE=ram\nCVMFS_CACHE_m_SIZE=64", memory, 64 << 20, nil, ""},
		"ram in part": {"CVMFS_CACHE_PRIMARY=m\nCVMFS_CACHE_m_TYPE=ram\nCVMFS_CACHE_m_SIZE=1%", memory, -1, nil, ""},
		"ram of what": {"CVMFS_CACHE_PRIMARY=m\nCVMFS_CACHE_m_TYPE=ram\nCVMFS_CACHE_m_SIZE=much", memory, 0, nil, "number of megabytes"},
		"tiered": {"CVMFS_CACHE_PRIMARY=hpc\nCVMFS_CACHE_hpc_TYPE=tiered\nCVMFS_CACHE_hpc_UPPER=mem\nCVMFS_CACHE_hpc_LOWER=pre\nCVMFS_CACHE_hpc_LOWER_READONLY=yes\n" +
			"CVMFS_CACHE_mem_TYPE=ram\nCVMFS_CACHE_mem_SIZE=10\nCVMFS_CACHE_pre_TYPE=posix\nCVMFS_CACHE_pre_ALIEN=@/alien", memory, 10 << 20, []string{"alien"}, ""},
		"three tiers": {"CVMFS_CACHE_PRIMARY=a\nCVMFS_CACHE_a_TYPE=tiered\nCVMFS_CACHE_a_UPPER=p\nCVMFS_CACHE_a_LOWER=b\nCVMFS_CACHE_p_TYPE=posix\n" +
			"CVMFS_CACHE_b_TYPE=tiered\nCVMFS_CACHE_b_UPPER=c\nCVMFS_CACHE_b_LOWER=d\nCVMFS_CACHE_c_TYPE=posix\nCVMFS_CACHE_c_BASE=@/base\nCVMFS_CACHE_d_TYPE=posix\nCVMFS_CACHE_d_DIR=@/alien",
			"", 0, []string{"base/shared", "alien"}, ""},
		"written lower": {"CVMFS_CACHE_PRIMARY=a\nCVMFS_CACHE_a_TYPE=tiered\nCVMFS_CACHE_a_UPPER=p\nCVMFS_CACHE_a_LOWER=d\nCVMFS_CACHE_a_LOWER_READONLY=no\nCVMFS_CACHE_p_TYPE=posix\n" +
			"CVMFS_CACHE_d_TYPE=posix\nCVMFS_CACHE_d_ALIEN=@/alien", "", 0, []string{"alien"}, "only read"},
		"external": {"CVMFS_CACHE_PRIMARY=e\nCVMFS_CACHE_e_TYPE=external\nCVMFS_CACHE_e_LOCATOR=tcp=x:1", "", 0, nil, "not supported"},
		"no type":  {"CVMFS_CACHE_PRIMARY=e", "", 0, nil, "has no CVMFS_CACHE_e_TYPE"},
		"odd type": {"CVMFS_CACHE_PRIMARY=e\nCVMFS_CACHE_e_TYPE=tape", "", 0, nil, "not known"},
		"no lower": {"CVMFS_CACHE_PRIMARY=a\nCVMFS_CACHE_a_TYPE=tiered\nCVMFS_CACHE_a_UPPER=a", "", 0, nil, "want CVMFS_CACHE_a_UPPER and CVMFS_CACHE_a_LOWER"},
		"itself": {"CVMFS_CACHE_PRIMARY=a\nCVMFS_CACHE_a_TYPE=tiered\nCVMFS_CACHE_a_UPPER=a\nCVMFS_CACHE_a_LOWER=d\nCVMFS_CACHE_d_TYPE=ram",
			"", 0, nil, "too many tiers"},
	} {
		t.Run(name, func(t *testing.T) {
			root := write(t, siteFiles)
			for _, dir := range []string{"alien", "base/shared"} {
				if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			plain, err := Load(Options{Root: root, Env: environment(nil)})
			if err != nil {
				t.Fatal(err)
			}
			local := filepath.Join(root, "etc/cvmfs/default.local")
			if err := os.WriteFile(local, []byte(strings.ReplaceAll(tt.lines, "@", root)+"\n"), 0o644); err != nil {
				t.Fatal(err)
			}
			c, err := Load(Options{Root: root, Env: environment(nil)})
			if err != nil {
				t.Fatal(err)
			}
			var lower []string
			for _, dir := range tt.lower {
				lower = append(lower, filepath.Join(root, dir))
			}
			dir, limit := plain.Cache.Dir, int64(plain.Cache.Limit)
			if tt.dir != "" {
				dir = tt.dir
			}
			if tt.limit > 0 {
				limit = tt.limit
			}
			if tt.limit < 0 {
				limit = int64(c.Cache.Limit)
			}
			if c.Cache.Dir != dir || int64(c.Cache.Limit) != limit || limit <= 0 || !slices.Equal(c.Cache.Lower, lower) {
				t.Errorf("%+v, want %s, %d, %q", c.Cache, dir, limit, lower)
			}
			if all := strings.Join(c.Warnings, "\n"); (all == "") != (tt.warning == "") || !strings.Contains(all, tt.warning) {
				t.Errorf("warnings %q, want %q", all, tt.warning)
			}
			ours, err := Load(Options{Root: root, Env: environment(map[string]string{
				"FLATRUN_CACHE_DIR": "/ours", "FLATRUN_CACHE_LIMIT": "7", "FLATRUN_CACHE_LOWER": "/below"})})
			if err != nil || ours.Cache.Dir != "/ours" || ours.Cache.Limit != 7 || !slices.Equal(ours.Cache.Lower, []string{"/below"}) {
				t.Errorf("what is ours comes first: %+v, %v", ours.Cache, err)
			}
		})
	}
}
