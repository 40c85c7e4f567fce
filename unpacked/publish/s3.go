package publish

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

// S3Config says where a repository lies in an object store.
type S3Config struct {
	Endpoint  string // "http://host:port" or "https://host"; "" is Amazon's
	Region    string // "" is us-east-1
	Bucket    string
	Prefix    string // of every key, without slashes at its ends; may be empty
	ACL       string // canned ACL of everything stored; "" sends none
	AccessKey string // empty keys: unsigned requests
	SecretKey string
	Token     string
}

// ParseS3 reads "s3://BUCKET[/PREFIX][?endpoint=URL&region=NAME&acl=NAME]".
// What the URL leaves out comes from the environment: AWS_ENDPOINT_URL_S3 or
// AWS_ENDPOINT_URL, AWS_REGION, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY,
// AWS_SESSION_TOKEN. Credentials are taken from nowhere else.
func ParseS3(location string, env func(string) string) (S3Config, error) {
	u, err := url.Parse(location)
	if err != nil {
		return S3Config{}, fmt.Errorf("storage %s: %w", location, err)
	}
	if u.Scheme != "s3" || u.Host == "" || u.User != nil {
		return S3Config{}, fmt.Errorf("storage %q: want s3://BUCKET/PREFIX", u.Redacted())
	}
	q := u.Query()
	first := func(values ...string) string {
		for _, v := range values {
			if v != "" {
				return v
			}
		}
		return ""
	}
	return S3Config{
		Endpoint:  first(q.Get("endpoint"), env("AWS_ENDPOINT_URL_S3"), env("AWS_ENDPOINT_URL"), "https://s3.amazonaws.com"),
		Region:    first(q.Get("region"), env("AWS_REGION"), env("AWS_DEFAULT_REGION"), "us-east-1"),
		ACL:       q.Get("acl"),
		Bucket:    u.Host,
		Prefix:    strings.Trim(u.Path, "/"),
		AccessKey: env("AWS_ACCESS_KEY_ID"),
		SecretKey: env("AWS_SECRET_ACCESS_KEY"),
		Token:     env("AWS_SESSION_TOKEN"),
	}, nil
}

// S3 is a Storage in a bucket, with keys and cache headers as the official
// server's S3 backend sets them.
type S3 struct {
	c      S3Config
	client *minio.Client
	lease  time.Duration // of the lock
	news   atomic.Int32  // see learn
}

// OpenS3 returns the storage that c names, without talking to it yet.
func OpenS3(c S3Config) (*S3, error) {
	u, err := url.Parse(c.Endpoint)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("S3 endpoint %q: not a URL such as https://s3.example.org", c.Endpoint)
	}
	o := &minio.Options{
		Secure: u.Scheme == "https", Region: c.Region, BucketLookup: minio.BucketLookupPath,
		Creds: credentials.NewStaticV4(c.AccessKey, c.SecretKey, c.Token),
	}
	if c.AccessKey == "" {
		o.Creds = credentials.NewStatic("", "", "", credentials.SignatureAnonymous)
	}
	if o.Transport, err = transport(o.Secure); err != nil {
		return nil, fmt.Errorf("S3 endpoint %s: %w", c.Endpoint, err)
	}
	client, err := minio.New(u.Host, o)
	if err != nil {
		return nil, fmt.Errorf("S3 endpoint %s: %w", c.Endpoint, err)
	}
	return &S3{c: c, client: client, lease: leaseTime}, nil
}

// transport keeps as many connections as there are requests at once: of the
// library's own one, half of them would be closed after each request.
func transport(secure bool) (*http.Transport, error) {
	t, err := minio.DefaultTransport(secure)
	if err != nil {
		return nil, err
	}
	t.MaxIdleConnsPerHost = parallelS3
	return t, nil
}

func (s *S3) String() string { return "s3://" + s.c.Bucket + "/" + s.c.Prefix }

// Parallel is the number of requests that hide a store's latency.
func (s *S3) Parallel() int { return parallelS3 }

const parallelS3 = 32

func (s *S3) key(name string) string {
	if s.c.Prefix == "" {
		return name
	}
	return s.c.Prefix + "/" + name
}

// options are the headers that caches on the way to clients go by: a data file
// never changes, the head does every few minutes.
func (s *S3) options(kind Kind) minio.PutObjectOptions {
	o := minio.PutObjectOptions{
		ContentType: "application/octet-stream", CacheControl: "max-age=259200",
		// A checksum of its own in place of a signature over each piece of the
		// body, whose framing some servers store as content.
		DisableContentSha256: true, SendContentMd5: true,
	}
	if kind != Data {
		o.ContentType, o.CacheControl = "application/x-cvmfs", "max-age=61"
	}
	if s.c.ACL != "" {
		o.UserMetadata = map[string]string{"x-amz-acl": s.c.ACL}
	}
	return o
}

// Put uploads r, in parts if it is large.
func (s *S3) Put(ctx context.Context, name string, r io.Reader, size int64, kind Kind) error {
	_, err := s.client.PutObject(ctx, s.c.Bucket, s.key(name), r, size, s.options(kind))
	return s.wrap("store", name, err)
}

// askFirst is the size of objects that are looked for before they are sent: to
// send one in vain costs more than to ask.
const askFirst = 128 << 10

// putNew stores an object unless there is one of that name, and tells whether it
// did. What is found is whole: unlike files after a power failure, objects have
// all their bytes or are not there. While most of what it is given is new, small
// objects take one request, on the condition that they are not there; while most
// is there, it asks.
func (s *S3) putNew(ctx context.Context, name string, r io.Reader, size int64) (stored bool, err error) {
	o := s.options(Data)
	if size < askFirst && s.news.Load() >= 0 {
		o.SetMatchETagExcept("*")
	} else {
		have, ok, err := s.Has(ctx, name)
		if err != nil {
			return false, err
		}
		if ok && have == size {
			s.learn(-1)
			return false, nil
		}
	}
	_, err = s.client.PutObject(ctx, s.c.Bucket, s.key(name), r, size, o)
	switch {
	case statusOf(err) == http.StatusPreconditionFailed:
		s.learn(-1)
		return false, nil
	case err != nil:
		return false, s.wrap("store", name, err)
	}
	s.learn(1)
	return true, nil
}

// learn counts how many more of the last objects were new than not, up to a few.
// It need not be exact.
func (s *S3) learn(d int32) { s.news.Store(max(-8, min(s.news.Load()+d, 8))) }

// errCondition is returned by a write whose condition does not hold.
var errCondition = errors.New("the object is not what it was")

// putIf stores b if the object still has the tag etag, "" for no object at all,
// and returns its new tag.
func (s *S3) putIf(ctx context.Context, name string, b []byte, etag string, o minio.PutObjectOptions) (string, error) {
	if etag == "" {
		o.SetMatchETagExcept("*")
	} else {
		o.SetMatchETag(etag)
	}
	st, err := s.client.PutObject(ctx, s.c.Bucket, s.key(name), bytes.NewReader(b), int64(len(b)), o)
	if status := statusOf(err); status == http.StatusPreconditionFailed || status == http.StatusConflict {
		return "", fmt.Errorf("store %s in %s: %w", name, s, errCondition)
	}
	return st.ETag, s.wrap("store", name, err)
}

// replace stores next as name if the server still has last there, nil for
// nothing: the server decides between two that want to, whoever has the lock.
func (s *S3) replace(ctx context.Context, name string, last, next []byte) error {
	rc, st, _, err := minio.Core{Client: s.client}.GetObject(ctx, s.c.Bucket, s.key(name), minio.GetObjectOptions{})
	if err != nil && statusOf(err) != http.StatusNotFound {
		return s.wrap("read", name, err)
	}
	if err == nil {
		now, err := io.ReadAll(io.LimitReader(rc, maxHeadFile))
		if err := errors.Join(err, rc.Close()); err != nil {
			return s.wrap("read", name, err)
		}
		if last == nil || !bytes.Equal(now, last) {
			return errChanged
		}
	} else if last != nil {
		return errChanged
	}
	_, err = s.putIf(ctx, name, next, st.ETag, s.options(Final))
	if !errors.Is(err, errCondition) {
		return err
	}
	// A write whose answer was lost is refused when it is sent again.
	if now, e := readAll(ctx, s, name, maxHeadFile); e == nil && bytes.Equal(now, next) {
		return nil
	}
	return errChanged
}

// Get opens an object.
func (s *S3) Get(ctx context.Context, name string) (io.ReadCloser, error) {
	rc, _, _, err := minio.Core{Client: s.client}.GetObject(ctx, s.c.Bucket, s.key(name), minio.GetObjectOptions{})
	if err != nil {
		return nil, s.wrap("read", name, err)
	}
	return rc, nil
}

// Has asks for an object's size.
func (s *S3) Has(ctx context.Context, name string) (int64, bool, error) {
	st, err := s.client.StatObject(ctx, s.c.Bucket, s.key(name), minio.StatObjectOptions{})
	if statusOf(err) == http.StatusNotFound {
		return 0, false, nil
	}
	return st.Size, err == nil, s.wrap("look up", name, err)
}

// Delete removes an object.
func (s *S3) Delete(ctx context.Context, name string) error {
	err := s.client.RemoveObject(ctx, s.c.Bucket, s.key(name), minio.RemoveObjectOptions{})
	if statusOf(err) == http.StatusNotFound {
		return nil
	}
	return s.wrap("delete", name, err)
}

// List visits the objects whose names start with prefix.
func (s *S3) List(ctx context.Context, prefix string) iter.Seq2[FileInfo, error] {
	return func(yield func(FileInfo, error) bool) {
		o := minio.ListObjectsOptions{Prefix: s.key(prefix), Recursive: true}
		for obj := range s.client.ListObjectsIter(ctx, s.c.Bucket, o) {
			if obj.Err != nil {
				yield(FileInfo{}, s.wrap("list", prefix, obj.Err))
				return
			}
			name := strings.TrimPrefix(obj.Key, s.key(""))
			if !yield(FileInfo{name, obj.Size, obj.LastModified}, nil) {
				return
			}
		}
	}
}

// wrap names what was asked of whom. Minio's errors carry the server's words;
// a refusal of the credentials gets the way out.
func (s *S3) wrap(what, name string, err error) error {
	switch status := statusOf(err); {
	case err == nil:
		return nil
	case status == http.StatusNotFound && minio.ToErrorResponse(err).Code == minio.NoSuchBucket:
		return fmt.Errorf("%s %s in %s: no bucket %s: create it first", what, name, s, s.c.Bucket)
	case status == http.StatusNotFound:
		return notExist(s, name)
	case status == http.StatusForbidden || status == http.StatusUnauthorized:
		return fmt.Errorf("%s %s in %s: %w: check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY", what, name, s, err)
	}
	return fmt.Errorf("%s %s in %s: %w", what, name, s, err)
}

// statusOf is the HTTP status that a server refused with, 0 for other errors.
func statusOf(err error) int {
	var r minio.ErrorResponse
	if errors.As(err, &r) {
		return r.StatusCode
	}
	return 0
}
