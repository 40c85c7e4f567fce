package wishlist_test

import (
	"fmt"

	"github.com/flatrun/flatrun/unpacked/wishlist"
)

func ExampleParse() {
	list, err := wishlist.Parse("recipe.yaml", []byte(`
version: 1
user: cvmfsunpacker
cvmfs_repo: unpacked.example.org
output_format: 'https://registry.example.org/unpacked/$(image)'
input:
  - 'https://registry.hub.docker.com/library/fedora:3*'
  - 'https://registry.hub.docker.com/library/Fedora:latest'
`))
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, fault := range list.Bad {
		fmt.Println(fault)
	}
	wish := list.Wishes[0]
	for _, tag := range []string{"35", "rawhide", "39"} {
		if !wish.Matches(tag) {
			continue
		}
		thin, err := list.ThinName(wish.With(tag))
		fmt.Println(wish.With(tag), "→", thin, err)
	}
	// Output:
	// recipe.yaml:8: image "https://registry.hub.docker.com/library/Fedora:latest": "Fedora" in the name: want lower-case letters, digits, and single separators between them
	// registry.hub.docker.com/library/fedora:35 → registry.example.org/unpacked/library/fedora:35 <nil>
	// registry.hub.docker.com/library/fedora:39 → registry.example.org/unpacked/library/fedora:39 <nil>
}

func ExampleParse_faults() {
	_, err := wishlist.Parse("recipe.yaml", []byte("version: 2\ncvmfs_repo: unpacked\ninput:\n"))
	fmt.Println(err)
	// Output:
	// recipe.yaml:1: version 2 is not known; this program reads version 1
	// recipe.yaml:2: cvmfs_repo: repository "unpacked": not a fully qualified name such as unpacked.cern.ch
}
