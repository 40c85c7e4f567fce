package main

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/spf13/pflag"

	"github.com/flatrun/flatrun/unpacked"
	"github.com/flatrun/flatrun/unpacked/convert"
	"github.com/flatrun/flatrun/unpacked/publish"
)

// sourceFlags say where images come from.
type sourceFlags struct {
	platforms []string
	plainHTTP bool
	mirrors   []string
	registry  string
}

func (s *sourceFlags) add(f *pflag.FlagSet) {
	f.StringSliceVar(&s.platforms, "platform", nil, "platforms, comma-separated; the plain name leads to the first (default: this machine's)")
	f.BoolVar(&s.plainHTTP, "plain-http", false, "speak to registries without TLS")
	f.StringSliceVar(&s.mirrors, "mirror", nil, "REGISTRY=HOST: ask HOST first; repeatable")
	f.StringVar(&s.registry, "registry", "", "registry of short names (default: Docker Hub)")
}

func (s *sourceFlags) source(verb string) (convert.Source, error) {
	src := convert.Source{Platforms: s.platforms, PlainHTTP: s.plainHTTP, DefaultRegistry: s.registry, Mirrors: map[string][]string{}}
	for _, m := range s.mirrors {
		from, host, ok := strings.Cut(m, "=")
		if !ok {
			return src, usageError{verb, fmt.Sprintf("mirror %q: want REGISTRY=HOST", m)}
		}
		src.Mirrors[from] = append(src.Mirrors[from], host)
	}
	if err := src.Check(); err != nil {
		return src, usageError{verb, err.Error()}
	}
	return src, nil
}

// convertOptions are the flags of convert.
type convertOptions struct {
	place
	commitFlags
	sourceFlags
	layerFlags
	name  string
	thin  string
	again bool
}

func convertVerb() verb {
	var o convertOptions
	return verb{
		name: "convert", operands: "[FQRN] IMAGE …", min: 1, max: -1,
		short: "publish container images: layers, flat trees, thin images, names",
		long: `
IMAGE is a name in a registry (docker://debian:stable, debian:stable, https://host/name:tag), an
OCI layout (oci:DIR[:TAG]), an archive of one (oci-archive:FILE[:TAG]) or what docker save writes
(docker-archive:FILE). All images of a call become one revision. Layers that the repository has
are not downloaded. Credentials are those of docker login and podman login. FQRN may be left out
where the configuration knows one repository only.`,
		examples: `
flathub convert images.example.org docker://debian:stable docker://python:3.12
flathub convert images.example.org oci:build/oci:3 --name registry.example.org/team/app:3
flathub convert images.example.org debian:stable --platform linux/amd64,linux/arm64`,
		flags: func(f *pflag.FlagSet) {
			f.StringVar(&o.name, "name", "", "REGISTRY/NAME:TAG that the image is to have in the repository")
			f.StringVar(&o.thin, "thin", "", "REGISTRY/NAME:TAG to push the thin image to")
			f.BoolVar(&o.again, "again", false, "convert what is there, too")
			o.sourceFlags.add(f)
			o.layerFlags.add(f)
			o.commitFlags.add(f)
			o.place.addWriter(f)
		},
		run: func(ctx context.Context, a *app, args []string) error {
			fqrn, refs, err := a.repositoryAndImages(args, o.place)
			if err != nil {
				return err
			}
			if (o.name != "" || o.thin != "") && len(refs) > 1 {
				return usageError{"convert", "--name and --thin go with one image"}
			}
			return a.convert(ctx, fqrn, refs, o)
		},
	}
}

// repositoryAndImages tells whether the first operand is the repository.
func (a *app) repositoryAndImages(args []string, p place) (fqrn string, refs []string, err error) {
	if publish.CheckPublishable(args[0]) == nil {
		if _, err = a.find(args[0], p); err == nil || len(args) > 1 {
			if len(args) == 1 {
				return "", nil, usageError{"convert", "convert needs an IMAGE after the repository"}
			}
			return args[0], args[1:], err
		}
	}
	known := a.configured()
	if len(known) != 1 {
		return "", nil, usageError{"convert", fmt.Sprintf("the configuration knows %d repositories: name the one to convert into before the image", len(known))}
	}
	return known[0].FQRN, args, nil
}

func (a *app) convert(ctx context.Context, fqrn string, refs []string, o convertOptions) error {
	r, err := a.find(fqrn, o.place)
	if err != nil {
		return err
	}
	source, err := o.source("convert")
	if err != nil {
		return err
	}
	if err := o.checkThin(refs[0]); err != nil {
		return err
	}
	start := time.Now()
	tx, err := a.begin(ctx, r)
	if err != nil {
		return err
	}
	defer tx.Abort()
	p := a.progress()
	watch := a.layerMeters(p)
	c := &convert.Converter{Tx: tx, FQRN: fqrn, Again: o.again, ForThin: o.thin != "", MaxLayer: o.max(), Progress: watch.update}
	defer c.Close()
	var results []convert.Result
	var images []convert.Image
	for _, ref := range refs {
		var made []convert.Result
		if images, err = source.Open(ctx, ref, o.name); err == nil {
			made, err = c.Convert(ctx, images)
		}
		if err != nil {
			watch.end()
			p.wait()
			return err
		}
		results = append(results, made...)
	}
	watch.end()
	p.wait()
	push, err := o.pusher(c, source, images)
	if err != nil {
		return err
	}
	m, err := tx.Commit(ctx, o.commitFlags.options())
	if err != nil {
		return fmt.Errorf("convert: %w", err)
	}
	if err := push(ctx); err != nil {
		return fmt.Errorf("revision %d of %s is published; without its thin image: %w", m.Revision, fqrn, err)
	}
	if a.json {
		return a.print(map[string]any{"fqrn": fqrn, "revision": m.Revision, "images": results, "seconds": time.Since(start).Seconds()}, "")
	}
	for _, res := range results {
		fmt.Fprint(a.out, describeResult(res))
	}
	return a.published(fqrn, m, &tx.Stats, time.Since(start))
}

// checkThin looks at the thin image's name before anything is converted.
func (o *convertOptions) checkThin(image string) error {
	if o.thin == "" || convert.IsLocal(image) {
		return nil
	}
	of, err := unpacked.ParseReference(image, o.registry)
	if err != nil {
		return err
	}
	to, err := unpacked.ParseReference(o.thin, o.registry)
	if err != nil {
		return err
	}
	return convert.CheckThin(of, to)
}

// pusher pushes the thin image of what was converted, where one is asked for. It is made while the transaction lasts and
// pushed when the layers that it names are published.
func (o *convertOptions) pusher(c *convert.Converter, source convert.Source, images []convert.Image) (func(context.Context) error, error) {
	if o.thin == "" {
		return func(context.Context) error { return nil }, nil
	}
	to, err := unpacked.ParseReference(o.thin, o.registry)
	if err != nil {
		return nil, err
	}
	thin, err := c.MakeThin(images[0])
	return func(ctx context.Context) error { return source.Push(ctx, thin, to) }, err
}

func describeResult(r convert.Result) string {
	if r.Unchanged {
		return fmt.Sprintf("%s (%s): unchanged\n", r.Image, r.Platform)
	}
	return fmt.Sprintf("%s (%s): %d layers, %d of them new, at %s\n", r.Image, r.Platform, r.Layers, r.NewLayers, r.Path)
}

// layerMeters shows a bar for each layer that is being read, and one for all from the second on.
type layerMeters struct {
	p         *progress
	mu        sync.Mutex
	meters    map[unpacked.Digest]*meter
	all       *meter // nil while there is one layer
	size, sum int64  // of those that have begun
}

func (a *app) layerMeters(p *progress) *layerMeters {
	return &layerMeters{p: p, meters: map[unpacked.Digest]*meter{}}
}

func (l *layerMeters) update(n convert.Progress) {
	l.mu.Lock()
	defer l.mu.Unlock()
	m := l.meters[n.Layer]
	if m == nil {
		if n.Done {
			return // found in the repository
		}
		m = l.p.bytes("layer "+n.Layer.Hex()[:12], n.Size)
		l.meters[n.Layer] = m
		l.begun(n.Size)
	}
	l.sum += n.Read - m.value.Load()
	m.set(n.Read)
	if l.all != nil {
		l.all.set(l.sum)
	}
	if n.Done {
		m.end()
	}
}

// begun counts one more layer.
func (l *layerMeters) begun(size int64) {
	l.size += size
	switch {
	case l.all != nil:
		l.all.grow(l.size)
	case len(l.meters) > 1:
		l.all = l.p.total("in all", l.size)
	}
}

func (l *layerMeters) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.all != nil {
		l.all.end()
	}
	for _, m := range l.meters {
		m.end()
	}
}
