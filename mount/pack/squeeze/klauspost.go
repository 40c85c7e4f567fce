//go:build !libzstd || !cgo

package squeeze

import "github.com/klauspost/compress/zstd"

// Implementation names what does the work.
const Implementation = "klauspost/compress"

// Append appends plain, compressed into one frame, to dst.
func Append(dst, plain []byte) ([]byte, error) {
	w, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedBestCompression), zstd.WithWindowSize(1<<windowLog), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return nil, err
	}
	return w.EncodeAll(plain, dst), w.Close()
}
