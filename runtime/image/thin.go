package image

import (
	"bytes"
	"io"
	"os"
)

// IsThin tells whether a file may be a thin image's description: a JSON object that names layers. Who stacks them reads
// it in full.
func IsThin(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	head := make([]byte, 64<<10)
	n, _ := io.ReadFull(f, head)
	head = bytes.TrimLeft(head[:n], " \t\r\n")
	return bytes.HasPrefix(head, []byte("{")) && bytes.Contains(head, []byte(`"layers"`))
}
