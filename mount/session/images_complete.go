package session

import (
	"slices"
	"strings"
)

// Completions are the names of images that begin with word: in full, and for those of the default registry in the short
// forms that are looked up there too (unpacked.Reference.Candidates). For an empty word, only the full names are.
func Completions(list []Image, word, defaultRegistry string) []string {
	var names []string
	add := func(name string) {
		if strings.HasPrefix(name, word) && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	for _, i := range list {
		full := i.Reference()
		add(full)
		if short, ok := strings.CutPrefix(full, defaultRegistry+"/"); ok && word != "" {
			add(short)
			if official, ok := strings.CutPrefix(short, "library/"); ok {
				add(official)
			}
		}
	}
	return names
}
