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

// A publisher holds a bucket's lock for leaseTime after its last sign of life.
const (
	leaseTime  = 2 * time.Minute
	leaseRenew = 20 * time.Second
)

// lockOwner is the content of the lock object.
type lockOwner struct {
	Host    string    `json:"host"`
	Boot    string    `json:"boot"`    // kernel's boot id
	PID     int       `json:"pid"`     // on that host
	Started string    `json:"started"` // of that process, as the kernel counts
	Nonce   string    `json:"nonce"`   // tells two transactions of one process apart
	Expires time.Time `json:"expires"`
}

// s3Lease is a lock object that a goroutine keeps renewing.
type s3Lease struct {
	s     *S3
	owner lockOwner
	stop  context.CancelFunc
	done  chan struct{}

	mu   sync.Mutex
	etag string
	err  error
}

// Lock creates the lock object on the condition that there is none, or replaces
// one whose owner is gone on the condition that it is still that one: of two
// publishers the server lets one through.
func (s *S3) Lock(ctx context.Context) (Lease, error) {
	l := &s3Lease{s: s, owner: thisProcess(), done: make(chan struct{})}
	old, etag, err := s.readLock(ctx)
	if err != nil {
		return nil, err
	}
	if etag != "" && !old.gone(time.Now(), l.owner) {
		return nil, fmt.Errorf("lock %s: %w: process %d on %s, or wait until %s for its lease to end",
			s, ErrLocked, old.PID, old.Host, old.Expires.Format(time.RFC3339))
	}
	if err := l.write(ctx, etag); err != nil {
		return nil, err
	}
	// A server that does not know conditional writes lets both through; then
	// the later one's object stands.
	if now, _, err := s.readLock(ctx); err != nil || !now.same(l.owner) {
		return nil, fmt.Errorf("lock %s: %w", s, errors.Join(ErrLocked, err))
	}
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	l.stop = stop
	go l.renew(background)
	return l, nil
}

func (s *S3) readLock(ctx context.Context) (o lockOwner, etag string, err error) {
	rc, st, _, err := minio.Core{Client: s.client}.GetObject(ctx, s.c.Bucket, s.key(lockName), minio.GetObjectOptions{})
	if err != nil {
		if statusOf(err) == http.StatusNotFound && minio.ToErrorResponse(err).Code != minio.NoSuchBucket {
			return o, "", nil
		}
		return o, "", s.wrap("lock", lockName, err)
	}
	defer rc.Close()
	if err := json.NewDecoder(rc).Decode(&o); err != nil {
		return o, "", fmt.Errorf("lock %s: %s is not ours: %w: delete it if no publisher is at work", s, lockName, err)
	}
	return o, st.ETag, nil
}

// write puts the lock object if the present one still has the tag etag, "" for
// none at all.
func (l *s3Lease) write(ctx context.Context, etag string) error {
	owner := l.owner
	owner.Expires = time.Now().Add(leaseTime).UTC()
	b, err := json.Marshal(owner)
	if err != nil {
		return err
	}
	o := l.s.options(Head)
	o.CacheControl, o.ContentType = "no-store", "application/json"
	if etag == "" {
		o.SetMatchETagExcept("*")
	} else {
		o.SetMatchETag(etag)
	}
	st, err := l.s.client.PutObject(ctx, l.s.c.Bucket, l.s.key(lockName), bytes.NewReader(b), int64(len(b)), o)
	switch status := statusOf(err); {
	case status == http.StatusPreconditionFailed || status == http.StatusConflict:
		return fmt.Errorf("lock %s: %w: try again when it has ended", l.s, ErrLocked)
	case err != nil:
		return l.s.wrap("lock", lockName, err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.etag, l.owner.Expires = st.ETag, owner.Expires
	return nil
}

func (l *s3Lease) renew(ctx context.Context) {
	defer close(l.done)
	tick := time.NewTicker(leaseRenew)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		l.mu.Lock()
		etag := l.etag
		l.mu.Unlock()
		err := l.write(ctx, etag)
		if errors.Is(err, ErrLocked) { // taken from us; another error may pass
			l.mu.Lock()
			l.err = err
			l.mu.Unlock()
			return
		}
	}
}

// Valid tells whether the lease is still ours, with a margin for the request
// that is about to be made under it.
func (l *s3Lease) Valid() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err == nil && time.Until(l.owner.Expires) < leaseTime/4 {
		l.err = fmt.Errorf("lock %s: lease was not renewed in time: run it again", l.s)
	}
	return l.err
}

// Release deletes the lock object if it is still ours.
func (l *s3Lease) Release() error {
	l.stop()
	<-l.done
	if l.Valid() != nil {
		return nil
	}
	return l.s.Delete(context.Background(), lockName)
}

// gone tells whether the owner cannot come back: its lease ended, or it was a
// process of this machine that no longer runs.
func (o lockOwner) gone(now time.Time, me lockOwner) bool {
	if now.After(o.Expires) {
		return true
	}
	return o.Host == me.Host && o.Boot == me.Boot && o.Boot != "" && startTime(o.PID) != o.Started
}

func (o lockOwner) same(p lockOwner) bool {
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
