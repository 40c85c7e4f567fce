package layer

import (
	"container/heap"
	"iter"
	"slices"
)

// runLength is how many records are sorted in memory: a record is some 400 bytes, so about 13 MB.
const runLength = 32 << 10

// sorter sorts records outside of memory.
type sorter struct {
	dir  string
	runs []*file
}

// run sorts records and writes them out.
func (s *sorter) run(records []record) error {
	if len(records) == 0 {
		return nil
	}
	slices.SortFunc(records, compareRecords)
	f, err := create(s.dir)
	if err != nil {
		return err
	}
	s.runs = append(s.runs, f)
	for i := range records {
		if err := f.add(&records[i]); err != nil {
			return err
		}
	}
	return nil
}

// all yields every record, sorted. It may be called again, also after more runs.
func (s *sorter) all() iter.Seq2[*record, error] {
	return func(yield func(*record, error) bool) {
		var h readers
		for _, f := range s.runs {
			r, err := f.reader()
			if err == nil {
				var ok bool
				if ok, err = r.next(); ok {
					h = append(h, r)
				}
			}
			if err != nil {
				yield(nil, err)
				return
			}
		}
		heap.Init(&h)
		for len(h) > 0 {
			if !yield(&h[0].at, nil) {
				return
			}
			ok, err := h[0].next()
			switch {
			case err != nil:
				yield(nil, err)
				return
			case ok:
				heap.Fix(&h, 0)
			default:
				heap.Pop(&h)
			}
		}
	}
}

func (s *sorter) close() {
	for _, f := range s.runs {
		f.close()
	}
}

// readers is a heap of runs, the one with the lowest record first.
type readers []*reader

func (h readers) Len() int           { return len(h) }
func (h readers) Less(i, j int) bool { return compareRecords(h[i].at, h[j].at) < 0 }
func (h readers) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *readers) Push(x any)        { *h = append(*h, x.(*reader)) }
func (h *readers) Pop() any {
	last := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return last
}
