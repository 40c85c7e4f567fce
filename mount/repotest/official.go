// Package repotest makes repositories for tests: unpacked ones of the official
// server, and small ones built and signed on the spot.
package repotest

import (
	"bufio"
	"encoding/hex"
	"encoding/json"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// dataDir finds the repositories written by the official server:
// $FLATRUN_TESTDATA, or shared/data beside or above the module. It skips the
// test where there is none.
func dataDir(t testing.TB) string {
	t.Helper()
	if dir := os.Getenv("FLATRUN_TESTDATA"); dir != "" {
		return dir
	}
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for ; ; dir = filepath.Dir(dir) {
		data := filepath.Join(dir, "shared", "data")
		if _, err := os.Stat(filepath.Join(data, "small.example.org.manifest.jsonl")); err == nil {
			return data
		}
		if dir == filepath.Dir(dir) {
			t.Skip("no official repositories: neither $FLATRUN_TESTDATA nor shared/data above the module")
		}
	}
}

// OfficialNames are the repositories that Official knows.
var OfficialNames = []string{"small.example.org", "shake128.example.org", "hl.example.org", "bench.example.org"}

// Official unpacks a repository that the official server wrote. It answers the
// directory a web server would serve for it, and the file of its master key.
func Official(t testing.TB, name string) (dir, keyPath string) {
	t.Helper()
	archive := filepath.Join(dataDir(t), name+".tar")
	if _, err := os.Stat(archive); err != nil {
		archive += ".xz"
		if _, err := exec.LookPath("xz"); err != nil {
			t.Skip("xz is not installed:", err)
		}
	}
	to := t.TempDir()
	if out, err := exec.Command("tar", "-x", "--no-same-owner", "-f", archive, "-C", to).CombinedOutput(); err != nil {
		t.Fatalf("unpack %s: %v\n%s", archive, err, out)
	}
	return filepath.Join(to, name), filepath.Join(to, name+".pub")
}

// Line is an entry as the official client, run as root, showed it.
type Line struct {
	Rev         string // "r1" or "r2"
	Path        string // "" is the root, else "/a/b"
	Type        byte   // f d l p s c b
	Mode        uint32 // permissions only
	UID, GID    uint32
	NLink       uint32
	Mtime       int64 // seconds
	MtimeNsec   int64
	Size        int64 // 0 for directories
	Link        string
	Rdev        string // "major:minor"
	SHA256      string
	Xattrs      map[string][]byte // real ones; nil for the root
	Hash        string            // of the object, "" where the client gave none
	Chunks      string
	Compression string
	Error       string // of reading the content
}

// rawLine is a line of the file: names percent-quoted, values in hexadecimal.
type rawLine struct {
	Rev, Path, Type, Mode, Link, Rdev, SHA256, Error string
	UID, GID, NLink                                  uint32
	Mtime, Size                                      int64
	Xattrs                                           map[string]string
	Hash                                             string `json:"cvmfs_hash"`
	Chunks                                           string `json:"cvmfs_chunks"`
	Compression                                      string `json:"cvmfs_compression"`
}

// Lines reads what the official client showed of a repository: one tree for each
// revision, sorted by path.
func Lines(t testing.TB, name string) []Line {
	t.Helper()
	f, err := os.Open(filepath.Join(dataDir(t), name+".manifest.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var lines []Line
	s := bufio.NewScanner(f)
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		var raw rawLine
		if err := json.Unmarshal(s.Bytes(), &raw); err != nil {
			t.Fatalf("%s: %v", f.Name(), err)
		}
		lines = append(lines, raw.decode(t))
	}
	if err := s.Err(); err != nil {
		t.Fatal(err)
	}
	return lines
}

func (r rawLine) decode(t testing.TB) Line {
	t.Helper()
	l := Line{Rev: r.Rev, Type: r.Type[0], UID: r.UID, GID: r.GID, NLink: r.NLink, Size: r.Size, Link: unquote(t, r.Link),
		Rdev: r.Rdev, SHA256: r.SHA256, Hash: r.Hash, Chunks: r.Chunks, Compression: r.Compression, Error: r.Error}
	if r.Path != "." {
		l.Path = "/" + unquote(t, r.Path)
	}
	for _, digit := range r.Mode {
		l.Mode = l.Mode<<3 | uint32(digit-'0')
	}
	// Whole seconds are written as such, all else in nanoseconds; no time in
	// these repositories is as many seconds as that.
	l.Mtime = r.Mtime
	if r.Mtime > 1e12 || r.Mtime < -1e12 {
		l.MtimeNsec = (r.Mtime%1e9 + 1e9) % 1e9
		l.Mtime = (r.Mtime - l.MtimeNsec) / 1e9
	}
	for name, value := range r.Xattrs {
		v, err := hex.DecodeString(value)
		if err != nil {
			t.Fatal(err)
		}
		if l.Xattrs == nil {
			l.Xattrs = map[string][]byte{}
		}
		l.Xattrs[unquote(t, name)] = v
	}
	return l
}

func unquote(t testing.TB, s string) string {
	t.Helper()
	u, err := url.PathUnescape(s)
	if err != nil {
		t.Fatal(err)
	}
	return u
}
