// Package fusefs shows a repository as a read-only FUSE file system.
//
// # Node ids
//
// The kernel names what it knows by 64-bit node ids, and every request carries one. Here an id says where its entry is
// written, so that there is nothing to remember per file:
//
//	1                                   the root
//	0 | catalog number | x | row        a file, link or special file; x tells whether it has extended attributes
//	1 | serial number                   a directory the kernel knows, by its path
//
// A catalog's number belongs to its hash, so an unchanged catalog keeps its ids, attributes and page cache from one
// revision to the next. Members of a hard-link group share the id of the group's first row. Directories have a table,
// freed by FORGET: the kernel detaches what is mounted below a directory whose id changes (a container's /proc, say),
// so a directory must keep its id while its catalog changes under it.
//
// What lies behind a file's id never changes; behind a directory's id it changes only by Update, which tells the kernel.
// So all time-outs are endless, and the kernel asks each thing once.
//
// # A read
//
//  1. READ names an id. Its content (one object, or the list of chunks) is in a small LRU, else in the catalog's row.
//  2. The object's descriptor is in an LRU of open objects, else the Store opens it: from the cache, or by a fetch.
//  3. One pread a piece into the reply's buffer. The next chunks are fetched ahead.
//
// # A new revision
//
//  1. Update makes the repository's head the current revision: requests that arrive now are answered from it.
//  2. For every directory the kernel knows and whose catalog changed, both listings are compared.
//  3. The kernel drops exactly the names that differ, the directory's attributes and its cached listing.
//
// Files that were open keep their id, and with it their bytes, attributes and page cache.
//
// # Revisions that stay
//
// Who must not see a new revision is given a directory of the root that no listing has and that shows one revision for good
// (Pin). Its directories are others than those of the root, as a directory can have one place only; files that are the same
// in several revisions have one id, and so one copy of their pages, in all of them.
package fusefs
