package shell

import (
	"fmt"
	"strings"
	"testing"
)

// show writes a word so that a table can hold it: literal text as it is, quoted
// text in «», expansions in {}, the unknown in ?.
func (w word) show() string {
	var b strings.Builder
	for _, p := range w {
		switch {
		case p.kind == expansion && p.op == "":
			fmt.Fprintf(&b, "{%s}", p.text)
		case p.kind == expansion:
			fmt.Fprintf(&b, "{%s%s%s}", p.text, p.op, p.arg.show())
		case p.kind == arithmetic:
			fmt.Fprintf(&b, "[%s]", p.text)
		case p.kind == unknown:
			fmt.Fprintf(&b, "?%s?", p.text)
		case p.quoted:
			fmt.Fprintf(&b, "«%s»", p.text)
		default:
			b.WriteString(p.text)
		}
	}
	return b.String()
}

// tokens writes all tokens of a script, joined by blanks; operators in <>.
func tokens(src string) (string, error) {
	l := lexer{src: src, line: 1}
	var out []string
	for {
		tok, err := l.next()
		if err != nil {
			return strings.Join(out, " "), err
		}
		switch {
		case tok.isWord():
			out = append(out, tok.word.show())
		case tok.op == "":
			return strings.Join(out, " "), nil
		case tok.op == "\n":
			out = append(out, "<nl>")
		default:
			out = append(out, "<"+tok.op+">")
		}
	}
}

func TestTokens(t *testing.T) {
	tests := []struct{ src, want string }{
		{"", ""},
		{"  \t# only a comment", ""},
		{"a b\tc", "a b c"},
		{"a;b&&c||d|e&f", "a <;> b <&&> c <||> d <|> e <&> f"},
		{"a\n\nb", "a <nl> <nl> b"},
		{"a \\\n b", "a b"},
		{"a\\\nb", "ab"},
		{"a#b # c", "a#b"},
		{"'a b'\"c d\"", "«a bc d»"},
		{`a"b"c`, "a«b»c"},
		{`""`, "«»"},
		{`''`, "«»"},
		{`a\ b`, "a« »b"},
		{`"a\nb"`, `«a\nb»`},
		{`"a\"b\\c\$d"`, `«a"b\c$d»`},
		{`'a\'`, `«a\»`},
		{"$a$b_1-c", "{a}{b_1}-c"},
		{"${a}b", "{a}b"},
		{`"$a"`, "«»{a}"},
		{"${a:-b}${c-d e}${e:+f}${g+h}", "{a:-b}{c-d e}{e:+f}{g+h}"},
		{"${a:=b}${c=d}${e:?f}", "{a:=b}{c=d}{e:?f}"},
		{`${a:-"b } c"}`, "{a:-«b } c»}"},
		{"${a:-${b:-c}}", "{a:-{b:-c}}"},
		{"${#a}", "{a#}"},
		{"${a%b}${a##*/}${a/b/c}${!a}${@}", "?${a%b}??${a##*/}??${a/b/c}??${!a}??${@}?"},
		{"$1$@$$$?", "?$1??$@??$$??$??"},
		{"$", "$"},
		{"$ a", "$ a"},
		{"$(a b)c", "?the output of $(a b)?c"},
		{"$(a '(' b)", "?the output of $(a '(' b)?"},
		{"$(a $(b) c)", "?the output of $(a $(b) c)?"},
		{"$((1+(2*3)))x", "[1+(2*3)]x"},
		{"`a b`", "?the output of `a b`?"},
		{"a>b 2>&1 <c >>d", "a <>> b 2 <>&> 1 <<> c <>>> d"},
		{"a\r\nb\r\n", "a <nl> b <nl>"},
		{"\xff\\\xfe", "\xff«\xfe»"},
		{`\`, `«\»`},
	}
	for _, tt := range tests {
		got, err := tokens(tt.src)
		if err != nil || got != tt.want {
			t.Errorf("%q: %s, %v; want %s", tt.src, got, err, tt.want)
		}
	}
}

func TestOpenTokens(t *testing.T) {
	for _, src := range []string{"'", "a'b", `"`, `"a\"`, "`", "${", "${a", "${a:-", "$(", "$(a", "$('", `"${a`, `"$(`, "\"`"} {
		if got, err := tokens(src); err == nil {
			t.Errorf("%q: %s, want an error", src, got)
		}
	}
}

func TestTokenLines(t *testing.T) {
	const src = "a 'b\nc' d\n\\\n\n\"e\n$(f\n)\" `g\n`\nh"
	want := map[string]int{"a": 1, "d": 2, "h": 9}
	l := lexer{src: src, line: 1}
	for {
		tok, err := l.next()
		if err != nil {
			t.Fatal(err)
		}
		if !tok.isWord() && tok.op == "" {
			break
		}
		if line, ok := want[tok.bare()]; ok && tok.line != line {
			t.Errorf("%s is on line %d, want %d", tok.bare(), tok.line, line)
		}
	}
}

// TestQuotedWordsAreNotReserved: "if" in quotes is a command's name.
func TestQuotedWordsAreNotReserved(t *testing.T) {
	in := tree(map[string]string{"/f": "'if' x\n\"fi\"\nA=b\n"})
	if err := in.Run("/f"); err != nil || in.Vars["A"].Value != "b" {
		t.Errorf("%v, %+v", err, in.Vars)
	}
}

func TestAssignmentWords(t *testing.T) {
	tests := []struct {
		src, name, value string // name "" for no assignment
		add              bool
	}{
		{"A=b", "A", "b", false}, {"a_1=", "a_1", "", false}, {"A+=b", "A", "b", true}, {`A="b"c`, "A", "«b»c", false},
		{"A==b", "A", "=b", false}, {"A=b=c", "A", "b=c", false}, {"A=$b", "A", "{b}", false},
		{"1A=b", "", "", false}, {"=b", "", "", false}, {`"A"=b`, "", "", false}, {"A-=b", "", "", false}, {"A", "", "", false}, {"$A=b", "", "", false}, {"A[1]=b", "", "", false},
	}
	for _, tt := range tests {
		l := lexer{src: tt.src, line: 1}
		tok, err := l.next()
		if err != nil {
			t.Fatal(err)
		}
		a, ok := assignment(tok.word, 1)
		if ok != (tt.name != "") {
			t.Errorf("%s: an assignment? %v", tt.src, ok)
		} else if ok && (a.name != tt.name || a.value.show() != tt.value || a.append != tt.add) {
			t.Errorf("%s: %s, %s, append %v", tt.src, a.name, a.value.show(), a.append)
		}
	}
}

// TestFields: where words are cut after expansion.
func TestFields(t *testing.T) {
	tests := []struct{ src, want string }{
		{"a", "a"}, {"$E", ""}, {`"$E"`, ""}, {"$S", "x|y"}, {`"$S"`, " x  y "}, {"a$S", "a|x|y"}, {"${S}b", "x|y|b"}, {"$W${S}", "w|x|y"}, {"$W$W", "ww"}, {"$E$W$E", "w"}, {"''$E", ""},
	}
	for _, tt := range tests {
		in := tree(nil)
		in.Vars = map[string]Var{"E": {}, "S": {Value: " x  y "}, "W": {Value: "w"}}
		l := lexer{src: tt.src, line: 1}
		tok, err := l.next()
		if err != nil {
			t.Fatal(err)
		}
		got, why := (&script{in: in, file: "/f"}).fields(tok.word, 1)
		if strings.Join(got, "|") != tt.want || why != "" {
			t.Errorf("%s: %q (%s), want %s", tt.src, got, why, tt.want)
		}
	}
}
