// Package gpu finds what a container needs of the host's GPU driver: libraries, programs, files and devices.
//
// The user-space half of a driver must match the kernel's half, so it comes from the host and not from the image. What
// there is, is read off the host's loader cache; what of it fits the image, Select decides, a pure function:
//
//   - libraries of the image's architecture only, each under the name that programs ask for;
//   - none that needs a newer glibc than the image has, as it would end the program instead of helping it;
//   - none of the libglvnd front ends (libGL and the like) if the image has its own, which find the driver's part anyway.
package gpu

// LibraryDir is where the host's libraries appear in the container. It is last in LD_LIBRARY_PATH.
const LibraryDir = "/.singularity.d/libs"

// Vendor is what one maker's driver consists of. Libraries are named without their ending: "libcuda" stands for
// libcuda.so and libcuda.so.1. Paths may be patterns as of path/filepath.
type Vendor struct {
	Name      string
	Libraries []string
	Programs  []string // found on the host's PATH, placed in /usr/bin
	Dirs      []string // where programs are looked for besides
	Files     []string // placed where they are
	Devices   []string
	Probe     []string // any of these devices shows that there is a GPU
}

// NVIDIA is the driver that --nv brings in.
func NVIDIA() Vendor {
	return Vendor{
		Name: "nv",
		Libraries: append([]string{
			"libcuda", "libcudadebugger",
			"libnvidia-ml", "libnvidia-cfg", "libnvidia-nvvm", "libnvidia-nvvm70", "libnvidia-ptxjitcompiler", "libnvidia-fatbinaryloader", "libnvidia-gpucomp", "libnvidia-compiler",
			"libnvidia-opencl", "libOpenCL", "libnvidia-pkcs11", "libnvidia-pkcs11-openssl3", "libnvidia-sandboxutils",
			"libnvcuvid", "libnvidia-encode", "libnvidia-opticalflow", "libnvidia-fbc", "libnvidia-ifr", "libvdpau_nvidia",
			"libnvoptix", "libnvidia-rtcore", "libnvidia-ngx", "libnvidia-cbl",
			"libnvidia-glcore", "libnvidia-eglcore", "libnvidia-glsi", "libnvidia-tls", "libnvidia-glvkspirv", "libnvidia-allocator",
			"libnvidia-egl-wayland", "libnvidia-egl-gbm", "libnvidia-egl-xcb", "libnvidia-egl-xlib", "libnvidia-gtk2", "libnvidia-gtk3", "libnvidia-wayland-client", "libnvidia-wfb", "libnvidia-vksc-core",
			"libGLX_nvidia", "libEGL_nvidia", "libGLESv1_CM_nvidia", "libGLESv2_nvidia",
			// Tegra
			"libnvrm_gpu", "libnvrm_mem", "libnvrm_sync", "libnvrm_host1x", "libnvrm_chip", "libnvrm_surface", "libnvrm_stream", "libnvos", "libnvsocsys", "libnvtegrahv", "libnvsciipc", "libnvcucompat",
		}, frontEnds...),
		Programs: []string{"nvidia-smi", "nvidia-debugdump", "nvidia-persistenced", "nvidia-cuda-mps-control", "nvidia-cuda-mps-server"},
		Files: []string{
			"/usr/share/glvnd/egl_vendor.d/*nvidia.json", "/etc/glvnd/egl_vendor.d/*nvidia.json",
			"/usr/share/vulkan/icd.d/nvidia_*.json", "/etc/vulkan/icd.d/nvidia_*.json",
			"/usr/share/vulkan/implicit_layer.d/nvidia_*.json", "/etc/vulkan/implicit_layer.d/nvidia_*.json",
			"/usr/share/egl/egl_external_platform.d/*nvidia*.json",
			"/usr/share/nvidia/nvoptix.bin", "/usr/share/nvidia/files.d/*", "/etc/OpenCL/vendors/nvidia.icd",
			"/run/nvidia-persistenced/socket",
		},
		Devices: []string{"/dev/nvidia[0-9]*", "/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools", "/dev/nvidia-modeset", "/dev/nvidia-caps/*", "/dev/nvidia-caps-imex-channels/*", "/dev/nvmap", "/dev/nvhost-*", "/dev/dxg"},
		Probe:   []string{"/dev/nvidia[0-9]*", "/dev/nvidiactl", "/dev/nvmap", "/dev/dxg"}, // the last ones on Tegra and below Windows
	}
}

// ROCm is the driver that --rocm brings in.
func ROCm() Vendor {
	return Vendor{
		Name: "rocm",
		Libraries: []string{
			"libamd_comgr", "libcomgr", "libamdocl64", "libOpenCL", "libhsakmt", "libhsa-runtime64", "libhsa-runtime-tools64", "libhsa-amd-aqlprofile", "libhsa-amd-aqlprofile64",
			"libhsa-ext-image64", "libhc_am", "libmcwamp", "libCXLActivityLogger", "libroctx64", "librocm_smi64", "librocprofiler-register",
		},
		Programs: []string{"rocm-smi", "rocminfo"},
		Dirs:     []string{"/opt/rocm/bin"},
		Files:    []string{"/etc/OpenCL/vendors/amdocl64*.icd", "/usr/share/libdrm/amdgpu.ids"},
		Devices:  []string{"/dev/kfd", "/dev/dri/card*", "/dev/dri/renderD*"},
		Probe:    []string{"/dev/kfd"}, // a card alone may be anybody's
	}
}

// frontEnds are libglvnd's. They only pass calls on to the driver's own libraries, whichever version they are of.
var frontEnds = []string{"libGL", "libGLX", "libEGL", "libOpenGL", "libGLESv1_CM", "libGLESv2", "libGLdispatch"}
