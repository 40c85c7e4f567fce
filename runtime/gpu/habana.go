package gpu

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Habana lists the devices of Intel's Gaudi accelerators: their own, and those of the network cards that belong to them.
// visible is a comma list of their numbers, "all" for all of them. Their libraries are the image's.
func Habana(visible string, places Places) []string {
	devices := visibleOnly(existing(places.Root, []string{"/dev/accel/accel*"}), visible)
	cards := existing(places.Root, []string{"/sys/class/infiniband/hbl_*"})
	if len(cards) == 0 { // the name of older drivers
		cards = existing(places.Root, []string{"/sys/class/infiniband/hlib_*"})
	}
	for _, card := range visibleOnly(cards, visible) {
		verbs, err := os.ReadDir(places.Root + filepath.Join(card, "device/infiniband_verbs"))
		if err != nil || len(verbs) == 0 {
			continue
		}
		devices = append(devices, existing(places.Root, []string{"/dev/infiniband/" + verbs[0].Name()})...)
	}
	return devices
}

// visibleOnly are the paths that end in a number of the list.
func visibleOnly(paths []string, visible string) []string {
	if strings.EqualFold(visible, "all") {
		return paths
	}
	numbers := strings.Split(strings.ReplaceAll(visible, " ", ""), ",")
	return slices.DeleteFunc(paths, func(p string) bool {
		number := p[len(strings.TrimRight(p, "0123456789")):]
		return number == "" || !slices.Contains(numbers, number)
	})
}
