package instance

import (
	"bytes"
	"encoding/json"
	"os"
	"testing"
)

// FuzzRead: what is read of a file that somebody spoilt can be written, and read again.
func FuzzRead(f *testing.F) {
	f.Add([]byte(`{"instance":"a","pid":7,"img":"/i","spec":{"process":{"args":["x"]}},"members":[{"pid":8,"started":9}]}`))
	f.Add([]byte(`{"instance":"a"}}`))
	f.Add([]byte{})
	file, err := os.CreateTemp(f.TempDir(), "state")
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { file.Close() })
	fill := func(t *testing.T, text []byte) State {
		if err := file.Truncate(0); err != nil {
			t.Fatal(err)
		}
		if _, err := file.WriteAt(text, 0); err != nil {
			t.Fatal(err)
		}
		state, err := Read(file)
		if err != nil {
			t.Skip()
		}
		return state
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		first, err := json.Marshal(fill(t, text))
		if err != nil {
			t.Fatal(err)
		}
		second, err := json.Marshal(fill(t, first))
		if err != nil || !bytes.Equal(first, second) {
			t.Fatalf("%s\ncomes back as\n%s\n%v", first, second, err)
		}
	})
}
