package deflate

import (
	"bytes"
	"crypto/sha256"
	"io"
	"testing"
	"testing/iotest"
)

// TestSum hashes what is read, of one member and of many, also of more than fits into the buffers; of a source that breaks off,
// what was read at least.
func TestSum(t *testing.T) {
	all := samples()
	all["long"] = bytes.Repeat(all["mixed"], 3)
	var members, joined []byte
	for _, b := range all {
		members, joined = append(members, stored(Gzip, b)...), append(joined, b...)
	}
	sources := map[string][]byte{"members": members}
	all["members"] = joined
	for name, b := range all {
		if sources[name] == nil {
			sources[name] = stored(Gzip, b)
		}
		source, want := sources[name], sha256.Sum256(b)
		for how, r := range map[string]io.Reader{"whole": bytes.NewReader(source), "halves": iotest.HalfReader(bytes.NewReader(source))} {
			z, h := NewBlockReader(r, Gzip), sha256.New()
			z.KeepBlocks()
			wait := z.Sum(h)
			got, err := io.ReadAll(z)
			if wait(); err != nil || !bytes.Equal(got, b) || [32]byte(h.Sum(nil)) != want {
				t.Errorf("%s %s: %d bytes, want %d, %v; their sum is %x, want %x", name, how, len(got), len(b), err, h.Sum(nil), want)
			}
		}
	}
	z := NewBlockReader(bytes.NewReader(members[:len(members)-9]), Gzip)
	h := sha256.New()
	wait := z.Sum(h)
	got, err := io.ReadAll(z)
	if wait(); err != io.ErrUnexpectedEOF || [32]byte(h.Sum(nil)) != sha256.Sum256(got) {
		t.Errorf("cut: %d bytes, %v; their sum is %x", len(got), err, h.Sum(nil))
	}
}
