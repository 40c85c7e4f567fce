package symbols

import "golang.org/x/sys/cpu"

// decode is decodeGo.
func (d *Decoder) decode(until, full int) (special uint32) {
	if !cpu.X86.HasBMI2 {
		return d.decodeGo(until, full)
	}
	return decodeBMI2(d, until, full)
}

//go:noescape
func decodeBMI2(d *Decoder, until, full int) (special uint32)
