package cas

import (
	"fmt"
	"os"
	"testing"
)

// BenchmarkOpenHit opens an object that is in the cache.
func BenchmarkOpenHit(b *testing.B) {
	c := newCache(b, 0)
	o := store(b, c, text(10_000, 1), false)
	r := &Remote{Cache: c}
	b.ReportAllocs()
	for b.Loop() {
		f, err := r.Open(b.Context(), o)
		if err != nil {
			b.Fatal(err)
		}
		f.Close()
	}
}

// BenchmarkFetch brings objects into the cache: read, hash, inflate, write, rename.
func BenchmarkFetch(b *testing.B) {
	for _, size := range []int{4 << 10, 64 << 10, 8 << 20} {
		b.Run(fmt.Sprint(size>>10, "K"), func(b *testing.B) {
			d := newDepot(b)
			o := d.put(b, text(size, 1), SHA1, Zlib)
			c := newCache(b, 1<<40)
			r := newRemote(b, &Remote{Cache: c, Main: d.Dir})
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				os.Remove(c.path(o.Hash))
				f, err := r.Open(b.Context(), o)
				if err != nil {
					b.Fatal(err)
				}
				f.Close()
			}
		})
	}
}
