package gpu

import (
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// The recordings in testdata are loader caches that ldconfig wrote over libraries made for the purpose: .cache is the file,
// .txt what ldconfig -p says of it, .objects each library's path, class, machine and newest glibc version needed.

func recording(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func inventory(t *testing.T, v Vendor, name string) Inventory {
	t.Helper()
	all, err := ParseCache(recording(t, name+".cache"))
	if err != nil {
		t.Fatal(err)
	}
	host := Inventory{Libraries: wanted(v, all), Objects: map[string]Object{}}
	objects, err := os.ReadFile(filepath.Join("testdata", strings.TrimSuffix(name, "-compat")+".objects"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(objects)) {
		var path string
		var class, machine int
		var o Object
		if _, err := fmt.Sscanf(line, "%s %d %d %d.%d", &path, &class, &machine, &o.Needs.Major, &o.Needs.Minor); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		o.Arch = Arch{elf.Class(class), elf.Machine(machine)}
		host.Objects[path] = o
	}
	return host
}

// TestParseCache compares with what ldconfig itself reads.
func TestParseCache(t *testing.T) {
	for _, name := range []string{"debian12-nvidia", "debian12-nvidia-compat", "el9-rocm", "none"} {
		got, err := ParseCache(recording(t, name+".cache"))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		want := parseListing(string(recording(t, name+".txt")))
		for i := range got { // a listing says that there are features, not which
			got[i].Hwcap = min(got[i].Hwcap, 1)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s:\n%v\nwant\n%v", name, got, want)
		}
	}
}

func TestParseCacheRefuses(t *testing.T) {
	good := recording(t, "none.cache")
	change := func(at int, b byte) []byte {
		data := slices.Clone(good)
		data[at] = b
		return data
	}
	for name, data := range map[string][]byte{
		"empty": nil, "text": []byte("include /etc/ld.so.conf.d/*.conf"), "header cut": good[:40], "entries cut": good[:60],
		"too many entries": change(23, 0x7f), "invalid": change(28, 1), "name outside": change(cacheHeader+7, 0x7f), "unterminated": good[:cacheHeader+cacheEntry+8],
	} {
		if all, err := ParseCache(data); !errors.Is(err, ErrCache) {
			t.Errorf("%s: %v, %v", name, all, err)
		}
	}
}

var (
	amd64   = Arch{elf.ELFCLASS64, elf.EM_X86_64}
	i386    = Arch{elf.ELFCLASS32, elf.EM_386}
	aarch64 = Arch{elf.ELFCLASS64, elf.EM_AARCH64}
)

func TestSelect(t *testing.T) {
	const host = "debian12-nvidia"
	plain := "libnvidia-glcore.so.535.183.01 libnvidia-ml.so.1 libcuda.so.1 libOpenCL.so.1 libGLX_nvidia.so.0"
	front := " libGL.so.1 libGLX.so.0 libGLdispatch.so.0 libEGL.so.1"
	for _, tt := range []struct {
		name, host string
		vendor     Vendor
		image      Image
		want       string
		tooNew     string
		needs      Version
	}{
		{"same age", host, NVIDIA(), Image{Arch: amd64, Glibc: Version{2, 36}}, plain + " libnvidia-ptxjitcompiler.so.1 libnvidia-opencl.so.1" + front, "", Version{}},
		{"image without glibc", host, NVIDIA(), Image{Arch: amd64}, plain + " libnvidia-ptxjitcompiler.so.1 libnvidia-opencl.so.1" + front, "", Version{}},
		{"own front ends", host, NVIDIA(), Image{Arch: amd64, Glibc: Version{2, 36}, GLVND: true}, plain + " libnvidia-ptxjitcompiler.so.1 libnvidia-opencl.so.1", "", Version{}},
		{"older image", host, NVIDIA(), Image{Arch: amd64, Glibc: Version{2, 35}}, plain + " libnvidia-ptxjitcompiler.so.1" + front, "libnvidia-opencl.so.1", Version{2, 36}},
		{"old image", host, NVIDIA(), Image{Arch: amd64, Glibc: Version{2, 17}}, plain, "libnvidia-ptxjitcompiler.so.1 libnvidia-opencl.so.1" + front, Version{2, 36}},
		{"old image with front ends", host, NVIDIA(), Image{Arch: amd64, Glibc: Version{2, 17}, GLVND: true}, plain, "libnvidia-ptxjitcompiler.so.1 libnvidia-opencl.so.1", Version{2, 36}},
		{"32 bits", host, NVIDIA(), Image{Arch: i386, Glibc: Version{2, 36}}, "libnvidia-ml.so.1 libcuda.so.1", "", Version{}},
		{"other processor", host, NVIDIA(), Image{Arch: aarch64}, "", "", Version{}},
		{"other vendor", host, ROCm(), Image{Arch: amd64}, "libOpenCL.so.1", "", Version{}},
		{"rocm", "el9-rocm", ROCm(), Image{Arch: amd64, Glibc: Version{2, 28}}, "libhsa-runtime64.so.1 libamd_comgr.so.2", "libamdocl64.so", Version{2, 34}},
		{"no GPU", "none", NVIDIA(), Image{Arch: amd64, Glibc: Version{2, 36}}, "", "", Version{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := Select(tt.vendor, inventory(t, tt.vendor, tt.host), tt.image)
			var names []string
			for _, b := range s.Libraries {
				names = append(names, strings.TrimPrefix(b.Target, LibraryDir+"/"))
				if i386 := strings.Contains(b.Source, "i386"); i386 != (tt.image.Arch == Arch{elf.ELFCLASS32, elf.EM_386}) || strings.Contains(b.Source, "hwcaps") {
					t.Errorf("%s comes from %s", b.Target, b.Source)
				}
			}
			compare := func(what string, got []string, want string) {
				words := strings.Fields(want)
				slices.Sort(got)
				slices.Sort(words)
				if !slices.Equal(got, words) {
					t.Errorf("%s are %v, want %v", what, got, words)
				}
			}
			compare("libraries", names, tt.want)
			compare("left out", s.TooNew, tt.tooNew)
			if s.Needs != tt.needs {
				t.Errorf("needs %v, want %v", s.Needs, tt.needs)
			}
		})
	}
}

func TestSelectOther(t *testing.T) {
	host := Inventory{Programs: []string{"/opt/rocm/bin/rocm-smi"}, Files: []string{"/etc/x.json"}, Devices: []string{"/dev/kfd"}}
	want := Selection{Programs: []Bind{{"/opt/rocm/bin/rocm-smi", "/usr/bin/rocm-smi"}}, Files: []Bind{{"/etc/x.json", "/etc/x.json"}}, Devices: []string{"/dev/kfd"}}
	if got := Select(ROCm(), host, Image{}); !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
	if got := Select(ROCm(), Inventory{Files: []string{"/etc/x.json"}}, Image{}); !got.Empty() || got.Files != nil {
		t.Errorf("a lone file passes for a driver: %+v", got)
	}
}

// TestListsHaveNoEndings: an ending in the lists would match nothing.
func TestListsHaveNoEndings(t *testing.T) {
	for _, v := range []Vendor{NVIDIA(), ROCm()} {
		for i, name := range v.Libraries {
			if strings.Contains(name, ".so") || slices.Contains(v.Libraries[i+1:], name) {
				t.Errorf("%s: %s", v.Name, name)
			}
		}
	}
}

// TestLook finds a driver that is laid out in a directory.
func TestLook(t *testing.T) {
	root := t.TempDir()
	for _, name := range []string{"/dev/nvidia0", "/dev/nvidiactl", "/dev/nvidia-caps/nvidia-cap1", "/dev/nvme0", "/bin/nvidia-smi", "/usr/share/vulkan/icd.d/nvidia_icd.json"} {
		file := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, nil, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	places := Places{Cache: "testdata/debian12-nvidia.cache", Path: filepath.Join(root, "bin") + ":relative", Root: root}
	host, err := Look(NVIDIA(), places)
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"/dev/nvidia0", "/dev/nvidiactl", "/dev/nvidia-caps/nvidia-cap1"}; !slices.Equal(host.Devices, want) {
		t.Errorf("devices %v, want %v", host.Devices, want)
	}
	if want := []string{filepath.Join(root, "bin/nvidia-smi")}; !slices.Equal(host.Programs, want) {
		t.Errorf("programs %v, want %v", host.Programs, want)
	}
	if want := []string{"/usr/share/vulkan/icd.d/nvidia_icd.json"}; !slices.Equal(host.Files, want) {
		t.Errorf("files %v, want %v", host.Files, want)
	}
	if len(host.Libraries) < 10 {
		t.Errorf("libraries %v", host.Libraries)
	}
	if !HasDevice(NVIDIA(), places) || HasDevice(ROCm(), places) {
		t.Error("HasDevice")
	}
	if host, err := Look(NVIDIA(), Places{Cache: filepath.Join(root, "none"), Path: "/none", Root: "/none"}); err != nil || len(host.Libraries) > 0 {
		t.Errorf("host without a loader: %+v, %v", host, err)
	}
	if _, err := Look(NVIDIA(), Places{Cache: "gpu.go"}); err == nil || !strings.Contains(err.Error(), "gpu.go") {
		t.Errorf("file that is no cache: %v", err)
	}
}

// TestReadObject reads the C library of this machine and compares with what it says of itself.
func TestReadObject(t *testing.T) {
	out, err := exec.Command("getconf", "GNU_LIBC_VERSION").Output()
	if err != nil {
		t.Skipf("no glibc here: %v", err)
	}
	var major, minor int
	if _, err := fmt.Sscanf(string(out), "glibc %d.%d", &major, &minor); err != nil {
		t.Skipf("glibc version %q", out)
	}
	image := LookInto("/")
	if want := (Version{major, minor}); image.Glibc != want {
		t.Errorf("glibc %v, want %v", image.Glibc, want)
	}
	if image.Arch == (Arch{}) {
		t.Error("unknown architecture")
	}
	all, err := loaderCache("")
	if err != nil {
		t.Fatal(err)
	}
	if i := slices.IndexFunc(all, func(l Library) bool { return l.Name == "libc.so.6" }); i >= 0 {
		if o, err := ReadFile(all[i].Path); err != nil || o.Name != "libc.so.6" {
			t.Errorf("%s: %+v, %v", all[i].Path, o, err)
		}
	}
	if o, err := ReadFile("testdata/none.cache"); err == nil {
		t.Errorf("a loader cache passes for a library: %+v", o)
	}
}

func TestLookInto(t *testing.T) {
	root := t.TempDir()
	if image := LookInto(root); image.Glibc != (Version{}) || image.GLVND {
		t.Errorf("empty image: %+v", image)
	}
	if image := LookInto(filepath.Join(root, "none")); image != (Image{}) {
		t.Errorf("no image: %+v", image)
	}
	if err := os.MkdirAll(filepath.Join(root, "usr/lib64"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/usr/lib64", filepath.Join(root, "lib64")); err != nil { // a link of the image, not of the host
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "usr/lib64/libGLdispatch.so.0"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if !LookInto(root).GLVND {
		t.Error("libglvnd is not found without a loader cache")
	}
}

func TestEnvironment(t *testing.T) {
	root := t.TempDir()
	if err := os.MkdirAll(filepath.Join(root, "etc"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "etc/ld.so.cache"), recording(t, "el9-rocm.cache"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ image, before, after string }{
		{root, "", "LD_LIBRARY_PATH=/usr/lib64:/opt/rocm-6.0.0/lib:" + LibraryDir},
		{root, "LD_LIBRARY_PATH=", "LD_LIBRARY_PATH=/usr/lib64:/opt/rocm-6.0.0/lib:" + LibraryDir},
		{t.TempDir(), "", "LD_LIBRARY_PATH=" + LibraryDir},
		{root, "LD_LIBRARY_PATH=/own", "LD_LIBRARY_PATH=/own:" + LibraryDir},
		{root, "LD_LIBRARY_PATH=/own:" + LibraryDir, "LD_LIBRARY_PATH=/own:" + LibraryDir},
	} {
		env := []string{"A=1"}
		if tt.before != "" {
			env = append(env, tt.before)
		}
		if got, want := Environment(env, tt.image), []string{"A=1", tt.after}; !slices.Equal(got, want) {
			t.Errorf("%q: %q, want %q", tt.before, got, want)
		}
	}
}

func TestOrderDirs(t *testing.T) {
	for _, tt := range []struct{ cache, want string }{
		{"", ""},
		{"a=/one b=/two", "/one /two"},
		{"a=/one b=/two b=/one", "/two /one"},
		{"a=/3 b=/2 b=/3 c=/1 c=/2", "/1 /2 /3"},
		{"a=/1 a=/2 b=/2 b=/1", "/1 /2"}, // contradicts itself
	} {
		var cache []Library
		for _, f := range strings.Fields(tt.cache) {
			name, dir, _ := strings.Cut(f, "=")
			cache = append(cache, Library{Name: name, Path: dir + "/" + name}, Library{Name: name, Path: dir + "/hwcaps/" + name, Hwcap: 1})
		}
		if got := strings.Join(orderDirs(cache), " "); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.cache, got, tt.want)
		}
	}
}

func TestVersion(t *testing.T) {
	for name, want := range map[string]Version{"GLIBC_2.34": {2, 34}, "GLIBC_2.2.5": {2, 2}, "GLIBC_3": {}, "GLIBC_PRIVATE": {}, "CXXABI_1.3": {}, "GLIBC_-1.2": {}, "": {}} {
		v, ok := ParseVersion(name)
		if ok != (want != Version{}) || ok && v != want {
			t.Errorf("%q: %v, %v", name, v, ok)
		}
	}
	if !(Version{2, 9}).Less(Version{2, 17}) || !(Version{1, 30}).Less(Version{2, 0}) || (Version{2, 17}).Less(Version{2, 17}) {
		t.Error("order")
	}
}

func FuzzParseCache(f *testing.F) {
	for _, name := range []string{"debian12-nvidia", "debian12-nvidia-compat", "none"} {
		f.Add(recording(f, name+".cache"))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		all, err := ParseCache(data)
		if err != nil && !errors.Is(err, ErrCache) {
			t.Fatal(err)
		}
		for _, l := range all {
			if !strings.HasPrefix(l.Path, "/") || l.Name == "" || strings.Contains(l.Name, "/") {
				t.Fatalf("%+v", l)
			}
		}
		parseListing(string(data))
	})
}

func FuzzReadObject(f *testing.F) {
	f.Add([]byte(elf.ELFMAG))
	f.Fuzz(func(t *testing.T, data []byte) { ReadObject(strings.NewReader(string(data))) })
}
