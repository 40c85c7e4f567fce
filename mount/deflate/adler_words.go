//go:build !libdeflate || !cgo

package deflate

import "encoding/binary"

// A word of data is added to two words of four lanes of 16 bits: the bytes at even places and those at odd ones. What the
// lanes come to is added to two more of that kind for each word, which makes a word count once for each that follows it. In
// 22 words no lane gets more than 255·(0+1+…+21) < 1<<16.
const (
	adlerStep = 22 * 8  // bytes
	adlerRun  = 4 << 20 // bytes between two divisions: sums of so many have 52 bits
	adlerMod  = 65521
	lanes8    = 0x00ff00ff00ff00ff
	lanes16   = 0x0000ffff0000ffff
)

// addAdler goes on with the checksum of a zlib stream, which is 1 of nothing. The standard library's takes a byte at a time.
func addAdler(sum uint32, data []byte) uint32 {
	a, b := uint64(sum&0xffff), uint64(sum>>16)
	for len(data) > 0 {
		run := data[:min(len(data), adlerRun)]
		data = data[len(run):]
		for ; len(run) >= adlerStep; run = run[adlerStep:] {
			step := run[:adlerStep]
			var even, odd, evens, odds uint64
			for i := 0; i < adlerStep; i += 8 {
				w := binary.LittleEndian.Uint64(step[i : i+8])
				evens += even
				odds += odd
				even += w & lanes8
				odd += w >> 8 & lanes8
			}
			// A byte counts 8 for each word behind its own, and 8, 7, … 1 in that: 2·(4, 3, 2, 1) at even places, one less at odd.
			b += adlerStep*a + 8*add32(evens&lanes16+evens>>16&lanes16+odds&lanes16+odds>>16&lanes16)
			both := even + odd
			b += 2*(4*(both&0xffff)+3*(both>>16&0xffff)+2*(both>>32&0xffff)+both>>48) - add16(odd)
			a += add16(both)
		}
		for _, c := range run {
			a += uint64(c)
			b += a
		}
		a, b = a%adlerMod, b%adlerMod
	}
	return uint32(b<<16 | a)
}

// add16 adds up four lanes, which make no more than 16 bits.
func add16(v uint64) uint64 { return v * 0x0001000100010001 >> 48 }

func add32(v uint64) uint64 { return v&(1<<32-1) + v>>32 }
