package fusefs

import (
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// StatFs answers what df shows: as with the official client the cache's use, and the number of entries of the repository.
func (fs *FS) StatFs(_ <-chan struct{}, in *fuse.InHeader, out *fuse.StatfsOut) fuse.Status {
	defer fs.counters.count(opStatFs, time.Now())
	s, err := fs.stateOf(in.NodeId).root.holder.cat.Statistics()
	if err != nil {
		return fs.answer(opStatFs, "", unavailable(err))
	}
	total := s.Total()
	*out = fuse.StatfsOut{Bsize: blockSize, Frsize: blockSize, NameLen: maxName, Files: uint64(max(total.Entries(), 0))}
	if fs.usage != nil {
		used, limit := fs.usage()
		out.Blocks = uint64(max(used, limit)) / blockSize
		out.Bfree = uint64(max(limit-used, 0)) / blockSize
		out.Bavail = out.Bfree
	}
	return fuse.OK
}
