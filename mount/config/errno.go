package config

import "syscall"

// errNotDir is what a path below something that is no directory gives; it is as
// absent as one that does not exist.
const errNotDir = syscall.ENOTDIR
