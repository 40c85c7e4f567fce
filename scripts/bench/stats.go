package main

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"text/tabwriter"
	"time"
)

// variant is one way to do the measured thing.
type variant struct {
	name string
	once func() error
}

// interleave runs every variant in turn, rounds times after one unmeasured round, and prints median and minimum in
// milliseconds and the ratio of both to those of the first variant.
func interleave(rounds int, variants ...variant) error {
	times := make([][]time.Duration, len(variants))
	for r := -1; r < rounds; r++ {
		for i, v := range variants {
			start := time.Now()
			if err := v.once(); err != nil {
				return fmt.Errorf("%s: %w", v.name, err)
			}
			if r >= 0 {
				times[i] = append(times[i], time.Since(start))
			}
		}
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "%d rounds\tmedian ms\tmin ms\tx median\tx min\n", rounds)
	for i, v := range variants {
		fmt.Fprintf(w, "%s\t%.2f\t%.2f\t%.2f\t%.2f\n", v.name, ms(median(times[i])), ms(slices.Min(times[i])),
			ratio(median(times[i]), median(times[0])), ratio(slices.Min(times[i]), slices.Min(times[0])))
	}
	return w.Flush()
}

func median(d []time.Duration) time.Duration {
	s := slices.Sorted(slices.Values(d))
	return s[len(s)/2]
}

func ms(d time.Duration) float64                     { return float64(d.Microseconds()) / 1000 }
func ratio(a, b time.Duration) float64               { return float64(a) / float64(b) }
func have(program string) bool                       { _, err := exec.LookPath(program); return err == nil }
func command(name string, args ...string) variantRun { return variantRun{name, args} }

// variantRun is a command line as a variant: output is dropped, failure shows it.
type variantRun struct {
	name string
	args []string
}

func (v variantRun) run() error {
	out, err := exec.Command(v.name, v.args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}
