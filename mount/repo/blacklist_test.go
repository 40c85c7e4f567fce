package repo

import (
	"strings"
	"testing"
)

// FuzzBlacklist reads the site's list: a line either refuses something, or is about another repository or a comment, or is
// an error; none is passed over in silence.
func FuzzBlacklist(f *testing.F) {
	f.Add("# no more\n<test.example.org 7\n")
	f.Add("<other.example.org 18446744073709551615\n<test.example.org\n")
	f.Add("00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:00:11:22:33 # stolen\n")
	f.Add("00112233445566778899aabbccddeeff00112233-SHAKE128")
	f.Fuzz(func(t *testing.T, text string) {
		const fqrn = "test.example.org"
		lines := strings.Split(text, "\n")
		b, err := parseBlacklist(lines, fqrn)
		if err != nil {
			if !strings.Contains(err.Error(), "blacklist: line") {
				t.Fatalf("the error names no line: %v", err)
			}
			return
		}
		prints, limits := 0, false
		for _, line := range lines {
			switch line = strings.TrimSpace(line); {
			case line == "" || line[0] == '#':
			case line[0] == '<':
				limits = limits || strings.Fields(line[1:])[0] == fqrn
			default:
				prints++
			}
		}
		if len(b.fingerprints) != prints || b.minimum > 0 && !limits {
			t.Fatalf("%+v of %q", b, text)
		}
		if b.minimum > 0 && (b.checkRevision(b.minimum-1) == nil || b.checkRevision(b.minimum) != nil) {
			t.Fatalf("revisions below %d are to be refused", b.minimum)
		}
		for _, p := range b.fingerprints {
			if again, err := ParseFingerprint(p.String()); err != nil || again.Hash != p.Hash {
				t.Fatalf("%v reads as %v, %v", p, again, err)
			}
		}
	})
}
