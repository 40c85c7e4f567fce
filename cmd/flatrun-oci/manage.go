package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/pflag"

	"github.com/flatrun/flatrun/runtime/oci"
)

func (a *app) printJSON(value any) error {
	e := json.NewEncoder(a.stdout)
	e.SetIndent("", "  ")
	return e.Encode(value)
}

func (a *app) state(id string) error {
	s, err := a.runtime.State(id)
	if err != nil {
		return err
	}
	return a.printJSON(s)
}

func (a *app) list(f *pflag.FlagSet) func([]string) error {
	format := f.StringP("format", "f", "table", "table or json")
	quiet := f.BoolP("quiet", "q", false, "only IDs")
	return func([]string) error {
		list, err := a.runtime.List()
		switch {
		case err != nil:
			return err
		case *quiet:
			for _, s := range list {
				fmt.Fprintln(a.stdout, s.ID)
			}
			return nil
		case *format == "json":
			return json.NewEncoder(a.stdout).Encode(list)
		case *format != "table":
			return fmt.Errorf("--format %s: must be table or json", *format)
		}
		w := tabwriter.NewWriter(a.stdout, 12, 1, 3, ' ', 0)
		fmt.Fprintln(w, "ID\tPID\tSTATUS\tBUNDLE\tCREATED\tOWNER")
		for _, s := range list {
			fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%s\t%s\n", s.ID, s.PID, s.Status, s.Bundle, s.Created.Format(time.RFC3339Nano), s.Owner)
		}
		return w.Flush()
	}
}

func (a *app) ps(f *pflag.FlagSet) func([]string) error {
	format := f.StringP("format", "f", "table", "table or json")
	return func(args []string) error {
		// ps ID --format json is written as well, though what follows the ID is meant for ps.
		if rest := args[1:]; len(rest) == 2 && rest[0] == "--format" || len(rest) == 1 && strings.HasPrefix(rest[0], "--format=") {
			*format, args = strings.TrimPrefix(rest[len(rest)-1], "--format="), args[:1]
		}
		pids, err := a.runtime.Processes(args[0])
		switch {
		case err != nil:
			return err
		case *format == "json":
			return json.NewEncoder(a.stdout).Encode(pids)
		case *format != "table":
			return fmt.Errorf("--format %s: must be table or json", *format)
		}
		return a.printTable(pids, args[1:])
	}
}

// printTable runs the host's ps and shows the lines of some processes.
func (a *app) printTable(pids []int, options []string) error {
	if len(options) == 0 {
		options = []string{"-ef"}
	}
	out, err := exec.Command("ps", options...).Output()
	if err != nil {
		return fmt.Errorf("ps %s: %w; or use --format json", strings.Join(options, " "), err)
	}
	title, rest, _ := strings.Cut(string(out), "\n")
	column := slices.Index(strings.Fields(title), "PID")
	if column < 0 {
		return errors.New("ps: its output has no column PID")
	}
	fmt.Fprintln(a.stdout, title)
	for line := range strings.Lines(rest) {
		fields := strings.Fields(line)
		if len(fields) <= column {
			continue
		}
		if pid, err := strconv.Atoi(fields[column]); err == nil && slices.Contains(pids, pid) {
			fmt.Fprint(a.stdout, line)
		}
	}
	return nil
}

func (a *app) kill(f *pflag.FlagSet) func([]string) error {
	all := f.BoolP("all", "a", false, "send it to all processes of the container")
	return func(args []string) error {
		name := "TERM"
		if len(args) > 1 {
			name = args[1]
		}
		sig, err := oci.ParseSignal(name)
		if err != nil {
			return err
		}
		return a.runtime.Kill(args[0], sig, *all)
	}
}

func (a *app) delete(f *pflag.FlagSet) func([]string) error {
	force := f.BoolP("force", "f", false, "kill what runs; no error if there is no such container")
	return func(args []string) error { return a.runtime.Delete(args[0], *force) }
}

func (a *app) pause(id string) error  { return a.runtime.Pause(id) }
func (a *app) resume(id string) error { return a.runtime.Resume(id) }

func (a *app) events(f *pflag.FlagSet) func([]string) error {
	stats := f.Bool("stats", false, "print the use of resources")
	return func(args []string) error {
		if !*stats {
			return errors.New("only events --stats is supported; read the control group's files for more")
		}
		event, err := a.runtime.Stats(args[0])
		if err != nil {
			return err
		}
		return json.NewEncoder(a.stdout).Encode(event)
	}
}

func (a *app) spec(f *pflag.FlagSet) func([]string) error {
	bundle := f.StringP("bundle", "b", ".", "bundle `DIR`ectory")
	rootless := f.Bool("rootless", false, "for a container of an ordinary user")
	return func([]string) error {
		data, err := json.MarshalIndent(oci.ExampleSpec(*rootless), "", "\t")
		if err != nil {
			return err
		}
		file, err := os.OpenFile(filepath.Join(*bundle, "config.json"), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
		if err != nil {
			return err
		}
		_, err = file.Write(append(data, '\n'))
		return errors.Join(err, file.Close())
	}
}

func (a *app) features(*pflag.FlagSet) func([]string) error {
	return func([]string) error { return a.printJSON(oci.Features(version)) }
}
