package squeeze

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// TestAppend reads back what was written, with no more memory for the window than was promised.
func TestAppend(t *testing.T) {
	noise := make([]byte, 20_000)
	rand.NewChaCha8([32]byte{1}).Read(noise)
	r, err := zstd.NewReader(nil, zstd.WithDecoderMaxWindow(1<<windowLog))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for name, plain := range map[string][]byte{
		"empty": {}, "a byte": {7}, "noise": noise, "far apart": bytes.Join([][]byte{noise, make([]byte, 1<<20), noise}, nil),
		"more than the window": make([]byte, 1<<windowLog+1),
	} {
		out, err := Append([]byte("head"), plain)
		if err != nil || !bytes.HasPrefix(out, []byte("head")) {
			t.Fatalf("%s: %d bytes, %v", name, len(out), err)
		}
		if err := r.Reset(bytes.NewReader(out[4:])); err != nil {
			t.Fatal(err)
		}
		var got bytes.Buffer
		if _, err := r.WriteTo(&got); err != nil || !bytes.Equal(got.Bytes(), plain) {
			t.Errorf("%s: read back %d bytes of %d, %v", name, got.Len(), len(plain), err)
		}
		if name == "far apart" && len(out) > len(noise)+1000 {
			t.Errorf("%s: %d bytes became %d", name, len(plain), len(out))
		}
	}
}
