package main

import (
	"context"
	"fmt"
	"os"

	"gopkg.in/yaml.v3"
)

// maxYAML bounds a file: what is asked for is written by people, or for them.
const maxYAML = 16 << 20

// runJSON prints a YAML file as JSON, for flatrun, which has no parser for YAML.
func runJSON(_ context.Context, c *call) error {
	info, err := os.Stat(c.args[0])
	if err != nil {
		return err
	}
	if info.Size() > maxYAML {
		return fmt.Errorf("%s has %d bytes", c.args[0], info.Size())
	}
	text, err := os.ReadFile(c.args[0])
	if err != nil {
		return err
	}
	var document map[string]any
	if err := yaml.Unmarshal(text, &document); err != nil {
		return err
	}
	return printJSON(document)
}
