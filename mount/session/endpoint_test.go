package session

import (
	"bytes"
	"io"
	"net"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/flatrun/flatrun/mount/enter"
)

// FuzzRequests: a client that says anything gets one answer for each request that was understood.
func FuzzRequests(f *testing.F) {
	f.Add([]byte("{\"op\":\"mount\",\"name\":\"a.example.org\",\"follow\":true}\n{\"op\":\"quit\"}\n"))
	f.Add([]byte("null\n[]\n{}\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		text = text[:min(len(text), 32<<10)] // what a socket takes without a reader
		pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		var conns [2]*net.UnixConn
		for i, fd := range pair {
			file := os.NewFile(uintptr(fd), "socket")
			c, err := net.FileConn(file)
			file.Close()
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			conns[i] = c.(*net.UnixConn)
		}
		client, server := conns[0], conns[1]
		if _, err := client.Write(text); err != nil {
			t.Fatal(err)
		}
		client.CloseWrite()
		answers := make(chan []byte)
		go func() {
			b, _ := io.ReadAll(client)
			answers <- b
		}()
		asked := 0
		converse(server, func(enter.Request) (*enter.Reply, bool) { asked++; return &enter.Reply{}, true })
		server.Close()
		if b := <-answers; bytes.Count(b, []byte("\n")) != asked {
			t.Fatalf("%d requests, answers %q", asked, b)
		}
	})
}
