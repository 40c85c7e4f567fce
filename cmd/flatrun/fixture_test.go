package main

import (
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// applets are the busybox commands that the images have.
const applets = "awk basename cat chmod cp cut dirname echo env false find grep head hostname id ls mkdir mktemp mv printf ps pwd readlink rm sed sh sleep sort stat tail test touch tr true uname uniq wc"

// staticBusybox finds a busybox that runs in an empty image.
func staticBusybox(t *testing.T) string {
	t.Helper()
	file, err := exec.LookPath("busybox")
	if err != nil {
		t.Skip("no busybox here: install busybox-static")
	}
	program, err := elf.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer program.Close()
	for _, p := range program.Progs {
		if p.Type == elf.PT_INTERP {
			t.Skip("busybox is not static: install busybox-static")
		}
	}
	return file
}

// makeImages makes the images of the cases.
func makeImages(t *testing.T) map[string]string {
	t.Helper()
	busybox, err := os.ReadFile(staticBusybox(t))
	if err != nil {
		t.Fatal(err)
	}
	base := t.TempDir()
	images := make(map[string]string)
	for name, files := range map[string]map[string]string{
		"bare": {}, "ducc": duccFiles, "sing": singularityFiles, "old": oldFiles,
	} {
		images[name] = filepath.Join(base, name)
		makeRoot(t, images[name], busybox)
		addFiles(t, images[name], files)
	}
	images["condor"] = filepath.Join(base, "condor")
	makeCondor(t, images["condor"])
	images["void"] = filepath.Join(base, "void")
	addFiles(t, images["void"], map[string]string{"busybox": string(busybox), "etc/passwd": "", "proc/": "", "sys/": "", "dev/": "", "tmp/": "", "var/tmp/": ""})
	return images
}

// condorProgram is what HTCondor finds out about a runtime by: the code that it knows, and the user namespace.
const condorProgram = `#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
int main(int argc, char **argv)
{
	struct stat st;
	if (strstr(argv[0], "get_user_ns") && !stat("/proc/self/ns/user", &st))
		printf("%lu\n", (unsigned long)st.st_ino);
	return 37;
}
`

// makeCondor makes an image like HTCondor's test sandbox: two static programs and the directories dev and proc.
func makeCondor(t *testing.T, dir string) {
	t.Helper()
	addFiles(t, dir, map[string]string{"dev/": "", "proc/": ""})
	cmd := exec.Command("cc", "-static", "-x", "c", "-o", filepath.Join(dir, "exit_37"), "-")
	cmd.Stdin = strings.NewReader(condorProgram)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("compile HTCondor's test program: %v: %s", err, out)
	}
	if err := os.Link(filepath.Join(dir, "exit_37"), filepath.Join(dir, "get_user_ns")); err != nil {
		t.Fatal(err)
	}
}

// makeRoot makes a root file system with busybox.
func makeRoot(t *testing.T, dir string, busybox []byte) {
	t.Helper()
	addFiles(t, dir, map[string]string{
		"bin/busybox": string(busybox), "plain.sh": "echo plain $1\n", "etc/issue": "issue\n", "etc/real": "real\n",
		"etc/passwd": "root:x:0:0:root:/root:/bin/sh\nimageuser:x:900:900::/:/bin/sh\n", "etc/group": "root:x:0:\nimagegroup:x:900:\n",
		"proc/": "", "sys/": "", "dev/": "", "tmp/": "", "var/tmp/": "", "root/": "", "home/": "", "mnt/": "", "usr/linked/": "",
	})
	links := map[string]string{"etc/link": "real", "linked": "usr/linked"}
	for _, name := range strings.Fields(applets) {
		links["bin/"+name] = "busybox"
	}
	for name, target := range links {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
}

// addFiles writes files, all of them executable but those in /etc; a name that
// ends in a slash is a directory.
func addFiles(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		file := filepath.Join(dir, name)
		if strings.HasSuffix(name, "/") {
			if err := os.MkdirAll(file, 0o755); err != nil {
				t.Fatal(err)
			}
			continue
		}
		write(t, file, text)
		if !strings.HasPrefix(name, "etc/") {
			if err := os.Chmod(file, 0o755); err != nil {
				t.Fatal(err)
			}
		}
	}
}

const baseEnvironment = `#!/bin/sh
if [ -z "$LD_LIBRARY_PATH" ]; then
    LD_LIBRARY_PATH="/.singularity.d/libs"
else
    LD_LIBRARY_PATH="$LD_LIBRARY_PATH:/.singularity.d/libs"
fi
PS1="Singularity> "
export LD_LIBRARY_PATH PS1
`

const appsEnvironment = `#!/bin/sh
if test -n "${SINGULARITY_APPNAME:-}"; then
    export SINGULARITY_APPNAME
    if test -d "/scif/apps/${SINGULARITY_APPNAME:-}/"; then
        SCIF_APPROOT="/scif/apps/${SINGULARITY_APPNAME:-}"
        export SCIF_APPROOT
        if [ -f "/scif/apps/${SINGULARITY_APPNAME:-}/scif/env/90-environment.sh" ]; then
            . "/scif/apps/${SINGULARITY_APPNAME:-}/scif/env/90-environment.sh"
        fi
    fi
fi
`

// duccFiles are what DUCC adds to an image with Env and Entrypoint.
var duccFiles = map[string]string{
	".singularity.d/env/01-base.sh":               "#!/bin/sh\n",
	".singularity.d/env/10-docker2singularity.sh": "#!/bin/sh\nexport PATH=\"/opt/app/bin:/usr/bin:/bin\"\nexport APPVAR=\"${APPVAR:-\"app value\"}\"\n",
	".singularity.d/env/90-environment.sh":        "#!/bin/sh\n",
	".singularity.d/env/95-apps.sh":               appsEnvironment,
	".singularity.d/env/99-base.sh":               baseEnvironment,
	".singularity.d/env/99-runtimevars.sh":        "#!/bin/sh\n",
	".singularity.d/libs/":                        "",
	".singularity.d/runscript":                    duccRunscript,
	".singularity.d/startscript":                  "#!/bin/sh\n",
	"usr/bin/say":                                 "#!/bin/sh\nprintf 'run:'\nfor a in \"$@\"; do printf ' [%s]' \"$a\"; done\necho\n",
}

const duccRunscript = `#!/bin/sh
OCI_ENTRYPOINT='"/usr/bin/say"'
OCI_CMD=''
CMDLINE_ARGS=""
for arg in "$@"; do
    CMDLINE_ARGS="${CMDLINE_ARGS} \"$arg\""
done
if [ $# -gt 0 ]; then
    SINGULARITY_OCI_RUN="${OCI_ENTRYPOINT} ${CMDLINE_ARGS}"
else
    SINGULARITY_OCI_RUN="${OCI_ENTRYPOINT} ${OCI_CMD}"
fi
eval "set ${SINGULARITY_OCI_RUN}"
exec "$@"
`

// singularityFiles are those of a Singularity build; one of its environment
// scripts asks the image's programs, so that no start can do without its shell.
var singularityFiles = map[string]string{
	".singularity.d/env/90-environment.sh":     "#!/bin/sh\nexport LD_LIBRARY_PATH=/img/lib\n",
	".singularity.d/env/91-environment.sh":     "MADE_BY=$(id -u)\nSITE=built\nSAW_HOST=no\n[ -z \"$HOSTVAR\" ] || SAW_HOST=yes\nexport MADE_BY SITE SAW_HOST\n",
	".singularity.d/env/95-apps.sh":            appsEnvironment,
	".singularity.d/env/99-base.sh":            baseEnvironment,
	".singularity.d/libs/":                     "",
	".singularity.d/labels.json":               `{"org.label-schema.name": "fixture", "version": "1.2"}`,
	".singularity.d/runscript":                 "#!/bin/sh\n\"$@\"\n",
	".singularity.d/startscript":               "#!/bin/sh\necho starting\n",
	".singularity.d/test":                      "#!/bin/sh\necho testing\n",
	".singularity.d/runscript.help":            "This is help.\n",
	".singularity.d/Singularity":               "Bootstrap: docker\nFrom: debian\n",
	"scif/apps/foo/scif/runscript":             "#!/bin/sh\necho RUNNING FOO $SCIF_APPROOT\n",
	"scif/apps/foo/scif/runscript.help":        "help of foo\n",
	"scif/apps/foo/scif/env/90-environment.sh": "export FOOVAR=inside\n",
	"scif/apps/bar/scif/":                      "",
}

// oldFiles are those of Singularity before 2.3.
var oldFiles = map[string]string{
	"environment": "PATH=/canary\nOLDVAR='old value'\nexport PATH OLDVAR\n",
	"singularity": "#!/bin/sh\necho old run \"$@\"\n",
}
