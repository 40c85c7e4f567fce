//go:build !amd64

package deflate

// decode is decodeGo.
func (z *inflater) decode(until, full int) (special uint32) { return z.decodeGo(until, full) }
