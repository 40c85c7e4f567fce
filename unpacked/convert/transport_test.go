package convert

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
)

// TestTransportSilence ends an answer that does not go on, before its head and within its body.
func TestTransportSilence(t *testing.T) {
	for _, begun := range []string{"", "half of it"} {
		done := make(chan struct{})
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if begun != "" {
				io.WriteString(w, begun)
				w.(http.Flusher).Flush()
			}
			<-done
		}))
		client := http.Client{Transport: newTransport(100 * time.Millisecond)}
		answer, err := client.Get(s.URL)
		if err == nil {
			_, err = io.ReadAll(answer.Body)
			answer.Body.Close()
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("after %q: %v", begun, err)
		}
		close(done)
		s.Close()
	}
}

// TestTransportPlaces goes where a registry in a private network sends it.
func TestTransportPlaces(t *testing.T) {
	h := newHub(t)
	h.push("x:1", image(t, "x", tarLayer(t, "a=1")))
	registry, err := url.Parse("http://" + h.host)
	if err != nil {
		t.Fatal(err)
	}
	tokens := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, password, _ := r.BasicAuth(); user != "me" || password != "secret" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		io.WriteString(w, `{"token":"valid"}`)
	}))
	defer tokens.Close()
	blobs := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" {
			t.Error("the token goes to another server")
		}
		http.Redirect(w, r, registry.String()+r.URL.Path+"?direct", http.StatusTemporaryRedirect)
	}))
	defer blobs.Close()
	for _, c := range []struct{ name, realm, blobs, want string }{
		{"token server", tokens.URL, "", ""},
		{"blob server", tokens.URL, blobs.URL, ""},
		{"loop", tokens.URL, "self", "10 redirects"},
		{"cloud's secrets", "http://169.254.169.254", "", "link-local"},
		{"cloud's secrets as a blob", tokens.URL, "http://169.254.169.254", "link-local"},
	} {
		t.Run(c.name, func(t *testing.T) {
			front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				switch {
				case r.URL.RawQuery != "direct" && r.Header.Get("Authorization") != "Bearer valid":
					w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="%s/token",service="x"`, c.realm))
					w.WriteHeader(http.StatusUnauthorized)
				case c.blobs == "self":
					http.Redirect(w, r, r.URL.Path, http.StatusTemporaryRedirect)
				case c.blobs != "" && strings.Contains(r.URL.Path, "/blobs/"):
					http.Redirect(w, r, c.blobs+r.URL.Path, http.StatusTemporaryRedirect)
				default:
					httputil.NewSingleHostReverseProxy(registry).ServeHTTP(w, r)
				}
			}))
			defer front.Close()
			s := Source{PlainHTTP: true, Keychain: keychain{}}
			host := strings.Replace(strings.TrimPrefix(front.URL, "http://"), "127.0.0.1", "localhost", 1)
			_, err := s.Open(t.Context(), host+"/x:1", "")
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

// keychain has the same credentials for all.
type keychain struct{}

func (keychain) Resolve(authn.Resource) (authn.Authenticator, error) {
	return authn.FromConfig(authn.AuthConfig{Username: "me", Password: "secret"}), nil
}

func TestMaskHost(t *testing.T) {
	for host, want := range map[string]string{
		"127.0.0.1:5001":  "7f000001.address.invalid:5001",
		"10.1.2.3":        "0a010203.address.invalid",
		"[::1]:80":        "00000000000000000000000000000001.address.invalid:80",
		"[fd00::2]":       "fd000000000000000000000000000002.address.invalid",
		"192.0.2.1:80":    "",
		"169.254.169.254": "",
		"fe80":            "",
		"":                "",
	} {
		got, ok := maskHost(host)
		if got != want || ok != (want != "") {
			t.Errorf("%s: %q, want %q", host, got, want)
		}
		if back, _ := unmaskHost(got); ok && back != host {
			t.Errorf("%s comes back as %s", host, back)
		}
	}
	h := http.Header{"Location": {"http://127.0.0.1:5001/a?b=http://127.0.0.1"}, "Www-Authenticate": {`Bearer realm="http://10.0.0.1/t",service="x"`, "Basic realm=x", `Bearer realm="http://10.0.0.1:1/t"`}}
	maskHosts(h, "10.0.0.1:1")
	if got := fmt.Sprint(h); got != `map[Location:[http://7f000001.address.invalid:5001/a?b=http://127.0.0.1] Www-Authenticate:[Bearer realm="http://0a000001.address.invalid/t",service="x" Basic realm=x Bearer realm="http://10.0.0.1:1/t"]]` {
		t.Error(got)
	}
}
