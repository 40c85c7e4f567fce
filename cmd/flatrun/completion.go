package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/flatrun/flatrun/runtime/instance"
)

// completionScripts make shells ask this program, which knows its verbs, flags
// and images best. What it has no answer for is left to the shell's own file
// names.
//
// bash breaks words at colons, of which the names of images have some: the words
// are taken from the line as it was typed, and what bash has of the last word
// already is cut off the answers.
func completionScripts() map[string]string {
	return map[string]string{"bash": `_flatrun() {
    local IFS=$' \t' line=${COMP_LINE:0:COMP_POINT} words word shown
    read -ra words <<<"$line"
    case $line in
    "") words=("${COMP_WORDS[@]:0:COMP_CWORD+1}") ;;
    *[[:blank:]]) words+=("") ;;
    esac
    word=${words[${#words[@]}-1]}
    shown=
    case $COMP_WORDBREAKS in *:*) case $word in *:*) shown=${word%%"${word##*:}"} ;; esac ;; esac
    case $word in *=*) [ ${#shown} -gt 0 ] || shown=${word%%"${word##*=}"} ;; esac
    IFS=$'\n'
    COMPREPLY=($("${words[0]/#\~/$HOME}" complete -- "${words[@]:1}" 2>/dev/null))
    COMPREPLY=("${COMPREPLY[@]#"$shown"}")
}
complete -o default -F _flatrun {}
`,
		"zsh": `#compdef {}
_flatrun() {
    local -a found
    found=(${(f)"$(${words[1]} complete -- ${words[2,CURRENT-1]} "${words[CURRENT]}" 2>/dev/null)"})
    if (( $#found )); then compadd -a found; else _files; fi
}
compdef _flatrun {}
`,
		"fish": `function __flatrun
    set -l words (commandline -opc) (commandline -ct)
    $words[1] complete -- $words[2..-1] 2>/dev/null
end
for name in {}
    complete -c $name -a '(__flatrun)'
end
`}
}

// runCompletion prints a script for a shell.
func runCompletion(p *program, _ *options, args []string) error {
	script, ok := completionScripts()[args[0]]
	if !ok {
		return usageError{verb: findVerb("completion"), reason: fmt.Sprintf("no completion for shell %q: bash, zsh or fish", args[0])}
	}
	return p.print(strings.ReplaceAll(script, "{}", "flatrun apptainer singularity"))
}

// runComplete prints what the last of the words may become, a line each. The
// words are those after the program's name.
func runComplete(p *program, _ *options, args []string) error {
	if len(args) == 0 {
		args = []string{""}
	}
	var b strings.Builder
	for _, candidate := range p.candidates(args[:len(args)-1], args[len(args)-1]) {
		b.WriteString(candidate + "\n")
	}
	return p.print(b.String())
}

// candidates are what word may become after the words before it: verbs, flags, or
// what a verb's operands say.
func (p *program) candidates(before []string, word string) []string {
	list, table := verbs(), globalFlags(p, &global{})
	var v *verb
	operand := 0
	for i := 0; i < len(before); i++ {
		switch w := before[i]; {
		case w == "--" && v != nil && v.verbs == nil: // the end of the flags
		case strings.HasPrefix(w, "-") && operand == 0:
			if takesValue(table, w) {
				i++
			}
			if i == len(before) {
				return nil // the value of a flag
			}
			if v == nil && (w == "-c" || w == "--config") {
				p.config = before[i]
			}
		case v != nil && v.verbs == nil:
			operand++
		default:
			parent := v
			if v = findIn(list, w); v == nil {
				return nil
			}
			if parent != nil {
				v.parent = parent.name
			}
			list, table = v.verbs, p.verbFlags(v, &options{})
		}
	}
	switch {
	case strings.HasPrefix(word, "-") && operand == 0:
		return flagNames(table, word)
	case v != nil && v.verbs == nil:
		return p.operands(v, operand, word)
	}
	return verbNames(list, word)
}

func flagNames(table []flag, word string) (found []string) {
	for _, f := range table {
		if name := "--" + f.name; !f.hidden && strings.HasPrefix(name, word) {
			found = append(found, name)
		}
	}
	return found
}

func verbNames(list []verb, word string) (found []string) {
	for _, v := range list {
		if !v.hidden && strings.HasPrefix(v.name, word) {
			found = append(found, v.name)
		}
	}
	return found
}

// operands are the candidates for an operand, by what the help calls it.
func (p *program) operands(v *verb, n int, word string) (found []string) {
	words := strings.Fields(v.operands)
	if len(words) == 0 || n >= len(words) && !strings.Contains(words[len(words)-1], "...") {
		return nil
	}
	kind := strings.Trim(words[min(n, len(words)-1)], "[].")
	for _, choice := range strings.Split(kind, "|") {
		switch {
		case choice == "IMAGE" || choice == "PATTERN" && v.name == "images":
			found = append(found, p.imageNames(word)...)
		case v.parent == "instance" && strings.HasPrefix(choice, "NAME") && n == 0:
			found = append(found, instanceNames("", word)...)
		case choice == "FQRN":
			found = append(found, p.repositoryNames(word)...)
		case choice == "COMMAND" && v.name == "help":
			found = append(found, verbNames(verbs(), word)...)
		case choice == strings.ToLower(choice) && strings.HasPrefix(choice, word):
			found = append(found, choice)
		}
	}
	return found
}

// patience is how long somebody who pressed a key waits for names.
const patience = 2 * time.Second

// repositoryNames are those of the repositories that the configuration knows, and of those that the host has mounted.
func (p *program) repositoryNames(word string) (found []string) {
	if mounted, err := os.ReadDir("/cvmfs"); err == nil {
		for _, entry := range mounted {
			found = append(found, entry.Name())
		}
	}
	for line := range strings.Lines(string(p.askSession("config", "show"))) {
		key, _, _ := strings.Cut(line, " ")
		if key, ok := strings.CutPrefix(key, "repositories."); ok && strings.Contains(key, ".") {
			found = append(found, key[:strings.LastIndexByte(key, '.')])
		}
	}
	found = slices.DeleteFunc(found, func(name string) bool {
		return !strings.HasPrefix(name, word) || !strings.Contains(name, ".") || strings.HasPrefix(name, ".")
	})
	slices.Sort(found)
	return slices.Compact(found)
}

// askSession returns what the session's program answers in time, for completion: nobody would read why it does not, in
// the middle of a command line.
func (p *program) askSession(words ...string) []byte {
	file, err := findSession()
	if err != nil {
		return nil
	}
	words = slices.Clone(words)
	if p.config != "" {
		words = append(words, "--config", p.config)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, file, words...)
	cmd.Env = p.environ
	answer, err := cmd.Output()
	if err != nil {
		return nil
	}
	return answer
}

// imageNames asks for the names of images. Paths are the shell's to complete.
func (p *program) imageNames(word string) []string {
	const scheme = "instance://"
	if strings.HasPrefix(word, "instance:") {
		return instanceNames(scheme, word)
	}
	if word != "" && strings.ContainsRune("/.~$", rune(word[0])) {
		return nil
	}
	query, err := json.Marshal(imageQuery{Complete: &word})
	if err != nil {
		return nil
	}
	var names []string
	if json.NewDecoder(bytes.NewReader(p.askSession("images", string(query)))).Decode(&names) != nil {
		return nil
	}
	return names
}

// instanceNames are those of running instances.
func instanceNames(prefix, word string) (found []string) {
	store, err := instance.Open()
	if err != nil {
		return nil
	}
	list, err := store.List("*")
	if err != nil {
		return nil
	}
	for _, state := range list {
		if name := prefix + state.Name; strings.HasPrefix(name, word) {
			found = append(found, name)
		}
	}
	return found
}

func findIn(list []verb, name string) *verb {
	for i := range list {
		if list[i].named(name) {
			return &list[i]
		}
	}
	return nil
}

// takesValue reports whether the word is a flag whose value is the next word.
func takesValue(table []flag, word string) bool {
	for _, f := range table {
		if word == "--"+f.name || f.short != "" && word == "-"+f.short {
			_, boolean := f.value.(*bool)
			return !boolean
		}
	}
	return false
}
