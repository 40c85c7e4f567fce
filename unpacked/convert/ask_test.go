package convert

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/flatrun/flatrun/unpacked"
)

// TestAsk has a registry in front of which somebody knows no HEAD and lists tags in pages.
func TestAsk(t *testing.T) {
	h := newHub(t)
	h.push("x:1", image(t, "x", tarLayer(t, "a=1")))
	registry, err := url.Parse("http://" + h.host)
	if err != nil {
		t.Fatal(err)
	}
	var pages []string
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method == http.MethodHead:
			w.WriteHeader(http.StatusMethodNotAllowed)
		case strings.HasSuffix(r.URL.Path, "/tags/list"):
			n := 0
			fmt.Sscan(r.URL.Query().Get("page"), &n)
			if pages[n] != "" {
				w.Header().Set("Link", fmt.Sprintf(`<%s?page=%s>; rel="next"`, r.URL.Path, pages[n]))
			}
			fmt.Fprintf(w, `{"tags":["%d"]}`, n)
		default:
			httputil.NewSingleHostReverseProxy(registry).ServeHTTP(w, r)
		}
	}))
	defer front.Close()
	ref, err := unpacked.ParseReference(front.URL+"/x:1", "")
	if err != nil {
		t.Fatal(err)
	}
	direct := ref
	direct.Registry = h.host
	want, err := h.source.Head(t.Context(), direct)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := h.source.Head(t.Context(), ref); err != nil || got != want {
		t.Errorf("without HEAD: %s, %v; want %s", got, err, want)
	}
	for _, c := range []struct {
		pages, tags []string
	}{
		{[]string{""}, []string{"0"}},
		{[]string{"1", "2", ""}, []string{"0", "1", "2"}},
		{[]string{"0"}, nil},
		{[]string{"1", "2", "1"}, nil},
	} {
		pages = c.pages
		tags, err := h.source.Tags(t.Context(), ref)
		if c.tags == nil && (err == nil || !strings.Contains(err.Error(), "no end")) || c.tags != nil && !slices.Equal(tags, c.tags) {
			t.Errorf("pages %q: %q, %v", c.pages, tags, err)
		}
	}
}
