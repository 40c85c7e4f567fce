package session

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"strings"
	"time"

	"github.com/flatrun/flatrun/mount/beside"
	"github.com/flatrun/flatrun/mount/enter"
	"github.com/flatrun/flatrun/unpacked"
)

const (
	// maxThin bounds thin.json: a layer takes some 200 bytes of it.
	maxThin = 1 << 20
	// publisherPatience is how long a registry may take to give a thin image.
	publisherPatience = 30 * time.Second
)

// isThin tells the names that can only be thin images: a file's absolute path, an OCI layout or archive.
func (r *repositories) isThin(image string) bool {
	if strings.HasPrefix(image, "oci:") || strings.HasPrefix(image, "oci-archive:") {
		return true
	}
	if r.tree != nil && strings.HasPrefix(path.Clean(image), r.tree.dir+"/") {
		return false // served by this very process, which would wait for itself
	}
	info, err := os.Stat(image)
	return path.IsAbs(image) && err == nil && info.Mode().IsRegular()
}

// resolveThin finds the layers of a thin image. A file is read here; what has to be taken out of an image, flathub reads,
// which has the libraries for it and the user's credentials.
func (r *repositories) resolveThin(ctx context.Context, image string) (enter.Resolved, error) {
	found, err := r.findThin(ctx, image)
	if err != nil {
		return enter.Resolved{}, fmt.Errorf("image %s: %w", image, err)
	}
	return found, nil
}

func (r *repositories) findThin(ctx context.Context, image string) (enter.Resolved, error) {
	var text []byte
	var config json.RawMessage
	var err error
	if path.IsAbs(image) {
		text, err = readThin(image)
	} else {
		text, config, err = askPublisher(ctx, image)
	}
	if err != nil {
		return enter.Resolved{}, err
	}
	thin, err := unpacked.ParseThin(text)
	if err != nil {
		return enter.Resolved{}, err
	}
	return r.stack(ctx, thin, config)
}

func readThin(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxThin+1))
	if err == nil && len(text) > maxThin {
		err = fmt.Errorf("larger than %d bytes: no thin image", maxThin)
	}
	return text, err
}

// stack finds the directories of the layers, the base first.
func (r *repositories) stack(ctx context.Context, thin *unpacked.Thin, config json.RawMessage) (enter.Resolved, error) {
	var places []imagePlace
	for i, l := range thin.Stack() {
		fqrn, dir, err := l.Location()
		if err != nil {
			return enter.Resolved{}, err
		}
		at, err := r.follow(ctx, fqrn, dir)
		if errors.Is(err, fs.ErrNotExist) {
			return enter.Resolved{}, fmt.Errorf("layer %d: repository %s has no %s: was the image removed from it?", i, fqrn, dir)
		}
		if err != nil {
			return enter.Resolved{}, fmt.Errorf("layer %d: %w", i, err)
		}
		if mode, _, err := at.view.stat(ctx, at.where.InRepo); err != nil || mode != fs.ModeDir {
			return enter.Resolved{}, errors.Join(fmt.Errorf("layer %d: %s is no directory", i, at.where.Path), err)
		}
		places = append(places, at)
	}
	base := places[0]
	for _, at := range places[1:] {
		base.where.Layers = append(base.where.Layers, at.where.Path)
	}
	if base.where.Config = config; config == nil {
		base.where.Config = thinConfig(ctx, base.view, thin.Origin)
	}
	return base.where, nil
}

// thinConfig is the configuration of the image that thin.json describes, as far as the repository of its layers has it:
// flathub files it by the image's name, DUCC by the digest that its manifest tells. Without it the image runs all the same.
func thinConfig(ctx context.Context, v view, origin string) json.RawMessage {
	ref, err := unpacked.ParseReference(origin, "")
	if err != nil {
		return nil
	}
	dir := path.Join(unpacked.Metadata, ref.String())
	if text, err := v.read(ctx, dir+"/config.json", maxConfig); err == nil && json.Valid(text) {
		return text
	}
	var manifest struct{ Config struct{ Digest string } }
	text, err := v.read(ctx, dir+"/manifest.json", maxConfig)
	if err != nil || json.Unmarshal(text, &manifest) != nil {
		return nil
	}
	id, err := unpacked.ParseDigest(manifest.Config.Digest)
	if err != nil {
		return nil
	}
	if text, err = v.read(ctx, podmanConfig(id), maxConfig); err != nil || !json.Valid(text) {
		return nil
	}
	return text
}

// askPublisher has flathub take thin.json and the configuration out of an image.
func askPublisher(ctx context.Context, image string) (thin []byte, config json.RawMessage, err error) {
	program, err := findPublisher()
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, publisherPatience)
	defer cancel()
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(ctx, program, "thin", "show", "--json", "--", image)
	cmd.Stdout, cmd.Stderr = &out, &errs
	cmd.WaitDelay = time.Second
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return nil, nil, fmt.Errorf("no answer within %s", publisherPatience)
		}
		if text := strings.TrimPrefix(strings.TrimSpace(errs.String()), "flathub: "); text != "" {
			err = errors.New(text)
		}
		return nil, nil, err
	}
	var answer struct{ Thin, Config json.RawMessage }
	if err := json.Unmarshal(out.Bytes(), &answer); err != nil {
		return nil, nil, fmt.Errorf("understand flathub thin show: %w", err)
	}
	return answer.Thin, answer.Config, nil
}

// findPublisher looks for flathub beside this program, in the bin directory that ../libexec/flatrun belongs to, and on
// PATH.
func findPublisher() (string, error) {
	if p, err := beside.Find("flathub", ".", "../../bin"); err == nil {
		return p, nil
	}
	return "", errors.New("thin images in registries and archives are read by flathub, which is neither beside flatrun-session nor on PATH: install it, or give the file thin.json")
}

// fromRegistry is what becomes of a docker:// name that no repository has: a thin image, perhaps.
func (r *repositories) fromRegistry(ctx context.Context, image string, missing error) (enter.Resolved, error) {
	found, err := r.findThin(ctx, image)
	if err != nil {
		return found, fmt.Errorf("%w; nor a thin image: %w", missing, err)
	}
	return found, nil
}
