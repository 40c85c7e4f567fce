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

	"golang.org/x/sync/semaphore"

	"github.com/flatrun/flatrun/mount/cas"
	"github.com/flatrun/flatrun/mount/catalog"
	"github.com/flatrun/flatrun/mount/deflate"
)

const (
	// smallFile is what a file may have to travel in a buffer of its own size;
	// larger ones share the pool of chunk-sized buffers.
	smallFile = 1 << 20
	// inFlight bounds the bytes of small files that wait for a worker.
	inFlight = 32 << 20
)

// IngestStats count what a transaction has ingested. Read them at any time.
type IngestStats struct {
	Files, Bytes        atomic.Int64 // as read
	Objects             atomic.Int64 // made of them
	Stored, StoredBytes atomic.Int64 // those that were new; bytes as stored
}

// ingester turns files into stored objects: whoever reads the files fills
// buffers, as many compressors as there are cores compress and hash them, and as
// many workers as the storage takes at once store them.
type ingester struct {
	store objectStore
	sizes ChunkSizes
	stats *IngestStats

	jobs  chan *job
	cores chan struct{} // a token for each that may compress
	small *semaphore.Weighted
	large chan []byte // buffers for one chunk each, see largeBuffer; nil ones are not yet made
	wg    sync.WaitGroup

	known    recent    // objects that the storage has
	contents *contents // of the repository; nil: contents are not remembered
	holes    sync.Map  // holeKey of a large buffer of zeros → cas.Hash of the stored object

	mu     sync.RWMutex // held for reading while a job is handed over
	closed bool
}

// holeKey tells objects of zeros apart.
type holeKey struct {
	size   int
	suffix cas.Suffix
}

// job is one object to be made.
type job struct {
	ctx    context.Context
	data   []byte
	weight int64  // held of ingester.small
	large  []byte // the pool's buffer that data lies in, if it does
	pieces *deflate.Pieces
	suffix cas.Suffix
	done   chan struct{}
	hash   cas.Hash
	err    error
}

func newIngester(store objectStore, sizes ChunkSizes, workers int, stats *IngestStats) *ingester {
	if workers <= 0 {
		workers = runtime.GOMAXPROCS(0)
	}
	if sizes == (ChunkSizes{}) {
		sizes = defaultChunks
	}
	in := &ingester{
		store: store, sizes: sizes, stats: stats, jobs: make(chan *job, 4*workers), cores: make(chan struct{}, workers),
		small: semaphore.NewWeighted(inFlight), large: make(chan []byte, min(workers, maxLarge)+2),
	}
	for range cap(in.large) {
		in.large <- nil
	}
	for range max(2*workers, parallel(store.storage)) {
		in.wg.Go(in.work)
	}
	return in
}

// maxLarge bounds the memory of machines with many cores.
const maxLarge = 6

// parallel is how many requests a storage is best sent at once: over a network
// most of a request is waiting.
func parallel(s Storage) int {
	if p, ok := s.(interface{ Parallel() int }); ok {
		return p.Parallel()
	}
	return runtime.GOMAXPROCS(0)
}

// largeBuffer makes a buffer for a chunk, the piece read beyond it, and its
// compressed form, which may be a little larger.
func (in *ingester) largeBuffer() []byte {
	return make([]byte, in.sizes.Max+pieceSize+deflate.Bound(in.sizes.Max))
}

// close ends the workers when they have done what was handed to them.
func (in *ingester) close() {
	in.mu.Lock()
	in.closed = true
	in.mu.Unlock()
	close(in.jobs)
	in.wg.Wait()
}

func (in *ingester) work() {
	var out []byte // of small files
	for j := range in.jobs {
		in.stats.Objects.Add(1)
		if j.large == nil {
			var stored []byte
			if stored, j.err = in.makeOnce(j, out); stored != nil {
				out = stored[:0]
			}
		} else {
			j.err = in.makeLarge(j)
		}
		in.free(j)
		close(j.done)
	}
}

// makeLarge makes the object of a chunk or large file. A file of 10 GB of zeros, or with holes of that size, is 600 times
// the same object, which is made and stored once.
func (in *ingester) makeLarge(j *job) error {
	hole := holeKey{len(j.data), j.suffix}
	zero := isZero(j.data)
	if zero {
		if h, ok := in.holes.Load(hole); ok {
			j.hash = h.(cas.Hash)
			return nil
		}
	}
	_, err := in.makeOnce(j, j.large[in.sizes.Max+pieceSize:])
	if err == nil && zero {
		in.holes.Store(hole, j.hash)
	}
	return err
}

// make compresses a job's data and stores it. The stored form, which it returns, lies in out if it fits.
func (in *ingester) make(j *job, out []byte) (stored []byte, err error) {
	in.cores <- struct{}{}
	stored, j.hash, err = in.store.object(j.data, out, j.pieces)
	<-in.cores
	if err != nil {
		return nil, err
	}
	return stored, in.put(j, stored)
}

// put stores the object that a job became, unless that was done before: a tree may have thousands of empty files.
func (in *ingester) put(j *job, data []byte) error {
	o := cas.Object{Hash: j.hash, Suffix: j.suffix}
	if in.known.has(keyOf(o)) {
		return nil
	}
	stored, err := in.store.add(j.ctx, o.Name(), bytes.NewReader(data), int64(len(data)))
	if err == nil {
		in.known.add(keyOf(o))
	}
	if stored > 0 {
		in.stats.Stored.Add(1)
		in.stats.StoredBytes.Add(stored)
	}
	return err
}

// free gives a job's buffer back.
func (in *ingester) free(j *job) {
	if j.weight > 0 {
		in.small.Release(j.weight)
	}
	if j.large != nil {
		in.large <- j.large
	}
	j.data, j.large, j.weight, j.pieces = nil, nil, 0, nil
}

// Pending is a file whose bytes have been read and whose objects are being made.
type Pending struct {
	in    *ingester
	jobs  []*job
	sizes []int64
}

// Wait returns the file's content once all its objects are stored.
func (p *Pending) Wait() (Content, error) {
	c := Content{Algorithm: p.in.store.algorithm, Compression: p.in.store.compression}
	for i, j := range p.jobs {
		<-j.done
		if j.err != nil {
			return Content{}, j.err
		}
		if j.suffix == cas.PartialSuffix {
			c.Chunks = append(c.Chunks, catalog.Chunk{Offset: c.Size, Size: p.sizes[i], Hash: j.hash})
		} else {
			c.Hash = j.hash
		}
		c.Size += p.sizes[i]
	}
	return c, nil
}

// Deflated is the reader of a file that lies in a deflated stream. Objects of the file are made of the stream's blocks, which
// takes a tenth of the time of making new ones.
type Deflated interface {
	io.Reader
	// Cut returns blocks of the file's bytes from..to, which were read already, and is not asked for any before to afterwards.
	// It is nil where they are of no use. Space, or nil, is memory for their bits; its end is taken.
	Cut(from, to int64, space []byte) *deflate.Pieces
}

// pieces asks r, if it is Deflated, for blocks of an object. Of a small one those at both ends, which are of no use, are most.
// What is made of blocks has to be in the index of contents, or the same file in another layer would be another object.
func (in *ingester) pieces(r io.Reader, from, to int64, space []byte) *deflate.Pieces {
	d, ok := r.(Deflated)
	if !ok || to-from < indexed || in.store.compression != cas.Zlib {
		return nil
	}
	return d.Cut(from, to, space)
}

// start reads r to its end and returns while workers still make its objects.
// It blocks while all buffers are taken. hint is the expected size, or -1.
func (in *ingester) start(ctx context.Context, r io.Reader, hint int64) (*Pending, error) {
	in.stats.Files.Add(1)
	p := &Pending{in: in}
	if hint >= 0 && hint <= smallFile {
		rest, err := in.readSmall(ctx, p, r, hint)
		if err != nil || rest == nil {
			return p, err
		}
		r = rest
	}
	return p, in.readLarge(ctx, p, r)
}

// readSmall reads a file of the size promised into a buffer of that size. For
// one that turns out longer it returns a reader of the whole.
func (in *ingester) readSmall(ctx context.Context, p *Pending, r io.Reader, size int64) (io.Reader, error) {
	weight := size + 512
	if size >= indexed {
		weight += size // of pieces
	}
	if err := in.small.Acquire(ctx, weight); err != nil {
		return nil, err
	}
	buf := make([]byte, size+1)
	n, ended, err := fill(r, buf)
	switch {
	case err != nil:
		in.small.Release(weight)
		return nil, err
	case ended:
		return nil, in.submit(ctx, p, &job{data: buf[:n], weight: weight, pieces: in.pieces(r, 0, int64(n), nil)})
	}
	in.small.Release(weight)
	return io.MultiReader(bytes.NewReader(buf), r), nil
}

// fill reads until b is full or r has ended. Unlike io.ReadFull it tells the end
// from a reader that was cut, which answers io.ErrUnexpectedEOF too.
func fill(r io.Reader, b []byte) (n int, ended bool, err error) {
	for n < len(b) {
		m, err := r.Read(b[n:])
		n += m
		if err == io.EOF {
			return n, true, nil
		}
		if err != nil {
			return n, false, fmt.Errorf("read file: %w", err)
		}
	}
	return n, false, nil
}

// readLarge reads a file of any size chunk by chunk, each into a buffer of the
// pool. A file that is never cut is a plain object.
func (in *ingester) readLarge(ctx context.Context, p *Pending, r io.Reader) error {
	c := &cutter{r: r, det: newDetector(in.sizes)}
	var at int64
	for !c.ended() {
		if err := ctx.Err(); err != nil {
			return err
		}
		var buf []byte
		select {
		case buf = <-in.large:
		case <-ctx.Done():
			return ctx.Err()
		}
		if buf == nil {
			buf = in.largeBuffer()
		}
		n, err := c.next(buf[:in.sizes.Max+pieceSize])
		j := &job{data: buf[:n], large: buf}
		if err != nil {
			in.free(j)
			return err
		}
		j.pieces = in.pieces(r, at, at+int64(n), buf[in.sizes.Max+pieceSize:])
		at += int64(n)
		if len(p.jobs) > 0 || !c.ended() {
			j.suffix = cas.PartialSuffix
		}
		if err := in.submit(ctx, p, j); err != nil {
			return err
		}
	}
	return nil
}

// submit hands a job to the workers.
func (in *ingester) submit(ctx context.Context, p *Pending, j *job) error {
	j.ctx, j.done = ctx, make(chan struct{})
	n := int64(len(j.data))
	in.mu.RLock()
	defer in.mu.RUnlock()
	if in.closed {
		in.free(j)
		return errors.New("the transaction has ended")
	}
	select {
	case in.jobs <- j:
	case <-ctx.Done():
		in.free(j)
		return ctx.Err()
	}
	p.jobs, p.sizes = append(p.jobs, j), append(p.sizes, n)
	in.stats.Bytes.Add(n)
	return nil
}

// pieceSize is how much is read before it is searched for a cut: what lies
// behind the cut has to be moved into the next buffer.
const pieceSize = 128 << 10

// cutter reads a file chunk by chunk.
type cutter struct {
	r     io.Reader
	det   *detector
	carry []byte // read but behind the last cut
	eof   bool
	begun bool
}

func (c *cutter) ended() bool { return c.eof && len(c.carry) == 0 && c.begun }

// next fills buf, which holds the largest chunk and a piece more, with the next
// chunk and returns its size.
func (c *cutter) next(buf []byte) (int, error) {
	c.begun = true
	n := copy(buf, c.carry)
	c.carry = c.carry[:0]
	from := 0 // where the bytes begin that the detector has not seen
	for {
		if i := c.det.cut(buf[from:n]); i >= 0 {
			c.carry = append(c.carry, buf[from+i:n]...)
			return from + i, nil
		}
		from = n
		if c.eof {
			return n, nil
		}
		m, ended, err := fill(c.r, buf[n:min(n+pieceSize, len(buf))])
		if err != nil {
			return 0, err
		}
		n += m
		c.eof = ended
	}
}
