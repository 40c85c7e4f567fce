package authz

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// play in the environment makes the test binary a helper that answers so.
const play = "CVMFS_AUTHZ_TEST"

func TestMain(m *testing.M) {
	if os.Getenv("CVMFS_AUTHZ_HELPER") == "yes" && os.Getenv(play) != "" {
		if err := helper(os.Getenv(play)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func frame(v uint32, text string) []byte {
	b := binary.NativeEndian.AppendUint32(nil, v)
	return append(binary.NativeEndian.AppendUint32(b, uint32(len(text))), text...)
}

// helper answers requests with the text, in which a request's fields can be named.
func helper(answer string) error {
	for {
		m, err := parse(os.Stdin)
		if err != nil {
			return err
		}
		text := answer
		switch {
		case m.ID == msgQuit:
			return nil
		case m.ID == msgHello && m.FQRN != "members.example.org":
			return fmt.Errorf("hello of %q", m.FQRN)
		case m.ID == msgHello && answer == "silent":
			time.Sleep(time.Hour)
		case m.ID == msgHello && answer == "mute":
			return nil
		case m.ID == msgHello && answer == "version":
			_, err := os.Stdout.Write(frame(2, "{}"))
			return err
		case m.ID == msgHello:
			text = `{"cvmfs_authz_v1": {"msgid": 1, "revision": 0}}`
		default:
			text = strings.NewReplacer("UID", fmt.Sprint(*m.UID), "MEMBERSHIP", m.Membership).Replace(answer)
		}
		if _, err := os.Stdout.Write(frame(version, text)); err != nil {
			return err
		}
	}
}

func permit(fields string) string {
	return `{"cvmfs_authz_v1": {"msgid": 3, "revision": 0, ` + fields + `}, "more": 1}`
}

func TestHelper(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		answer string
		want   Permit
		err    string
		denied bool
	}{
		"yes":         {permit(`"status": 0, "ttl": 60`), Permit{TTL: time.Minute}, "", false},
		"no ttl":      {permit(`"status": 0`), Permit{TTL: defaultTTL}, "", false},
		"short ttl":   {permit(`"status": 0, "ttl": 0`), Permit{TTL: minTTL}, "", false},
		"token":       {permit(`"status": 0, "bearer_token": "UID-MEMBERSHIP"`), Permit{TTL: defaultTTL, Token: `7-/a.b`}, "", false},
		"proxy":       {permit(`"status": 0, "x509_proxy": "` + base64.StdEncoding.EncodeToString([]byte("PEM")) + `"`), Permit{TTL: defaultTTL, Proxy: []byte("PEM")}, "", false},
		"odd proxy":   {permit(`"status": 0, "x509_proxy": "?"`), Permit{}, "proxy certificate", false},
		"nothing":     {permit(`"status": 1`), Permit{}, "no credential", true},
		"invalid":     {permit(`"status": 2`), Permit{}, "not valid", true},
		"not member":  {permit(`"status": 3`), Permit{}, "not a member", true},
		"odd status":  {permit(`"status": -4`), Permit{}, "status -4", true},
		"no status":   {permit(`"ttl": 5`), Permit{}, "no status", false},
		"other id":    {`{"cvmfs_authz_v1": {"msgid": 1, "revision": 0}}`, Permit{}, "message 1 in place of 3", false},
		"no envelope": {`{}`, Permit{}, "no cvmfs_authz_v1", false},
		"no JSON":     {`yes`, Permit{}, "its answer", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv(play, tt.answer)
			h, err := Start(t.Context(), self, "members.example.org")
			if err != nil {
				t.Fatal(err)
			}
			defer h.Close()
			for range 2 {
				got, err := h.Verify(t.Context(), 7, 8, os.Getpid(), "/a.b")
				if (err != nil) != (tt.err != "") || err != nil && !strings.Contains(err.Error(), tt.err) {
					t.Fatalf("%v, want %q", err, tt.err)
				}
				if errors.Is(err, ErrDenied) != tt.denied || errors.Is(err, fs.ErrPermission) != tt.denied {
					t.Errorf("denied: %v", err)
				}
				if got.TTL != tt.want.TTL || got.Token != tt.want.Token || !bytes.Equal(got.Proxy, tt.want.Proxy) {
					t.Errorf("%+v, want %+v", got, tt.want)
				}
			}
		})
	}
}

func TestHelperThatFails(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for answer, want := range map[string]string{"mute": "ended without an answer", "version": "version 2"} {
		t.Setenv(play, answer)
		if _, err := Start(t.Context(), self, "members.example.org"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", answer, err)
		}
	}
	t.Setenv(play, "silent")
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond) // after which nobody waits for it
	defer cancel()
	if _, err := Start(ctx, self, "members.example.org"); err == nil || !strings.Contains(err.Error(), "no answer") {
		t.Errorf("silent: %v", err)
	}
	if _, err := Start(t.Context(), "/dev/null", "members.example.org"); err == nil {
		t.Error("a helper that is no program was started")
	}
}

func TestFind(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "cvmfs_x_y-1_helper")
	if err := os.WriteFile(file, nil, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ name, override, path, want, err string }{
		{"x_y-1", "", dir, file, ""}, {"z", file, "", file, ""}, {"../x", "", dir, "", "names no program"}, {"", "", dir, "", "names no program"},
		{"z", "", dir, "", "no such file"}, {"x_y-1", "", "relative", "", "absolute"}, {"no.such", "", "", "", "names no program"},
	} {
		got, err := Find(tt.name, tt.override, tt.path)
		if got != tt.want || (err != nil) != (tt.err != "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%+v: %q, %v", tt, got, err)
		}
	}
	if helper, membership := Requirement("x509%/cms%x"); helper != "x509" || membership != "/cms%x" {
		t.Errorf("%q, %q", helper, membership)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(frame(1, permit(`"status": 0`)))
	f.Add(frame(2, ""))
	f.Add([]byte{1})
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := parse(bytes.NewReader(b))
		if (m == nil) != (err != nil) {
			t.Errorf("%v, %v", m, err)
		}
		if err == nil {
			if _, err := json.Marshal(envelope{m}); err != nil {
				t.Error(err)
			}
		}
	})
}
