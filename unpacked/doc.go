// Package unpacked names things: where images and layers live inside a repository, and how an image is referred to.
//
// The layout is the one that DUCC writes and that every user of an unpacked
// repository knows, but for /.stacks, which only readers of thin.json come to:
//
//	/.layers/<xx>/<digest>/layerfs       one layer, by the digest of its compressed blob
//	/.layers/<xx>/<digest>/.metadata/    where the layer came from
//	/.chains/<xx>/<chain>                the first n layers of an image, merged
//	/.flat/<xx>/<image id>               a whole image, merged: what a runtime runs
//	/.stacks/<xx>/<image id>             what lies over an image's layers where they are stacked, if anything must
//	/.metadata/<name>/manifest.json      the image's manifest
//	/<registry>/<repository>:<tag>       a relative link to the flat image
//
// where <xx> are the first two digits of what follows. Every path made by this
// package is absolute inside a repository ("/.flat/ab/ab…"), so it can be
// looked up as it is and be appended to "/cvmfs/FQRN".
//
// Nothing here opens a file or talks to anybody.
package unpacked
