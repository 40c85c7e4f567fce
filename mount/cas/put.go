package cas

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Put gives an object to the cache whose content the caller has verified, by other means than its hash where need be. An
// object that is there stays as it is.
func (c *Cache) Put(o Object, content []byte) error {
	if err := c.writable(); err != nil {
		return err
	}
	if o.Size != int64(len(content)) {
		return fmt.Errorf("object %v: %w: %d bytes, want %d", o, ErrCorrupt, len(content), o.Size)
	}
	if c.has(o) {
		return nil
	}
	return c.keep(o, func(d *draft) error {
		_, err := d.Write(content)
		return err
	})
}

// InMemory makes a file of the content that ends with its last descriptor, and takes no time of a disk.
func InMemory(content []byte) (*os.File, error) {
	f, err := anonymous(int64(len(content)))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if _, err := f.Write(content); err != nil {
		return nil, fmt.Errorf("%s: %w", f.Name(), err)
	}
	return Reopen(f)
}

// keep takes an object that write writes and verifies, or says why the cache cannot have it.
func (c *Cache) keep(o Object, write func(*draft) error) error {
	d, err := newDraft(c, o)
	if err != nil {
		return err
	}
	if err := write(d); err != nil {
		d.discard()
		return err
	}
	f, cached, err := d.commit()
	if err != nil {
		return err
	}
	f.Close()
	if !cached {
		return fmt.Errorf("object %v: the cache cannot take it: %w", o, errors.Join(d.reason, unix.ENOSPC))
	}
	return nil
}

// Enforce brings the cache within its limit, as fetching does by itself.
func (c *Cache) Enforce(ctx context.Context) { c.enforce(ctx) }

// Has reports whether the cache holds the object.
func (c *Cache) Has(o Object) bool { return c.has(o) }
