// Command man writes the pages that no program writes by itself: flatrun-config(5), out of the types of the
// configuration and the texts here, and flathub's, out of its help.
//
//	go run ./scripts/man DIR bin/flathub
package main

import (
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "man:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 2 {
		return fmt.Errorf("usage: man DIR FLATHUB")
	}
	pages, err := hubPages(args[1])
	if err != nil {
		return err
	}
	if pages["flatrun-config.5"], err = configPage(); err != nil {
		return err
	}
	if err := os.MkdirAll(args[0], 0o755); err != nil {
		return err
	}
	for name, text := range pages {
		if err := os.WriteFile(filepath.Join(args[0], name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}
