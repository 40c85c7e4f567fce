package publish

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/flatrun/flatrun/mount/cas"
)

// TestS3Requests counts what objects cost: one request where most are new, also where most are there, and none for
// contents that came before.
func TestS3Requests(t *testing.T) {
	f := newFakeS3(t)
	s := f.open(t, "repo")
	noise := make([]byte, 2*askFirst)
	for i := range noise {
		noise[i] = byte(rand.Uint32())
	}
	var contents []string
	for i := range 30 {
		contents = append(contents, fmt.Sprint("content ", i), "")
	}
	run := func(contents ...string) string {
		t.Helper()
		f.mu.Lock()
		f.asked = map[string]int{}
		f.mu.Unlock()
		var stats IngestStats
		in := newIngester(objectStore{s, cas.SHA1, cas.Zlib}, ChunkSizes{}, 1, &stats)
		defer in.close()
		for _, c := range contents {
			p, err := in.start(t.Context(), strings.NewReader(c), int64(len(c)))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := p.Wait(); err != nil {
				t.Fatal(err)
			}
		}
		f.mu.Lock()
		defer f.mu.Unlock()
		return fmt.Sprintf("%d PUT %d HEAD, %d stored", f.asked["PUT"], f.asked["HEAD"], stats.Stored.Load())
	}
	for _, c := range []struct {
		name     string
		contents []string
		want     string
	}{
		{"new", contents, "31 PUT 0 HEAD, 31 stored"},
		{"there", contents, "9 PUT 22 HEAD, 0 stored"}, // eight more were new than not
		{"a large one, there or not", []string{string(noise)}, "1 PUT 1 HEAD, 1 stored"},
		{"the same again", []string{string(noise)}, "0 PUT 1 HEAD, 0 stored"},
	} {
		if got := run(c.contents...); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
	f.mu.Lock()
	f.lose = 1
	f.mu.Unlock()
	s.news.Store(1)
	if got := run("an answer that is lost"); !strings.HasPrefix(got, "2 PUT") {
		t.Errorf("a lost answer: %s", got)
	}
	if got := run("an answer that is lost"); !strings.HasSuffix(got, "0 stored") {
		t.Errorf("a lost answer, again: %s", got)
	}
}
