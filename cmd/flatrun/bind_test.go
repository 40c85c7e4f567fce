package main

import (
	"strings"
	"testing"
)

func bindText(b userBind) string {
	text := b.Source + "→" + b.Target
	if b.ReadOnly {
		text += ":ro"
	}
	if b.noNested {
		text += ":nonested"
	}
	return text
}

func TestBinds(t *testing.T) {
	t.Chdir("/tmp")
	cases := []struct{ bind, mount, want, fail string }{
		{bind: "/a", want: "/a→/a"},
		{bind: "/a/", want: "/a→/a"},
		{bind: "/a:/b", want: "/a→/b"},
		{bind: "/a:/b:ro", want: "/a→/b:ro"},
		{bind: "/a:/b:rw", want: "/a→/b"},
		{bind: "/a,/b", want: "/a→/a /b→/b"},
		{bind: "/a:/b,/c:/d:ro,/e", want: "/a→/b /c→/d:ro /e→/e"},
		{bind: "/a:/b:ro,rw,/c", want: "/a→/b:ro /c→/c"},
		{bind: "/a, /b ,", want: "/a→/a /b→/b"},
		{bind: "a:/b", want: "/tmp/a→/b"},
		{bind: "./a", want: "/tmp/a→/tmp/a"},
		{bind: `/a\:b:/c`, want: "/a:b→/c"},
		{bind: `/a\,b:/c`, want: "/a,b→/c"},
		{bind: "ro", want: "/tmp/ro→/tmp/ro"},
		{bind: "/a:/b:exec", fail: "exec is not a valid bind option"},
		{bind: "/a:/b:id=1", fail: "image files are not supported"},
		{bind: ":/b", fail: "empty bind source"},
		{bind: "/a:b", fail: "must be an absolute path"},
		{bind: "/a:/b:ro:x", fail: "wrong bind syntax"},
		{mount: "type=bind,source=/a,destination=/b", want: "/a→/b"},
		{mount: "src=/a,dst=/b,ro", want: "/a→/b:ro"},
		{mount: "src=/a,target=/b,readonly=true,nonested", want: "/a→/b:ro:nonested"},
		{mount: "src=/a,dst=/b,readonly=false", want: "/a→/b"},
		{mount: "src=/a,dst=/b\nsrc=/c,dst=/d", want: "/a→/b /c→/d"},
		{mount: `"src=/a,b",dst=/c`, want: "/a,b→/c"},
		{mount: "src=a,dst=/b", want: "/tmp/a→/b"},
		{mount: "type=volume,src=/a,dst=/b", fail: "only 'bind' is supported"},
		{mount: "src=,dst=/b", fail: "mount source cannot be empty"},
		{mount: "src=/a,dst=", fail: "mount destination cannot be empty"},
		{mount: "src=/a", fail: "must specify a source and a destination"},
		{mount: "src=/a,dst=/b,bind-propagation=shared", fail: "bind-propagation is not supported"},
		{mount: "src=/a,dst=/b,image-src=/", fail: "image files are not supported"},
		{mount: "src=/a,dst=/b,x=y", fail: "invalid key"},
		{mount: `"src`, fail: "while parsing mount"},
	}
	for _, c := range cases {
		o := &options{}
		if c.bind != "" {
			o.Bind = texts{c.bind}
		}
		if c.mount != "" {
			o.Mount = texts{c.mount}
		}
		binds, err := o.parseBinds()
		if c.fail != "" {
			if err == nil || !strings.Contains(err.Error(), c.fail) {
				t.Errorf("%q%q: %v, want %q", c.bind, c.mount, err, c.fail)
			}
			continue
		}
		var got []string
		for _, b := range binds {
			got = append(got, bindText(b))
		}
		if err != nil || strings.Join(got, " ") != c.want {
			t.Errorf("%q%q: %q, %v; want %q", c.bind, c.mount, got, err, c.want)
		}
	}
}

func FuzzBinds(f *testing.F) {
	for _, s := range []string{"/a:/b:ro,/c", `/a\:b`, "type=bind,src=/a,dst=/b", `"x`, ",,,:::"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for _, o := range []*options{{Bind: texts{s}}, {Mount: texts{s}}} {
			binds, err := o.parseBinds()
			for _, b := range binds {
				if err == nil && (!strings.HasPrefix(b.Source, "/") || !strings.HasPrefix(b.Target, "/")) {
					t.Errorf("%q: %+v", s, b)
				}
			}
		}
	})
}

func FuzzPairs(f *testing.F) {
	f.Add(`A=1,B="x,y",C`)
	f.Fuzz(func(t *testing.T, s string) {
		var p pairs
		p.Set(s)
	})
}
