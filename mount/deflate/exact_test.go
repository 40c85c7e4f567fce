package deflate

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"
)

// exactSamples are data of all kinds that make a difference to zlib: text, noise, runs, few and many symbols, and symbols so rare
// that their codes would be too long.
func exactSamples() (all [][]byte) {
	all = append(all, nil, []byte("a"), bytes.Repeat([]byte("a"), 300), bytes.Repeat([]byte("ab"), MaxExact/2))
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, 0))
		b := make([]byte, 0, MaxExact)
		for n := r.IntN([]int{10, 1500, MaxExact}[seed%3]); len(b) < n; {
			switch seed / 3 % 5 {
			case 0:
				b = append(b, byte(r.Uint32()))
			case 1:
				b = append(b, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"[r.IntN(64)])
			case 2:
				b = append(b, byte(r.IntN(2)))
			case 3:
				b = append(b, bytes.Repeat([]byte{byte(r.IntN(4))}, min(r.IntN(300), n-len(b)))...)
			default:
				from := r.IntN(len(b) + 1)
				b = append(append(b, b[from:min(from+r.IntN(20), len(b), from+n-len(b))]...), byte(r.IntN(100)))
			}
		}
		all = append(all, b)
	}
	return append(all, rareSymbols())
}

// rareSymbols has some so rare that their codes would be too long.
func rareSymbols() (rare []byte) {
	for s, n, next := 0, 1, 1; len(rare)+n <= MaxExact; s, n, next = s+1, next, n+next {
		rare = append(rare, bytes.Repeat([]byte{byte(s)}, n)...)
	}
	rand.New(rand.NewPCG(1, 1)).Shuffle(len(rare), func(i, j int) { rare[i], rare[j] = rare[j], rare[i] })
	return rare
}

// TestExact compares with what zlib 1.2.13 made of the same data.
func TestExact(t *testing.T) {
	const byZlib = "86a4ba5af88967fe9b3a511daab661960cdf4846477267ec2836e97011df3da4"
	sum := sha256.New()
	for _, b := range exactSamples() {
		sum.Write(Exact(b))
	}
	if got := fmt.Sprintf("%x", sum.Sum(nil)); got != byZlib {
		t.Errorf("the streams have the sum %s, zlib's %s", got, byZlib)
	}
}

func FuzzExact(f *testing.F) {
	for _, b := range exactSamples() {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > MaxExact {
			t.Skip()
		}
		got, err := io.ReadAll(NewReader(bytes.NewReader(Exact(b)), Zlib))
		if err != nil || !bytes.Equal(got, b) {
			t.Fatalf("%d bytes came back as %d, %v", len(b), len(got), err)
		}
	})
}
