package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"github.com/flatrun/flatrun/mount/config/shell"
	"github.com/flatrun/flatrun/unpacked"
)

// official is what the official client's files say about one repository.
type official struct {
	dir      string // of the files
	root     string // before absolute paths in them
	fqrn     string // "" for what holds for all repositories
	vars     map[string]shell.Var
	warnings []string
	fault    error            // that stopped the reading of a file
	faults   map[string]error // in the value for one of our keys
	lines    []string         // of blacklists
	lists    []string         // the blacklists they come from
}

// official reads the files in their official order:
//
//	default.conf, default.d/*.conf, config repository's default.conf, default.local,
//	for the domain, then for the repository: config repository's .conf, .conf, .local
//
// The config repository's are read where it is mounted. Environment variables
// that begin with CVMFS_ are not seen by the files, as the official client is
// started without the user's environment.
func (c *Config) official(fqrn string) *official {
	p := &official{dir: c.CVMFSDir, root: c.root, fqrn: fqrn, vars: make(map[string]shell.Var), faults: make(map[string]error)}
	protected := false
	in := p.interpreter(c.env, &protected)
	p.run(in, "default.conf")
	for _, name := range filesIn(filepath.Join(p.dir, "default.d"), ".conf") {
		p.run(in, "default.d/"+name)
	}
	protected = true
	p.runRemote(in, "default.conf")
	p.run(in, "default.local")
	_, domain, _ := strings.Cut(fqrn, ".")
	for _, name := range []string{"domain.d/" + domain, "config.d/" + fqrn} {
		if fqrn != "" {
			p.runRemote(in, name+".conf")
			p.run(in, name+".conf")
			p.run(in, name+".local")
		}
	}
	p.warnings = append(p.warnings, in.Warnings...)
	p.readBlacklists()
	return p
}

// interpreter is what the files are run on. Once protected is set, they can no
// longer choose another config repository.
func (p *official) interpreter(env func(string) string, protected *bool) *shell.Interpreter {
	org, _, _ := strings.Cut(p.fqrn, ".")
	templates := strings.NewReplacer("@fqrn@", p.fqrn, "@org@", org)
	return &shell.Interpreter{
		Vars: p.vars,
		Lookup: func(name string) (string, bool) {
			if name == "CVMFS_FQRN" {
				return p.fqrn, true
			}
			value := env(name)
			return value, value != "" && !strings.HasPrefix(name, "CVMFS_")
		},
		Assign: func(name string, v *shell.Var) bool {
			if p.fqrn != "" {
				v.Value = templates.Replace(v.Value)
			}
			return !(*protected && name == "CVMFS_CONFIG_REPOSITORY")
		},
		ReadFile: func(file string) ([]byte, error) { return readBounded(p.rooted(file), maxFile) },
		Stat:     func(file string) (fs.FileInfo, error) { return os.Stat(p.rooted(file)) },
	}
}

// rooted is the place of a path that an official file names.
func (p *official) rooted(file string) string {
	if p.root == "" || strings.HasPrefix(file, filepath.Clean(p.root)+"/") {
		return file
	}
	return filepath.Join(p.root, file)
}

func (p *official) run(in *shell.Interpreter, name string) { p.runFile(in, filepath.Join(p.dir, name)) }

// runFile interprets a file if it is there. After a fault the other files are
// read nevertheless: they may make it harmless.
func (p *official) runFile(in *shell.Interpreter, file string) {
	err := in.Run(file)
	var fault *shell.Error
	switch {
	case err == nil || errors.Is(err, fs.ErrNotExist) || errors.Is(err, errNotDir):
	case errors.As(err, &fault):
		p.fault = errors.Join(p.fault, err)
	default:
		p.warnings = append(p.warnings, fmt.Sprintf("%s is not read: %v", file, err))
	}
}

// runRemote interprets a file of the config repository.
func (p *official) runRemote(in *shell.Interpreter, name string) {
	if dir, ok := p.configRepository(); ok {
		p.runFile(in, filepath.Join(dir, name))
	}
}

// configRepository is where the config repository's files are mounted.
func (p *official) configRepository() (string, bool) {
	name, ok := p.known("CVMFS_CONFIG_REPOSITORY")
	if !ok || name == p.fqrn || p.fqrn == "" || unpacked.CheckFQRN(name) != nil {
		return "", false
	}
	mounts, ok := p.known("CVMFS_MOUNT_DIR")
	if !ok || mounts == "" {
		mounts = "/cvmfs"
	}
	return p.rooted(filepath.Join(mounts, name, "etc/cvmfs")), true
}

// known is the value of a parameter unless it is absent or unknown.
func (p *official) known(name string) (string, bool) {
	v, ok := p.vars[name]
	return v.Value, ok && v.Unknown == ""
}

// variables are all that the files set and whose value is known: parameters, and
// what variant symbolic links may refer to.
func (p *official) variables() map[string]string {
	out := make(map[string]string)
	for name, v := range p.vars {
		if v.Unknown == "" {
			out[name] = v.Value
		}
	}
	return out
}

// repositories are those that the files name.
func (p *official) repositories() []string {
	list, _ := p.known("CVMFS_REPOSITORIES")
	names := strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' })
	domain, _ := p.known("CVMFS_DEFAULT_DOMAIN")
	for i, name := range names {
		if !strings.Contains(name, ".") && domain != "" {
			names[i] = name + "." + domain
		}
	}
	for _, suffix := range []string{".conf", ".local"} {
		for _, name := range filesIn(filepath.Join(p.dir, "config.d"), suffix) {
			names = append(names, strings.TrimSuffix(name, suffix))
		}
	}
	return slices.DeleteFunc(names, func(name string) bool { return unpacked.CheckFQRN(name) != nil })
}

// readBlacklists reads the site's and the config repository's list.
func (p *official) readBlacklists() {
	file, ok := p.known("CVMFS_BLACKLIST")
	if !ok || file == "" {
		file = filepath.Join(p.dir, "blacklist")
	}
	files := []string{p.rooted(file)}
	if dir, ok := p.configRepository(); ok {
		files = append(files, filepath.Join(dir, "blacklist"))
	}
	for _, file := range files {
		data, err := readBounded(file, maxFile)
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, errNotDir) {
			// Unlike a parameter, a blacklist that is not obeyed is a risk.
			p.fault = errors.Join(p.fault, fmt.Errorf("blacklist: %w", err))
		}
		if err == nil {
			p.lists = append(p.lists, file)
		}
		for line := range strings.Lines(string(data)) {
			if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
				p.lines = append(p.lines, line)
			}
		}
	}
}

// filesIn lists names with a suffix, sorted.
func filesIn(dir, suffix string) []string {
	entries, _ := os.ReadDir(dir) // an unreadable directory is as good as none
	var names []string
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), suffix) && e.Name() != suffix {
			names = append(names, e.Name())
		}
	}
	return names
}

// parameters maps the official parameters to our keys; the first that is set
// wins among those of one key.
var parameters = []struct{ name, key string }{
	{"CVMFS_SERVER_URL", "servers"},
	{"CVMFS_HTTP_PROXY", "proxies"},
	{"CVMFS_FALLBACK_PROXY", "fallback_proxies"},
	{"CVMFS_PROXY_SHARD", "shard_proxies"},
	{"CVMFS_PAC_URLS", "pac_urls"},
	{"CVMFS_TIMEOUT", "timeout"},
	{"CVMFS_TIMEOUT_DIRECT", "timeout_direct"},
	{"CVMFS_LOW_SPEED_LIMIT", "low_speed_limit"},
	{"CVMFS_MAX_RETRIES", "max_retries"},
	{"CVMFS_BACKOFF_INIT", "backoff_init"},
	{"CVMFS_BACKOFF_MAX", "backoff_max"},
	{"CVMFS_PROXY_RESET_AFTER", "proxy_reset"},
	{"CVMFS_HOST_RESET_AFTER", "host_reset"},
	{"CVMFS_FOLLOW_REDIRECTS", "follow_redirects"},
	{"CVMFS_MAX_SERVERS", "max_servers"},
	{"CVMFS_USE_GEOAPI", "geo_api"},
	{"CVMFS_PROXY_TEMPLATE", "geo_proxy"},
	{"X509_CERT_BUNDLE", "ca_bundle"},
	{"CVMFS_IPFAMILY_PREFER", "ip_family"},
	// The official client asks for the file before it looks into the directory.
	{"CVMFS_PUBLIC_KEY", "public_keys"},
	{"CVMFS_KEYS_DIR", "public_keys"},
	{"CVMFS_ROOT_HASH", "tag"},
	{"CVMFS_REPOSITORY_TAG", "tag"},
	{"CVMFS_REPOSITORY_DATE", "tag"},
	{"CVMFS_EXTERNAL_URL", "external_servers"},
	{"CVMFS_EXTERNAL_HTTP_PROXY", "external_proxies"},
	{"CVMFS_EXTERNAL_FALLBACK_PROXY", "external_fallback_proxies"},
	{"CVMFS_EXTERNAL_TIMEOUT", "external_timeout"},
	{"CVMFS_EXTERNAL_TIMEOUT_DIRECT", "external_timeout_direct"},
	{"CVMFS_EXTERNAL_MAX_SERVERS", "external_max_servers"},
	{"CVMFS_MAX_EXTERNAL_SERVERS", "external_max_servers"},
	{"CVMFS_MAX_TTL_SECS", "max_ttl"},
	{"CVMFS_MAX_TTL", "max_ttl"},
}

// apply sets the repository's fields from the parameters. What cannot be used
// is kept in faults: our files may have a better value.
func (p *official) apply(r *Repository) {
	v := reflect.ValueOf(r).Elem()
	for _, m := range parameters {
		value, ok := p.vars[m.name]
		_, done := r.Origins[m.key]
		if !ok || done || p.faults[m.key] != nil || value.Value == "" && value.Unknown == "" {
			continue
		}
		text := value.Value
		if m.name == "CVMFS_MAX_TTL" {
			text += "m" // the only time in minutes
		}
		err := reader{}.setKey(v, m.key, text)
		if value.Unknown != "" {
			err = errors.New(value.Unknown)
		}
		if err != nil {
			p.faults[m.key] = fmt.Errorf("%s: %s: %w", value.Origin, m.name, err)
			continue
		}
		r.Origins[m.key] = value.Origin.String()
	}
	for i, name := range r.PublicKeys {
		r.PublicKeys[i] = p.rooted(name)
	}
}
