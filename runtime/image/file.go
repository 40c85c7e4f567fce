package image

import (
	"bytes"
	"errors"
	"io"
	"os"
)

// The messages for image files: what it is, and what works instead.
var (
	errSIF      = errors.New("SIF images are not supported; unpack it with 'apptainer build --sandbox DIR FILE' or publish it in a repository with flathub")
	errSquashfs = errors.New("squashfs images are not supported; unpack it with 'unsquashfs -d DIR FILE' and run the directory")
	errExt3     = errors.New("ext3 images are not supported; copy its files into a directory and run that")
	errArchive  = errors.New("archives are not supported; unpack it into a directory, or publish it in a repository with flathub")
	errFile     = errors.New("it is not an image; give a directory, a path below /cvmfs, or registry/name:tag")
)

// describeFile tells by its first bytes what kind of image file this is.
func describeFile(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return reason(err)
	}
	defer f.Close()
	head := make([]byte, 1088)
	n, _ := io.ReadFull(f, head)
	head = head[:n]
	has := func(offset int, magic string) bool {
		return len(head) >= offset+len(magic) && bytes.Equal(head[offset:offset+len(magic)], []byte(magic))
	}
	switch {
	case has(32, "SIF_MAGIC"): // after a launch line of 32 bytes
		return errSIF
	case has(0, "hsqs"):
		return errSquashfs
	case has(1080, "\x53\xef"): // superblock at 1024, magic at 56 in it
		return errExt3
	case has(0, "\x1f\x8b"), has(0, "\x28\xb5\x2f\xfd"), has(257, "ustar"):
		return errArchive
	}
	return errFile
}
