package cas

import (
	"context"
	"log/slog"
	"os"
)

// CacheConfig says where a cache lies and how large it may become.
type CacheConfig struct {
	Dir      string
	Limit    int64 // bytes; 0 is unlimited
	ReadOnly bool
	Log      *slog.Logger
}

// Cache is a directory of verified, decompressed objects in the official client's layout.
type Cache struct{ cfg CacheConfig }

func OpenCache(cfg CacheConfig) (*Cache, error)                { return &Cache{cfg}, nil }
func (c *Cache) Open(h Hash) (*os.File, error)                 { return nil, os.ErrNotExist }
func (c *Cache) Usage() (bytes, objects int64, err error)      { return 0, 0, nil }
func (c *Cache) Clean(ctx context.Context, target int64) error { return nil }
func (c *Cache) Breadcrumb(fqrn string) (Breadcrumb, error)    { return Breadcrumb{}, os.ErrNotExist }
func (c *Cache) SetBreadcrumb(fqrn string, b Breadcrumb) error { return nil }
func ReadVerified(ctx context.Context, f Fetcher, o Object) ([]byte, error) {
	return nil, os.ErrNotExist
}
func (s *Remote) Open(ctx context.Context, o Object) (*os.File, error) { return nil, os.ErrNotExist }
func (s *Remote) Has(o Object) bool                                    { return false }
func (s *Remote) Stats() RemoteStats                                   { return RemoteStats{} }

// Breadcrumb is the last verified head of a repository.
type Breadcrumb struct {
	Root      Hash
	Timestamp int64
	Revision  uint64
}

// Remote is a Store over the network.
type Remote struct {
	Cache          *Cache
	Main, External Fetcher
	Lower          Store
	Log            *slog.Logger
}

// RemoteStats counts.
type RemoteStats struct{ Objects, Bytes, Wire, Hits, LowerHits, Errors int64 }
