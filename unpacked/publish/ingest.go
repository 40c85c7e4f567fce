package publish

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/klauspost/compress/zlib"
	"golang.org/x/sync/semaphore"

	"github.com/flatrun/flatrun/mount/cas"
	"github.com/flatrun/flatrun/mount/catalog"
)

const (
	// smallFile is what a file may have to travel in a buffer of its own size;
	// larger ones share the pool of chunk-sized buffers.
	smallFile = 1 << 20
	// inFlight bounds the bytes of small files that wait for a worker.
	inFlight = 32 << 20
)

// IngestStats count what an ingester has done. Read them at any time.
type IngestStats struct {
	Files, Bytes        atomic.Int64 // as read
	Objects, Stored     atomic.Int64 // objects made, and those of them that were new
	StoredBytes, Failed atomic.Int64 // bytes uploaded, compressed
}

// ingester turns files into stored objects: whoever reads the files fills
// buffers, as many workers as there are cores compress, hash and store them.
type ingester struct {
	storage     Storage
	algorithm   cas.Algorithm
	compression cas.Compression
	sizes       ChunkSizes
	stats       *IngestStats

	jobs  chan *job
	small *semaphore.Weighted
	large chan []byte // buffers of sizes.Max bytes; nil ones are not yet made
	wg    sync.WaitGroup
}

// job is one object to be made.
type job struct {
	ctx    context.Context
	data   []byte
	large  []byte // the pool's buffer that data lies in, if it does
	suffix cas.Suffix
	done   chan struct{}
	hash   cas.Hash
	err    error
}

func newIngester(s Storage, a cas.Algorithm, c cas.Compression, sizes ChunkSizes, workers int, stats *IngestStats) *ingester {
	if workers <= 0 {
		workers = runtime.GOMAXPROCS(0)
	}
	if sizes == (ChunkSizes{}) {
		sizes = defaultChunks
	}
	in := &ingester{
		storage: s, algorithm: a, compression: c, sizes: sizes, stats: stats,
		jobs: make(chan *job, 4*workers), small: semaphore.NewWeighted(inFlight), large: make(chan []byte, workers+2),
	}
	for range cap(in.large) {
		in.large <- nil
	}
	for range workers {
		in.wg.Go(in.work)
	}
	return in
}

// close ends the workers; nobody may start a file any more.
func (in *ingester) close() {
	close(in.jobs)
	in.wg.Wait()
}

// Pending is a file whose bytes have been read and whose objects are being made.
type Pending struct {
	in   *ingester
	jobs []*job
	size []int64
}

// start reads r to its end and returns while workers still make its objects.
// It blocks while all buffers are taken. hint is the expected size, or -1.
func (in *ingester) start(ctx context.Context, r io.Reader, hint int64) (*Pending, error) {
	p := &Pending{in: in}
	if hint >= 0 && hint <= smallFile {
		rest, err := in.readSmall(ctx, p, r, hint)
		if err != nil || rest == nil {
			return p, err
		}
		r = rest
	}
	if err := in.readLarge(ctx, p, r); err != nil {
		return nil, err
	}
	return p, nil
}

// readSmall reads a file of the size promised into a buffer of that size. For
// one that turns out longer it returns a reader of the whole.
func (in *ingester) readSmall(ctx context.Context, p *Pending, r io.Reader, size int64) (io.Reader, error) {
	weight := size + 512
	if err := in.small.Acquire(ctx, weight); err != nil {
		return nil, err
	}
	buf := make([]byte, size+1)
	n, err := io.ReadFull(r, buf)
	switch {
	case err == nil:
		in.small.Release(weight)
		return io.MultiReader(bytes.NewReader(buf), r), nil
	case errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF):
		return nil, in.submit(ctx, p, &job{data: buf[:n], suffix: cas.FileSuffix}, weight)
	}
	in.small.Release(weight)
	return nil, err
}

// readLarge reads a file of any size chunk by chunk, each into a buffer of the
// pool. Whether the first chunk is the whole file decides what it is called, so
// it waits for the second to begin.
func (in *ingester) readLarge(ctx context.Context, p *Pending, r io.Reader) error {
	c := &cutter{in: in, r: r, det: newDetector(in.sizes)}
	defer c.release()
	first, err := c.next(ctx)
	if err != nil {
		return err
	}
	if c.ended() {
		first.suffix = cas.FileSuffix
		return in.submit(ctx, p, first, 0)
	}
	for j := first; j != nil; {
		j.suffix = cas.PartialSuffix
		if err := in.submit(ctx, p, j, 0); err != nil {
			return err
		}
		if c.ended() {
			return nil
		}
		if j, err = c.next(ctx); err != nil {
			return err
		}
	}
	return nil
}

// submit hands a job to the workers; weight is what it holds of in.small.
func (in *ingester) submit(ctx context.Context, p *Pending, j *job, weight int64) error {
	j.ctx, j.done = ctx, make(chan struct{})
	p.jobs = append(p.jobs, j)
	p.size = append(p.size, int64(len(j.data)))
	in.stats.Bytes.Add(int64(len(j.data)))
	if weight > 0 {
		go func() {}() // replaced below
	}
	select {
	case in.jobs <- j:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

var _ = fmt.Sprint
var _ = zlib.NewWriter
var _ catalog.Chunk
