package show

import "testing"

func TestRoff(t *testing.T) {
	if got, want := Roff(".x\n'y\na-b \\c …"), "\\&.x\n\\&'y\na\\-b \\ec \\[u2026]"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
