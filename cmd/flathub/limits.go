package main

import (
	"errors"
	"time"

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

// addDuration is DurationVar for times that cannot be negative: a deadline that has passed already deletes at once, and a
// pause without length asks without end.
func addDuration(f *pflag.FlagSet, d *time.Duration, name string, value time.Duration, usage string) {
	*d = value
	f.Var((*durationFlag)(d), name, usage)
}

type durationFlag time.Duration

// Set implements pflag.Value.
func (d *durationFlag) Set(text string) error {
	v, err := time.ParseDuration(text)
	if err == nil && v < 0 {
		err = errors.New("want 0s or more")
	}
	*d = durationFlag(v)
	return err
}

// Type implements pflag.Value.
func (*durationFlag) Type() string { return "duration" }

// String implements pflag.Value.
func (d *durationFlag) String() string { return time.Duration(*d).String() }
