package enter

import (
	"bytes"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A connection may bring any number of answers, and each of them up to maxReply.
func TestReplyBound(t *testing.T) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	s, server := newSession(pair[0], ""), os.NewFile(uintptr(pair[1]), "server")
	defer s.Conn.Close()
	const answers = 3
	line := append(bytes.Repeat([]byte(" "), maxReply-len("{}\n")), "{}\n"...)
	go func() {
		defer server.Close()
		for range answers {
			server.Write(line)
		}
		server.Write(append([]byte(" "), line...))
	}()
	for i := range answers {
		if _, err := s.read(time.Minute); err != nil {
			t.Fatalf("answer %d: %v", i, err)
		}
	}
	if _, err := s.read(time.Minute); err == nil || errors.Is(err, errEnded) || !strings.Contains(err.Error(), "more than") {
		t.Errorf("one byte too many: %v", err)
	}
}

// FuzzReply reads what something in the place of a session may answer.
func FuzzReply(f *testing.F) {
	f.Add([]byte("{\"resolved\":{\"fqrn\":\"a.example.org\"}}\n{}\n"))
	f.Add([]byte("{\"error\":\"no\"}\nnull\n"))
	f.Add([]byte("[]\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		text = text[:min(len(text), 32<<10)] // what a socket takes without a reader
		pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		server := os.NewFile(uintptr(pair[1]), "server")
		if _, err := server.Write(text); err != nil {
			t.Fatal(err)
		}
		server.Close()
		s := newSession(pair[0], "")
		defer s.Conn.Close()
		for range bytes.Count(text, []byte("\n")) {
			if reply, err := s.read(time.Minute); err == nil && reply.Error != "" {
				t.Fatalf("an error passes for an answer: %+v", reply)
			}
		}
		if _, err := s.read(time.Minute); err == nil {
			t.Fatal("an answer without end")
		}
	})
}
