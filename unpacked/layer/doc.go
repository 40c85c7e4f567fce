// Package layer reads a layer's tar, whose files it hands to a transaction as they come by, and sorts its entries by path.
//
// A tar is in any order, names things twice, links to what came before and leaves directories out; a catalog wants a tree
// in path order. The entries are sorted outside of memory: runs of some ten thousand go to scratch files and are merged,
// so that a layer of a million entries needs no more than one of a thousand.
package layer
