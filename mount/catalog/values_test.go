package catalog

import (
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/flatrun/flatrun/mount/cas"
)

func TestExpandLink(t *testing.T) {
	env := map[string]string{"A": "alpha", "B": "$(A)", "EMPTY": ""}
	tests := []struct{ in, want string }{
		{"plain", "plain"},
		{"", ""},
		{"$(A)", "alpha"},
		{"x/$(A)/y", "x/alpha/y"},
		{"$(NONE)", ""},
		{"$(NONE:-default)/z", "default/z"},
		{"$(A:-default)", "alpha"},
		{"$(EMPTY:-default)", "default"},
		{"$(NONE:-)", ""},
		{"$(NONE:-a:-b)", "a:-b"},
		{"$(A)$(A)", "alphaalpha"},
		{"$(B)", "$(A)"},
		{"$HOME/$(unclosed", "$HOME/$(unclosed"},
		{"$(A)/$(unclosed", "alpha/$(unclosed"},
		{"$()", ""},
		{"$", "$"},
		{"a)b", "a)b"},
		{"../$(NONE:-hl)/$(A:-a)", "../hl/alpha"},
	}
	for _, test := range tests {
		if got := ExpandLink(test.in, func(name string) string { return env[name] }); got != test.want {
			t.Errorf("%q expands to %q, want %q", test.in, got, test.want)
		}
	}
}

func FuzzVariantSymlink(f *testing.F) {
	for _, s := range []string{"$(A)", "x/$(A:-b)/c", "$(", "$($(A))", "$(A:-$(B))", "a)$("} {
		f.Add(s, "v")
	}
	f.Fuzz(func(t *testing.T, target, value string) {
		got := ExpandLink(target, func(string) string { return value })
		if !strings.Contains(target, "$(") && got != target {
			t.Errorf("%q became %q", target, got)
		}
		if limit := len(target) + strings.Count(target, "$(")*len(value); len(got) > limit {
			t.Errorf("%q became %d bytes", target, len(got))
		}
	})
}

func TestXattrs(t *testing.T) {
	long := strings.Repeat("v", 255)
	for _, attrs := range []map[string][]byte{
		nil,
		{"user.a": {}},
		{"user.a": []byte("b"), "user.ünï": {0, 1, 255}},
		{long: []byte(long)},
	} {
		blob, err := MarshalXattrs(attrs)
		if err != nil {
			t.Fatal(err)
		}
		got, err := ParseXattrs(blob)
		if err != nil || !maps.EqualFunc(got, attrs, func(a, b []byte) bool { return string(a) == string(b) }) {
			t.Errorf("%v became %v, %v", attrs, got, err)
		}
	}
	many := map[string][]byte{}
	for i := range 256 {
		many[string(rune('a'+i))] = nil
	}
	for name, attrs := range map[string]map[string][]byte{
		"256 attributes": many, "long name": {long + "x": nil}, "long value": {"a": []byte(long + "x")}, "no name": {"": nil},
	} {
		if _, err := MarshalXattrs(attrs); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	for _, blob := range []string{"\x01", "\x00\x00", "\x01\x01", "\x01\x01\x01", "\x01\x01\x00\x00", "\x01\x01\x02\x01ab", "\x01\x01\x01\x00\x00"} {
		if attrs, err := ParseXattrs([]byte(blob)); err == nil {
			t.Errorf("blob %q is read as %v", blob, attrs)
		}
	}
}

func FuzzXattrs(f *testing.F) {
	f.Add([]byte("\x01\x01\x06\x01user.av"))
	f.Add([]byte("\x01\xff"))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, blob []byte) {
		attrs, err := ParseXattrs(blob)
		if err != nil {
			return
		}
		again, err := MarshalXattrs(attrs)
		if err != nil {
			t.Fatal(err)
		}
		same, err := ParseXattrs(again)
		if err != nil || len(attrs) != len(same) {
			t.Errorf("%q became %q, %v", attrs, same, err)
		}
	})
}

func TestStatistics(t *testing.T) {
	e := regular("/f", 10)
	child := Statistics{Self: Counters{Dir: 1, Nested: 1}, Subtree: Counters{Dir: 2}}
	child.Self.AddEntry(&e, 0)
	var s Statistics
	s.AddChild(child)
	s.AddChild(child)
	want := Statistics{Self: Counters{Nested: 2}, Subtree: Counters{Dir: 6, Nested: 2, Regular: 2, FileSize: 20}}
	if s != want {
		t.Errorf("%+v, want %+v", s, want)
	}
	if text := s.Total().String(); !strings.Contains(text, "file_size,20\n") || strings.Count(text, "\n") != 12 {
		t.Errorf("counters print as %q", text)
	}
}

func TestHistory(t *testing.T) {
	h := &History{FQRN: "a.example.org", Previous: hashOf("h"), Branches: []Branch{{"dev", "", 2}}}
	h.Set(Tag{Name: "v1", Hash: hashOf("1"), Size: 4096, Revision: 1, Timestamp: 100})
	h.Set(Tag{Name: "v2", Hash: hashOf("2"), Size: -1, Revision: 2, Timestamp: 200, Description: "it's \"two\"\n"})
	h.Set(Tag{Name: "dev", Hash: hashOf("d"), Size: 1, Revision: 9, Timestamp: 150, Branch: "dev"})
	path := filepath.Join(t.TempDir(), "history")
	if err := WriteHistory(path, h); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	got, err := ReadHistory(f)
	if err != nil || !reflect.DeepEqual(got, h) {
		t.Fatalf("%+v, %v\nwant %+v", got, err, h)
	}
	for when, want := range map[int64]string{99: "", 100: "v1", 199: "v1", 200: "v2", 1 << 40: "v2"} {
		if tag, _ := got.At(when); tag.Name != want {
			t.Errorf("at %d the newest is %q, want %q", when, tag.Name, want)
		}
	}
	if !got.Remove("v1") || got.Remove("v1") || len(got.Tags) != 2 {
		t.Errorf("after removing v1: %+v", got.Tags)
	}
	if err := WriteHistory(path, h); err == nil {
		t.Error("an existing file is overwritten")
	}
	if err := WriteHistory(path+"2", &History{Tags: []Tag{{Name: "a"}, {Name: "a"}}}); err == nil {
		t.Error("a name is given twice")
	}
}

func TestReflog(t *testing.T) {
	r := &Reflog{FQRN: "a.example.org"}
	for _, ref := range []Ref{{hashOf("1"), RefCatalog, 5}, {hashOf("2"), RefHistory, 6}, {hashOf("1"), RefCatalog, 7},
		{cas.Sum(cas.SHAKE128, nil), RefMetainfo, 8}} {
		r.Add(ref)
	}
	path := filepath.Join(t.TempDir(), "reflog")
	if err := WriteReflog(path, r); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if got, err := ReadReflog(f); err != nil || !reflect.DeepEqual(got, r) || len(got.Refs) != 3 {
		t.Fatalf("%+v, %v\nwant %+v", got, err, r)
	}
	if _, err := ReadHistory(f); err == nil {
		t.Error("a reflog is read as a history")
	}
}
