package main

import (
	"github.com/spf13/pflag"

	"github.com/flatrun/flatrun/runtime/oci"
)

// createFlags are those of create and run.
func createFlags(f *pflag.FlagSet) *oci.CreateRequest {
	q := &oci.CreateRequest{}
	f.StringVarP(&q.Bundle, "bundle", "b", "", "bundle `DIR`ectory (default the working directory)")
	f.BoolVar(&q.NoPivot, "no-pivot", false, "do not use pivot_root, for root file systems on a ramdisk")
	f.BoolVar(&q.NoNewKeyring, "no-new-keyring", false, "share the caller's session keyring")
	ioFlags(f, &q.IO)
	return q
}

// ioFlags are those of everything that starts a process.
func ioFlags(f *pflag.FlagSet, o *oci.IO) {
	f.StringVar(&o.ConsoleSocket, "console-socket", "", "Unix `SOCKET` that receives the terminal's master end")
	f.StringVar(&o.PIDFile, "pid-file", "", "write the process's number to `FILE`")
	f.IntVar(&o.PreserveFDs, "preserve-fds", 0, "pass `N` descriptors from 3 on to the process")
}

func (a *app) create(f *pflag.FlagSet) func([]string) error {
	q := createFlags(f)
	return func(args []string) error {
		q.ID = args[0]
		if err := a.enterSession(q.Bundle); err != nil {
			return err
		}
		return a.runtime.Create(*q)
	}
}

func (a *app) runContainer(f *pflag.FlagSet) func([]string) error {
	q := createFlags(f)
	f.BoolVarP(&q.Detach, "detach", "d", false, "do not wait for the process")
	f.BoolVar(&q.Keep, "keep", false, "do not remove the container when it has ended")
	f.Bool("no-subreaper", false, "accepted and without effect")
	return func(args []string) error {
		q.ID = args[0]
		if err := a.enterSession(q.Bundle); err != nil {
			return err
		}
		status, err := a.runtime.Run(*q)
		return exited(status, err)
	}
}

// exited passes a process's status on.
func exited(status int, err error) error {
	if err == nil && status != 0 {
		return exitCode(status)
	}
	return err
}

func (a *app) start(id string) error { return a.runtime.Start(id) }

func (a *app) exec(f *pflag.FlagSet) func([]string) error {
	q := &oci.ExecRequest{}
	ioFlags(f, &q.IO)
	f.BoolVarP(&q.Detach, "detach", "d", false, "do not wait for the process")
	f.StringVarP(&q.ProcessFile, "process", "p", "", "JSON `FILE` with the process to run")
	f.StringVar(&q.Cwd, "cwd", "", "working `DIR`ectory")
	f.StringArrayVarP(&q.Env, "env", "e", nil, "add `K=V` to the environment")
	f.BoolVarP(&q.Terminal, "tty", "t", false, "give the process a terminal")
	f.StringVarP(&q.User, "user", "u", "", "`UID[:GID]` to run as")
	gids := f.UintSliceP("additional-gids", "g", nil, "add `GID`s")
	f.StringSliceVarP(&q.Capabilities, "cap", "c", nil, "add `CAP`abilities")
	noNewPrivs := f.Bool("no-new-privs", false, "the process cannot gain privileges by executing")
	f.StringVar(&q.AppArmor, "apparmor", "", "AppArmor `PROFILE`")
	f.StringVar(&q.Label, "process-label", "", "SELinux `LABEL`")
	f.BoolVar(&q.IgnorePaused, "ignore-paused", false, "allow it in a paused container")
	return func(args []string) error {
		q.ID, q.Args = args[0], args[1:]
		for _, gid := range *gids {
			q.AdditionalGIDs = append(q.AdditionalGIDs, uint32(gid))
		}
		if f.Changed("no-new-privs") {
			q.NoNewPrivs = noNewPrivs
		}
		status, err := a.runtime.Exec(*q)
		return exited(status, err)
	}
}
