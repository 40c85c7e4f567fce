// Command flatrun-session does the heavy work of flatrun: it serves repositories to a user's containers, mounts them for
// browsing, and answers questions about both. flatrun starts it and passes on what it says; an error is one line on
// standard error and exit code 1.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/flatrun/flatrun/mount/config"
)

// call is one invocation.
type call struct {
	config  string // --config
	all     bool
	metrics string
	force   bool
	json    bool
	args    []string

	storage storage
}

type verb struct {
	name, usage string
	min, max    int // operands
	run         func(context.Context, *call) error
}

func verbs() []verb {
	return []verb{
		{"serve", "DIR", 1, 1, runServe},
		{"mount", "FQRN [DIR]", 1, 2, runMount},
		{"umount", "DIR|FQRN, or --all", 0, 1, runUmount},
		{"status", "", 0, 0, runStatus},
		{"refresh", "[DIR|FQRN]", 0, 1, runRefresh},
		{"config", "show [FQRN]", 1, 2, runConfig},
		{"resolve", "IMAGE", 1, 1, runResolve},
		{"cache", "info|list|clean|verify|export|import [FILE]", 1, 2, runCache},
		{"profile", "show IMAGE|export IMAGE FILE|import FILE", 2, 3, runProfile},
		{"prefetch", "IMAGE|PATH", 1, 1, runPrefetch},
		{"site", "", 0, 0, runSite},
		{"doctor", "", 0, 0, runDoctor},
		{"json", "FILE", 1, 1, runJSON},
		{"images", "[QUERY]", 0, 1, runImages},
	}
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	defer stop()
	err := run(ctx, os.Args[1:])
	var code exitCode
	if errors.As(err, &code) {
		os.Exit(int(code))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// exitCode ends the program without a message, as the message has been given.
type exitCode int

func (e exitCode) Error() string { return fmt.Sprintf("exit %d", int(e)) }

func run(ctx context.Context, args []string) error {
	c := &call{}
	words, err := c.parse(args)
	if err != nil {
		return err
	}
	if len(words) == 0 {
		return usage()
	}
	for _, v := range verbs() {
		if v.name != words[0] {
			continue
		}
		if c.args = words[1:]; len(c.args) < v.min || len(c.args) > v.max {
			return fmt.Errorf("usage: flatrun-session %s %s", v.name, v.usage)
		}
		return v.run(ctx, c)
	}
	return usage()
}

// parse takes flags from anywhere among the words: callers pass on what they were given.
func (c *call) parse(args []string) (words []string, err error) {
	set := flag.NewFlagSet("flatrun-session", flag.ContinueOnError)
	set.Usage = func() {}
	set.SetOutput(discard{})
	set.StringVar(&c.config, "config", "", "configuration file")
	set.StringVar(&c.config, "c", "", "configuration file")
	set.BoolVar(&c.json, "json", false, "structured output, as status has anyway")
	set.StringVar(&c.metrics, "metrics", "", "where to serve metrics")
	c.storage.define(set)
	set.BoolVar(&c.all, "all", false, "all sessions and mounts")
	set.BoolVar(&c.force, "force", false, "even if in use")
	for {
		if err := set.Parse(args); err != nil {
			return nil, err
		}
		if args = set.Args(); len(args) == 0 {
			return words, nil
		}
		words, args = append(words, args[0]), args[1:]
	}
}

type discard struct{}

func (discard) Write(b []byte) (int, error) { return len(b), nil }

func usage() error {
	text := "usage:"
	for _, v := range verbs() {
		text += fmt.Sprintf("\n  flatrun-session [--config FILE] %s %s", v.name, v.usage)
	}
	return errors.New(text)
}

func (c *call) settings() (*config.Config, error) { return config.Load(config.Options{File: c.config}) }
