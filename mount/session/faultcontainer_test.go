package session_test

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/flatrun/flatrun/mount/repotest"
)

// busyboxImage is an image that can read files, at faultImage.
func busyboxImage(t *testing.T) []repotest.File {
	t.Helper()
	file, err := exec.LookPath("busybox")
	if err != nil {
		t.Skip("no busybox here: install busybox-static")
	}
	program, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("ldd", file).CombinedOutput(); err == nil {
		t.Skipf("busybox is not static: install busybox-static (%s)", out)
	}
	tree := []repotest.File{{Path: faultImage + "/bin/busybox", Content: string(program), Perm: 0o755}}
	for _, name := range []string{"sh", "sha256sum"} {
		tree = append(tree, repotest.File{Path: faultImage + "/bin/" + name, Kind: repotest.Link, Content: "busybox"})
	}
	for _, dir := range []string{"dev", "proc", "sys", "tmp", "var/tmp", "etc"} {
		tree = append(tree, repotest.File{Path: faultImage + "/" + dir, Kind: repotest.Dir})
	}
	return tree
}

// frontend is flatrun, built beside flatrun-session.
var frontend struct {
	once sync.Once
	err  error
}

func flatrun(t *testing.T) string {
	t.Helper()
	file := filepath.Join(filepath.Dir(program(t)), "flatrun")
	frontend.once.Do(func() {
		if out, err := exec.Command("go", "build", "-o", file, "github.com/flatrun/flatrun/cmd/flatrun").CombinedOutput(); err != nil {
			frontend.err = fmt.Errorf("%w: %s", err, out)
		}
	})
	if frontend.err != nil {
		t.Fatal(frontend.err)
	}
	return file
}

var hexSum = regexp.MustCompile("^[0-9a-f]{64}$")

// container runs flatrun exec with a loop that sums the files it is told, until the end of the test.
func container(t *testing.T, fqrn string) (sum func(file string) (string, error)) {
	t.Helper()
	cmd := exec.Command(flatrun(t), "exec", "/cvmfs/"+fqrn+faultImage, "sh", "-c", `while read file; do sha256sum "$file" 2>&1; done`)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { in.Close(); cmd.Process.Kill(); cmd.Wait() })
	lines := bufio.NewReader(out)
	return func(file string) (string, error) {
		fmt.Fprintln(in, file)
		line, err := lines.ReadString('\n')
		if err != nil {
			return "", fmt.Errorf("the container has ended: %w", err)
		}
		word, _, _ := strings.Cut(line, " ")
		switch text := strings.ToLower(line); {
		case hexSum.MatchString(word):
			return word, nil
		case strings.Contains(text, "input/output error") || strings.Contains(text, "i/o error"):
			return "", syscall.EIO
		}
		return "", errors.New(strings.TrimSpace(line))
	}
}
