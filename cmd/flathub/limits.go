package main

import (
	"errors"

	"github.com/spf13/pflag"

	units "github.com/flatrun/flatrun/mount/config/site"
	"github.com/flatrun/flatrun/unpacked/layer"
)

// layerFlags bound what is taken out of an archive.
type layerFlags struct{ maxLayer sizeFlag }

func (l *layerFlags) add(f *pflag.FlagSet) {
	l.maxLayer = sizeFlag{layer.DefaultMax}
	f.Var(&l.maxLayer, "max-layer", "refuse an archive or layer that comes to more, holes of sparse files included")
}

func (l *layerFlags) max() int64 { return int64(l.maxLayer.Size) }

// sizeFlag is a number of bytes as people write it, and not 0.
type sizeFlag struct{ units.Size }

// Set implements pflag.Value.
func (s *sizeFlag) Set(text string) (err error) {
	if s.Size, err = units.ParseSize(text); err == nil && s.Size == 0 {
		err = errors.New("want more than nothing")
	}
	return err
}

// Type implements pflag.Value.
func (*sizeFlag) Type() string { return "size" }
