package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
)

// storageOptions are the flags of cache and prefetch.
type storageOptions struct {
	Size, Into      string
	Repair, Profile bool
	Days            number
	DryRun          bool
	Types           []string // of Apptainer's cache
	Verbose         bool
}

// storageVerbs deal with the cache of objects.
func storageVerbs() []verb {
	structured := func(o *options) []flag {
		return []flag{{name: "json", short: "j", value: &o.JSON, help: "print structured JSON"}}
	}
	list := func(o *options) []flag {
		return append(structured(o), typesFlag(o), flag{name: "verbose", short: "v", value: &o.Storage.Verbose, hidden: true, help: "objects are always listed"})
	}
	return []verb{
		{
			name: "cache", short: "Look at the cache of objects, clean, verify and move it",
			verbs: []verb{
				{
					name: "info", min: 0, max: 0, flags: structured, run: runCache("info"),
					short: "Show size, limit and age of the cache, and the tiers below it", examples: "{} cache info",
				},
				{
					name: "list", aliases: []string{"ls"}, operands: "[PATTERN]", min: 0, max: 1, flags: list, run: runCache("list"),
					short: "List objects, those whose hash matches or begins with PATTERN", examples: "{} cache list 'ab*'",
				},
				{
					name: "clean", min: 0, max: 0, flags: cleanFlags, run: runCache("clean"),
					short: "Remove what was not used for the longest time",
					long:  "Brings the cache down to its limit, or to --size, or to what was used within --days. Catalogs go last. Containers that use an object keep it. Nothing is asked: --force alone is --all, as scripts for Apptainer mean it.",
					examples: `{} cache clean --size 5GB
{} cache clean --days 30 --dry-run
{} cache clean --all`,
				},
				{
					name: "verify", min: 0, max: 0, flags: repairFlags, run: runCache("verify"),
					short:    "Compare all objects with their checksums",
					examples: "{} cache verify --repair",
				},
				{
					name: "export", operands: "FILE", min: 1, max: 1, run: runCache("export"),
					short:    "Write all objects into one large file",
					long:     "Parallel file systems choke on many small files. Sessions use the large one as it is, with cache: {lower: FILE} in the configuration, or FLATRUN_CACHE_LOWER.",
					examples: "{} prefetch --into /tmp/tool registry.example.org/library/tool:1\nFLATRUN_CACHE_DIR=/tmp/tool {} cache export /project/tool.flatrun",
				},
				{
					name: "import", operands: "FILE", min: 1, max: 1, run: runCache("import"),
					short: "Copy the objects of such a file into the cache", examples: "{} cache import /project/tool.flatrun",
				},
			},
		},
		{
			name: "prefetch", operands: "IMAGE|PATH", min: 1, max: -1, flags: prefetchFlags, run: runPrefetch,
			short: "Fetch an image before it is needed, for nodes without network",
			long: "Fetches all of an image, or of a file or directory below /cvmfs, into the cache. Interrupted, it goes on where it was. " +
				"With --into it fills another directory, which sessions use with cache: {lower: DIR} in the configuration.",
			examples: `{} prefetch registry.example.org/library/debian:12
{} prefetch --into /project/cache /cvmfs/unpacked.cern.ch/registry.hub.docker.com/library/debian:12`,
		},
	}
}

func cleanFlags(o *options) []flag {
	return []flag{
		{name: "size", short: "s", value: &o.Storage.Size, arg: "size", help: "leave at most so much, such as 5GB"},
		{name: "days", short: "D", value: &o.Storage.Days, arg: "n", help: "leave what was used within so many days"},
		{name: "all", short: "a", value: &o.All, help: "leave nothing"},
		{name: "force", short: "f", value: &o.Force, help: "the same as --all, unless --size or --days is given"},
		{name: "dry-run", short: "n", value: &o.Storage.DryRun, help: "only tell how much would go"},
		typesFlag(o),
	}
}

// cacheTypes are those of Apptainer's cache. Ours has blobs, so to speak, and nothing of the others.
var cacheTypes = []string{"all", "blob", "blobs", "library", "oci", "shub", "net", "oras"}

func typesFlag(o *options) flag {
	return flag{name: "type", short: "T", value: &o.Storage.Types, arg: "list", hidden: true, help: "all or blob; the cache has nothing of Apptainer's other types"}
}

// concerned reports whether the types that were asked for are there.
func (s storageOptions) concerned() (bool, error) {
	concerned := len(s.Types) == 0
	for _, t := range s.Types {
		if !slices.Contains(cacheTypes, t) {
			return false, fatal("--type %s: not a valid type, it is one of %s", t, strings.Join(cacheTypes, ", "))
		}
		concerned = concerned || slices.Contains(cacheTypes[:3], t)
	}
	return concerned, nil
}

func repairFlags(o *options) []flag {
	return []flag{{name: "repair", value: &o.Storage.Repair, help: "move away what is wrong; it is fetched again when it is wanted"}}
}

func prefetchFlags(o *options) []flag {
	return []flag{
		{name: "all", short: "a", value: &o.All, help: "all files of the image (the default)"},
		{name: "profile", value: &o.Storage.Profile, help: "only what its recorded start touched"},
		{name: "into", value: &o.Storage.Into, arg: "dir", help: "fill this directory in place of the cache"},
	}
}

// words are the flags as flatrun-session takes them.
func (s storageOptions) words(o *options) []string {
	var words []string
	for _, f := range []struct {
		given bool
		word  string
	}{
		{o.JSON, "--json"}, {o.All, "--all"}, {s.Repair, "--repair"}, {s.Profile, "--profile"},
		{s.Days.text != "", "--days=" + s.Days.text}, {s.DryRun, "--dry-run"}, {s.Size != "", "--size=" + s.Size}, {s.Into != "", "--into=" + s.Into},
	} {
		if f.given {
			words = append(words, f.word)
		}
	}
	return words
}

func runCache(name string) func(*program, *options, []string) error {
	return func(p *program, o *options, args []string) error {
		if there, err := o.Storage.concerned(); err != nil || !there {
			return err
		}
		o.All = o.All || o.Force && o.Storage.Size == "" && o.Storage.Days.text == ""
		return p.watchSession("cache", append(append(o.Storage.words(o), name), args...))
	}
}

// runPrefetch passes on what follows the image too: flags are taken from there as well.
func runPrefetch(p *program, o *options, args []string) error {
	return p.watchSession("prefetch", append(o.Storage.words(o), args...))
}

// watchSession is callSession for work that takes its time: the progress is shown on our own standard error.
func (p *program) watchSession(verb string, args []string) error {
	file, err := findSession()
	if err != nil {
		return err
	}
	words := []string{verb, "--progress=3"}
	if p.config != "" {
		words = append(words, "--config", p.config)
	}
	cmd := exec.Command(file, append(words, args...)...)
	cmd.Env, cmd.Stdout, cmd.ExtraFiles = p.environ, p.stdout, []*os.File{os.Stderr}
	if p.log.show < levelInfo { // --quiet
		null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		defer null.Close()
		cmd.ExtraFiles[0] = null
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	err = cmd.Run()
	if text := strings.TrimSpace(stderr.String()); err != nil && text != "" {
		return errors.New(text)
	}
	var ended *exec.ExitError
	if errors.As(err, &ended) && ended.Sys().(syscall.WaitStatus).Signal() == syscall.SIGPIPE { // as in "cache list | head"
		return exitCode(128 + int(syscall.SIGPIPE))
	}
	if err != nil {
		return fatal("%s %s: %w", sessionProgram, verb, err)
	}
	return nil
}
