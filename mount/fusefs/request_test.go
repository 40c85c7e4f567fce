package fusefs

import (
	"context"
	"errors"
	"fmt"
	iofs "io/fs"
	"math"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/flatrun/flatrun/mount/cas"
)

func TestPendingSignals(t *testing.T) {
	for _, c := range []struct {
		name, status string
		want         uint64
	}{
		{"nothing", "Name:\tx\nSigPnd:\t0\nShdPnd:\t0\nSigBlk:\t0\n", 0},
		{"kill", "SigPnd:\t0000000000000100\nShdPnd:\t0000000000000000\nSigBlk:\t0000000000000000\n", 1 << 8},
		{"shared", "SigPnd:\t0\nShdPnd:\t0000000000000002\nSigBlk:\t0\n", 1 << 1},
		{"blocked", "SigPnd:\t0\nShdPnd:\t0000000000000002\nSigBlk:\t0000000000000002\n", 0},
		{"no such lines", "Name:\tx\n", math.MaxUint64},
		{"empty", "", math.MaxUint64},
	} {
		if got := pendingSignals(c.status); got != c.want {
			t.Errorf("%s: %#x, want %#x", c.name, got, c.want)
		}
	}
	if urgent(uint32(os.Getpid())) {
		t.Error("our own process counts as stopped by a signal")
	}
	if !urgent(math.MaxInt32) {
		t.Error("a thread that cannot be seen must count as urgent")
	}
}

func FuzzPendingSignals(f *testing.F) {
	f.Add("SigPnd:\t0000000000000100\nShdPnd:\t0000000000000000\nSigBlk:\t0000000000000000\n")
	f.Fuzz(func(t *testing.T, s string) { pendingSignals(s) })
}

// testFS is a file system without a repository.
func testFS(t *testing.T) *FS {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	return &FS{ctx: ctx, cancel: cancel}
}

func TestWaiting(t *testing.T) {
	never := make(chan struct{})
	interrupted := make(chan struct{})
	close(interrupted)
	block := func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }

	t.Run("a signal ends the wait", func(t *testing.T) {
		// A thread that cannot be seen counts as urgent.
		err := testFS(t).waiting(caller{interrupted, math.MaxInt32}, block)
		if !errors.Is(err, errInterrupted) || errno(err) != statusOf(syscall.EINTR) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("a harmless signal does not", func(t *testing.T) {
		fs := testFS(t)
		fs.timeout = 4 * pendingInterval
		err := fs.waiting(caller{interrupted, uint32(os.Getpid())}, block)
		if errors.Is(err, errInterrupted) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("the deadline does", func(t *testing.T) {
		fs := testFS(t)
		fs.timeout = time.Millisecond
		err := fs.waiting(caller{never, 1}, block)
		if !errors.Is(err, context.DeadlineExceeded) || errno(unavailable(err)) != statusOf(syscall.EIO) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("closing the file system does", func(t *testing.T) {
		fs := testFS(t)
		fs.cancel()
		if err := fs.waiting(caller{never, 1}, block); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("an answer that needs no wait", func(t *testing.T) {
		if err := testFS(t).waiting(caller{never, 1}, func(context.Context) error { return nil }); err != nil {
			t.Error(err)
		}
		want := errors.New("its own")
		if err := testFS(t).waiting(caller{never, 1}, func(context.Context) error { return want }); err != want {
			t.Errorf("got %v", err)
		}
	})
}

func TestErrno(t *testing.T) {
	for _, c := range []struct {
		err  error
		want syscall.Errno
	}{
		{nil, 0},
		{iofs.ErrNotExist, syscall.ENOENT},
		{errStale, syscall.ESTALE},
		{errInterrupted, syscall.EINTR},
		{unavailable(errInterrupted), syscall.EINTR},
		{syscall.EISDIR, syscall.EISDIR},
		{errors.New("anything else"), syscall.EIO},
		{context.Canceled, syscall.EIO},
		{unavailable(iofs.ErrNotExist), syscall.EIO}, // an object that is missing on the server is no missing file
		{unavailable(&os.PathError{Op: "open", Err: syscall.ENOENT}), syscall.EIO},
		{unavailable(&os.PathError{Op: "open", Err: syscall.EMFILE}), syscall.EMFILE},
		{unavailable(fmt.Errorf("object: %w", cas.ErrDenied)), syscall.EACCES},
	} {
		if got := errno(c.err); got != statusOf(c.want) {
			t.Errorf("%v: %v, want %v", c.err, got, c.want)
		}
	}
}

func TestFailures(t *testing.T) {
	f := failures{log: discard}
	for range 25 {
		f.add("READ", "/a", errors.New("server is down"))
	}
	f.add("LOOKUP", "/b", errors.New("server is down"))
	got := f.list()
	if len(got) != 2 || got[0].Count != 25 || got[0].Path != "/a" || got[1].Op != "LOOKUP" {
		t.Errorf("got %+v", got)
	}
	for range 2 * maxFailures {
		f.add("READ", "/c", errors.New("x"))
		f.add("READ", "/d", errors.New("y"))
	}
	if got := f.list(); len(got) != maxFailures || got[maxFailures-1].Path != "/d" {
		t.Errorf("%d failures kept, the last %+v", len(got), got[len(got)-1])
	}
}
