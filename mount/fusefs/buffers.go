package fusefs

import (
	"errors"
	"os"
	"reflect"
	"sync"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// A request must not be lost with the server that is about to read it. When the kernel copies a request into memory that the
// process never touched, it has to find pages for it first; it does not do so for a process with a SIGKILL to come, and
// answers that request with EIO, where it would have been sent again to the next server. So buffers for requests get their
// pages before the library reads into them.

// requestPages is how many pages of a buffer are made present. All requests to a read-only file system fit: their largest
// part is a name.
const requestPages = 2

// requestBuffers is the library's pool of buffers, which it does not show.
func requestBuffers(server *fuse.Server) (*sync.Pool, error) {
	field := reflect.ValueOf(server).Elem().FieldByName("readPool")
	if !field.IsValid() || field.Type() != reflect.TypeFor[sync.Pool]() {
		return nil, errors.New("the FUSE library keeps its buffers elsewhere: requests may fail when the server is killed")
	}
	return (*sync.Pool)(field.Addr().UnsafePointer()), nil
}

// makePresent writes to the buffers that a pool makes from now on. Nobody may use the pool yet.
func makePresent(pool *sync.Pool) {
	fresh, page := pool.New, os.Getpagesize()
	pool.New = func() any {
		buffer := fresh()
		b, _ := buffer.([]byte)
		for i := 0; i < len(b) && i <= requestPages*page; i += page {
			b[i] = 0
		}
		return buffer
	}
}
