package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// pingpong sends 8 MB to and fro, for which ranks read each other's memory, and
// then one byte.
const pingpong = `
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void turn(int rank, char *buffer, int n)
{
	if (rank == 0) {
		MPI_Send(buffer, n, MPI_CHAR, 1, 0, MPI_COMM_WORLD);
		MPI_Recv(buffer, n, MPI_CHAR, 1, 0, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
	} else if (rank == 1) {
		MPI_Recv(buffer, n, MPI_CHAR, 0, 0, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
		MPI_Send(buffer, n, MPI_CHAR, 0, 0, MPI_COMM_WORLD);
	}
}

int main(int argc, char **argv)
{
	int rank, size, n = 8 << 20;
	MPI_Init(&argc, &argv);
	MPI_Comm_rank(MPI_COMM_WORLD, &rank);
	MPI_Comm_size(MPI_COMM_WORLD, &size);
	char *buffer = malloc(n);
	memset(buffer, 'a' + rank, n);
	for (int i = 0; i < 2; i++)
		turn(rank, buffer, n);
	for (int i = 0; i < 20; i++)
		turn(rank, buffer, 1);
	if (rank == 0)
		printf("ranks %d first %c last %c\n", size, buffer[1], buffer[n - 1]);
	fflush(stdout);
	MPI_Finalize();
	return 0;
}
`

// launcher is an implementation of MPI that this machine has.
type launcher struct {
	name, compiler string
	words          []string // start two ranks
}

var launchers = []launcher{
	{"openmpi", "mpicc.openmpi", []string{"mpirun.openmpi", "-n", "2", "--oversubscribe", "--mca", "btl", "vader,self"}},
	{"mpich", "mpicc.mpich", []string{"mpiexec.mpich", "-n", "2"}},
}

// TestMPI runs real MPI programs with each rank in a container of its own, and
// with all of them in one. The libraries of the image are the host's.
func TestMPI(t *testing.T) {
	rig := newRig(t)
	image := filepath.Join(t.TempDir(), "image")
	hostImage(t, image)
	for _, l := range launchers {
		t.Run(l.name, func(t *testing.T) {
			program := buildMPI(t, l)
			if out, err := rig.ranks(t, l, program); err != nil {
				t.Skipf("%s does not work outside of containers: %v\n%s", l.name, err, out)
			}
			rig.testRanks(t, l, image, program)
		})
	}
}

func (r *rig) testRanks(t *testing.T, l launcher, image, program string) {
	for _, tt := range []struct{ name, flags, image, need string }{
		{"each in its own", "", image, "userns"},
		{"shared", "--sharens", image, "userns"},
		{"shared with processes", "--share --pid", image, "pidns"},
		{"of a repository", "--bind /lib,/lib64", "box:1", "fuse"},
		{"of a repository, shared", "--sharens --bind /lib,/lib64", "box:1", "fuse"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if why, ok := r.missing[tt.need]; ok {
				t.Skip(why)
			}
			words := append([]string{filepath.Join(r.bin, "flatrun"), "exec", "--bind", "/usr,/etc," + filepath.Dir(program)}, strings.Fields(tt.flags)...)
			out, err := r.ranks(t, l, append(words, tt.image, program)...)
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			if !regexp.MustCompile(`ranks 2 first a last a`).MatchString(out) || strings.Contains(out, "WARNING") {
				t.Errorf("the ranks say:\n%s", out)
			}
		})
	}
}

// ranks runs words once per rank. A transport that does not work hangs, so the
// time is bounded, and all that were started are killed then.
func (r *rig) ranks(t *testing.T, l launcher, words ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 4*time.Minute)
	defer cancel()
	args := append([]string{"--kill-after=5", "180"}, append(append([]string(nil), l.words...), words...)...)
	cmd := exec.CommandContext(ctx, "timeout", args...)
	cmd.Dir = t.TempDir()
	cmd.Env = append(r.environ(nil), "TMPDIR="+shortTemp(t), "PWD="+cmd.Dir)
	cmd.WaitDelay = 10 * time.Second
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// shortTemp is a directory for sockets, whose names must not be long.
func shortTemp(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "ranks")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func buildMPI(t *testing.T, l launcher) string {
	t.Helper()
	for _, tool := range []string{l.compiler, l.words[0], "timeout"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("no %s here", tool)
		}
	}
	source := filepath.Join(t.TempDir(), "pingpong.c")
	write(t, source, pingpong)
	program := strings.TrimSuffix(source, ".c")
	if out, err := exec.Command(l.compiler, "-O2", "-o", program, source).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", l.compiler, err, out)
	}
	return program
}

// hostImage makes an image that has room for the host's /usr and /etc.
func hostImage(t *testing.T, dir string) {
	t.Helper()
	addFiles(t, dir, map[string]string{"usr/": "", "etc/": "", "proc/": "", "sys/": "", "dev/": "", "tmp/": "", "var/tmp/": "", "home/": "", "run/": ""})
	for _, name := range []string{"bin", "sbin", "lib", "lib64"} {
		target, err := os.Readlink("/" + name)
		if err != nil {
			t.Skipf("/%s is no link into /usr on this host", name)
		}
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
}

// stopAll ends what the tests have left, and waits for it: a session writes to
// the cache until its end.
func (r *rig) stopAll() {
	for _, words := range []string{"instance stop --all --force", "umount --all --force"} {
		cmd := exec.Command(filepath.Join(r.bin, "flatrun"), strings.Fields(words)...)
		cmd.Env = r.environ(nil)
		cmd.Run() // there may be none
	}
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if sessions, _ := os.ReadDir(filepath.Join(r.runtime, "flatrun")); len(sessions) == 0 {
			return
		}
	}
}
