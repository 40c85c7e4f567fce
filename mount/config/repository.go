package config

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/flatrun/flatrun/unpacked"
	"github.com/flatrun/flatrun/unpacked/near"
)

// ErrUnknown means that no file says where a repository is served.
var ErrUnknown = errors.New("repository is not configured")

// Network is how files are fetched. Zero values mean the fetcher's defaults,
// which are those of the official client.
type Network struct {
	Proxies         string        `json:"proxies"`                   // "a|b;c;DIRECT"; auto asks PACURLs
	ShardProxies    bool          `json:"shard_proxies"`             // each file by one proxy of its group
	PACURLs         []string      `json:"pac_urls" sep:";"`          // scripts of proxy auto-configuration
	FallbackProxies string        `json:"fallback_proxies"`          // groups to append
	Timeout         time.Duration `json:"timeout"`                   // through a proxy
	TimeoutDirect   time.Duration `json:"timeout_direct"`            // without one
	Deadline        time.Duration `json:"deadline"`                  // for one file over all attempts
	Patience        time.Duration `json:"patience" zero:"1ns"`       // to bridge an outage
	LowSpeedLimit   int64         `json:"low_speed_limit" zero:"-1"` // bytes per second; negative = none
	MaxRetries      int           `json:"max_retries" zero:"-1"`     // negative = none
	BackoffInit     time.Duration `json:"backoff_init" zero:"1ns"`
	BackoffMax      time.Duration `json:"backoff_max" zero:"1ns"`
	ProxyReset      time.Duration `json:"proxy_reset" zero:"87600h"` // the official 0 means never
	HostReset       time.Duration `json:"host_reset" zero:"87600h"`
	FollowRedirects bool          `json:"follow_redirects"`
	MaxServers      int           `json:"max_servers"` // 0 = all
	GeoAPI          bool          `json:"geo_api"`
	GeoProxy        string        `json:"geo_proxy"`
	CABundle        string        `json:"ca_bundle" path:"yes" expand:"env"`
	IPFamily        int           `json:"ip_family"` // 4, 6, or 0 = the system's choice
	Concurrency     int           `json:"concurrency"`
}

// Repository is all that is configured about one repository.
type Repository struct {
	FQRN    string   `json:"-"`
	Servers []string `json:"servers" sep:";"` // base URLs: http, https, or file
	Network
	// PublicKeys are the files of master keys; in our files also directories,
	// for the *.pub in them.
	PublicKeys []string      `json:"public_keys" sep:":" path:"yes" expand:"env"`
	Tag        string        `json:"tag"`     // tag, number, date or root hash of the revision to stay at; "" = follow the head
	MaxTTL     time.Duration `json:"max_ttl"` // upper bound of the time between looks for a new revision
	// External data: files kept outside of the repository's own storage.
	ExternalServers         []string      `json:"external_servers" sep:";"`
	ExternalProxies         string        `json:"external_proxies"`
	ExternalFallbackProxies string        `json:"external_fallback_proxies"`
	ExternalTimeout         time.Duration `json:"external_timeout"`
	ExternalTimeoutDirect   time.Duration `json:"external_timeout_direct"`
	ExternalMaxServers      int           `json:"external_max_servers"`
	// Blacklist are lines of refused certificates ("AB:CD:…") and revisions ("<FQRN N").
	Blacklist []string `json:"blacklist" sep:","`
	Native    bool     `json:"native"` // prefer the site's mount at /cvmfs

	Variables map[string]string `json:"-"` // what the official files set, without what is not known
	Origins   map[string]string `json:"-"` // of each key above that is set, by its name in our files
	Warnings  []string          `json:"-"`

	config *Config
}

// Names lists the repositories that are known by name, sorted: those with a
// section of their own, those of the official config.d and CVMFS_REPOSITORIES,
// and those to search images in. Others may be known by their domain.
func (c *Config) Names() []string {
	names := make(map[string]bool)
	for name := range c.Repositories {
		names[name] = true
	}
	for _, name := range c.Images.Search {
		names[name] = true
	}
	for _, name := range c.official("").repositories() {
		names[name] = true
	}
	return slices.Sorted(maps.Keys(names))
}

// Repository is the whole configuration of one repository. name may be short
// if CVMFS_DEFAULT_DOMAIN is set. The error is ErrUnknown where nothing says who
// serves it, with names that are known and near.
func (c *Config) Repository(name string) (*Repository, error) {
	if !strings.Contains(name, ".") {
		if domain, ok := c.official("").known("CVMFS_DEFAULT_DOMAIN"); ok && domain != "" {
			name += "." + domain
		}
	}
	if err := unpacked.CheckFQRN(name); err != nil {
		return nil, err
	}
	p := c.official(name)
	r := &Repository{config: c, FQRN: name, Native: c.Native, Origins: make(map[string]string), Variables: p.variables()}
	r.Origins["native"] = c.Origin("native")
	p.apply(r)
	mine, err := c.ours(r)
	if err != nil {
		return nil, fmt.Errorf("repository %s: %w", name, err)
	}
	r.Warnings = p.warnings
	if err := r.useful(p, mine); err != nil {
		return nil, fmt.Errorf("repository %s: %w", name, err)
	}
	if len(r.Servers) == 0 {
		return nil, c.unknown(name, p)
	}
	if err := r.finish(p); err != nil {
		return nil, fmt.Errorf("repository %s: %w", name, err)
	}
	return r, nil
}

// Reread is the repository's section with what the official files and the site's blacklists say now.
func (r *Repository) Reread() (*Repository, error) { return r.config.Repository(r.FQRN) }

// ours reads our files' sections and the environment over what the official
// files gave, and tells which keys they set.
func (c *Config) ours(r *Repository) (map[string]bool, error) {
	var faults []error
	mine := make(map[string]bool)
	note := func(key, origin string) {
		r.Origins[key] = origin
		mine[key] = true
	}
	read := func(s section, prefix string, into reflect.Value) {
		d := c.decoder(s.file, func(key, origin string) {
			note(strings.TrimPrefix(key, prefix+"."), origin)
		})
		d.mapping(s.node, into, prefix)
		faults = append(faults, d.faults...)
	}
	for _, s := range c.network {
		read(s, "network", reflect.ValueOf(&r.Network).Elem())
	}
	for _, s := range c.sections[r.FQRN] {
		read(s, "repositories."+r.FQRN, reflect.ValueOf(r).Elem())
	}
	for _, o := range Overrides() {
		for _, key := range o.Keys {
			name, ok := strings.CutPrefix(key, "network.")
			if key != "native" && !ok || c.env(o.Name) == "" {
				continue
			}
			if !ok {
				name = key
			}
			faults = append(faults, (reader{env: c.env}).setKey(reflect.ValueOf(r).Elem(), name, c.env(o.Name)))
			note(name, "environment "+o.Name)
		}
	}
	return mine, errors.Join(append(faults, r.checkNumbers(mine))...)
}

// maxConcurrency is more than any server likes to see from one client.
const maxConcurrency = 1000

// checkNumbers refuses numbers that mean nothing, where ours give them: with the official files' the official client lives, too.
func (r *Repository) checkNumbers(ours map[string]bool) error {
	var faults []error
	for _, n := range []struct {
		key    string
		value  int
		usable bool
		want   string
	}{
		{"ip_family", r.IPFamily, r.IPFamily == 0 || r.IPFamily == 4 || r.IPFamily == 6, "4, 6, or 0 for either"},
		{"concurrency", r.Concurrency, 0 <= r.Concurrency && r.Concurrency <= maxConcurrency, fmt.Sprintf("1 to %d, or 0 for the usual", maxConcurrency)},
		{"max_servers", r.MaxServers, r.MaxServers >= 0, "a number of servers, or 0 for all"},
		{"external_max_servers", r.ExternalMaxServers, r.ExternalMaxServers >= 0, "a number of servers, or 0 for all"},
	} {
		if ours[n.key] && !n.usable {
			faults = append(faults, fmt.Errorf("%s: %s: %d; want %s", r.origin(n.key), n.key, n.value, n.want))
		}
	}
	return errors.Join(faults...)
}

// useful reports faults of the official files where their values are needed;
// where ours stand in for them, they are worth a warning only.
func (r *Repository) useful(p *official, mine map[string]bool) error {
	if p.fault != nil {
		if !mine["servers"] || !mine["public_keys"] {
			return p.fault
		}
		r.Warnings = append(r.Warnings, p.fault.Error())
	}
	for _, key := range slices.Sorted(maps.Keys(p.faults)) {
		needed := key != "pac_urls" || strings.Contains(r.Proxies, "auto")
		if !mine[key] && needed {
			return p.faults[key]
		}
		r.Warnings = append(r.Warnings, p.faults[key].Error())
	}
	return nil
}

// finish fills in names and checks what the sources together have given.
func (r *Repository) finish(p *official) error {
	org, _, _ := strings.Cut(r.FQRN, ".")
	templates := strings.NewReplacer("@fqrn@", r.FQRN, "@org@", org)
	for _, list := range [][]string{r.Servers, r.ExternalServers, r.PublicKeys} {
		for i := range list {
			list[i] = templates.Replace(list[i])
		}
	}
	// The site's blacklist holds whatever our files say.
	if len(p.lines) > 0 {
		r.Blacklist = append(p.lines, r.Blacklist...)
		r.Origins["blacklist"] = strings.TrimPrefix(r.Origins["blacklist"]+" ", " ") + strings.Join(p.lists, " ")
	}
	if r.Proxies == "" {
		r.Proxies = "DIRECT"
	}
	if err := errors.Join(r.checkServers("servers", r.Servers), r.checkServers("external_servers", r.ExternalServers)); err != nil {
		return err
	}
	return r.keyFiles(p)
}

func (c *Config) unknown(fqrn string, p *official) error {
	var others []string
	for _, name := range c.Names() {
		if name != fqrn {
			others = append(others, name)
		}
	}
	where := "add it under repositories in " + c.searched()[len(c.searched())-1]
	if len(c.Files) > 0 {
		where = "add it under repositories in " + c.Files[len(c.Files)-1]
	}
	hint := near.Hint(fqrn, others)
	if hint == "" {
		hint = "; " + where
	}
	return fmt.Errorf("%w: %s: nothing below %s and no section of ours says who serves it%s", ErrUnknown, fqrn, p.dir, hint)
}

func (r *Repository) origin(key string) string {
	if origin, ok := r.Origins[key]; ok {
		return origin
	}
	return builtIn
}

func (r *Repository) checkServers(key string, servers []string) error {
	for _, s := range servers {
		u, err := url.Parse(s)
		if err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" || err == nil && u.Scheme == "file" && filepath.IsAbs(u.Path) {
			continue
		}
		return fmt.Errorf("%s: %s: %q is not an http, https or file URL", r.origin(key), key, s)
	}
	return nil
}

// keyFiles replaces directories by the keys in them and wants every key to be
// there: without keys nothing could be verified.
func (r *Repository) keyFiles(p *official) error {
	if len(r.PublicKeys) == 0 {
		dir := filepath.Join(p.dir, "keys")
		if _, err := os.Stat(dir); err != nil {
			return fmt.Errorf("no public key: public_keys is not given and %w; nothing can be verified without one", err)
		}
		r.PublicKeys = []string{dir}
	}
	var files []string
	for _, name := range r.PublicKeys {
		info, err := os.Stat(name)
		if err != nil {
			return fmt.Errorf("public key of %s: %w; nothing can be verified without it", r.origin("public_keys"), err)
		}
		if !info.IsDir() {
			files = append(files, name)
			continue
		}
		found, err := filepath.Glob(filepath.Join(escapeGlob(name), "*.pub"))
		if err != nil || len(found) == 0 {
			return fmt.Errorf("no public key: %s (%s) holds no *.pub", name, r.origin("public_keys"))
		}
		files = append(files, found...)
	}
	r.PublicKeys = files
	return nil
}

func escapeGlob(s string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(s)
}
