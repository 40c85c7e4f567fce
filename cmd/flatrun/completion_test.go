package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestCompletionScripts has each shell that is here read its script.
func TestCompletionScripts(t *testing.T) {
	for shell, script := range completionScripts() {
		if _, err := exec.LookPath(shell); err != nil {
			continue // bash always is
		}
		file := filepath.Join(t.TempDir(), "script")
		write(t, file, strings.ReplaceAll(script, "{}", "flatrun"))
		if out, err := exec.Command(shell, "-n", file).CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("%s: %v: %s", shell, err, out)
		}
	}
}

// TestCompletionInFish lets fish complete, which can be asked without a terminal.
func TestCompletionInFish(t *testing.T) {
	if _, err := exec.LookPath("fish"); err != nil {
		return
	}
	bin := t.TempDir()
	write(t, filepath.Join(bin, "flatrun"), "#!/bin/sh\nfor w; do echo \"<$w>\"; done\n")
	if err := os.Chmod(filepath.Join(bin, "flatrun"), 0o755); err != nil {
		t.Fatal(err)
	}
	script := filepath.Join(t.TempDir(), "script")
	write(t, script, strings.ReplaceAll(completionScripts()["fish"], "{}", "flatrun"))
	cmd := exec.Command("fish", "--no-config", "-c", "source "+script+"; complete -C 'flatrun exec --pid '")
	cmd.Env = []string{"PATH=" + bin + ":/usr/bin:/bin", "HOME=" + t.TempDir()}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, word := range []string{"<complete>", "<-->", "<exec>", "<--pid>", "<>"} {
		if !strings.Contains(string(out), word) {
			t.Errorf("fish does not pass on %s: %s", word, out)
		}
	}
}

func TestCompletionCandidates(t *testing.T) {
	p := newProgram("flatrun", nil)
	t.Setenv("XDG_RUNTIME_DIR", t.TempDir()) // without instances
	for _, tt := range []struct {
		line string // the last word is completed
		want string
	}{
		{"exe", "exec"}, {"-q exe", "exec"}, {"--config file exe", "exec"}, {"--config ", ""}, {"unknown x", ""}, {"config ", "show"}, {"config unknown ", ""},
		{"exec --cont", "--contain --containall"}, {"exec --bind ", ""}, {"exec --bind a --ipc", "--ipc"}, {"exec --bind=a --ipc", "--ipc"},
		{"exec ./x --pi", ""}, {"exec ./x ", ""}, {"run -- -x", ""}, {"completion z", "zsh"}, {"help sear", "search"}, {"instance st", "start stop stats"}, {"instance stop ", ""},
		{"status ", ""}, {"exec ~/x", ""}, {"exec $HOM", ""},
	} {
		words := strings.Split(tt.line, " ")
		got := p.candidates(words[:len(words)-1], words[len(words)-1])
		want := strings.Fields(tt.want)
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("%q: %q, want %q", tt.line, got, want)
		}
	}
}

// TestOperandsAreKnown: operands that nothing is known about are a slip.
func TestOperandsAreKnown(t *testing.T) {
	known := []string{"IMAGE", "COMMAND", "ARG", "NAME", "NAME-GLOB", "FQRN", "DIR", "FILE", "PATH", "PATTERN", "TERM", "WORD", "--", "bash", "zsh", "fish"}
	var look func(list []verb)
	look = func(list []verb) {
		for _, v := range list {
			for _, word := range strings.Fields(v.operands) {
				for _, choice := range strings.Split(strings.Trim(word, "[]."), "|") {
					if !slices.Contains(known, choice) {
						t.Errorf("%s: what is %s?", v.name, choice)
					}
				}
			}
			look(v.verbs)
		}
	}
	look(verbs())
}

// TestCompletionInZsh calls the function with what zsh gives it.
func TestCompletionInZsh(t *testing.T) {
	if _, err := exec.LookPath("zsh"); err != nil {
		return
	}
	bin := t.TempDir()
	write(t, filepath.Join(bin, "flatrun"), "#!/bin/sh\nfor w; do echo \"<$w>\"; done\n")
	if err := os.Chmod(filepath.Join(bin, "flatrun"), 0o755); err != nil {
		t.Fatal(err)
	}
	script := filepath.Join(t.TempDir(), "script")
	write(t, script, strings.ReplaceAll(completionScripts()["zsh"], "{}", "flatrun"))
	cmd := exec.Command("zsh", "-fc", "compdef() { : }; compadd() { print -rl -- ${(P)2} }; _files() { print files }; source "+script+"; words=(flatrun exec --pid reg:1 ''); CURRENT=4; _flatrun; CURRENT=5; _flatrun")
	cmd.Env = []string{"PATH=" + bin + ":/usr/bin:/bin", "HOME=" + t.TempDir()}
	out, err := cmd.CombinedOutput()
	want := "<complete>\n<-->\n<exec>\n<--pid>\n<reg:1>\n<complete>\n<-->\n<exec>\n<--pid>\n<reg:1>\n<>\n"
	if err != nil || string(out) != want {
		t.Errorf("%v: %s, want %s", err, out, want)
	}
}
