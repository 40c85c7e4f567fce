package config

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestEveryKey: the example has every key that there is, and no other.
func TestEveryKey(t *testing.T) {
	file := filepath.Join("testdata", "every-key.yaml")
	c, err := Load(Options{File: file, Root: t.TempDir(), Env: environment(nil)})
	if err != nil {
		t.Fatal(err)
	}
	var missing func(v reflect.Value, prefix string)
	missing = func(v reflect.Value, prefix string) {
		for _, key := range keysOf(v) {
			f, ok := fieldOf(v, key)
			if !ok {
				t.Errorf("key %s%s has no field", prefix, key)
			}
			if _, section := f.value.Interface().(interface{ String() string }); f.value.Kind() == reflect.Struct && !section {
				missing(f.value, prefix+key+".")
				continue
			}
			if origin := c.Origin(prefix + key); key != "repositories" && !strings.HasPrefix(origin, file+":") {
				t.Errorf("%s does not show %s%s", file, prefix, key)
			}
		}
	}
	missing(reflect.ValueOf(c).Elem(), "")

	section := "repositories.bench.example.org."
	network := keysOf(reflect.ValueOf(Network{}))
	for _, key := range keysOf(reflect.ValueOf(Repository{})) {
		if !slices.Contains(network, key) && c.Origin(section+key) == builtIn {
			t.Errorf("%s does not show %s%s", file, section, key)
		}
	}
}

func TestKeysAreUnique(t *testing.T) {
	for _, v := range []any{Config{}, Repository{}, Network{}, Cache{}, Session{}, Images{}, Prefetch{}} {
		keys := keysOf(reflect.ValueOf(v))
		slices.Sort(keys)
		if n := len(slices.Compact(slices.Clone(keys))); n != len(keys) {
			t.Errorf("%T: two fields have one key: %q", v, keys)
		}
	}
}

// TestParametersNameKeys: each official parameter has a field to go to.
func TestParametersNameKeys(t *testing.T) {
	v := reflect.ValueOf(&Repository{}).Elem()
	for _, p := range parameters {
		if _, ok := fieldOf(v, p.key); !ok {
			t.Errorf("%s goes to %s, which does not exist", p.name, p.key)
		}
	}
}

func TestParseDuration(t *testing.T) {
	for s, want := range map[string]time.Duration{
		"0": 0, "5": 5 * time.Second, "90s": 90 * time.Second, " 2m ": 2 * time.Minute, "1h30m": 90 * time.Minute, "250ms": 250 * time.Millisecond,
	} {
		if got, err := parseDuration(s); err != nil || got != want {
			t.Errorf("parseDuration(%q) = %v, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "s", "-5", "5 s", "1d", "99999999999999999999", "9223372036854775807"} {
		if got, err := parseDuration(s); err == nil {
			t.Errorf("parseDuration(%q) = %v, want an error", s, got)
		}
	}
}

func TestParseBool(t *testing.T) {
	for s, want := range map[string]bool{"yes": true, "ON": true, "True": true, "1": true, "no": false, "off": false, "FALSE": false, " 0 ": false} {
		if got, err := parseBool(s); err != nil || got != want {
			t.Errorf("parseBool(%q) = %v, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "y", "2", "ja"} {
		if got, err := parseBool(s); err == nil {
			t.Errorf("parseBool(%q) = %v, want an error", s, got)
		}
	}
}

func TestExpandEnv(t *testing.T) {
	env := environment(map[string]string{"A": "x", "B_1": "y"})
	for s, want := range map[string]string{"": "", "/a/b": "/a/b", "$A": "x", "/$A/$B_1": "/x/y", "${A}b": "xb", "$A$A": "xx"} {
		if got, err := expandEnv(s, env); err != nil || got != want {
			t.Errorf("expandEnv(%q) = %q, %v; want %q", s, got, err, want)
		}
	}
	for _, s := range []string{"$", "$/x", "$C", "${A", "${}", "$Ab"} {
		if got, err := expandEnv(s, env); err == nil {
			t.Errorf("expandEnv(%q) = %q, want an error", s, got)
		}
	}
}

// TestNotAFile: what blocks or has no end is refused, not read.
func TestNotAFile(t *testing.T) {
	dir := t.TempDir()
	big := filepath.Join(dir, "big.yaml")
	if err := os.WriteFile(big, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(big, maxFile+1); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{dir, "/dev/zero", big} {
		_, err := Load(Options{File: file, Root: dir, Env: environment(nil)})
		if err == nil || !strings.Contains(err.Error(), file) {
			t.Errorf("%s: error %v", file, err)
		}
	}
}

// TestSearched: where our files are looked for.
func TestSearched(t *testing.T) {
	tests := []struct {
		env  map[string]string
		want []string
	}{
		{nil, []string{"/etc/flatrun/config.yaml"}},
		{map[string]string{"HOME": "/home/joe"}, []string{"/etc/flatrun/config.yaml", "/home/joe/.config/flatrun/config.yaml"}},
		{map[string]string{"HOME": "/home/joe", "XDG_CONFIG_HOME": "/x"}, []string{"/etc/flatrun/config.yaml", "/x/flatrun/config.yaml"}},
		{map[string]string{"HOME": "/home/joe", "XDG_CONFIG_HOME": "relative"}, []string{"/etc/flatrun/config.yaml", "/home/joe/.config/flatrun/config.yaml"}},
		{map[string]string{"HOME": "joe"}, []string{"/etc/flatrun/config.yaml"}},
	}
	for _, tt := range tests {
		c := &Config{env: environment(tt.env)}
		if got := c.searched(); !slices.Equal(got, tt.want) {
			t.Errorf("%v: %q, want %q", tt.env, got, tt.want)
		}
	}
}

// TestManyNodes: aliases that multiply end in one error, and soon.
func TestManyNodes(t *testing.T) {
	var b strings.Builder
	b.WriteString("repositories:\n  r.example.org: &r {timeout: 1, tag: x, max_ttl: 1, max_servers: 1}\n")
	for i := range maxNodes / 4 {
		fmt.Fprintf(&b, "  r%d.b: *r\n", i)
	}
	c, _ := load(t, nil, nil)
	err := c.decode("c.yaml", []byte(b.String()))
	if err == nil || !strings.Contains(err.Error(), "more than 20000 values") || strings.Count(err.Error(), "\n") > 0 {
		t.Errorf("error %.200v", err)
	}
}
