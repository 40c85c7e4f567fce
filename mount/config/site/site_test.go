package site

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
)

func TestParseSize(t *testing.T) {
	tests := []struct {
		in   string
		want Size
		out  string
	}{
		{"0", 0, "0"}, {"1", 1, "1"}, {"20GB", 20e9, "20GB"}, {"20GiB", 20 << 30, "20GiB"}, {"20G", 20 << 30, "20GiB"},
		{"4000 MB", 4e9, "4GB"}, {"1.5GB", 1.5e9, "1500MB"}, {"64k", 64 << 10, "64KiB"}, {"10B", 10, "10"}, {" 7 ", 7, "7"},
		{"1TiB", 1 << 40, "1TiB"}, {"8388607TiB", 8388607 << 40, "8388607TiB"}, {"9223372036854775807", 1<<63 - 1, "9223372036854775807"},
	}
	for _, tt := range tests {
		got, err := ParseSize(tt.in)
		if err != nil || got != tt.want || got.String() != tt.out {
			t.Errorf("ParseSize(%q) = %d (%s), %v; want %d (%s)", tt.in, got, got, err, tt.want, tt.out)
		}
		if again, err := ParseSize(got.String()); err != nil || again != got {
			t.Errorf("%s comes back as %d, %v", got, again, err)
		}
	}
	for _, s := range []string{"", "GB", "-1", "-1GB", "x", "1XB", "1e400", "9223372036854775808", "9999999999TB", "NaN", "Inf", "0x10", "1_0", "1 2"} {
		if n, err := ParseSize(s); err == nil {
			t.Errorf("ParseSize(%q) = %d, want an error", s, n)
		}
	}
}

func TestParseBind(t *testing.T) {
	tests := []struct {
		in   string
		want Bind
	}{
		{"/etc/hosts", Bind{Source: "/etc/hosts"}},
		{"/a:/b", Bind{Source: "/a", Target: "/b"}},
		{"/a:/b:ro", Bind{Source: "/a", Target: "/b", ReadOnly: true}},
		{"/a::ro,if-exists", Bind{Source: "/a", ReadOnly: true, IfExists: true}},
		{"/a:/b:rw,if-exists", Bind{Source: "/a", Target: "/b", IfExists: true}},
	}
	for _, tt := range tests {
		got, err := ParseBind(tt.in)
		if err != nil || got != tt.want {
			t.Errorf("ParseBind(%q) = %+v, %v; want %+v", tt.in, got, err, tt.want)
		}
		if again, err := ParseBind(got.String()); err != nil || again != got {
			t.Errorf("%q comes back as %+v, %v", got, again, err)
		}
	}
	for _, s := range []string{"", "a", "/a:b", "/a:/b:", "/a:/b:x", ":/b"} {
		if b, err := ParseBind(s); err == nil {
			t.Errorf("ParseBind(%q) = %+v, want an error", s, b)
		}
	}
}

func TestJSON(t *testing.T) {
	r := Default()
	r.Bind = append(r.Bind, Bind{Source: "/scratch", Target: "/s", Origin: "/etc/flatrun/config.yaml:3"})
	r.MountDev, r.NoEnv, r.WritableTmpfsSize = DevMinimal, []string{"LD_PRELOAD"}, 1<<30
	text, err := r.Encode()
	if err != nil {
		t.Fatal(err)
	}
	again, err := Decode(text)
	if err != nil || !reflect.DeepEqual(r, again) {
		t.Errorf("%s came back as %+v, %v", text, again, err)
	}
	if again, err = Decode([]byte(`{"mount_home":false}`)); err != nil || again.MountHome || !again.MountTmp {
		t.Errorf("defaults of what is absent: %+v, %v", again, err)
	}
	for _, s := range []string{``, `[]`, `{"mount_dev":"some"}`, `{"writable_tmpfs_size":"x"}`} {
		if _, err := Decode([]byte(s)); err == nil {
			t.Errorf("Decode(%s): want an error", s)
		}
	}
	// Every directive must have a name in lower case that a file can use.
	var names map[string]json.RawMessage
	if err := json.Unmarshal(text, &names); err != nil {
		t.Fatal(err)
	}
	for name := range names {
		if strings.ToLower(name) != name {
			t.Errorf("directive %s has no name in the configuration", name)
		}
	}
}

func TestDev(t *testing.T) {
	for in, want := range map[string]Dev{"yes": DevYes, "true": DevYes, "no": DevNo, "false": DevNo, "minimal": DevMinimal} {
		var d Dev
		if err := d.UnmarshalText([]byte(in)); err != nil || d != want {
			t.Errorf("%s: %s, %v", in, d, err)
		}
	}
}

func TestCheckAndPermits(t *testing.T) {
	r := Default()
	if err := r.Check(); err != nil {
		t.Error(err)
	}
	if !r.Permits("/anywhere") {
		t.Error("no limit, but not permitted")
	}
	r.LimitContainerPaths = []string{"/cvmfs/", "/opt/images"}
	for dir, want := range map[string]bool{
		"/cvmfs": true, "/cvmfs/a.b/c": true, "/cvmfsx": false, "/opt/images/../x": false, "/home": false, "/": false,
	} {
		if r.Permits(dir) != want {
			t.Errorf("Permits(%s) = %v", dir, !want)
		}
	}
	r.LimitContainerPaths = []string{"cvmfs"}
	if err := r.Check(); err == nil {
		t.Error("a relative limit passes")
	}
}

func FuzzBindAndSize(f *testing.F) {
	f.Add("/a:/b:ro,if-exists")
	f.Add("1.5GiB")
	f.Fuzz(func(t *testing.T, s string) {
		if b, err := ParseBind(s); err == nil {
			if again, err := ParseBind(b.String()); err != nil || again != b {
				t.Fatalf("%q: %+v came back as %+v, %v", s, b, again, err)
			}
		}
		if n, err := ParseSize(s); err == nil {
			if again, err := ParseSize(n.String()); n < 0 || err != nil || again != n {
				t.Fatalf("%q: %d came back as %d, %v", s, n, again, err)
			}
		}
	})
}
