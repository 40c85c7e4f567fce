package main

import (
	"bytes"
	"debug/elf"
	endian "encoding/binary"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/flatrun/flatrun/runtime"
	"github.com/flatrun/flatrun/runtime/gpu"
)

func TestDriverBinds(t *testing.T) {
	s := gpu.Selection{
		Libraries: []gpu.Bind{{Source: "/usr/lib/libcuda.so.1", Target: gpu.LibraryDir + "/libcuda.so.1"}},
		Programs:  []gpu.Bind{{Source: "/opt/bin/nvidia-smi", Target: "/usr/bin/nvidia-smi"}},
		Devices:   []string{"/dev/nvidia0"},
	}
	want := []runtime.Bind{
		{Source: "/usr/lib/libcuda.so.1", Target: gpu.LibraryDir + "/libcuda.so.1", ReadOnly: true, Weak: true, Origin: "--nv"},
		{Source: "/opt/bin/nvidia-smi", Target: "/usr/bin/nvidia-smi", ReadOnly: true, Weak: true, Origin: "--nv"},
	}
	if got := driverBinds(s, "--nv", false); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v", got)
	}
	want = append(want, runtime.Bind{Source: "/dev/nvidia0", Weak: true, Origin: "--nv"})
	if got := driverBinds(s, "--nv", true); !reflect.DeepEqual(got, want) {
		t.Errorf("with --contain: got %+v", got)
	}
}

// makeDriver makes a directory with what a host with a GPU has: see
// testdata/frontend/resources.txt.
func makeDriver(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	cache, err := os.ReadFile("../../runtime/gpu/testdata/debian12-nvidia.cache")
	if err != nil {
		t.Fatal(err)
	}
	addFiles(t, dir, map[string]string{
		"cache": string(cache), "device": "device\n", "smi": "#!/bin/sh\necho driver\n", "cdi/a.json": cdiJSON(dir), "cdi/b.yaml": cdiYAML,
		"lib/libcuda.so.1": emptyLibrary(t), "lib/libnvidia-ml.so.1": emptyLibrary(t), "lib/libGL.so.1": emptyLibrary(t), "lib/libOpenCL.so.1": "no library",
	})
	return dir
}

// emptyLibrary is the header of an ELF file of this machine, which is all that
// is looked at.
func emptyLibrary(t *testing.T) string {
	t.Helper()
	self, err := elf.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer self.Close()
	h := elf.Header64{Type: uint16(elf.ET_DYN), Machine: uint16(self.Machine), Version: uint32(elf.EV_CURRENT), Ehsize: 64, Phentsize: 56, Shentsize: 64}
	copy(h.Ident[:], elf.ELFMAG)
	h.Ident[elf.EI_CLASS], h.Ident[elf.EI_DATA], h.Ident[elf.EI_VERSION] = byte(self.Class), byte(self.Data), byte(elf.EV_CURRENT)
	var b bytes.Buffer
	if err := endian.Write(&b, self.ByteOrder, h); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func cdiJSON(dir string) string {
	return `{"cdiVersion": "0.5.0", "kind": "example.org/gpu", "devices": [{"name": "0", "containerEdits": {
		"deviceNodes": [{"path": "/dev/example0", "hostPath": "` + filepath.Join(dir, "device") + `"}], "env": ["EXAMPLE=zero"],
		"mounts": [{"hostPath": "` + filepath.Join(dir, "smi") + `", "containerPath": "/opt/example.sh", "options": ["ro"]}]}}],
		"containerEdits": {"hooks": [{"hookName": "createContainer", "path": "/usr/bin/ctk"}]}}`
}

const cdiYAML = `cdiVersion: "0.6.0"
kind: example.org/yaml
devices:
  - name: all
    containerEdits:
      env: [EXAMPLE=from yaml]
`

// TestOnce: of many ranks the first one warns.
func TestOnce(t *testing.T) {
	for environ, want := range map[string]bool{"": true, "PMI_RANK=0": true, "OMPI_COMM_WORLD_RANK=3": false, "SLURM_PROCID=17": false} {
		var b bytes.Buffer
		p := newProgram("flatrun", []string{environ})
		p.log = newMessages(&b)
		(&container{program: p}).once("left out")
		if (b.Len() > 0) != want {
			t.Errorf("%q: %q", environ, b.String())
		}
	}
}
