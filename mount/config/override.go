package config

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
)

// Override is an environment variable that is stronger than every file.
type Override struct {
	Name string   // of the variable; empty values count as unset
	Keys []string // that it sets
}

// Overrides lists them. Those for "network" hold for every repository.
func Overrides() []Override {
	return []Override{
		{"FLATRUN_CACHE_DIR", []string{"cache.dir"}},
		{"FLATRUN_CACHE_LIMIT", []string{"cache.limit"}},
		{"FLATRUN_CACHE_LOWER", []string{"cache.lower"}},
		{"FLATRUN_SESSION_IDLE", []string{"session.idle"}},
		{"FLATRUN_DEFAULT_REGISTRY", []string{"images.default_registry"}},
		{"FLATRUN_SEARCH", []string{"images.search"}},
		{"FLATRUN_HTTP_PROXY", []string{"network.proxies"}},
		{"FLATRUN_FALLBACK_PROXY", []string{"network.fallback_proxies"}},
		{"FLATRUN_TIMEOUT", []string{"network.timeout", "network.timeout_direct"}},
		{"FLATRUN_DEADLINE", []string{"network.deadline"}},
		{"FLATRUN_CA_BUNDLE", []string{"network.ca_bundle"}},
		{"FLATRUN_NATIVE", []string{"native"}},
		{"FLATRUN_CVMFS_DIR", []string{"cvmfs_dir"}},
		{"FLATRUN_PREFETCH", []string{"prefetch.libraries", "prefetch.siblings", "prefetch.profiles", "prefetch.readahead"}},
	}
}

// override applies the environment to the configuration.
func (c *Config) override() error {
	var faults []error
	for _, o := range Overrides() {
		text := c.env(o.Name)
		if text == "" {
			continue
		}
		for _, key := range o.Keys {
			if err := (reader{env: c.env}).setKey(reflect.ValueOf(c).Elem(), key, text); err != nil {
				faults = append(faults, fmt.Errorf("environment variable %s: %w", o.Name, err))
				break
			}
			c.origins[key] = "environment " + o.Name
		}
	}
	return errors.Join(faults...)
}

// setKey sets the value under a key with dots in struct v.
func (r reader) setKey(v reflect.Value, key, text string) error {
	name, rest, deeper := strings.Cut(key, ".")
	f, ok := fieldOf(v, name)
	if !ok {
		return fmt.Errorf("there is no key %s", key)
	}
	if deeper {
		return r.setKey(f.value, rest, text)
	}
	return r.set(f, text)
}
