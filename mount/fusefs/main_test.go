package fusefs

import (
	"fmt"
	"os"
	"testing"
)

// roles are what the test binary does when a test runs it again as another process: to touch mapped pages of a mount from
// the process that serves it can stop that process for good, and some tests need namespaces of their own.
var roles = map[string]func(args []string) error{}

const roleVariable = "FLATRUN_FUSEFS_ROLE"

func TestMain(m *testing.M) {
	name := os.Getenv(roleVariable)
	if name == "" {
		os.Exit(m.Run())
	}
	role := roles[name]
	if role == nil {
		fmt.Fprintln(os.Stderr, "no such role:", name)
		os.Exit(2)
	}
	if err := role(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, name+":", err)
		os.Exit(1)
	}
	os.Exit(0)
}
