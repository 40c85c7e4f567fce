//go:build !amd64 && !arm64

package seccomp

// architectures is empty: Compile answers ErrUnsupported.
var architectures []architecture
