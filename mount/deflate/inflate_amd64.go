package deflate

import "golang.org/x/sys/cpu"

// decode is decodeGo.
func (z *inflater) decode(until, full int) (special uint32) {
	if !cpu.X86.HasBMI2 {
		return z.decodeGo(until, full)
	}
	return decodeBMI2(z, until, full)
}

//go:noescape
func decodeBMI2(z *inflater, until, full int) (special uint32)
