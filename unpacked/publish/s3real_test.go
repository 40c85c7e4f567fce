package publish

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// startGateway runs a real S3 server, versitygw, on loopback and returns its
// address. It skips the test where there is none.
func startGateway(t *testing.T) string {
	t.Helper()
	program, err := exec.LookPath("versitygw")
	if err != nil {
		t.Skip("no S3 server: go install github.com/versity/versitygw/cmd/versitygw@latest")
	}
	dir := tempDir(t)
	if err := os.Mkdir(filepath.Join(dir, "bucket"), 0o755); err != nil {
		t.Fatal(err)
	}
	for range 5 { // the port may be taken between our look and its start
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		addr := l.Addr().String()
		l.Close()
		var out bytes.Buffer
		cmd := exec.Command(program, "--keep-alive", "--port", addr, "--access", "akakakak", "--secret", "sksksksk", "posix", dir)
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan struct{})
		go func() { cmd.Wait(); close(ended) }()
		t.Cleanup(func() { cmd.Process.Kill(); <-ended })
		if waitForPort(addr, ended) {
			return "http://" + addr
		}
	}
	t.Fatal("versitygw does not start")
	return ""
}

// waitForPort tells whether the server takes connections before it ends.
func waitForPort(addr string, ended <-chan struct{}) bool {
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		select {
		case <-ended:
			return false
		default:
		}
		if c, err := net.Dial("tcp", addr); err == nil {
			c.Close()
			return true
		}
	}
	return false
}

// TestPublishToGateway is the whole way on a real S3 server.
func TestPublishToGateway(t *testing.T) {
	s, err := gatewayS3(startGateway(t))
	if err != nil {
		t.Fatal(err)
	}
	s.lease = leaseTime
	testStorage(t, s)
	r := &testRepo{t: t, s: s, keys: testKeys(), o: Options{FQRN: testFQRN, Scratch: tempDir(t)}}
	if err := s.Delete(t.Context(), ".cvmfspublished"); err != nil { // testStorage's
		t.Fatal(err)
	}
	if _, err := Init(t.Context(), r.s, InitOptions{Options: r.o, Keys: r.keys}); err != nil {
		t.Fatal(err)
	}
	tree := map[string]file{"/a": dirOf(3), "/a/b": dirOf(2), "/a/b/.cvmfscatalog": text(""), "/a/large": text(strings.Repeat("large ", 4<<20))}
	for i := range 200 {
		tree[fmt.Sprintf("/a/b/%03d", i)] = text(fmt.Sprint("content ", i))
	}
	r.publish(func(tx *Tx) error { return tx.Replace("/a", tx.items(t, tree)) })
	got := r.read("")
	want := maps.Clone(tree)
	want[""] = got[""]
	equalTrees(t, got, want)
	r.check()

	tx := r.begin() // two publishers cannot both win
	if _, err := Begin(context.Background(), r.s, r.keys, r.o); err == nil {
		t.Error("a second publisher began")
	}
	if err := tx.Abort(); err != nil {
		t.Fatal(err)
	}
	r.publish(func(tx *Tx) error { return tx.Remove("/a") })
	r.later(10 * 24 * time.Hour)
	if c := r.gc(GCOptions{KeepFor: -1}); c.Objects == 0 && c.Revisions == 0 {
		t.Errorf("collected %+v", c)
	}
	r.check()
}
