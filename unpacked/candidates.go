package unpacked

import (
	"regexp"
	"strings"
)

// platforms are names of platforms as a converter appends them to a link.
var platforms = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9.]+)+$`)

// CutPlatform takes "@OS-ARCHITECTURE" off the name of an image: the link to one of several platforms that is not what the
// plain name leads to. platform is "" where the name has none.
func CutPlatform(image string) (name, platform string) {
	name, platform, ok := strings.Cut(image, "@")
	if !ok || !platforms.MatchString(platform) {
		return image, ""
	}
	return name, "@" + platform
}

// Candidates lists the paths at which a repository may hold image r, the likely
// ones first; the caller takes the first that exists.
//
//   - Docker Hub has several names, and repositories were filled under each.
//   - A short name is also looked for without a registry ("/opensciencegrid/osgvo-el9:latest"),
//     as repositories made by the older converters are laid out.
//   - A short name of one word is looked for with and without "library/".
//   - A digest is never replaced by a tag. DUCC files it behind a colon. It may
//     be the image's id, too, and then names the flat image itself.
func (r Reference) Candidates() []string {
	registries := r.registries()
	if r.Short {
		registries = append(registries, "")
	}
	var paths []string
	for _, registry := range registries {
		for _, repository := range r.repositories() {
			name := "/" + strings.TrimPrefix(registry+"/"+repository, "/")
			if r.Digest != "" {
				paths = append(paths, name+"@"+string(r.Digest), name+":"+string(r.Digest))
			} else {
				paths = append(paths, name+":"+r.Tag)
			}
		}
	}
	if r.Digest != "" {
		paths = append(paths, FlatRoot(r.Digest))
	}
	return paths
}

// registries are the names of the reference's registry, the written one first.
func (r Reference) registries() []string {
	names := []string{r.Registry}
	if !IsDockerHub(r.Registry) {
		return names
	}
	for _, name := range hubNames {
		if name != r.Registry {
			names = append(names, name)
		}
	}
	return names
}

// repositories are the ways in which the repository of a short name is filed.
func (r Reference) repositories() []string {
	if !r.Short {
		return []string{r.Repository}
	}
	if word, ok := strings.CutPrefix(r.Repository, "library/"); ok {
		return []string{r.Repository, word}
	}
	if !strings.Contains(r.Repository, "/") {
		return []string{r.Repository, "library/" + r.Repository}
	}
	return []string{r.Repository}
}
