package ident

import (
	"strings"
	"testing"
)

func TestPasswd(t *testing.T) {
	const image = "root:x:0:0:root:/root:/bin/sh\nnode:x:1000:1000::/home/node:/bin/sh\n+::::::\n"
	for _, tt := range []struct{ name, file, line, want string }{
		{"added", "root:x:0:0:root:/root:/bin/sh\n", "ann:x:1001:1001::/home/ann:/bin/sh", "root:x:0:0:root:/root:/bin/sh\nann:x:1001:1001::/home/ann:/bin/sh\n"},
		{"same id", image, "ann:x:1000:1001::/h:/s", "root:x:0:0:root:/root:/bin/sh\n+::::::\nann:x:1000:1001::/h:/s\n"},
		{"same name", image, "node:x:7:7::/h:/s", "root:x:0:0:root:/root:/bin/sh\n+::::::\nnode:x:7:7::/h:/s\n"},
		{"fakeroot", image, "root:x:0:0::/h:/s", "node:x:1000:1000::/home/node:/bin/sh\n+::::::\nroot:x:0:0::/h:/s\n"},
		{"no last newline", "a:x:1:1", "b:x:2:2", "a:x:1:1\nb:x:2:2\n"},
		{"empty", "", "b:x:2:2", "b:x:2:2\n"},
		{"rubbish", "::\n\nx\n", "b:x:2:2", "::\n\nx\nb:x:2:2\n"},
	} {
		if got := string(Passwd([]byte(tt.file), []string{tt.line})); got != tt.want {
			t.Errorf("%s: got\n%swant\n%s", tt.name, got, tt.want)
		}
	}
}

func TestGroup(t *testing.T) {
	got := string(Group([]byte("users:x:100:\nstaff:x:50:bob\n"), []string{"staff:x:1001:ann", "people:x:100:ann"}))
	if want := "staff:x:50:bob\nstaff:x:1001:ann\npeople:x:100:ann\n"; got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

func FuzzPasswd(f *testing.F) {
	f.Add([]byte("root:x:0:0:root:/root:/bin/sh\nann:x:7:7::/:\n"))
	f.Add([]byte(":::\n\n\x00"))
	f.Fuzz(func(t *testing.T, file []byte) {
		const line = "ann:x:1001:100::/home/ann:/bin/sh"
		got := string(Passwd(file, []string{line}))
		if !strings.HasSuffix("\n"+got, "\n"+line+"\n") {
			t.Fatalf("the line is not the last one of %q", got)
		}
		for l := range strings.Lines(strings.TrimSuffix(got, line+"\n")) {
			l = strings.TrimSuffix(l, "\n")
			fields := strings.Split(l, ":")
			if len(fields) > 2 && fields[2] == "1001" || len(fields) > 1 && fields[0] == "ann" {
				t.Errorf("another line for the caller: %q", l)
			}
			if !strings.Contains(string(file), l) {
				t.Errorf("%q is not in the file", l)
			}
		}
	})
}
