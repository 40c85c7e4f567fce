//go:build !amd64

package symbols

// decode is decodeGo.
func (d *Decoder) decode(until, full int) (special uint32) { return d.decodeGo(until, full) }
