// Package convert turns an OCI image into layer trees and a flat tree of a repository.
//
// Each layer streams once from its source: decompressed, read as tar, its files chunked, compressed, hashed and stored by
// [publish.Tx]; what remains are rows sorted by path, from which the layer's catalog is written. Large files are not
// compressed again where the layer is gzip: their objects are made of its blocks, see [deflate.Splice], and an index of
// contents sees to it that another layer with the same file has the same object. The flat image is a merge
// of its layers' rows, see [Merge]: no content is read for it. Layers that the repository has are not downloaded; their
// rows come out of its catalogs.
//
// # What a layer carries
//
// A layer's tree is made to be stacked by the kernel's overlayfs as it is: a file that the layer removes is a character
// device 0/0, and a directory that hides what lies below it has the attribute overlay.opaque with value "y", both as
// trusted.* (for a mount by root) and as user.* (for one in a user namespace with the option userxattr). A directory that
// the layer's tar does not list but has files in is marked with [layer.Implied], so that a merge keeps the attributes that
// a lower layer gave it.
//
// A hard link to a file of a lower layer is another file in each image that has the layer. The layer's tree has a symbolic
// link there, marked with [layer.LowerLink]: where layers are stacked it leads to the file, as long as no layer changes
// that. The flat image has what the link was made to, see [follower.resolve].
//
// # What lies over the layers
//
// So the layers alone do not always come to the image: the kernel gives a directory the attributes of the uppermost layer
// that has it, listed or not, knows nothing of hard links between layers, goes through no symbolic link, counts names that
// are hidden and lists whiteouts of a directory that one layer alone has. What has to lie over an image's layers to show
// the image is the difference between both, computed from rows (see [follower.difference]) and filed below
// [unpacked.Stacks] without any new content: one more layer for whoever reads thin.json. Most images need none. What
// overlayfs cannot show is how many links a directory has: where it merges several it says 1.
package convert
