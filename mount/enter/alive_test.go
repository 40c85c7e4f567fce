package enter

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// listenIn plays a session in dir that treats each connection as serve says.
func listenIn(t *testing.T, dir string, serve func(net.Listener, net.Conn)) {
	t.Helper()
	if err := MakeDir(dir); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", filepath.Join(dir, "socket"))
	if err != nil {
		t.Skip(err) // the path of the temporary directory is too long for a socket
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			serve(l, c)
		}
	}()
}

func TestAlive(t *testing.T) {
	top := t.TempDir()
	if err := os.Chmod(top, 0o700); err != nil {
		t.Fatal(err)
	}
	answering := func(text string) func(net.Listener, net.Conn) {
		return func(_ net.Listener, c net.Conn) {
			bufio.NewReader(c).ReadString('\n')
			c.Write([]byte(text))
			c.Close()
		}
	}
	kept := make(chan net.Conn, 100)
	for name, tt := range map[string]struct {
		serve func(net.Listener, net.Conn)
		want  bool
	}{
		"answer":      {answering("{}\n"), true},
		"old version": {answering(`{"error":"unknown"}` + "\n"), true},
		"hangs":       {func(_ net.Listener, c net.Conn) { kept <- c }, false},
	} {
		dir := filepath.Join(top, name, "s")
		if err := os.Mkdir(filepath.Dir(dir), 0o700); err != nil {
			t.Fatal(err)
		}
		listenIn(t, dir, tt.serve)
		patience := time.Minute
		if name == "hangs" {
			patience = 50 * time.Millisecond
		}
		got, err := alive(t.Context(), dir, patience)
		if got != tt.want || (err != nil) != (name == "hangs") {
			t.Errorf("%s: alive %v, %v, want %v", name, got, err, tt.want)
		}
		if want := fmt.Sprintf("process %d does not answer", os.Getpid()); err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
	}
	if got, err := alive(t.Context(), filepath.Join(top, "none"), time.Minute); got || err != nil {
		t.Errorf("nobody is alive: %v, %v", got, err)
	}
}

// A session that is ending hangs up on whoever connects, until its socket is closed.
func TestAliveWaitsForTheEnd(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "s")
	if err := os.Chmod(filepath.Dir(dir), 0o700); err != nil {
		t.Fatal(err)
	}
	var n atomic.Int32
	listenIn(t, dir, func(l net.Listener, c net.Conn) {
		c.Close()
		if n.Add(1) == 3 {
			l.Close()
		}
	})
	if got, err := alive(t.Context(), dir, time.Minute); got || err != nil || n.Load() < 3 {
		t.Errorf("alive %v, %v after %d refusals", got, err, n.Load())
	}
}
