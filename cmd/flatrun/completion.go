package main

import (
	"fmt"
	"strings"
)

// completionScripts make shells ask this program, which knows its verbs and
// flags best. What it has no answer for is left to the shell's own file names.
var completionScripts = map[string]string{
	"bash": `_flatrun() {
    local IFS=$'\n'
    COMPREPLY=($("${COMP_WORDS[0]}" complete -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null))
}
complete -o default -F _flatrun %[1]s
`,
	"zsh": `#compdef %[1]s
_flatrun() {
    local -a found
    found=(${(f)"$(${words[1]} complete -- ${words[2,CURRENT]} 2>/dev/null)"})
    if (( $#found )); then compadd -a found; else _files; fi
}
compdef _flatrun %[1]s
`,
	"fish": `function __flatrun
    set -l words (commandline -opc) (commandline -ct)
    $words[1] complete -- $words[2..-1] 2>/dev/null
end
for name in %[1]s
    complete -c $name -a '(__flatrun)'
end
`,
}

// runCompletion prints a script for a shell.
func runCompletion(p *program, _ *options, args []string) error {
	script, ok := completionScripts[args[0]]
	if !ok {
		return usageError{verb: findVerb("completion"), reason: fmt.Sprintf("no completion for shell %q: bash, zsh or fish", args[0])}
	}
	return p.print(fmt.Sprintf(script, "flatrun apptainer singularity"))
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

// candidates are the verbs or flags that begin with word, after the words before it.
func (p *program) candidates(before []string, word string) []string {
	list, table := verbs(), globalFlags(p, &global{})
	var v *verb
	for i := 0; i < len(before); i++ {
		switch w := before[i]; {
		case strings.HasPrefix(w, "-"):
			if takesValue(table, w) {
				i++
			}
		case v != nil && v.verbs == nil:
			return nil // IMAGE and what follows
		default:
			if v = findIn(list, w); v == nil {
				return nil
			}
			list, table = v.verbs, p.verbFlags(v, &options{})
		}
	}
	if len(before) > 0 && takesValue(table, before[len(before)-1]) {
		return nil
	}
	var found []string
	if strings.HasPrefix(word, "-") {
		for _, f := range table {
			if name := "--" + f.name; !f.hidden && strings.HasPrefix(name, word) {
				found = append(found, name)
			}
		}
		return found
	}
	for _, child := range list {
		if !child.hidden && strings.HasPrefix(child.name, word) {
			found = append(found, child.name)
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
