package cas

import (
	"os"
	"sync"
	"sync/atomic"
)

// Bounds of what is held of objects that the cache could not take.
const (
	looseFiles = 64
	looseBytes = 256 << 20
)

// loose holds the most recent objects that have no name in the cache, as open files, so that a full disk does not turn
// each read of a file into a download of it.
type loose struct {
	count atomic.Int32 // a glance without the lock: normally there is nothing
	mu    sync.Mutex
	files []looseFile // least recently used first
	bytes int64
}

type looseFile struct {
	key  flightKey
	file *os.File
	size int64
}

func (l *loose) add(key flightKey, f *os.File, size int64) {
	own, err := Reopen(f)
	if err != nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.files = append(l.files, looseFile{key, own, size})
	l.bytes += size
	for len(l.files) > looseFiles || l.bytes > looseBytes && len(l.files) > 0 {
		l.bytes -= l.files[0].size
		l.files[0].file.Close()
		l.files = l.files[1:]
	}
	l.count.Store(int32(len(l.files)))
}

func (l *loose) open(key flightKey) *os.File {
	if l.count.Load() == 0 {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, e := range l.files {
		if e.key == key {
			copy(l.files[i:], l.files[i+1:])
			l.files[len(l.files)-1] = e
			f, _ := Reopen(e.file)
			return f
		}
	}
	return nil
}

func (l *loose) has(key flightKey) bool {
	f := l.open(key)
	if f != nil {
		f.Close()
	}
	return f != nil
}

func (l *loose) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range l.files {
		e.file.Close()
	}
	l.files, l.bytes = nil, 0
	l.count.Store(0)
}
