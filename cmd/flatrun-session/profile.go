package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/flatrun/flatrun/cmd/show"
	"github.com/flatrun/flatrun/mount/cas"
	"github.com/flatrun/flatrun/mount/config"
	"github.com/flatrun/flatrun/mount/prefetch"
	"github.com/flatrun/flatrun/mount/session"
)

// runProfile shows and moves start-up profiles.
func runProfile(ctx context.Context, c *call) error {
	settings, err := c.settings()
	if err != nil {
		return err
	}
	switch verb := c.args[0]; {
	case verb == "show" && len(c.args) == 2:
		return c.showProfile(ctx, settings)
	case verb == "export" && len(c.args) == 3:
		return exportProfile(ctx, settings, c.args[1], c.args[2])
	case verb == "import" && len(c.args) == 2:
		return importProfile(settings, c.args[1])
	case verb == "keep" && len(c.args) == 3:
		return keepProfiles(settings, prefetch.Profiles(c.args[1]), c.args[2])
	}
	return errors.New("usage: flatrun-session profile show IMAGE | export IMAGE FILE | import FILE | keep DIR RUNTIME-DIR")
}

func (c *call) showProfile(ctx context.Context, settings *config.Config) error {
	p, err := session.Profile(ctx, settings, c.args[1], nil)
	if err != nil {
		return err
	}
	type line struct {
		Hash string `json:"hash"`
		Kind string `json:"kind"`
		Size int64  `json:"size"`
	}
	lines := []line{}
	total := int64(0)
	for _, o := range p.Objects {
		kind := map[cas.Suffix]string{cas.PartialSuffix: "chunk", cas.CatalogSuffix: "catalog"}[o.Suffix]
		if kind == "" {
			kind = "file"
		}
		lines = append(lines, line{o.Hash.String(), kind, o.Size})
		total += max(o.Size, 0)
	}
	if c.json {
		return printJSON(lines)
	}
	for _, l := range lines {
		fmt.Printf("%-8s %10d  %s\n", l.Kind, l.Size, l.Hash)
	}
	fmt.Printf("%d objects, %s\n", len(lines), show.Size(total))
	return nil
}

func exportProfile(ctx context.Context, settings *config.Config, image, file string) error {
	p, err := session.Profile(ctx, settings, image, nil)
	if err != nil {
		return err
	}
	if file == "-" {
		_, err = os.Stdout.Write(p.Marshal())
		return err
	}
	return os.WriteFile(file, p.Marshal(), 0o644)
}

func importProfile(settings *config.Config, file string) error {
	in := io.Reader(os.Stdin)
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return err
		}
		defer f.Close()
		in = f
	}
	text, err := io.ReadAll(io.LimitReader(in, prefetch.MaxProfile+1))
	if err != nil {
		return err
	}
	p, err := prefetch.ParseProfile(text)
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	if p.Image.IsZero() {
		return fmt.Errorf("%s: it does not say of which image it is; export it with flatrun profile export", file)
	}
	return mergeProfile(settings, p.Image, p)
}

// mergeProfile adds to the profile that there is: another command of the image reads other things.
func mergeProfile(settings *config.Config, image cas.Hash, p *prefetch.Profile) error {
	kept := session.Profiles(settings.Cache.Dir)
	old, err := kept.Load(image)
	if errors.Is(err, fs.ErrNotExist) {
		return kept.Save(image, p)
	}
	if err != nil {
		return err
	}
	old.Merge(p)
	return kept.Save(image, old)
}

// keepPatience is how long the session that recorded may take to end.
const keepPatience = 20 * time.Second

// keepProfiles takes over what a session below the runtime directory has recorded, which it writes when it ends.
func keepProfiles(settings *config.Config, from prefetch.Profiles, runtime string) error {
	for end := time.Now().Add(keepPatience); running(runtime) && time.Now().Before(end); {
		time.Sleep(20 * time.Millisecond)
	}
	files, err := filepath.Glob(filepath.Join(string(from), "*"))
	if err != nil {
		return err
	}
	if len(files) == 0 {
		return errors.New("nothing was recorded: the image's start reads too little, or the repository has a pack for it already")
	}
	for _, f := range files {
		image, err := cas.ParseHash(filepath.Base(f))
		if strings.HasPrefix(filepath.Base(f), ".") || err != nil {
			continue // not whole
		}
		p, err := from.Load(image)
		if err != nil {
			return err
		}
		if err := mergeProfile(settings, image, p); err != nil {
			return err
		}
		fmt.Fprintf(os.Stderr, "recorded %d objects\n", len(p.Objects))
	}
	return nil
}

// running tells whether a session below the runtime directory has not ended: its log goes last.
func running(runtime string) bool {
	logs, err := filepath.Glob(filepath.Join(runtime, "flatrun", "*", "log"))
	return err == nil && len(logs) > 0
}
