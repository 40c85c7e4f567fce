// Command bench measures flatrun against its peers on this machine and prints ratios.
//
//	go run ./scripts/bench [SECTION...]     (make bench builds first and runs them all)
//
// Each section runs its variants interleaved, so that a disturbance of the machine meets all of them, and prints medians
// and minima in milliseconds with the ratio to the first. Absolute figures hold for the machine and the day only.
package main

import (
	"fmt"
	"os"
	"slices"
	"strings"
)

// section is one table of figures.
type section struct {
	name, about string
	run         func(*fixture) error
}

// sections in the order in which they run.
var sections = []section{
	{"start", "warm start of /bin/true in an image, against native, bwrap and other runtimes at hand", benchStart},
	{"files", "a warm repository mount against the same tree on the local file system", benchFiles},
	{"cold", "the first start on a node over a wide-area network", benchCold},
	{"stream", "1 GiB through a cold cache, and many cold starts at once, on loopback", benchStream},
	{"publish", "the publisher against tools that copy and unpack images", benchPublish},
	{"opens", "files that a warm exec opens before the command runs", benchOpens},
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(names []string) error {
	chosen, err := choose(names)
	if err != nil {
		return err
	}
	f, err := newFixture()
	if err != nil {
		return err
	}
	defer f.close()
	for _, s := range chosen {
		if os.Getenv("BENCH_IN_NETWORK") == "" {
			fmt.Printf("\n== %s: %s\n", s.name, s.about)
		}
		if err := s.run(f); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	return nil
}

func choose(names []string) ([]section, error) {
	if len(names) == 0 {
		return sections, nil
	}
	var chosen []section
	for _, n := range names {
		i := slices.IndexFunc(sections, func(s section) bool { return s.name == n })
		if i < 0 {
			return nil, fmt.Errorf("no section %q; there are %s", n, strings.Join(sectionNames(), ", "))
		}
		chosen = append(chosen, sections[i])
	}
	return chosen, nil
}

func sectionNames() []string {
	var names []string
	for _, s := range sections {
		names = append(names, s.name)
	}
	return names
}
