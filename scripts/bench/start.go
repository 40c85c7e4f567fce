package main

import (
	"cmp"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// benchStart is the start of a command in an image: bwrap with the binds of flatrun's defaults is the measure.
func benchStart(f *fixture) error {
	root, err := f.native()
	if err != nil {
		return err
	}
	image := "cvmfs://" + f.repo + "/" + f.image
	bwrap := command("bwrap", "--unshare-user", "--ro-bind", root, "/", "--dev-bind", "/dev", "/dev", "--bind", "/proc", "/proc",
		"--bind", "/sys", "/sys", "--bind", "/tmp", "/tmp", "true")
	variants := []variant{
		{"bwrap, plain directory", bwrap.run},
		{"flatrun exec, repository", f.flatrun("exec", image, "/bin/true").run},
		{"flatrun exec, plain directory", f.flatrun("exec", root, "/bin/true").run},
		{"flatrun exec -C, repository", f.flatrun("exec", "-C", image, "/bin/true").run},
		{"flatrun --version", f.flatrun("--version").run},
		{"flatrun --help", f.flatrun("--help").run},
		{"native true", command("/bin/true").run},
	}
	if err := interleave(100, variants...); err != nil {
		return err
	}
	if err := startPeer(f, root); err != nil {
		return err
	}
	fmt.Println()
	numpy := []string{"/usr/bin/python3", "-c", "import numpy"}
	return interleave(15,
		variant{"native directory, bwrap, import numpy", command("bwrap", append([]string{"--unshare-user", "--ro-bind", root, "/",
			"--dev-bind", "/dev", "/dev", "--bind", "/proc", "/proc"}, numpy...)...).run},
		variant{"flatrun exec, repository, import numpy", f.flatrun(append([]string{"exec", image}, numpy...)...).run})
}

// startPeer compares with Apptainer, if there is one on PATH or named by BENCH_APPTAINER: how many times slower it is with
// the same command line and image stands in the columns of ratios.
func startPeer(f *fixture, root string) error {
	peer := cmp.Or(os.Getenv("BENCH_APPTAINER"), "apptainer")
	if !have(peer) {
		fmt.Printf("\nno apptainer on PATH (or named by BENCH_APPTAINER): not compared\n")
		return nil
	}
	fmt.Println()
	return interleave(50,
		variant{"flatrun exec, plain directory", f.flatrun("exec", root, "/bin/true").run},
		variant{"apptainer exec, plain directory", command(peer, "exec", "-u", root, "/bin/true").run},
		variant{"flatrun exec -C", f.flatrun("exec", "-C", root, "/bin/true").run},
		variant{"apptainer exec -C", command(peer, "exec", "-u", "-C", root, "/bin/true").run})
}

// benchOpens lists what the kernel was asked to open, by strace: start-up reads must stay countable.
func benchOpens(f *fixture) error {
	if !have("strace") {
		fmt.Println("strace is not installed: skipped")
		return nil
	}
	image := "cvmfs://" + f.repo + "/" + f.image
	args := []string{"-f", "-e", "trace=open,openat,openat2,open_tree,execve", filepath.Join(f.bin, "flatrun"), "exec", image, "/bin/true"}
	if err := f.flatrun("exec", image, "/bin/true").run(); err != nil {
		return err
	}
	out, err := exec.Command("strace", args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("strace: %w: %s", err, out)
	}
	before, _, found := strings.Cut(string(out), `execve("/bin/true"`)
	if !found {
		before, _, _ = strings.Cut(string(out), `execve("/usr/bin/true"`)
	}
	fmt.Print(before)
	return nil
}
