package fusefs

import (
	"os"
	"sync"
	"testing"
	"unsafe"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// The library's pool is where it is looked for.
func TestRequestBuffers(t *testing.T) {
	pool, err := requestBuffers(&fuse.Server{})
	if err != nil || pool == nil {
		t.Fatal(err)
	}
}

func TestMakePresent(t *testing.T) {
	page := os.Getpagesize()
	whole, err := unix.Mmap(-1, 0, 16*page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(whole)
	unix.Madvise(whole, unix.MADV_NOHUGEPAGE) // else one write makes all of them present
	pool := &sync.Pool{New: func() any { return whole[page-80:] }}
	makePresent(pool)
	if b := pool.Get().([]byte); len(b) != len(whole)-page+80 {
		t.Fatalf("a buffer of %d bytes", len(b))
	}
	present := make([]byte, 16)
	if _, _, errno := unix.Syscall(unix.SYS_MINCORE, uintptr(unsafe.Pointer(&whole[0])), uintptr(len(whole)), uintptr(unsafe.Pointer(&present[0]))); errno != 0 {
		t.Fatal(errno)
	}
	for i := range 1 + requestPages {
		if present[i]&1 == 0 {
			t.Errorf("page %d is not present: %v", i, present)
		}
	}
	if present[15]&1 != 0 {
		t.Error("all of it is present")
	}
}
