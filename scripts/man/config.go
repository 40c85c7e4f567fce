package main

import (
	"encoding"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"time"

	"github.com/flatrun/flatrun/cmd/show"
	"github.com/flatrun/flatrun/mount/config"
)

// key is one setting of the configuration: its name with dots, what kind of value it has, and the default.
type key struct{ name, kind, standard string }

// keys lists all of them in the order of the types. Those of one repository are below "repositories.FQRN".
func keys() ([]key, error) {
	dir, err := os.MkdirTemp("", "man")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "config.yaml")
	if err := os.WriteFile(file, []byte("cvmfs_dir: "+dir+"\n"), 0o644); err != nil {
		return nil, err
	}
	none := func(string) string { return "" }
	c, err := config.Load(config.Options{File: file, Env: none, Root: dir})
	if err != nil {
		return nil, err
	}
	c.CVMFSDir = "/etc/cvmfs"
	c.Cache.Dir = "" // depends on the host; the text says how
	return collect(nil, "", reflect.ValueOf(c).Elem()), nil
}

func collect(list []key, prefix string, v reflect.Value) []key {
	for _, f := range reflect.VisibleFields(v.Type()) {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "" || name == "-" || len(f.Index) > 1 { // what a repository has of network is said once
			continue
		}
		value := v.FieldByIndex(f.Index)
		switch {
		case f.Type.Kind() == reflect.Map:
			list = collect(list, prefix+name+".FQRN.", reflect.New(f.Type.Elem().Elem()).Elem())
		case f.Type.Kind() == reflect.Struct && !isText(value):
			list = collect(list, prefix+name+".", value)
		default:
			list = append(list, key{prefix + name, kind(value), standard(value)})
		}
	}
	return list
}

func isText(v reflect.Value) bool {
	_, ok := v.Addr().Interface().(encoding.TextUnmarshaler)
	return ok
}

// kind says what may be written.
func kind(v reflect.Value) string {
	if v.Type() == reflect.TypeFor[time.Duration]() {
		return "time, such as 30s"
	}
	if v.Type().Name() == "Size" {
		return "size, such as 20GB"
	}
	switch v.Kind() {
	case reflect.Bool:
		return "yes or no"
	case reflect.Slice:
		return "list"
	case reflect.Int, reflect.Int64:
		return "number"
	}
	return "text"
}

// standard is the default, "" where there is none worth a word.
func standard(v reflect.Value) string {
	switch {
	case v.Kind() == reflect.Bool && v.Bool():
		return "yes"
	case v.Kind() == reflect.Bool:
		return "no"
	case v.IsZero() || v.Kind() == reflect.Slice:
		return ""
	}
	return fmt.Sprint(v.Interface())
}

// configPage is flatrun-config(5).
func configPage() (string, error) {
	list, err := keys()
	if err != nil {
		return "", err
	}
	var b strings.Builder
	head(&b, "flatrun-config", "5", "configuration of flatrun")
	b.WriteString(".SH DESCRIPTION\n" + show.Roff(introduction) + "\n")
	section := ""
	for _, k := range list {
		if s := sectionOf(k.name); s != section {
			section = s
			b.WriteString(".SH " + sections[s] + "\n")
		}
		fmt.Fprintf(&b, ".TP\n.BR %s \" (%s)\"\n%s\n", show.Roff(k.name), show.Roff(k.kind), show.Roff(texts[k.name]))
		if k.standard != "" && section != "repositories" { // whose defaults are those of all repositories
			fmt.Fprintf(&b, "Default: %s.\n", show.Roff(k.standard))
		}
	}
	b.WriteString(".SH BINDS\n" + show.Roff(binds) + "\n.SH ENVIRONMENT\nThese variables are stronger than every file.\n")
	for _, o := range config.Overrides() {
		fmt.Fprintf(&b, ".TP\n.B %s\n%s\n", show.Roff(o.Name), show.Roff(strings.Join(o.Keys, ", ")))
	}
	b.WriteString(".SH EXAMPLES\n")
	example(&b, sample)
	b.WriteString(".SH SEE ALSO\n.BR flatrun (1),\n.BR flatrun\\-config (1)\n")
	return b.String(), nil
}

func sectionOf(name string) string {
	first, _, deeper := strings.Cut(name, ".")
	if !deeper {
		return ""
	}
	return first
}

var sections = map[string]string{
	"": "WHERE REPOSITORIES ARE LOOKED FOR", "repositories": "REPOSITORIES", "network": "NETWORK", "cache": "CACHE", "session": "SESSIONS", "images": "IMAGES",
	"prefetch": "FETCHING AHEAD", "runtime": "CONTAINERS",
}

const introduction = `flatrun reads /etc/flatrun/config.yaml and then the user's own flatrun/config.yaml below $XDG_CONFIG_HOME (or ~/.config), which is stronger; --config or FLATRUN_CONFIG names another file in place of both. The files are YAML. Keys that are not known are refused. 'flatrun config show' prints each value with where it comes from.

A repository without a section of its own is looked up in the configuration of the official client, below cvmfs_dir.`

const sample = `repositories:
  images.example.org:
    servers: ["http://stratum1.example.org/cvmfs/@fqrn@"]
    public_keys: [/etc/flatrun/images.example.org.pub]
network:
  proxies: "http://squid.example.org:3128;DIRECT"
cache:
  dir: /var/cache/flatrun
  limit: 20GB
images:
  search: [images.example.org, unpacked.cern.ch]
runtime:
  bind:
    - {source: /scratch, if_exists: yes}
  always_use_nv: no`
