package gpu

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestHabana(t *testing.T) {
	root := t.TempDir()
	for _, name := range []string{
		"dev/accel/accel0", "dev/accel/accel1", "dev/accel/accel_controlD0", "dev/accel/accel12", "dev/infiniband/uverbs3", "dev/infiniband/uverbs4",
		"sys/class/infiniband/hbl_0/device/infiniband_verbs/uverbs3", "sys/class/infiniband/hbl_1/device/infiniband_verbs/uverbs9",
		"sys/class/infiniband/hlib_0/device/infiniband_verbs/uverbs4", "sys/class/infiniband/hbl_12/device/x",
	} {
		if err := os.MkdirAll(filepath.Join(root, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for visible, want := range map[string][]string{
		"all":   {"/dev/accel/accel0", "/dev/accel/accel1", "/dev/accel/accel12", "/dev/accel/accel_controlD0", "/dev/infiniband/uverbs3"},
		"0":     {"/dev/accel/accel0", "/dev/accel/accel_controlD0", "/dev/infiniband/uverbs3"},
		"1, 12": {"/dev/accel/accel1", "/dev/accel/accel12"},
		"":      {}, "7": {}, "none": {},
	} {
		got := Habana(visible, Places{Root: root})
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("%q: %v, want %v", visible, got, want)
		}
	}
	if got := Habana("all", Places{Root: t.TempDir()}); len(got) != 0 {
		t.Errorf("a host without: %v", got)
	}
}
