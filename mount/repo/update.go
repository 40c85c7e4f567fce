package repo

import (
	"cmp"
	"context"
	"crypto/sha1"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"time"

	"github.com/flatrun/flatrun/mount/cas"
	"github.com/flatrun/flatrun/mount/catalog"
)

// update moves the head to the newest revision, or to the pinned one.
func (r *Repository) update(ctx context.Context) (changed bool, err error) {
	r.refresh.Lock()
	defer r.refresh.Unlock()
	old := r.Head()
	if old != nil && r.cfg.Tag != "" {
		return false, nil
	}
	next, err := r.newest(ctx, old)
	var offline error
	if err != nil {
		if old != nil || isTrust(err) && r.cfg.Shown.IsZero() || ctx.Err() != nil {
			r.setOffline(err)
			return false, err
		}
		if next, offline = r.cached(ctx), err; next == nil {
			return false, err
		}
		r.log.Warn("using a revision that was verified before", "repository", r.cfg.FQRN, "revision", next.manifest.Revision, "reason", err)
	} else {
		r.remember(next)
	}
	r.mu.Lock()
	r.head, r.offline, r.checked = next, offline, r.cfg.Now()
	r.mu.Unlock()
	return old == nil || next.manifest.Root != old.manifest.Root, nil
}

func (r *Repository) setOffline(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.head != nil {
		r.offline = err
	}
}

// newest is the revision that the servers offer or the pin names.
func (r *Repository) newest(ctx context.Context, old *Revision) (*Revision, error) {
	m, err := r.fetchManifest(ctx, r.seen(old))
	if old != nil && err == nil && m.Root == old.manifest.Root {
		same := *old
		same.manifest = m // signed anew, or not known so far for want of a server
		return &same, nil
	}
	if r.cfg.Tag == "" {
		if err != nil {
			return nil, err
		}
		return r.revision(ctx, m)
	}
	// A root hash in the site's own configuration is trusted as it stands. So
	// the manifest may be missing, but one that is there must be right.
	root, hashErr := cas.ParseHash(r.cfg.Tag)
	switch {
	case hashErr == nil && (err == nil || !isTrust(err)):
		if m == nil {
			m = &Manifest{Name: r.cfg.FQRN, TTL: defaultTTL}
		}
		v, failed := r.pinned(ctx, m, Tag{Name: r.cfg.Tag, Hash: root, Size: -1})
		if errors.Is(failed, fs.ErrNotExist) && err != nil { // what keeps the manifest away says more
			return nil, err
		}
		return v, failed
	case err != nil:
		return nil, err
	}
	tag, err := r.find(ctx, m)
	if err != nil {
		return nil, err
	}
	return r.pinned(ctx, m, tag)
}

// pinned opens another root catalog than the manifest's.
func (r *Repository) pinned(ctx context.Context, m *Manifest, t Tag) (*Revision, error) {
	at := *m
	at.Root, at.RootSize, at.Revision, at.Timestamp = t.Hash, t.Size, t.Revision, t.Timestamp
	v, err := r.revision(ctx, &at)
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%w; the server does not have this revision: it was removed, or what tag: names is mistyped", err)
	}
	if err != nil {
		return nil, fmt.Errorf("tag %q: %w", r.cfg.Tag, err)
	}
	return v, nil
}

// find looks the pin up in the history: a tag's name, or else a revision's number or a date.
func (r *Repository) find(ctx context.Context, m *Manifest) (Tag, error) {
	h, err := r.history(ctx, m)
	if err != nil {
		return Tag{}, err
	}
	if t, found := h.Find(r.cfg.Tag); found {
		return t, nil
	}
	if n, err := strconv.ParseUint(r.cfg.Tag, 10, 64); err == nil {
		if t, found := h.Numbered(n); found {
			return t, nil
		}
		return Tag{}, fmt.Errorf("revision %d: %w: none with a tag has this number, the newest are %s; any other is had by the hash of its root catalog",
			n, ErrNoTag, newest(h, func(t Tag) string { return fmt.Sprintf("%d (%s)", t.Revision, t.Name) }))
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02T15:04", "2006-01-02"} {
		when, err := time.Parse(layout, r.cfg.Tag)
		if err != nil {
			continue
		}
		if t, found := h.At(when.Unix()); found {
			return t, nil
		}
		return Tag{}, fmt.Errorf("date %q: %w: nothing published by then is tagged", r.cfg.Tag, ErrNoTag)
	}
	return Tag{}, fmt.Errorf("%q: %w; the newest tags are %s", r.cfg.Tag, ErrNoTag, newest(h, func(t Tag) string { return t.Name }))
}

// newest names some tags, the newest first.
func newest(h *catalog.History, name func(Tag) string) string {
	text := ""
	for _, t := range h.Tags[max(0, len(h.Tags)-5):] {
		text = name(t) + ", " + text
	}
	return cmp.Or(text, "none, ")[:max(len(text)-2, 4)]
}

func (r *Repository) history(ctx context.Context, m *Manifest) (*catalog.History, error) {
	if m.History.IsZero() {
		return nil, fmt.Errorf("history: %w: the manifest names no history", ErrNoTag)
	}
	f, err := r.cfg.Store.Open(ctx, cas.Object{Hash: m.History, Suffix: cas.HistorySuffix, Size: -1})
	if err != nil {
		return nil, fmt.Errorf("history: %w", err)
	}
	defer f.Close()
	h, err := catalog.ReadHistory(f)
	if err != nil {
		return nil, err
	}
	if h.FQRN != r.cfg.FQRN {
		return nil, fmt.Errorf("history: %w: it is that of %q", ErrWrongName, h.FQRN)
	}
	return h, nil
}

// crumb names the breadcrumb of the head or, so that a pinned revision too can be
// had offline, of the pin.
func (r *Repository) crumb() string {
	if r.cfg.Tag == "" {
		return r.cfg.FQRN
	}
	return fmt.Sprintf("%s.pin-%x", r.cfg.FQRN, sha1.Sum([]byte(r.cfg.Tag)))
}

// seen is the newest head known to have been right, zero for none.
func (r *Repository) seen(old *Revision) (b cas.Breadcrumb) {
	if r.cfg.Cache != nil {
		var err error
		if b, err = r.cfg.Cache.Breadcrumb(r.cfg.FQRN); err != nil {
			b = cas.Breadcrumb{}
		}
	}
	if old != nil {
		b.Timestamp, b.Revision = max(b.Timestamp, old.manifest.Timestamp), max(b.Revision, old.manifest.Revision)
	}
	return b
}

// remember leaves the breadcrumb of a verified revision.
func (r *Repository) remember(v *Revision) {
	if r.cfg.Cache == nil {
		return
	}
	crumb := cas.Breadcrumb{Root: v.manifest.Root, Timestamp: v.manifest.Timestamp, Revision: v.manifest.Revision}
	if b, err := r.cfg.Cache.Breadcrumb(r.crumb()); err == nil && b == crumb {
		return
	}
	if err := r.cfg.Cache.SetBreadcrumb(r.crumb(), crumb); err != nil {
		r.log.Debug("no breadcrumb written", "repository", r.cfg.FQRN, "reason", err)
	}
}

// resume begins with the revision that was shown before, if the cache has it: whoever waits for its files must not wait until it
// is known what is new. Refresh finds that out.
func (r *Repository) resume(ctx context.Context) bool {
	if r.cfg.Shown.IsZero() || r.cfg.Cache == nil || !r.cfg.Cache.Has(cas.Object{Hash: r.cfg.Shown, Size: -1}) {
		return false
	}
	v, black := r.cached(ctx), r.blacklist()
	if v == nil || black.checkRevision(v.manifest.Revision) != nil {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.head, r.checked = v, r.cfg.Now()
	return true
}

// cached is the revision that was shown before, else that of the breadcrumb, nil
// where there is none or its root catalog cannot be had. The breadcrumb was
// written after verification.
func (r *Repository) cached(ctx context.Context) *Revision {
	var b cas.Breadcrumb
	if r.cfg.Cache != nil {
		b, _ = r.cfg.Cache.Breadcrumb(r.crumb()) // one that cannot be read is none
	}
	if shown := r.cfg.Shown; !shown.IsZero() && shown != b.Root {
		b = cas.Breadcrumb{Root: shown} // its catalog tells the rest
	}
	if b.Root.IsZero() {
		return nil
	}
	m := &Manifest{Name: r.cfg.FQRN, Root: b.Root, RootSize: -1, TTL: defaultTTL, Timestamp: b.Timestamp, Revision: b.Revision}
	v, err := r.revision(ctx, m)
	if err != nil {
		r.log.Debug("a revision that was verified before cannot be used", "repository", r.cfg.FQRN, "root", b.Root, "reason", err)
		return nil
	}
	return v
}

func date(seconds int64) string { return time.Unix(seconds, 0).UTC().Format("2006-01-02 15:04 MST") }
