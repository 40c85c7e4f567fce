package main

import (
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
