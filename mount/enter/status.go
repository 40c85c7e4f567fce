package enter

import "time"

// Status is one session or one host mount as it describes itself.
type Status struct {
	Key     string        `json:"key"` // last element of the session directory: job step and configuration
	Dir     string        `json:"dir"`
	PID     int           `json:"pid"`
	Host    bool          `json:"host,omitempty"` // a mount made by flatrun mount
	Started time.Time     `json:"started"`
	Idle    time.Duration `json:"idle_ns"`   // how long the session outlives its last user
	Clients int           `json:"clients"`   // connections, without the one that asks
	Users   int           `json:"processes"` // processes inside, without the session's own
	Mounts  []MountStatus `json:"mounts"`
	Cache   CacheStatus   `json:"cache"`
	Errors  []string      `json:"errors,omitempty"` // the last ones, with time, oldest first
	Unkept  bool          `json:"unkept,omitempty"` // its keeper is gone: the mounts end with this process
	Hung    string        `json:"hung,omitempty"`   // it does not answer: which process, and what to do; then little else is known

	Memory      int64 `json:"memory_bytes"` // resident, of the server
	Descriptors int   `json:"descriptors"`
	Goroutines  int   `json:"goroutines"`
}

// MountStatus is one mounted repository.
type MountStatus struct {
	FQRN      string                   `json:"fqrn"`
	Mountpath string                   `json:"mountpoint"`
	Tag       string                   `json:"tag,omitempty"`
	Revision  uint64                   `json:"revision"`
	RootHash  string                   `json:"root_hash"`
	Published time.Time                `json:"published"` // time in the manifest
	TTL       time.Duration            `json:"ttl_ns"`
	Checked   time.Time                `json:"checked"` // last successful look for a new revision
	Server    string                   `json:"server"`
	Proxy     string                   `json:"proxy"`
	Fetched   int64                    `json:"fetched_objects"`
	Bytes     int64                    `json:"fetched_bytes"`
	Hits      int64                    `json:"cache_hits"`
	Uncached  int64                    `json:"uncached_objects"`         // fetched, and served without the cache, which could not take them
	Ahead     Ahead                    `json:"ahead"`                    // what was fetched before it was asked for
	Network   Network                  `json:"network"`                  // how the servers were used
	Failed    uint64                   `json:"failed_requests"`          // FUSE requests that ended with an error, ever; Failures has the latest
	Requests  map[string]uint64        `json:"requests"`                 // FUSE requests by kind
	Latency   map[string][]uint64      `json:"latency,omitempty"`        // by kind: how many were answered within 1, 2, 4 … µs and, last, later
	Took      map[string]time.Duration `json:"latency_sum_ns,omitempty"` // by kind: how long all answers took together
	Slowest   []SlowObject             `json:"slowest,omitempty"`        // objects that readers waited for the longest
	Offline   string                   `json:"offline,omitempty"`        // why no newer revision could be looked for
	NotTaken  string                   `json:"not_taken,omitempty"`      // why what the servers offer is not shown: an older revision, a wrong signature
	Refused   string                   `json:"refused,omitempty"`        // why the user may not see it any more: what was not read yet is not shown
	Failures  []string                 `json:"failures,omitempty"`       // file system requests that failed, the newest last
	Held      []HeldRevision           `json:"held,omitempty"`           // revisions that containers keep, the oldest first
}

// Ahead counts objects that were fetched before somebody read them.
type Ahead struct {
	Objects int64 `json:"objects"`
	Bytes   int64 `json:"bytes"`   // uncompressed
	Failed  int64 `json:"failed"`  // objects; a read of one fetches it again
	Dropped int64 `json:"dropped"` // objects, as too many were wanted at once
}

// Network counts what went to servers and proxies.
type Network struct {
	Requests      int64 `json:"requests"`
	Failures      int64 `json:"failures"` // of requests; most are tried again
	HostSwitches  int64 `json:"host_switches"`
	ProxySwitches int64 `json:"proxy_switches"`
	Active        int64 `json:"active"` // transfers now
}

// HeldRevision is a revision that new containers get or that containers which began with it still use.
type HeldRevision struct {
	Revision   uint64 `json:"revision"`
	RootHash   string `json:"root_hash"`
	Containers int    `json:"containers"` // mount namespaces that show it
}

// SlowObject is an object that a reader waited for.
type SlowObject struct {
	Object string        `json:"object"` // hash
	Path   string        `json:"path"`   // of the file in the repository
	Size   int64         `json:"size"`
	Took   time.Duration `json:"took_ns"`
	Time   time.Time     `json:"time"`
}

// CacheStatus is the use of the object cache on disk.
type CacheStatus struct {
	Dir     string `json:"dir"`
	Bytes   int64  `json:"bytes"`
	Objects int64  `json:"objects"`
	Limit   int64  `json:"limit"` // bytes, 0 = none

	LeftOut []string `json:"left_out,omitempty"` // tiers below that could not be opened, with the reason
}
