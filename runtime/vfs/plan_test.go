package vfs

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// tree answers look-ups from a list of entries: "a/" is a directory, "a" a file, "a->b" a link. Parents are implied.
func tree(entries ...string) Lookup {
	type node struct {
		t    Type
		link string
	}
	all := map[string]node{"/": {Dir, ""}}
	for _, e := range entries {
		name, link, isLink := strings.Cut(e, "->")
		n := node{Plain, link}
		switch {
		case isLink:
			n.t = Symlink
		case strings.HasSuffix(name, "/"):
			n.t = Dir
		}
		name = "/" + strings.Trim(name, "/")
		all[name] = n
		for i, c := range name {
			if c == '/' && i > 0 {
				all[name[:i]] = node{Dir, ""}
			}
		}
	}
	return func(name string) (Type, string, error) {
		if strings.HasSuffix(name, "/denied") {
			return 0, "", errors.New("look-up denied")
		}
		n := all[name]
		return n.t, n.link, nil
	}
}

// show writes a plan in one line per place and farm.
func show(places []Place, farms []Farm) string {
	var b strings.Builder
	for _, p := range places {
		switch {
		case p.Err != nil:
			fmt.Fprintf(&b, "error: %v\n", p.Err)
		case p.Skip:
			fmt.Fprintf(&b, "skip\n")
		default:
			fmt.Fprintf(&b, "%s", p.Path)
			if p.Inside >= 0 {
				fmt.Fprintf(&b, " in %d", p.Inside)
			}
			if p.Over {
				fmt.Fprintf(&b, " over the link")
			}
			fmt.Fprintf(&b, "\n")
		}
	}
	for _, f := range farms {
		fmt.Fprintf(&b, "farm %s", f.Dir)
		if f.Weak {
			fmt.Fprintf(&b, " weak")
		}
		for _, n := range f.New {
			fmt.Fprintf(&b, " %s", n.Path)
			if n.Dir {
				fmt.Fprintf(&b, "/")
			}
		}
		fmt.Fprintf(&b, "\n")
	}
	return b.String()
}

// wants reads targets: "/a/" is a directory, "/a" a file; a leading ? means weak, ! unique, + only if it exists, @ not to follow a link.
func wants(targets ...string) []Want {
	var list []Want
	for _, t := range targets {
		w := Want{}
		for t != "" && strings.Contains("?!+@", t[:1]) {
			w.Weak = w.Weak || t[0] == '?'
			w.Unique = w.Unique || t[0] == '!'
			w.Exists = w.Exists || t[0] == '+'
			w.NoFollow = w.NoFollow || t[0] == '@'
			t = t[1:]
		}
		w.Dir = strings.HasSuffix(t, "/")
		w.Target = t
		list = append(list, w)
	}
	return list
}

func TestPlan(t *testing.T) {
	for _, tt := range []struct {
		name  string
		image []string
		wants []string
		plan  string
	}{
		{"all there", []string{"proc/", "etc/hosts"}, []string{"/proc/", "/etc/hosts"}, "/proc\n/etc/hosts\n"},
		{"missing in the root", []string{"usr/"}, []string{"/cvmfs/"}, "/cvmfs\nfarm / /cvmfs/\n"},
		{"missing deep", []string{"a/b/c/x"}, []string{"/a/b/c/d/e"}, "/a/b/c/d/e\nfarm /a/b/c /a/b/c/d/ /a/b/c/d/e\n"},
		{"two in one farm", []string{"home/"}, []string{"/home/ann/", "/home/bob/"}, "/home/ann\n/home/bob\nfarm /home /home/ann/ /home/bob/\n"},
		{"shared new parent", nil, []string{"/a/b/", "/a/c/"}, "/a/b\n/a/c\nfarm / /a/ /a/b/ /a/c/\n"},
		{"farms in several directories", []string{"etc/ssl/x"}, []string{"/etc/ssl/certs/", "/srv/", "/etc/y"},
			"/etc/ssl/certs\n/srv\n/etc/y\nfarm /etc/ssl /etc/ssl/certs/\nfarm / /srv/\nfarm /etc /etc/y\n"},
		{"inside an earlier mount", []string{"tmp/"}, []string{"/tmp/", "/tmp/a/b/"}, "/tmp\n/tmp/a/b in 0\n"},
		{"inside a mount that is not in the image", nil, []string{"/data/", "/data/x/"}, "/data\n/data/x in 0\nfarm / /data/\n"},
		{"before the outer one", nil, []string{"/data/x/", "/data/"}, "/data/x\n/data\nfarm / /data/ /data/x/\n"},
		{"the same place again", []string{"a/"}, []string{"/a/", "/a/"}, "/a\n/a\n"},
		{"through an absolute link", []string{"var/run->/run", "run/"}, []string{"/var/run/x/"}, "/run/x\nfarm /run /run/x/\n"},
		{"through a relative link", []string{"a/b->../c", "c/"}, []string{"/a/b/x/"}, "/c/x\nfarm /c /c/x/\n"},
		{"link out of the root", []string{"a->../../etc", "etc/x"}, []string{"/a/x"}, "/etc/x\n"},
		{"link as the last name", []string{"home->usr/home", "usr/home/"}, []string{"/home/"}, "/usr/home\n"},
		{"link to nothing, directory", []string{"home->usr/home", "usr/"}, []string{"/home/ann/"}, "/usr/home/ann\nfarm /usr /usr/home/ /usr/home/ann/\n"},
		{"link to nothing, file", []string{"etc/resolv.conf->../run/systemd/x", "run/"}, []string{"/etc/resolv.conf"}, "/etc/resolv.conf over the link\n"},
		{"link that is not followed", []string{"etc/localtime->/usr/zone", "usr/zone"}, []string{"@/etc/localtime", "/etc/localtime", "@/usr/zone"}, "/etc/localtime over the link\n/etc/localtime\n/usr/zone\n"},
		{"link to nothing by way of another", []string{"etc/l->/m", "m->n"}, []string{"/etc/l"}, "/etc/l over the link\n"},
		{"link into a mount", []string{"etc/l->/run/x", "run/"}, []string{"/run/", "/etc/l"}, "/run\n/run/x in 0\n"},
		{"link to itself", []string{"l->l"}, []string{"/l/", "/l"}, "error: /l/: too many links\nerror: /l: too many links\n"},
		{"link by way of a new directory", []string{"l->/new/x"}, []string{"/new/", "/l/"}, "/new\n/new/x in 0\nfarm / /new/\n"},
		{"dots", []string{"a/b/"}, []string{"/a/../a/./b/"}, "/a/b\n"},
		{"dots behind what is missing", nil, []string{"/x/../../y/"}, "error: /x/../../y/: /x does not exist in the image, and .. follows\n"},
		{"directory over a file", []string{"f"}, []string{"/f/"}, "error: /f in the image: not a directory\n"},
		{"file over a directory", []string{"d/"}, []string{"/d"}, "error: /d in the image is a directory\n"},
		{"below a file", []string{"f"}, []string{"/f/x"}, "error: /f in the image: not a directory\n"},
		{"below a new file", nil, []string{"/f", "/f/x/"}, "/f\n/f/x in 0\nfarm / /f\n"},
		{"over the root", nil, []string{"/"}, "error: nothing can be mounted over / (see --overlay)\n"},
		{"look-up fails", nil, []string{"/denied/", "/b/"}, "error: look-up denied\n/b\nfarm / /b/\n"},
		{"unique by another name", []string{"var/tmp->../tmp", "tmp/"}, []string{"/tmp/", "!/var/tmp/"}, "/tmp\nskip\n"},
		{"only if it exists", []string{"etc/passwd"}, []string{"+/etc/passwd", "+/etc/group"}, "/etc/passwd\nskip\n"},
		{"weak farm", nil, []string{"?/x"}, "/x\nfarm / weak /x\n"},
		{"weak farm becomes strong", nil, []string{"?/x/y/", "/x/z/"}, "/x/y\n/x/z\nfarm / /x/ /x/y/ /x/z/\n"},
		{"weak place is wanted again", nil, []string{"?/x/", "/x/"}, "/x\n/x\nfarm / /x/\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			places, farms := Plan(wants(tt.wants...), tree(tt.image...))
			if got := show(places, farms); got != tt.plan {
				t.Errorf("got\n%swant\n%s", got, tt.plan)
			}
		})
	}
}

func FuzzPlan(f *testing.F) {
	f.Add("a/b/ l->/a c->../l x->x", "/a/b/c /l/q/ /c/ /x")
	f.Fuzz(func(t *testing.T, image, targets string) {
		places, farms := Plan(wants(strings.Fields(targets)...), tree(strings.Fields(image)...))
		made := map[string]bool{}
		for _, f := range farms {
			for _, n := range f.New {
				if made[n.Path] {
					t.Errorf("%s is made twice", n.Path)
				}
				made[n.Path] = true
				if !strings.HasPrefix(n.Path, strings.TrimSuffix(f.Dir, "/")+"/") {
					t.Errorf("%s is made in the farm of %s", n.Path, f.Dir)
				}
			}
		}
		for i, p := range places {
			if p.Err == nil && p.Inside >= i {
				t.Errorf("place %d lies in mount %d", i, p.Inside)
			}
		}
	})
}
