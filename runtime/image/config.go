package image

import (
	"encoding/json"
	"fmt"
)

// Config is the part of an OCI image configuration that says how to run it.
type Config struct {
	Env        []string          `json:"Env"`
	Entrypoint []string          `json:"Entrypoint"`
	Cmd        []string          `json:"Cmd"`
	WorkingDir string            `json:"WorkingDir"`
	User       string            `json:"User"`
	Labels     map[string]string `json:"Labels"`
}

// ParseConfig reads an image configuration: the document that an image id is
// the digest of, whose "config" member is what we want.
func ParseConfig(data []byte) (*Config, error) {
	var document struct {
		Config *Config `json:"config"`
	}
	if err := json.Unmarshal(data, &document); err != nil {
		return nil, fmt.Errorf("image configuration is not valid: %w", err)
	}
	if document.Config == nil {
		return &Config{}, nil
	}
	return document.Config, nil
}

// Command is what runs with the given arguments: they replace Cmd, as with
// Docker. Empty if the image names no program.
func (c *Config) Command(args []string) []string {
	tail := c.Cmd
	if len(args) > 0 {
		tail = args
	}
	if len(c.Entrypoint) == 0 && len(c.Cmd) == 0 {
		return nil
	}
	return append(append([]string(nil), c.Entrypoint...), tail...)
}
