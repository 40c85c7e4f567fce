package main

import (
	"fmt"
	"slices"

	"github.com/flatrun/flatrun/unpacked/near"
)

// verb is one command of the program.
type verb struct {
	name     string
	aliases  []string
	parent   string // group the verb was found in, e.g. "config"
	operands string // what follows the flags, as the help shows it
	short    string // one line
	long     string // paragraphs of the help and of the man page
	examples string // lines that work when pasted
	min, max int    // number of operands; max -1 is any number
	flags    func(*options) []flag
	run      func(p *program, o *options, args []string) error
	verbs    []verb // a group of verbs rather than one
	refuse   string // a verb of Apptainer's that cannot work here, and what to do
	hidden   bool
	starts   bool // a container, for which this program may be started once more: messages are held back
	raw      bool // the arguments are another program's, flags and all
}

func (v *verb) path() string {
	if v.parent != "" {
		return v.parent + " " + v.name
	}
	return v.name
}

// shown are the verbs of a group that help and man pages know.
func (v *verb) shown() []verb {
	return slices.DeleteFunc(slices.Clone(v.verbs), func(child verb) bool { return child.hidden })
}

func (v *verb) named(name string) bool {
	for _, a := range v.aliases {
		if a == name {
			return true
		}
	}
	return v.name == name
}

// verbs is the list of all verbs, in the order of the help.
func verbs() []verb {
	list := containerVerbs()
	list = append(list, imageVerbs()...)
	list = append(list, discoveryVerbs()...)
	list = append(list, repositoryVerbs()...)
	list = append(list, storageVerbs()...)
	list = append(list, profileVerbs()...)
	list = append(list, hostVerbs()...)
	return append(list, foreignVerbs()...)
}

// findNested finds a verb of a group.
func findNested(group, name string) *verb {
	for _, v := range findVerb(group).verbs {
		if v.named(name) {
			v.parent = group
			return &v
		}
	}
	return nil
}

func findVerb(name string) *verb {
	for _, v := range verbs() {
		if v.named(name) {
			return &v
		}
	}
	return nil
}

// unknownVerb names the verb that was probably meant.
func (p *program) unknownVerb(name string) error {
	var names []string
	for _, v := range verbs() {
		if !v.hidden {
			names = append(names, v.name)
		}
	}
	reason := fmt.Sprintf("unknown command %q for %q", name, p.name)
	if close := near.Matches(name, names, 1); len(close) > 0 {
		reason += fmt.Sprintf("; did you mean %q?", close[0])
	}
	return usageError{reason: reason}
}

// foreignVerbs are Apptainer's that make, fetch or sign image files.
func foreignVerbs() []verb {
	const (
		files = "image files are not supported; publish the image in a CVMFS repository with flathub, then run it from there"
	)
	list := []verb{
		{name: "build", refuse: files}, {name: "pull", refuse: files}, {name: "push", refuse: files},
		{name: "sif", refuse: files}, {name: "siftool", refuse: files}, {name: "data", refuse: files},
		{name: "delete", refuse: files}, {name: "tag", refuse: files},
		{name: "buildcfg", refuse: "nothing is fixed when the program is built; see config show, and doctor for the host"},
		{name: "confgen", refuse: "see config show for what is in force, and flatrun-config.yaml(5) for what can be written"},
		{name: "key", refuse: "image files are not signed here: a repository's signature is checked on every mount"},
		{name: "sign", refuse: "image files are not signed here: a repository's signature is checked on every mount"},
		{name: "verify", refuse: "image files are not signed here: a repository's signature is checked on every mount"},
		{name: "keyserver", refuse: "image files are not signed here: a repository's signature is checked on every mount"},
		{name: "remote", refuse: "there are no remote services; repositories are configured in config.yaml"},
		{name: "registry", refuse: "no registry is asked at start; flathub logs in when it converts images"},
		{name: "overlay", refuse: "overlay images are not supported; use --overlay with a directory"},
		{name: "plugin", refuse: "there are no plug-ins"},
		{name: "checkpoint", refuse: "checkpoints are not supported; use the batch system's"},
		{name: "capability", refuse: "no capabilities are granted to users; within their own namespace --fakeroot has them all"},
	}
	for i := range list {
		list[i].hidden, list[i].max = true, -1
	}
	return list
}
