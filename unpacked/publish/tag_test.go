package publish

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/flatrun/flatrun/mount/catalog"
	"github.com/flatrun/flatrun/mount/repo"
)

func (r *testRepo) reading() ReadOptions { return ReadOptions{Options: r.o, Public: r.keys.Public} }

func (r *testRepo) put(path, data string) *repo.Manifest {
	r.t.Helper()
	return r.publish(func(tx *Tx) error { return tx.PutFile(path, 0o644, strings.NewReader(data)) })
}

// tags are the names of the repository's tags with their revisions.
func (r *testRepo) tags() string {
	r.t.Helper()
	tags, err := Tags(context.Background(), r.s, r.reading())
	if err != nil {
		r.t.Fatal(err)
	}
	var names []string
	for _, t := range tags {
		if !strings.HasPrefix(t.Name, generic) {
			names = append(names, fmt.Sprintf("%s=%d", t.Name, t.Revision))
		}
	}
	slices.Sort(names)
	return strings.Join(names, " ")
}

func TestTags(t *testing.T) {
	r := newTestRepo(t)
	r.put("/f", "two")
	tx := r.begin()
	if err := tx.PutFile("/f", 0o644, strings.NewReader("three")); err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Commit(t.Context(), CommitOptions{Tag: "third", Description: "d"}); err != nil {
		t.Fatal(err)
	}
	if got, want := r.tags(), "third=3 trunk-previous=2 trunk=3"; got != want {
		t.Errorf("tags %q, want %q", got, want)
	}
	for _, c := range []struct{ name, revision, want string }{
		{"head", "", "3"}, {"by-tag", "third", "3"}, {"by-number", "2", "2"}, {"first", "1", "1"}, {"moved", "1", "1"}, {"moved", "2", "2"},
	} {
		m, err := AddTag(t.Context(), r.s, r.keys, r.o, c.name, c.revision, "x")
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		if m.Revision != 3 {
			t.Errorf("%s: a tag made revision %d", c.name, m.Revision)
		}
		if !strings.Contains(" "+r.tags()+" ", " "+c.name+"="+c.want+" ") {
			t.Errorf("%s: tags %q, want revision %s", c.name, r.tags(), c.want)
		}
	}
	if got := r.read("by-number")["/f"].data; got != "two" {
		t.Errorf("the tagged revision holds %q", got)
	}
	if _, err := RemoveTags(t.Context(), r.s, r.keys, r.o, "head", "first"); err != nil {
		t.Fatal(err)
	}
	for name, err := range map[string]error{
		"trunk":       second(AddTag(t.Context(), r.s, r.keys, r.o, "trunk", "", "")),
		"bad name":    second(AddTag(t.Context(), r.s, r.keys, r.o, "a b", "", "")),
		"no name":     second(AddTag(t.Context(), r.s, r.keys, r.o, "", "", "")),
		"no tag":      second(AddTag(t.Context(), r.s, r.keys, r.o, "x", "nothing", "")),
		"no number":   second(AddTag(t.Context(), r.s, r.keys, r.o, "x", "99", "")),
		"not there":   second(RemoveTags(t.Context(), r.s, r.keys, r.o, "head")),
		"remove head": second(RemoveTags(t.Context(), r.s, r.keys, r.o, "trunk")),
	} {
		if err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if got, want := r.tags(), "by-number=2 by-tag=3 moved=2 third=3 trunk-previous=2 trunk=3"; got != want {
		t.Errorf("tags %q, want %q", got, want)
	}
	r.check()
}

func second(_ *repo.Manifest, err error) error { return err }

func TestGenericTags(t *testing.T) {
	r := newTestRepo(t)
	now := time.Now()
	r.o.Now = func() time.Time { return now }
	for i := range 3 {
		r.put("/f", fmt.Sprint(i))
	}
	tags, err := Tags(t.Context(), r.s, r.reading())
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, tag := range tags {
		if genericNames.MatchString(tag.Name) {
			n++
		}
	}
	if n != 3 {
		t.Errorf("%d generic tags of one second in %v, want 3", n, tags)
	}
}

func TestCommitOfNothing(t *testing.T) {
	r := newTestRepo(t)
	before := r.put("/f", "x")
	m := r.publish(func(tx *Tx) error {
		return tx.Remove("/nothing/there")
	})
	if m.Revision != before.Revision || m.Root != before.Root {
		t.Errorf("no edits, but revision %d after %d", m.Revision, before.Revision)
	}
	tx := r.begin()
	m, err := tx.Commit(t.Context(), CommitOptions{Tag: "named"})
	if err != nil || m.Revision != before.Revision || !strings.Contains(r.tags(), "named=2") {
		t.Errorf("a tag alone: revision %d, tags %q, %v", m.Revision, r.tags(), err)
	}
}

// TestRollback: tags become what the official tag_rollback 2.12 makes of the same
// repository, where that takes the name (not by number).
func TestRollback(t *testing.T) {
	r := newTestRepo(t)
	r.publish(func(tx *Tx) error {
		return tx.Replace("/sub", tx.items(t, map[string]file{"/sub": dirOf(2), "/sub/.cvmfscatalog": text(""), "/sub/f": text("two")}))
	})
	r.tag("early", "1")
	r.tag("two", "2")
	r.put("/sub/f", "three")
	r.tag("three", "3")
	r.put("/sub/f", "four")
	r.tag("four", "4")
	for _, c := range []struct {
		revision      string
		content, tags string // after it
		removed       int
	}{
		{"", "three", "early=1 three=3 trunk=5 two=2", 2}, // four and its generic tag
		{"two", "two", "early=1 trunk=6 two=6", 2},        // three and its generic tag
		{"3", "three", "early=1 trunk=7", 1},              // two had moved to 6
		{"early", "", "early=8 trunk=8", 1},               // the generic tag of 2
	} {
		m, removed, err := Rollback(t.Context(), r.s, r.keys, r.o, c.revision, RollbackOptions{})
		if err != nil {
			t.Fatalf("to %q: %v", c.revision, err)
		}
		if got := r.read("")["/sub/f"].data; got != c.content {
			t.Errorf("to %q: content %q, want %q", c.revision, got, c.content)
		}
		if got := r.tags(); got != c.tags || len(removed) != c.removed {
			t.Errorf("to %q: tags %q, want %q; removed %v, want %d", c.revision, got, c.tags, removed, c.removed)
		}
		if head, ok := findTag(t, r, trunk); !ok || head.Hash != m.Root || head.Size != m.RootSize || head.Timestamp != m.Timestamp {
			t.Errorf("to %q: trunk is %+v, the head %+v", c.revision, head, m)
		}
		r.check()
	}
	for _, revision := range []string{"", "trunk", "nothing"} {
		if _, _, err := Rollback(t.Context(), r.s, r.keys, r.o, revision, RollbackOptions{}); err == nil {
			t.Errorf("rolled back to %q", revision)
		}
	}
}

func (r *testRepo) tag(name, revision string) {
	r.t.Helper()
	if _, err := AddTag(r.t.Context(), r.s, r.keys, r.o, name, revision, ""); err != nil {
		r.t.Fatal(err)
	}
}

func findTag(t *testing.T, r *testRepo, name string) (catalog.Tag, bool) {
	t.Helper()
	tags, err := Tags(t.Context(), r.s, r.reading())
	if err != nil {
		t.Fatal(err)
	}
	return (&catalog.History{Tags: tags}).Find(name)
}

func TestRollbackKeepsTags(t *testing.T) {
	r := newTestRepo(t)
	r.put("/f", "two")
	r.put("/f", "three")
	r.tag("three", "3")
	for _, c := range []struct{ revision, content, tags string }{
		{"", "two", "three=3 trunk-previous=3 trunk=4"},
		{"", "three", "three=3 trunk-previous=4 trunk=5"}, // undone
		{"2", "two", "three=3 trunk-previous=5 trunk=6"},
	} {
		_, removed, err := Rollback(t.Context(), r.s, r.keys, r.o, c.revision, RollbackOptions{KeepTags: true})
		if err != nil || len(removed) != 0 {
			t.Fatalf("removed %v, %v", removed, err)
		}
		if got := r.read("")["/f"].data; got != c.content || r.tags() != c.tags {
			t.Errorf("to %q: content %q and tags %q, want %q and %q", c.revision, got, r.tags(), c.content, c.tags)
		}
	}
	r.check()
}

// TestResignSoon tells a publisher of a whitelist that ends soon, and not after it was renewed.
func TestResignSoon(t *testing.T) {
	r := newTestRepo(t)
	var log bytes.Buffer
	r.o.Log = slog.New(slog.NewTextHandler(&log, nil))
	r.later(15 * 24 * time.Hour)
	r.put("/f", "x")
	if log.Len() > 0 {
		t.Errorf("after 15 days: %s", &log)
	}
	r.later(25 * 24 * time.Hour)
	r.put("/f", "y")
	if !strings.Contains(log.String(), "flathub resign "+testFQRN) {
		t.Errorf("after 25 days: %q", &log)
	}
	log.Reset()
	if err := Resign(t.Context(), r.s, r.keys, r.o); err != nil {
		t.Fatal(err)
	}
	r.put("/f", "z")
	if log.Len() > 0 {
		t.Errorf("renewed: %s", &log)
	}
}

func TestResign(t *testing.T) {
	r := newTestRepo(t)
	r.later(40 * 24 * time.Hour)
	if _, err := Begin(t.Context(), r.s, r.keys, r.o); !errors.Is(err, repo.ErrExpired) || !strings.Contains(err.Error(), "resign") {
		t.Errorf("with an old whitelist: %v", err)
	}
	if err := Resign(t.Context(), r.s, r.keys, r.o); err != nil {
		t.Fatal(err)
	}
	r.put("/f", "x")
	r.check()

	// A new repository key: nobody may use it until the master key says so.
	fresh, err := NewKeys(testFQRN, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	fresh.Master, fresh.Public = nil, r.keys.Public
	if _, err := Begin(t.Context(), r.s, fresh, r.o); err == nil || !strings.Contains(err.Error(), "does not allow") {
		t.Errorf("with a foreign key: %v", err)
	}
	if err := Resign(t.Context(), r.s, fresh, r.o); err == nil || !strings.Contains(err.Error(), "no master key") {
		t.Errorf("resign without master key: %v", err)
	}
	fresh.Master = r.keys.Master
	if err := Resign(t.Context(), r.s, fresh, r.o); err != nil {
		t.Fatal(err)
	}
	r.keys = fresh
	r.put("/f", "y")
	r.check()
}

// TestResignWaits reads the whitelist when nobody else can write it: what was allowed while it waited stays allowed.
func TestResignWaits(t *testing.T) {
	r := newTestRepo(t)
	other, err := NewKeys(testFQRN, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	lease, err := r.s.Lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	o := r.o
	o.Wait = time.Minute
	o.Waiting = func(error) {
		var allowed []repo.Fingerprint
		for _, k := range []Keys{r.keys, other} {
			f, err := k.fingerprint()
			if err != nil {
				t.Error(err)
			}
			allowed = append(allowed, f)
		}
		if err := writeWhitelist(t.Context(), r.s, r.o.FQRN, r.keys, time.Now(), allowed...); err != nil {
			t.Error(err)
		}
		if err := lease.Release(); err != nil {
			t.Error(err)
		}
	}
	if err := Resign(t.Context(), r.s, r.keys, o); err != nil {
		t.Fatal(err)
	}
	other.Master, other.Public = nil, r.keys.Public
	tx, err := Begin(t.Context(), r.s, other, r.o)
	if err != nil {
		t.Fatalf("a key that was allowed meanwhile: %v", err)
	}
	if err := tx.Abort(); err != nil {
		t.Error(err)
	}
}

func TestDiff(t *testing.T) {
	r := newTestRepo(t)
	r.publish(func(tx *Tx) error {
		return tx.Replace("/d", tx.items(t, map[string]file{
			"/d": dirOf(4), "/d/same": dirOf(2), "/d/same/.cvmfscatalog": text(""), "/d/same/f": text("f"),
			"/d/sub": dirOf(2), "/d/sub/.cvmfscatalog": text(""), "/d/sub/changed": text("before"), "/d/sub/gone": text("x"),
			"/d/type": text("a file"), "/d/touched": text("t"),
		}))
	})
	r.publish(func(tx *Tx) error {
		for path, data := range map[string]string{"/d/sub/changed": "after", "/d/sub/new/f": "f"} {
			if err := tx.PutFile(path, 0o644, strings.NewReader(data)); err != nil {
				return err
			}
		}
		for _, p := range []string{"/d/sub/gone", "/d/type"} {
			if err := tx.Remove(p); err != nil {
				return err
			}
		}
		return tx.Put(*tx.directory("/d/type/now"))
	})
	diff := func(from, to string) string {
		t.Helper()
		var lines []string
		for c, err := range Diff(t.Context(), r.s, r.reading(), from, to) {
			if err != nil {
				t.Fatal(err)
			}
			sign := map[[2]bool]string{{true, true}: "~", {false, true}: "+", {true, false}: "-"}[[2]bool{c.From != nil, c.To != nil}]
			lines = append(lines, sign+c.Path)
		}
		return strings.Join(lines, " ")
	}
	if got, want := diff("2", ""), "~/d/sub/changed -/d/sub/gone +/d/sub/new +/d/sub/new/f ~/d/type +/d/type/now"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if got, want := diff("", "2"), "~/d/sub/changed +/d/sub/gone -/d/sub/new -/d/sub/new/f ~/d/type -/d/type/now"; got != want {
		t.Errorf("backwards: got  %s\nwant %s", got, want)
	}
	if got := diff("3", "trunk"); got != "" {
		t.Errorf("of a revision with itself: %s", got)
	}
	for range Diff(t.Context(), r.s, r.reading(), "1", "") {
		break // must not hang or panic
	}
	for _, err := range Diff(t.Context(), r.s, r.reading(), "nothing", "") {
		if !errors.Is(err, repo.ErrNoTag) {
			t.Errorf("unknown revision: %v", err)
		}
	}
}

func TestInfo(t *testing.T) {
	r := newTestRepo(t)
	r.publish(func(tx *Tx) error {
		return tx.Replace("/d", tx.items(t, map[string]file{"/d": dirOf(2), "/d/.cvmfscatalog": text(""), "/d/f": text("12345"), "/d/l": link("f")}))
	})
	i, err := Info(t.Context(), r.s, r.reading())
	if err != nil {
		t.Fatal(err)
	}
	if c := i.Counters; c.Regular != 2 || c.FileSize != 5 || c.Symlink != 1 || c.Nested != 1 || i.Manifest.Revision != 2 || len(i.Tags) != 3 {
		t.Errorf("got %+v", i)
	}
	if d := time.Until(i.Whitelist); d < 29*24*time.Hour || d > 31*24*time.Hour {
		t.Errorf("whitelist ends in %v", d)
	}
}
