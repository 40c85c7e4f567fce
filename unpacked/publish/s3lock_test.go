package publish

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// TestLockOfTheDead takes over from a process that is gone or a lease that
// ended, not from one that lives.
func TestLockOfTheDead(t *testing.T) {
	me := thisProcess()
	for _, c := range []struct {
		name string
		edit func(*lockObject)
		gone bool
	}{
		{"alive", func(*lockObject) {}, false},
		{"another host", func(o *lockObject) { o.owner.Host, o.owner.PID = "elsewhere", 1<<30 }, false},
		{"its process is gone", func(o *lockObject) { o.owner.PID = 1 << 30 }, true},
		{"its process's number is another's", func(o *lockObject) { o.owner.Started += "0" }, true},
		{"old enough", func(o *lockObject) { o.age = 31 * time.Second }, true},
		{"old, as far as whole seconds tell", func(o *lockObject) { o.age = 30 * time.Second }, false},
		{"a longer lease", func(o *lockObject) { o.age, o.owner.Lease = 31*time.Second, 60 }, false},
		{"of before the lease was told", func(o *lockObject) { o.age, o.owner.Lease = 119*time.Second, 0 }, false},
		{"its host's clock is wrong", func(o *lockObject) { o.owner.Expires = time.Now().Add(-time.Hour) }, false},
		{"no time from the server", func(o *lockObject) { o.age, o.owner.Expires = -1, time.Now().Add(-time.Second) }, true},
		{"no time from the server, not over", func(o *lockObject) { o.age = -1 }, false},
	} {
		o := lockObject{owner: me, etag: "x"}
		o.owner.Lease, o.owner.Expires = leaseTime.Seconds(), time.Now().Add(leaseTime)
		c.edit(&o)
		if got := o.gone(me); got != c.gone {
			t.Errorf("%s: gone is %t", c.name, got)
		}
	}
}

// lockS3 takes a lock whose renewals the test does itself.
func lockS3(t *testing.T, s *S3) *s3Lease {
	t.Helper()
	lease, err := s.Lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	l := lease.(*s3Lease)
	l.stop()
	<-l.done
	return l
}

// lapse makes a lease one that was written long ago.
func (l *s3Lease) lapse() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.written = time.Now().Add(-time.Hour)
}

// TestLeaseLapsed has leases that ran out: they are good as long as nobody took
// them, and never again afterwards.
func TestLeaseLapsed(t *testing.T) {
	s := newFakeS3(t).open(t, "repo")
	l := lockS3(t, s)
	l.lapse()
	if err := l.Valid(t.Context()); err != nil {
		t.Fatalf("nobody took it: %v", err)
	}
	if elapsed(l.written) > leaseTime/2 {
		t.Error("Valid did not renew it")
	}
	l.lapse()
	if err := s.Delete(t.Context(), lockName); err != nil { // as if it had been taken, and released
		t.Fatal(err)
	}
	if err := l.Valid(t.Context()); !errors.Is(err, ErrLocked) {
		t.Errorf("a lock that is gone: %v", err)
	}
	other := lockS3(t, s)
	if err := l.Valid(t.Context()); !errors.Is(err, ErrLocked) {
		t.Errorf("another's: %v", err)
	}
	if err := l.Release(); err != nil {
		t.Error(err)
	}
	if err := other.extend(t.Context()); err != nil {
		t.Errorf("it went with the release of the one before: %v", err)
	}
}

// TestLostAnswers has a server that does what it is asked without saying so:
// nobody takes his own lock or manifest for another's.
func TestLostAnswers(t *testing.T) {
	f := newFakeS3(t)
	lose := func(n int) {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.lose = n
	}
	s := f.open(t, "repo")
	lose(1)
	l := lockS3(t, s)
	lose(1)
	if err := l.extend(t.Context()); err != nil {
		t.Error(err)
	}
	for _, c := range [][2][]byte{{nil, []byte("first")}, {[]byte("first"), []byte("second")}} {
		lose(1)
		if err := s.replace(t.Context(), ".cvmfspublished", c[0], c[1]); err != nil {
			t.Errorf("%s → %s: %v", c[0], c[1], err)
		}
	}
	if err := s.replace(t.Context(), ".cvmfspublished", []byte("first"), []byte("third")); !errors.Is(err, errChanged) {
		t.Errorf("replace of what is no longer there: %v", err)
	}
	if err := s.replace(t.Context(), ".cvmfspublished", nil, []byte("third")); !errors.Is(err, errChanged) {
		t.Errorf("replace of nothing, where there is something: %v", err)
	}
}

// TestPublishWithoutLock has a publisher whose lock somebody deleted: the other
// one's revision stands.
func TestPublishWithoutLock(t *testing.T) {
	f := newFakeS3(t)
	r := &testRepo{t: t, s: f.open(t, "repo"), keys: testKeys(), o: Options{FQRN: testFQRN, Scratch: tempDir(t)}}
	if _, err := Init(t.Context(), r.s, InitOptions{Options: r.o, Keys: r.keys}); err != nil {
		t.Fatal(err)
	}
	tx := r.begin()
	if err := tx.PutFile("/late", 0o644, strings.NewReader("late")); err != nil {
		t.Fatal(err)
	}
	if err := r.s.Delete(t.Context(), lockName); err != nil {
		t.Fatal(err)
	}
	r.publish(func(tx *Tx) error { return tx.PutFile("/early", 0o644, strings.NewReader("early")) })
	if _, err := tx.Commit(t.Context(), CommitOptions{}); !errors.Is(err, errChanged) {
		t.Errorf("commit: %v", err)
	}
	if tree := r.read(""); tree["/early"].data != "early" || len(tree) != 2 {
		t.Errorf("the tree is %v", tree)
	}
}

// TestLockWaits waits for a publisher that ends, and no longer than it is told.
func TestLockWaits(t *testing.T) {
	dir, err := OpenDirectory(tempDir(t))
	if err != nil {
		t.Fatal(err)
	}
	for name, s := range map[string]Storage{"directory": dir, "s3": newFakeS3(t).open(t, "repo")} {
		held, err := s.Lock(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		short := Options{Wait: time.Millisecond}
		if _, err := short.lock(t.Context(), s); !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), "did not end") {
			t.Errorf("%s: %v", name, err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		stopped := Options{Wait: time.Hour, Waiting: func(error) { cancel() }}
		if _, err := stopped.lock(ctx, s); !errors.Is(err, context.Canceled) {
			t.Errorf("%s, interrupted: %v", name, err)
		}
		told := 0
		o := Options{Wait: time.Hour, Waiting: func(why error) {
			told++
			if !errors.Is(why, ErrLocked) {
				t.Errorf("%s: told of %v", name, why)
			}
			if err := held.Release(); err != nil {
				t.Error(err)
			}
		}}
		l, err := o.lock(t.Context(), s)
		if err != nil || told != 1 {
			t.Fatalf("%s: %v, told %d times", name, err, told)
		}
		if err := l.Release(); err != nil {
			t.Error(err)
		}
	}
}

// victimS3 is the endpoint by which this test's binary knows that it is to hold
// the lock until it is killed.
const victimS3 = "PUBLISH_TEST_S3"

const (
	victimLease = 4 * time.Second
	victimReady = "has the lock\n"
)

// gatewayS3 opens the bucket of startGateway.
func gatewayS3(endpoint string) (*S3, error) {
	env := map[string]string{"AWS_ACCESS_KEY_ID": "akakakak", "AWS_SECRET_ACCESS_KEY": "sksksksk", "AWS_ENDPOINT_URL": endpoint}
	c, err := ParseS3("s3://bucket/cvmfs/"+testFQRN, func(k string) string { return env[k] })
	if err != nil {
		return nil, err
	}
	s, err := OpenS3(c)
	if err == nil {
		s.lease = victimLease
	}
	return s, err
}

// TestLockVictim is no test: it publishes, as if from another host, until it is
// killed.
func TestLockVictim(t *testing.T) {
	endpoint := os.Getenv(victimS3)
	if endpoint == "" {
		return // called by TestLockOfKilled only
	}
	s, err := gatewayS3(endpoint)
	if err != nil {
		t.Fatal(err)
	}
	lease, err := s.Lock(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	l := lease.(*s3Lease)
	l.mu.Lock()
	l.owner.Host = "elsewhere"
	l.mu.Unlock()
	if err := l.extend(context.Background()); err != nil {
		t.Fatal(err)
	}
	fmt.Print(victimReady)
	for end := time.Now().Add(5 * time.Minute); time.Now().Before(end); { // its renewals go on
		if err := lease.Valid(context.Background()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(victimLease / 10)
	}
}

// TestLockOfKilled kills a publisher of another host, on a real S3 server: as
// long as it lives nobody takes its lock however long it works, and a waiting
// publisher has it soon after its death.
func TestLockOfKilled(t *testing.T) {
	t.Parallel() // it mostly waits
	endpoint := startGateway(t)
	s, err := gatewayS3(endpoint)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestLockVictim$")
	cmd.Env = append(os.Environ(), victimS3+"="+endpoint)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := false
	end := func() {
		if !ended {
			ended = true
			cmd.Process.Kill()
			cmd.Wait()
		}
	}
	t.Cleanup(end)
	said := make([]byte, len(victimReady))
	if n, err := out.Read(said); string(said[:n]) != victimReady {
		t.Fatalf("the victim says %q, %v", said[:n], err)
	}
	alive := Options{Wait: victimLease + 2*time.Second} // longer than the lease: renewals hold it
	if _, err := alive.lock(t.Context(), s); !errors.Is(err, ErrLocked) {
		t.Fatalf("while it lives: %v", err)
	}
	end()
	dead := Options{Wait: time.Minute}
	began := time.Now()
	l, err := dead.lock(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("taken over %s after its death, lease %s", time.Since(began), victimLease)
	if err := l.Valid(t.Context()); err != nil {
		t.Error(err)
	}
	if err := l.Release(); err != nil {
		t.Error(err)
	}
}
