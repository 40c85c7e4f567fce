package convert

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/flatrun/flatrun/unpacked"
	"github.com/flatrun/flatrun/unpacked/publish"
	"github.com/flatrun/flatrun/unpacked/wishlist"
)

const (
	// asksAtOnce bounds the questions to registries that are open together.
	asksAtOnce = 16
	// imagesARevision is after how many new images a revision is published: a long run that is stopped has lost little.
	imagesARevision = 10
)

// Sync brings a repository in line with a wish list.
type Sync struct {
	Begin    func(context.Context) (*publish.Tx, error)
	Source   Source
	FQRN     string
	List     *wishlist.List
	ListName string        // by which removed wishes of this list are told from images of others
	Thin     bool          // also push thin images, under the list's output_format
	DryRun   bool          // only tell what would be done
	Grace    time.Duration // how long what nobody wishes for stays
	Progress func(Progress)
	Note     func(string) // a line for people; nil: nobody reads

	// NoTag leaves the revisions without a generic tag.
	NoTag bool

	MaxLayer int64 // bytes that a layer may come to, see layer.Read; 0: layer.DefaultMax

	made   map[string]made // by this run
	failed []wishlist.Wish // of which the registry did not tell this run what they stand for
}

// Report is what a run of Sync came to. With DryRun, Removed is what would be, and Missing what would be converted.
type Report struct {
	Wishes    int      `json:"wishes"`
	Converted []Result `json:"converted"`
	Unchanged int      `json:"unchanged"`
	Pushed    []string `json:"pushed"` // thin images
	Failures  []string `json:"failures"`
	Removed   []string `json:"removed"`
	Revision  uint64   `json:"revision"`

	DryRun  bool     `json:"dry_run,omitempty"`
	Missing []string `json:"missing,omitempty"`

	known []Result // unchanged in the end, though they had to be looked at
}

// wanted is one image of the list and what its name stands for at the registry now.
type wanted struct {
	ref    unpacked.Reference
	digest unpacked.Digest
}

// Run does it once. A wish that fails is in the report and stops no other; the error is about the repository itself.
func (s *Sync) Run(ctx context.Context) (Report, error) {
	r := Report{Converted: []Result{}, Pushed: []string{}, Failures: []string{}, Removed: []string{}, DryRun: s.DryRun} // no null in JSON
	for _, bad := range s.List.Bad {
		r.Failures = append(r.Failures, bad.Error())
	}
	all := s.expand(ctx, &r) // never nil: an empty list removes everything
	r.Wishes = len(all) + len(r.Failures)
	if err := ctx.Err(); err != nil {
		return r, err // every registry "failed"
	}
	tx, err := s.Begin(ctx)
	if err != nil {
		return r, err
	}
	defer func() { tx.Abort() }() // after a commit it does nothing
	l, err := readLedger(ctx, tx.Base())
	if err != nil {
		return r, err
	}
	todo := s.changed(tx, l, all, &r)
	if s.DryRun {
		for _, w := range todo {
			r.Missing = append(r.Missing, w.ref.String())
		}
		s.settle(l, all, tx.Now())
		r.Removed = append(r.Removed, s.due(l, tx.Now())...)
		return r, nil
	}
	for len(todo) > imagesARevision {
		batch := todo[:imagesARevision]
		todo = todo[len(batch):]
		if err := s.publish(ctx, tx, batch, nil, &r); err != nil {
			return r, err
		}
		if tx, err = s.Begin(ctx); err != nil {
			return r, err
		}
	}
	return r, s.publish(ctx, tx, todo, all, &r)
}

// publish makes a revision of some images, and with the last of them of what is to be removed: all are those that stay. On
// an error the report is of the revisions before.
func (s *Sync) publish(ctx context.Context, tx *publish.Tx, batch, all []wanted, r *Report) (err error) {
	before := *r
	defer func() {
		if err != nil {
			*r = before
		}
	}()
	c := &Converter{Tx: tx, FQRN: s.FQRN, ForThin: s.Thin, MaxLayer: s.MaxLayer, Progress: s.Progress}
	defer c.Close()
	s.convert(ctx, c, batch, r)
	if err := ctx.Err(); err != nil {
		return err
	}
	if all != nil {
		if err := s.collect(ctx, c, all, r); err != nil {
			return err
		}
	}
	return s.commit(ctx, tx, r)
}

func (s *Sync) commit(ctx context.Context, tx *publish.Tx, r *Report) error {
	m, err := tx.Commit(ctx, publish.CommitOptions{Description: "sync " + s.ListName, NoTag: s.NoTag})
	if err == nil {
		r.Revision = m.Revision
	}
	return err
}

func (s *Sync) note(text string) {
	if s.Note != nil {
		s.Note(text)
	}
}

// expand lists the images wished for, in the order of the list, each with its digest at the registry.
func (s *Sync) expand(ctx context.Context, r *Report) []wanted {
	lists := make([][]wanted, len(s.List.Wishes))
	var mu sync.Mutex
	var group errgroup.Group
	group.SetLimit(asksAtOnce)
	for i, w := range s.List.Wishes {
		group.Go(func() error {
			found, err := s.ask(ctx, w)
			mu.Lock()
			defer mu.Unlock()
			lists[i] = found
			if err != nil {
				s.failed = append(s.failed, w)
				r.Failures = append(r.Failures, fmt.Sprintf("line %d: %s: %v", w.Line, w.Text, err))
			}
			return nil
		})
	}
	group.Wait()
	all := []wanted{}
	seen := map[string]bool{}
	for _, l := range lists {
		for _, w := range l {
			if name := w.ref.String(); !seen[name] {
				seen[name] = true
				all = append(all, w)
			}
		}
	}
	return all
}

// ask resolves one wish.
func (s *Sync) ask(ctx context.Context, w wishlist.Wish) ([]wanted, error) {
	refs := []unpacked.Reference{w.Image}
	if w.IsPattern() {
		tags, err := s.Source.Tags(ctx, w.Image)
		if err != nil {
			return nil, err
		}
		refs = nil
		for _, tag := range tags {
			if w.Matches(tag) {
				refs = append(refs, w.With(tag))
			}
		}
		if len(refs) == 0 {
			return nil, fmt.Errorf("none of %d tags matches", len(tags))
		}
	}
	var found []wanted
	var errs []error
	for _, ref := range refs {
		digest, err := s.Source.Head(ctx, ref)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		found = append(found, wanted{ref, digest})
	}
	return found, errors.Join(errs...)
}

// changed leaves out what the repository has.
func (s *Sync) changed(tx *publish.Tx, l *ledger, all []wanted, r *Report) []wanted {
	var todo []wanted
	for _, w := range all {
		if s.present(tx, w) && s.asAsked(l, w) {
			r.Unchanged++
		} else {
			todo = append(todo, w)
		}
	}
	return todo
}

// present tells whether the plain name leads where the digest's does, for every platform asked for.
func (s *Sync) present(tx *publish.Tx, w wanted) bool {
	base := "/" + w.ref.Name()
	byDigest, err := tx.Lookup(base + "@" + string(w.digest))
	if err != nil {
		return false
	}
	if w.ref.Tag == "" {
		return true
	}
	names := []string{base + ":" + w.ref.Tag}
	if len(s.Source.Platforms) > 1 {
		for _, p := range s.Source.Platforms {
			if _, err := tx.Lookup(names[0] + "@" + PlatformName(p)); err != nil {
				return false
			}
		}
	}
	byTag, err := tx.Lookup(names[0])
	return err == nil && byTag.Entry.Symlink == byDigest.Entry.Symlink
}

// asAsked tells whether an image was made as this run would make it, where its names do not tell.
func (s *Sync) asAsked(l *ledger, w wanted) bool {
	m := l.Made[w.ref.String()]
	if m.Platforms != s.platforms() {
		return false
	}
	if !s.Thin {
		return true
	}
	to, err := s.List.ThinName(w.ref)
	return err == nil && m.Thin == thinNote(to, w)
}

// platforms are those asked for as the ledger has them.
func (s *Sync) platforms() string {
	asked := strings.Join(s.Source.platforms(), ",")
	if asked == strings.Join(Source{}.platforms(), ",") {
		return ""
	}
	return asked
}

// thinNote is how the ledger names a thin image that was pushed.
func thinNote(to unpacked.Reference, w wanted) string { return to.String() + " " + string(w.digest) }

func (s *Sync) convert(ctx context.Context, c *Converter, batch []wanted, r *Report) {
	for _, w := range batch {
		if ctx.Err() != nil {
			return
		}
		results, err := s.one(ctx, c, w, r)
		n := len(r.Converted)
		for _, res := range results {
			if res.Unchanged {
				r.known = append(r.known, res)
			} else {
				r.Converted = append(r.Converted, res)
			}
		}
		if err != nil {
			r.Failures = append(r.Failures, err.Error())
			s.note("failed: " + err.Error())
		} else if n == len(r.Converted) {
			r.Unchanged++
		}
	}
}

func (s *Sync) one(ctx context.Context, c *Converter, w wanted, r *Report) ([]Result, error) {
	ref := w.ref.String()
	if w.ref.Scheme != "" {
		ref = w.ref.Scheme + "://" + ref
	}
	images, err := s.Source.Open(ctx, ref, "")
	if err != nil {
		return nil, err
	}
	results, err := c.Convert(ctx, images)
	if err != nil {
		return results, err
	}
	m := made{Platforms: s.platforms()}
	if s.Thin {
		to, err := s.pushThin(ctx, c, images[0], w)
		if err != nil {
			return results, err // and not in the ledger: the next run pushes it
		}
		m.Thin = thinNote(to, w)
		r.Pushed = append(r.Pushed, to.String())
	}
	if s.made == nil {
		s.made = map[string]made{}
	}
	s.made[w.ref.String()] = m
	return results, nil
}

func (s *Sync) pushThin(ctx context.Context, c *Converter, img Image, w wanted) (to unpacked.Reference, err error) {
	if to, err = s.List.ThinName(w.ref); err == nil {
		err = CheckThin(w.ref, to)
	}
	if err != nil {
		return to, err
	}
	thin, err := c.MakeThin(img)
	if err != nil {
		return to, err
	}
	return to, s.Source.Push(ctx, thin, to)
}
