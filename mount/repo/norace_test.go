//go:build !race

package repo_test

const contentStep = 1
