package singularity

import "testing"

// TestLibraries: where the directories of the image's loader are known, its ldconfig need not be asked.
func TestLibraries(t *testing.T) {
	host := Cover{Target: libraryDir + "/libcuda.so.1", Source: "/usr/lib/libcuda.so.1"}
	for _, tt := range []struct {
		name      string
		libraries []string
		env       [][2]string
		cover     []Cover
		shell     bool
		want      string
	}{
		{"nothing of the host's", []string{"/lib"}, nil, nil, false, libraryDir},
		{"known", []string{"/usr/local/lib", "/lib"}, nil, []Cover{host}, false, "/usr/local/lib:/lib:" + libraryDir},
		{"unknown", nil, nil, []Cover{host}, true, ""},
		{"the user's own", []string{"/lib"}, [][2]string{{"LD_LIBRARY_PATH", "/mine"}}, []Cover{host}, false, "/mine:" + libraryDir},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, _, err := prepare(t, ducc, Settings{Action: "exec", Args: []string{"true"}, Home: "/", Dir: "/", Libraries: tt.libraries, Env: tt.env}, tt.cover...)
			if err != nil {
				t.Fatal(err)
			}
			if (p.Shell != nil) != tt.shell {
				t.Fatalf("shell: %v", p.Shell)
			}
			if got := find(p.Env, "LD_LIBRARY_PATH"); !tt.shell && got != "LD_LIBRARY_PATH="+tt.want {
				t.Errorf("%s, want %s", got, tt.want)
			}
		})
	}
}
