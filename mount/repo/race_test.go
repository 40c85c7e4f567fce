//go:build race

package repo_test

// contentStep: under the race detector the bytes of one file in so many are
// read; decompressing takes it fifteen times as long, and finds no races.
const contentStep = 16
