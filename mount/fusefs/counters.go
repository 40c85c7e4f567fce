package fusefs

import (
	"math/bits"
	"sync/atomic"
	"time"
)

// op is a kind of request.
type op int

const (
	opLookup op = iota
	opForget
	opGetAttr
	opReadlink
	opOpen
	opRead
	opReadDir
	opReadDirPlus
	opStatFs
	opGetXAttr
	opListXAttr
	opAccess
	opOpenDir
	opFlush
	ops
)

var opNames = [ops]string{"LOOKUP", "FORGET", "GETATTR", "READLINK", "OPEN", "READ", "READDIR", "READDIRPLUS", "STATFS",
	"GETXATTR", "LISTXATTR", "ACCESS", "OPENDIR", "FLUSH"}

func (o op) String() string { return opNames[o] }

// buckets of the latency histogram: bucket i counts answers within 2^i microseconds, the last all that took longer.
const buckets = 24

// counters count requests by kind and by the time they took.
type counters struct {
	total   [ops]atomic.Uint64
	latency [ops][buckets]atomic.Uint64
	took    [ops]atomic.Int64 // nanoseconds, of all
}

// count notes one request that began at start.
func (c *counters) count(o op, start time.Time) {
	c.total[o].Add(1)
	took := time.Since(start)
	c.latency[o][min(bits.Len64(uint64(took.Microseconds())), buckets-1)].Add(1)
	c.took[o].Add(int64(took))
}

// Counters tells how many requests of each kind were answered, by the protocol's names. FORGET counts inodes.
func (fs *FS) Counters() map[string]uint64 {
	all := make(map[string]uint64, ops)
	for o := range ops {
		all[o.String()] = fs.counters.total[o].Load()
	}
	return all
}

// Took tells for each kind of request that there was how long all of its answers took together.
func (fs *FS) Took() map[string]time.Duration {
	all := make(map[string]time.Duration)
	for o := range ops {
		if fs.counters.total[o].Load() > 0 {
			all[o.String()] = time.Duration(fs.counters.took[o].Load())
		}
	}
	return all
}

// Latencies tells for each kind of request how many were answered within 1, 2, 4 … 2^22 microseconds and, last, later.
func (fs *FS) Latencies() map[string][]uint64 {
	all := make(map[string][]uint64)
	for o := range ops {
		if fs.counters.total[o].Load() == 0 {
			continue
		}
		row := make([]uint64, buckets)
		for i := range row {
			row[i] = fs.counters.latency[o][i].Load()
		}
		all[o.String()] = row
	}
	return all
}
