package publish

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/flatrun/flatrun/mount/catalog"
	"github.com/flatrun/flatrun/mount/repo"
)

// CommitOptions describe the new revision.
type CommitOptions struct {
	Tag         string // a name of its own; "": a generic one made of the time
	Description string // of the tag
	NoTag       bool   // no generic tag
	AltPaths    bool   // also keep the root catalog and certificate outside data/
}

// Commit publishes the edits as a new revision and ends the transaction. With
// no edits at all there is no new revision: at most a tag is set on the base.
// The manifest it returns is the repository's head.
func (tx *Tx) Commit(ctx context.Context, o CommitOptions) (m *repo.Manifest, err error) {
	if err := checkTag(o.Tag); err != nil {
		return nil, err
	}
	defer func() {
		if e := tx.end(); err == nil {
			err = e
		}
	}()
	base := *tx.rev.Manifest()
	if tx.edits.empty() && o.Tag == "" {
		return &base, nil
	}
	h := head{manifest: base}
	h.manifest.AltPaths = base.AltPaths || o.AltPaths
	h.manifest.Timestamp = tx.now.Unix()
	if !tx.edits.empty() {
		if err := tx.rewrite(ctx, &h.manifest); err != nil {
			return nil, err
		}
	}
	if h.history, err = tx.history(ctx); err != nil {
		return nil, err
	}
	tagHead(h.history, &base, &h.manifest, o)
	if m, err = tx.head().write(ctx, h); err == nil {
		tx.saveContents(ctx)
	}
	return m, err
}

// rewrite writes the catalogs of the new revision and notes them in m.
func (tx *Tx) rewrite(ctx context.Context, m *repo.Manifest) error {
	p := newPlanner(tx.o.Weights)
	if err := (&walker{ctx, tx.base, p}).walk(&tx.edits); err != nil {
		return err
	}
	b := newBuilder(ctx, tx.store, tx.base, p.plan, tx.scratch)
	defer b.abort()
	props, err := tx.rootProperties()
	if err != nil {
		return err
	}
	m.Revision++
	b.props = props
	b.props.Revision, b.props.LastModified, b.props.TTL = m.Revision, tx.now.Unix(), m.TTL
	// The head's, also where an older revision is rolled back to: garbage
	// collection and the history follow it.
	b.props.Previous = tx.rev.Manifest().Root
	if b.empty, err = tx.Ingest(ctx, strings.NewReader("")); err != nil {
		return err
	}
	if err := (&walker{ctx, tx.base, b}).walk(&tx.edits); err != nil {
		return err
	}
	root, err := b.wait()
	if err != nil {
		return err
	}
	m.Root, m.RootSize = root.hash, root.size
	return nil
}

func (tx *Tx) rootProperties() (catalog.Properties, error) {
	return tx.rev.Root().Catalog.Properties()
}

func (tx *Tx) head() *headWriter {
	return &headWriter{tx.storage, tx.store, tx.keys, tx.lease, tx.scratch, tx.before}
}

// The tags that every publication moves.
const (
	trunk         = "trunk"
	trunkPrevious = "trunk-previous"
	generic       = "generic"
)

// trunkDescription is what the official server says of trunk.
const trunkDescription = "current HEAD"

// tagHead moves the automatic tags to the head m and adds its own.
func tagHead(h *catalog.History, base, m *repo.Manifest, o CommitOptions) {
	tag := func(name, description string, m *repo.Manifest) catalog.Tag {
		return catalog.Tag{Name: name, Hash: m.Root, Size: m.RootSize, Revision: m.Revision, Timestamp: m.Timestamp, Description: description}
	}
	if base.Root != m.Root {
		h.Set(tag(trunkPrevious, "default undo target", base))
		h.Set(tag(trunk, trunkDescription, m))
	}
	switch {
	case o.Tag != "":
		h.Set(tag(o.Tag, o.Description, m))
	case !o.NoTag && base.Root != m.Root:
		h.Set(tag(genericName(h, time.Unix(m.Timestamp, 0)), o.Description, m))
	}
}

// genericName is the first of generic-TIME, generic_1-TIME … that is free.
func genericName(h *catalog.History, t time.Time) string {
	stamp := t.UTC().Format("-2006-01-02T15:04:05Z")
	name := generic + stamp
	for i := 1; ; i++ {
		if _, taken := h.Find(name); !taken {
			return name
		}
		name = fmt.Sprintf("%s_%d%s", generic, i, stamp)
	}
}

var (
	tagNames     = regexp.MustCompile(`^[A-Za-z0-9_.@+:/=-]{1,255}$`)
	genericNames = regexp.MustCompile(`^generic(_[0-9]+)?-[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}Z$`)
)

// checkTag refuses the names that are ours to give and those that the official
// tools cannot handle. "" is no tag.
func checkTag(name string) error {
	switch {
	case name == "":
		return nil
	case name == trunk || name == trunkPrevious:
		return fmt.Errorf("tag %s: the name is the repository's own", name)
	case !tagNames.MatchString(name):
		return fmt.Errorf("tag %q: want letters, digits and any of _.@+:/=-", name)
	}
	return nil
}
