// Package vfs builds a root file system out of mounts, beside the one in use, and moves the process into it.
//
// Everything is done by descriptor with the mount interface of Linux 5.12 (open_tree, mount_setattr, move_mount):
// sources are opened by their host paths before anything changes, targets are looked up inside the new root with
// openat2's RESOLVE_IN_ROOT, so no symbolic link of an image leads out of it.
//
// A read-only image cannot be given mount points. For each of its directories in which one is missing a farm is made:
// a directory in memory with the same entries, each bound from the image, and the missing ones. Which farms are needed
// is decided by Plan, which touches nothing but its look-up function.
//
//	tree, err := vfs.Build(root, mounts) // inside a mount namespace of one's own
//	err = tree.Enter()                   // the old root is gone
package vfs

import "log/slog"

// Kind is what is mounted.
type Kind uint8

const (
	Bind   Kind = iota // Source, a host path, with what is mounted below it
	Memory             // an empty directory in memory
	File               // a file in memory with Content
	Link               // a symbolic link to Source; its directory must be in memory
	FS                 // a new instance of the file system type Source
	Merge              // entries of Source that Target lacks, each bound below Target
)

// Mount is one mount of a new root file system.
type Mount struct {
	Kind   Kind
	Source string
	Target string // absolute inside

	ReadOnly, NoSUID, NoDev, NoExec bool

	NoRecurse bool                            // Bind: without what is mounted below Source
	Or        []string                        // Bind: sources to try if Source does not exist
	Make      bool                            // Bind: make the source directory with Mode if it does not exist
	Cwd       bool                            // Bind: not needed if Target already shows the same directory
	Mode      uint32                          // Memory, File, Make: permission bits
	Content   func(image int) ([]byte, error) // File: gets a descriptor of the image's root
	Data      []string                        // FS: key or key=value; Memory: size=BYTES makes it a file system of its own
	Made      int                             // FS: descriptor of the instance, if there is one already (MakeNow)
	Fallback  string                          // FS: host path bound instead if the kernel refuses a new instance

	Optional bool   // left out silently if the source does not exist
	Weak     bool   // left out with a message at level Info if anything fails; never worth a large farm
	Unique   bool   // left out if an earlier mount has the same place (by another name)
	Exists   bool   // left out unless the image has Target
	NoFollow bool   // goes over Target itself if that is a link and the source a file
	Origin   string // who wants it, for errors
}

// Root says what the root file system is made of.
type Root struct {
	Image    string   // host directory
	Name     string   // of the image, for errors; "" = Image
	Writable bool     // write into the image
	Layers   []string // the image's further layers, over Image, the last one uppermost
	Lower    []string // directories laid over that, the last one uppermost; of one that holds upper, that
	Upper    string   // writable directory laid over all of that; holds upper and work, which are made
	Memory   bool     // the same in memory
	Size     int64    // of directories in memory and of Memory, bytes; 0 = the kernel's default
	MemoryFS string   // type of the file system for what is made in memory, but not for Memory; "" = tmpfs
	Private  bool     // what the host mounts later does not show
	Log      *slog.Logger
}
