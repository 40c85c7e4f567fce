package unpacked_test

import (
	"fmt"

	"github.com/flatrun/flatrun/unpacked"
)

func ExampleParseReference() {
	for _, name := range []string{"debian:12", "docker://ghcr.io/apptainer/lolcow", "cms/cmssw:el9"} {
		r, err := unpacked.ParseReference(name, "")
		if err != nil {
			fmt.Println(err)
			continue
		}
		fmt.Println(r.Path())
	}
	_, err := unpacked.ParseReference("Debian:12", "")
	fmt.Println(err)
	// Output:
	// /registry.hub.docker.com/library/debian:12
	// /ghcr.io/apptainer/lolcow:latest
	// /registry.hub.docker.com/cms/cmssw:el9
	// image "Debian:12": "Debian" in the name: want lower-case letters, digits, and single separators between them
}

func ExampleReference_Candidates() {
	r, err := unpacked.ParseReference("opensciencegrid/osgvo-el9:latest", "")
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, path := range r.Candidates() {
		fmt.Println(path)
	}
	// Output:
	// /registry.hub.docker.com/opensciencegrid/osgvo-el9:latest
	// /docker.io/opensciencegrid/osgvo-el9:latest
	// /index.docker.io/opensciencegrid/osgvo-el9:latest
	// /registry-1.docker.io/opensciencegrid/osgvo-el9:latest
	// /opensciencegrid/osgvo-el9:latest
}

func ExampleLink() {
	image := unpacked.Digest("sha256:30afb7a6361c385da116661c882f13d39d63f82ad44db756ca1e846aeb03ffcf")
	r, err := unpacked.ParseReference("http://127.0.0.1:5055/library/tiny:2.0", "")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(r.Path())
	fmt.Println("->", unpacked.Link(r.Path(), unpacked.FlatRoot(image)))
	// Output:
	// /127.0.0.1:5055/library/tiny:2.0
	// -> ../../.flat/30/30afb7a6361c385da116661c882f13d39d63f82ad44db756ca1e846aeb03ffcf
}

func ExampleNewThin() {
	layer := unpacked.Digest("sha256:48af9769a64bf879f50a718b1a6654aaaf97510b046f2f02958bd0ed0a0c7651")
	text, err := unpacked.NewThin("https://ghcr.io/a/b:1", "unpacked.example.org", []unpacked.Digest{layer}).Encode()
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Print(string(text))
	// Output:
	// {
	//   "version": "1.0",
	//   "origin": "https://ghcr.io/a/b:1",
	//   "layers": [
	//     {
	//       "digest": "48af9769a64bf879f50a718b1a6654aaaf97510b046f2f02958bd0ed0a0c7651",
	//       "url": "cvmfs://unpacked.example.org/.layers/48/48af9769a64bf879f50a718b1a6654aaaf97510b046f2f02958bd0ed0a0c7651/layerfs"
	//     }
	//   ]
	// }
}
