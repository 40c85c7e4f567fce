package publish

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/minio/minio-go/v7"
)

// A publisher holds a bucket's lock for leaseTime after its last sign of life. Whoever waits for a dead one waits that long;
// a live one has several tries to renew in that time, and a lease that ran out is not lost unless another publisher took
// the lock, see s3Lease.Valid.
const (
	leaseTime = 30 * time.Second
	// oldLeaseTime is of lock objects that do not tell theirs.
	oldLeaseTime = 2 * time.Minute
	// clockGrain is the resolution of the times that a server tells.
	clockGrain = time.Second
)

// lockOwner is the content of the lock object.
type lockOwner struct {
	Host    string    `json:"host"`
	Boot    string    `json:"boot"`    // kernel's boot id
	PID     int       `json:"pid"`     // on that host
	Started string    `json:"started"` // of that process, as the kernel counts
	Nonce   string    `json:"nonce"`   // tells two transactions of one process apart
	Lease   float64   `json:"lease"`   // seconds that it holds after the object was written
	Expires time.Time `json:"expires"` // by that host's clock; for people, and where the server tells no times
}

// s3Lease is a lock object that a goroutine keeps renewing.
type s3Lease struct {
	s     *S3
	owner lockOwner
	stop  context.CancelFunc
	done  chan struct{}

	mu      sync.Mutex // held while the object is written
	etag    string
	written time.Time // when the request that wrote it began
	err     error     // it was taken from us
}

// Lock creates the lock object on the condition that there is none, or replaces
// one whose owner is gone on the condition that it is still that one: of two
// publishers the server lets one through.
func (s *S3) Lock(ctx context.Context) (Lease, error) {
	l := &s3Lease{s: s, owner: thisProcess(), done: make(chan struct{})}
	old, err := s.readLock(ctx)
	if err != nil {
		return nil, err
	}
	if old.etag != "" && !old.gone(l.owner) {
		return nil, fmt.Errorf("lock %s: %w: process %d on %s", s, ErrLocked, old.owner.PID, old.owner.Host)
	}
	l.etag = old.etag
	if err := l.write(ctx); err != nil {
		return nil, err
	}
	// A server that does not know conditional writes lets both through; then
	// the later one's object stands.
	if now, err := s.readLock(ctx); err != nil || !now.owner.same(l.owner) {
		return nil, fmt.Errorf("lock %s: %w", s, errors.Join(ErrLocked, err))
	}
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	l.stop = stop
	go l.renew(background)
	return l, nil
}

// lockObject is the lock as the server has it.
type lockObject struct {
	owner lockOwner
	etag  string        // "" if there is no lock
	age   time.Duration // since it was written, by the server's clock; negative where that tells no time
}

func (s *S3) readLock(ctx context.Context) (o lockObject, err error) {
	rc, st, head, err := minio.Core{Client: s.client}.GetObject(ctx, s.c.Bucket, s.key(lockName), minio.GetObjectOptions{})
	if err != nil {
		if statusOf(err) == http.StatusNotFound && minio.ToErrorResponse(err).Code != minio.NoSuchBucket {
			return o, nil
		}
		return o, s.wrap("lock", lockName, err)
	}
	defer rc.Close()
	if err := json.NewDecoder(rc).Decode(&o.owner); err != nil {
		return o, fmt.Errorf("lock %s: %s is not ours: %w: delete it if no publisher is at work", s, lockName, err)
	}
	o.etag, o.age = st.ETag, -1
	if date, err := http.ParseTime(head.Get("Date")); err == nil && !st.LastModified.IsZero() {
		o.age = max(0, date.Sub(st.LastModified))
	}
	return o, nil
}

// write puts the lock object if the present one still has the lease's tag, ""
// for none at all. An answer that was lost looks like another's lock at the
// next try, so the object itself is asked.
func (l *s3Lease) write(ctx context.Context) error {
	for range 3 {
		written := time.Now()
		owner := l.owner
		owner.Lease, owner.Expires = l.s.lease.Seconds(), written.Add(l.s.lease).UTC()
		b, err := json.Marshal(owner)
		if err != nil {
			return err
		}
		o := l.s.options(Head)
		o.CacheControl, o.ContentType = "no-store", "application/json"
		etag, err := l.s.putIf(ctx, lockName, b, l.etag, o)
		if err == nil {
			l.etag, l.written = etag, written
			return nil
		}
		if !errors.Is(err, errCondition) {
			return err
		}
		now, err := l.s.readLock(ctx)
		if err != nil {
			return err
		}
		if now.etag == "" || !now.owner.same(l.owner) {
			return fmt.Errorf("lock %s: %w", l.s, ErrLocked)
		}
		l.etag = now.etag
	}
	return fmt.Errorf("lock %s: the server refuses to write what it says it has", l.s)
}

// renew writes the object six times in a lease.
func (l *s3Lease) renew(ctx context.Context) {
	defer close(l.done)
	tick := time.NewTicker(l.s.lease / 6)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		// An error may pass; that it was taken from us is remembered.
		_ = l.extend(ctx)
	}
}

// extend renews the lease now. One request has a part of the lease to succeed
// in, so that one that hangs leaves time for the next.
func (l *s3Lease) extend(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return l.err
	}
	ctx, cancel := context.WithTimeout(ctx, l.s.lease/3)
	defer cancel()
	err := l.write(ctx)
	if errors.Is(err, ErrLocked) {
		l.err = fmt.Errorf("the lease ran out and was taken over: run it again: %w", err)
		return l.err
	}
	return err
}

// Valid makes sure that the lease is ours for half of its time at least. One
// that ran out, in a machine that slept or behind a network that was away, is
// ours as long as nobody took it: the object is still the one that we wrote,
// which the server checks as it renews it.
func (l *s3Lease) Valid(ctx context.Context) error {
	l.mu.Lock()
	err, fresh := l.err, elapsed(l.written) < l.s.lease/2
	l.mu.Unlock()
	if err != nil || fresh {
		return err
	}
	return l.extend(ctx)
}

// elapsed is the time since t, the sleep of the machine included, which only
// the wall clock knows of.
func elapsed(t time.Time) time.Duration { return max(time.Since(t), time.Since(t.Round(0))) }

// Release deletes the lock object if it is still ours.
func (l *s3Lease) Release() error {
	l.stop()
	<-l.done
	ctx, cancel := context.WithTimeout(context.Background(), l.s.lease)
	defer cancel()
	if err := l.Valid(ctx); err != nil {
		return nil // it ends by itself
	}
	return l.s.Delete(ctx, lockName)
}

// gone tells whether the owner cannot come back: its lease ended, or it was a
// process of this machine that no longer runs.
func (o lockObject) gone(me lockOwner) bool {
	if own := o.owner; own.Host == me.Host && own.Boot == me.Boot && own.Boot != "" && startTime(own.PID) != own.Started {
		return true
	}
	if o.age < 0 {
		return time.Now().After(o.owner.Expires)
	}
	lease := oldLeaseTime
	if o.owner.Lease > 0 {
		lease = time.Duration(o.owner.Lease * float64(time.Second))
	}
	return o.age >= lease+clockGrain
}

func (o lockOwner) same(p lockOwner) bool {
	o.Lease, p.Lease = 0, 0
	o.Expires, p.Expires = time.Time{}, time.Time{}
	return o == p
}

func thisProcess() lockOwner {
	host, _ := os.Hostname()
	boot, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	pid := os.Getpid()
	return lockOwner{Host: host, Boot: strings.TrimSpace(string(boot)), PID: pid, Started: startTime(pid), Nonce: rand.Text()}
}

// startTime is field 22 of /proc/PID/stat; it tells a process from a later one
// with the same number. "" if there is no such process.
func startTime(pid int) string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return ""
	}
	// The command's name, field 2, may hold spaces and brackets.
	f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if len(f) < 20 {
		return ""
	}
	return f[19]
}
