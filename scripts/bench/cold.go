package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// The wide-area network of the cold start: what a university in another country sees of a stratum 1.
const (
	coldRoundTrip = 30 * time.Millisecond
	coldMbit      = 100
	coldRuns      = 3
)

// benchCold is the first start of `import numpy` on a node that has nothing: from typing the command to its output.
func benchCold(f *fixture) error {
	if os.Getenv("BENCH_IN_NETWORK") == "" {
		if err := f.publishCopy(); err != nil {
			return err
		}
		return inNetwork("cold")
	}
	w, err := newWAN(coldRoundTrip, coldMbit)
	if err != nil {
		return err
	}
	if name := os.Getenv("BENCH_TRACE"); name != "" { // every request, for those who want to make it faster
		trace, err := os.Create(name)
		if err != nil {
			return err
		}
		defer trace.Close()
		f.meter.trace = trace
	}
	profiles := filepath.Join(f.dir, "profiles")
	fmt.Printf("%s round trip, %d Mbit/s, %d runs each, medians\n", coldRoundTrip, coldMbit, coldRuns)
	for _, v := range []coldVariant{
		{name: "nothing ahead", prefetch: "{libraries: no, siblings: no, profiles: no, readahead: no}"},
		{name: "no profile", prefetch: "{profiles: no}"},
		{name: "recording a profile", keep: profiles},
		{name: "with that profile", profiles: profiles},
	} {
		if err := v.measure(f, w); err != nil {
			return fmt.Errorf("%s: %w", v.name, err)
		}
	}
	return packed(f, w)
}

// packed measures the start from a repository of flathub's that has the same image, without and with a pack.
func packed(f *fixture, w *wan) error {
	parent := os.Getenv("BENCH_COPY")
	own := *f
	own.repo, own.image = copyRepo, os.Getenv("BENCH_COPY_IMAGE")
	own.key = filepath.Join(parent, "hub", "keys", copyRepo+".pub")
	if err := os.Symlink(filepath.Join(parent, "srv", copyRepo), filepath.Join(f.storage, copyRepo)); err != nil {
		return err
	}
	profiles := filepath.Join(f.dir, "copy-profiles")
	if err := (coldVariant{name: "flathub's, recording", keep: profiles}).measure(&own, w); err != nil {
		return err
	}
	names, err := filepath.Glob(filepath.Join(profiles, "*"))
	if err != nil || len(names) != 1 {
		return fmt.Errorf("want one recorded profile, have %v, %w", names, err)
	}
	if err := command(filepath.Join(f.bin, "flathub"), "profile", "add", copyRepo, own.image, names[0]).run(); err != nil {
		return err
	}
	return (coldVariant{name: "flathub's, with a pack"}).measure(&own, w)
}

const copyRepo = "pack.example.org"

// publishCopy publishes the image once more with flathub, which must be done where the repository can be mounted.
func (f *fixture) publishCopy() error {
	dir, err := f.native()
	if err != nil {
		return err
	}
	if err := os.Setenv("FLATHUB_CONFIG", filepath.Join(f.dir, "hub")); err != nil {
		return err
	}
	hub, image := filepath.Join(f.bin, "flathub"), ".flat/ab/ab"+strings.Repeat("0", 62)
	if err := command(hub, "init", copyRepo, "--storage", filepath.Join(f.storage, copyRepo)).run(); err != nil {
		return err
	}
	if err := command(hub, "publish", copyRepo, "--from", dir, "--to", "/"+image).run(); err != nil {
		return err
	}
	return errors.Join(os.Setenv("BENCH_COPY", f.dir), os.Setenv("BENCH_COPY_IMAGE", image))
}

// coldVariant is one way to start cold.
type coldVariant struct {
	name     string
	prefetch string // configuration's section
	keep     string // where to put the profiles that were recorded
	profiles string // profiles to begin with
}

func (v coldVariant) measure(f *fixture, w *wan) error {
	var times []time.Duration
	var requests, bytes int64
	for range coldRuns {
		took, err := v.once(f, w)
		if err != nil {
			return err
		}
		times = append(times, took)
		requests, bytes = f.meter.requests.Load(), f.meter.bytes.Load()
	}
	best := coldRoundTrip*4 + time.Duration(float64(bytes*8)/(coldMbit*1e6)*float64(time.Second))
	fmt.Printf("%-22s %6.2f s (min %.2f)  %4d requests  %5.1f MB  limit of those bytes and 4 round trips %.2f s\n", v.name,
		median(times).Seconds(), slices.Min(times).Seconds(), requests, float64(bytes)/1e6, best.Seconds())
	return nil
}

// once starts with an empty cache and session.
func (v coldVariant) once(f *fixture, w *wan) (time.Duration, error) {
	dir, err := os.MkdirTemp(f.dir, "cold")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	cache := filepath.Join(dir, "cache")
	if v.profiles != "" {
		if err := os.CopyFS(filepath.Join(cache, "profiles"), os.DirFS(v.profiles)); err != nil {
			return 0, err
		}
	}
	config := filepath.Join(dir, "config.yaml")
	text := fmt.Sprintf(configText, f.repo, f.host, f.port, f.key, f.repo, cache, "1s")
	if v.prefetch != "" {
		text += "prefetch: " + v.prefetch + "\n"
	}
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		return 0, err
	}
	f.meter.reset()
	if f.meter.trace != nil {
		fmt.Fprintln(f.meter.trace, "#", v.name)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(f.bin, "flatrun"), "exec", "cvmfs://"+f.repo+"/"+f.image, "python3", "-c", "import numpy; print(numpy.__version__)")
	cmd.Env = append(os.Environ(), "FLATRUN_CONFIG="+config)
	out, err := os.Create(filepath.Join(dir, "out"))
	if err != nil {
		return 0, err
	}
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, out
	f.meter.began = time.Now()
	start := time.Now()
	if err := w.run(cmd); err != nil {
		said, _ := os.ReadFile(out.Name())
		return 0, fmt.Errorf("%w: %s", err, said)
	}
	took := time.Since(start)
	if f.meter.trace != nil {
		fmt.Fprintln(f.meter.trace, "# took", took)
	}
	if v.keep == "" {
		return took, nil
	}
	return took, keepProfiles(filepath.Join(cache, "profiles"), v.keep)
}

// keepProfiles waits for the session's end, which writes them, and takes them over.
func keepProfiles(from, to string) error {
	for range 600 {
		if names, err := os.ReadDir(from); err == nil && len(names) > 0 {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	os.RemoveAll(to)
	if err := os.CopyFS(to, os.DirFS(from)); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("no profile was recorded: %w", err)
	} else {
		return err
	}
}
