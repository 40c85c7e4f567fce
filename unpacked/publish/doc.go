// Package publish writes a new revision in one transaction; garbage collection; integrity check.
//
// Words, besides those of package mount/repo: a transaction (Tx) is a set of
// edits on top of the newest revision, the base; an edit replaces, removes or
// adds a path; an item is one row of a tree in path order; ingesting turns the
// bytes of a file into objects.
//
// How a revision comes about:
//
//  1. Begin takes the publisher's lock and verifies the base as a reader does.
//  2. Ingest stores file contents while they are read; Replace and its
//     companions note what changes and keep streams of items in a scratch file.
//  3. Commit walks base and edits together, in path order, twice: once to count
//     (which directories become nested catalogs, how many subdirectories each
//     has), once to write. Catalogs off the path of every edit are taken over
//     by their hash and never opened.
//  4. Tags, certificate and reflog are stored, and last the signed manifest.
//     Until that one rename or upload the repository is the old one; everything
//     stored before it is named by its hash and harms nobody.
//  5. The index of contents notes which objects the large ones have become.
package publish
