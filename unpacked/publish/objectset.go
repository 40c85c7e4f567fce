package publish

import (
	"bytes"
	"slices"
	"strings"
	"sync"

	"github.com/flatrun/flatrun/mount/cas"
)

// objectKey names an object in the storage: digest, algorithm and suffix.
type objectKey [22]byte

func keyOf(o cas.Object) (k objectKey) {
	copy(k[:], o.Hash.Bytes())
	k[20], k[21] = byte(o.Hash.Algorithm()), byte(o.Suffix)
	return k
}

// parseName is the key of an object's file.
func parseName(name string) (objectKey, bool) {
	rest, ok := strings.CutPrefix(name, "data/")
	dir, file, slash := strings.Cut(rest, "/")
	if !ok || !slash || len(dir) != 2 || file == "" {
		return objectKey{}, false
	}
	text, suffix := dir+file, cas.Suffix(0)
	if last := text[len(text)-1]; last >= 'A' && last <= 'Z' {
		text, suffix = text[:len(text)-1], cas.Suffix(last)
	}
	h, err := cas.ParseHash(text)
	return keyOf(cas.Object{Hash: h, Suffix: suffix}), err == nil
}

// objectSet is a set of objects in 22 bytes each: a repository may have tens of
// millions. It is a sorted part and a small part that is not.
type objectSet struct {
	sorted []objectKey
	fresh  map[objectKey]struct{}
}

func (s *objectSet) add(k objectKey) {
	if s.has(k) {
		return
	}
	if s.fresh == nil {
		s.fresh = map[objectKey]struct{}{}
	}
	s.fresh[k] = struct{}{}
	if len(s.fresh) > 1<<16 && len(s.fresh) > len(s.sorted)/4 {
		s.sort()
	}
}

func (s *objectSet) has(k objectKey) bool {
	if _, ok := s.fresh[k]; ok {
		return true
	}
	_, ok := slices.BinarySearchFunc(s.sorted, k, compareKeys)
	return ok
}

func (s *objectSet) sort() {
	for k := range s.fresh {
		s.sorted = append(s.sorted, k)
	}
	clear(s.fresh)
	slices.SortFunc(s.sorted, compareKeys)
}

func compareKeys(a, b objectKey) int { return bytes.Compare(a[:], b[:]) }

// recent remembers objects, the last maxRecent at least and twice as many at
// most, in some 20 MB. The zero value is empty.
type recent struct {
	mu       sync.Mutex
	now, old map[objectKey]struct{}
}

const maxRecent = 200_000

func (r *recent) has(k objectKey) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, now := r.now[k]
	_, old := r.old[k]
	return now || old
}

func (r *recent) add(k objectKey) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.now == nil || len(r.now) == maxRecent {
		r.now, r.old = map[objectKey]struct{}{}, r.now
	}
	r.now[k] = struct{}{}
}
