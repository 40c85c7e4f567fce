package show

import "fmt"

// Size is a number of bytes with three digits, in decimal units.
func Size(n int64) string {
	units := [...]string{"B", "kB", "MB", "GB", "TB", "PB", "EB"}
	f, i := float64(n), 0
	for f >= 999.5 && i < len(units)-1 { // what three digits would round up to 1000
		f, i = f/1000, i+1
	}
	if i == 0 {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.3g %s", f, units[i])
}
