package keep

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// The test binary plays parent and server: what the server does is told by a variable.
func TestMain(m *testing.M) {
	play := os.Getenv("KEEP_TEST")
	switch {
	case play == "":
		os.Exit(m.Run())
	case !Supervised():
		status, err := Supervise(context.Background(), slog.New(slog.DiscardHandler), os.Stdin)
		if err != nil {
			fmt.Println(err)
		}
		os.Exit(status)
	}
	if err := serve(play); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	os.Exit(0)
}

func die() { unix.Kill(os.Getpid(), unix.SIGKILL); select {} }

func serve(play string) error {
	keeper, kept, err := Open()
	if err != nil {
		return err
	}
	switch {
	case play == "fail":
		return fmt.Errorf("no such thing")
	case play == "die":
		die()
	case len(kept) == 0: // the first one
		b, err := io.ReadAll(os.NewFile(3, "given"))
		if err != nil {
			return err
		}
		fd, err := unix.MemfdCreate("test", unix.MFD_CLOEXEC)
		if err != nil {
			return err
		}
		unix.Write(fd, b)
		for _, err := range []error{keeper.Keep("other", fd), keeper.Keep("text", fd, fd), keeper.Drop("other"), keeper.Keep("text", fd)} {
			if err != nil {
				return err
			}
		}
		die()
	}
	if b, err := io.ReadAll(os.NewFile(3, "given")); err != nil || len(b) > 0 {
		return fmt.Errorf("a later server was given %q, %v", b, err)
	}
	files := kept["text"]
	if len(kept) != 1 || len(files) != 1 {
		return fmt.Errorf("kept are %v", kept)
	}
	b, err := io.ReadAll(io.NewSectionReader(files[0], 0, 100))
	fmt.Printf("kept: %s\n", b)
	return err
}

func TestSupervise(t *testing.T) {
	for play, want := range map[string]struct {
		status int
		says   string
	}{
		"keep": {0, "kept: hello"},
		"fail": {1, "no such thing"},
		"die":  {1, "died 6 times"},
	} {
		cmd := exec.Command("/proc/self/exe")
		cmd.Env = append(os.Environ(), "KEEP_TEST="+play)
		cmd.Stdin = strings.NewReader("hello")
		out, _ := cmd.CombinedOutput()
		if got := cmd.ProcessState.ExitCode(); got != want.status || !strings.Contains(string(out), want.says) {
			t.Errorf("%s: status %d, %q; want %d, %q", play, got, out, want.status, want.says)
		}
	}
}

func TestWithoutParent(t *testing.T) {
	k, kept, err := Open()
	if k != nil || kept != nil || err != nil {
		t.Fatalf("%v %v %v", k, kept, err)
	}
	if err := k.Keep("a", 0); err != nil {
		t.Error(err)
	}
	if err := k.Drop("a"); err != nil {
		t.Error(err)
	}
}

// Whoever gets an error has no descriptors to close: those that came with the message are closed.
func TestReceiveError(t *testing.T) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	ours, err := connection(pair[0])
	if err != nil {
		t.Fatal(err)
	}
	defer ours.Close()
	theirs, err := connection(pair[1])
	if err != nil {
		t.Fatal(err)
	}
	defer theirs.Close()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, _, err := theirs.WriteMsgUnix([]byte("{"), unix.UnixRights(int(w.Fd())), nil); err != nil {
		t.Fatal(err)
	}
	w.Close()
	if name, files, err := receive(ours); err == nil || name != "" || files != nil {
		t.Fatalf("%q, %v, %v", name, files, err)
	}
	if n, err := r.Read(make([]byte, 1)); n != 0 || err != io.EOF { // it would wait for a writer that is left
		t.Errorf("the pipe reads %d bytes, %v", n, err)
	}
}
