package publish

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

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
		if err := tx.MkdirAll(""); err != nil {
			return err
		}
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

func TestRollback(t *testing.T) {
	r := newTestRepo(t)
	r.publish(func(tx *Tx) error {
		return tx.Replace("/sub", tx.items(t, map[string]file{"/sub": dirOf(2), "/sub/.cvmfscatalog": text(""), "/sub/f": text("two")}))
	})
	two := r.read("")
	r.put("/sub/f", "three")
	three := r.read("")
	m, err := Rollback(t.Context(), r.s, r.keys, r.o, "")
	if err != nil {
		t.Fatal(err)
	}
	if m.Revision != 4 {
		t.Errorf("revision %d, want 4", m.Revision)
	}
	equalTrees(t, r.read(""), two)
	r.check()
	if _, err := Rollback(t.Context(), r.s, r.keys, r.o, ""); err != nil { // undone
		t.Fatal(err)
	}
	equalTrees(t, r.read(""), three)
	if _, err := Rollback(t.Context(), r.s, r.keys, r.o, "2"); err != nil {
		t.Fatal(err)
	}
	equalTrees(t, r.read(""), two)
	if _, err := Rollback(t.Context(), r.s, r.keys, r.o, "trunk"); err == nil {
		t.Error("rolled back to the head")
	}
	r.check()
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
		return tx.MkdirAll("/d/type/now")
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
