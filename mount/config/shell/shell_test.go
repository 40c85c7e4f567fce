package shell

import (
	"errors"
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"
)

// tree interprets the files of a map as if they were on disk.
func tree(files map[string]string) *Interpreter {
	m := fstest.MapFS{}
	for name, text := range files {
		m[strings.TrimPrefix(name, "/")] = &fstest.MapFile{Data: []byte(text), Mode: 0o644}
	}
	return &Interpreter{
		Vars:     make(map[string]Var),
		ReadFile: func(p string) ([]byte, error) { return m.ReadFile(strings.TrimPrefix(p, "/")) },
		Stat:     func(p string) (fs.FileInfo, error) { return m.Stat(strings.TrimPrefix(p, "/")) },
		Lookup: func(name string) (string, bool) {
			return "/home/joe", name == "HOME"
		},
	}
}

func TestAssignments(t *testing.T) {
	tests := []struct{ script, want string }{ // want: the value of A
		{`A=b`, "b"},
		{`A=`, ""},
		{`A="b c"`, "b c"},
		{`A='b $C "d"'`, `b $C "d"`},
		{`A=b\ c\"d`, `b c"d`},
		{`A="b\$c\d\"\\"`, `b$c\d"\`},
		{`A=b'c'"d"e`, "bcde"},
		{`  A=b   # comment`, "b"},
		{`A=b#c`, "b#c"},
		{"A=b\r\n", "b"},
		{"A=b\\\nc", "bc"},
		{"A=\"b\\\nc\nd\"", "bc\nd"},
		{`A=b;A=c`, "c"},
		{`A=b B=c; A=$A$B`, "bc"},
		{`export A=b`, "b"},
		{`readonly A="b c"`, "b c"},
		{`export A; A=b`, "b"},
		{`A=b; export A`, "b"},
		{`A+=b; A+=c`, "bc"},
		{`A=b; unset A; A=${A-gone}`, "gone"},
		{`B=x; A=$B.y`, "x.y"},
		{`B=x; A=${B}y`, "xy"},
		{`B=x; A='$B'"$B"`, "$Bx"},
		{`A=${B:-d}`, "d"},
		{`B=; A=${B:-d}`, "d"},
		{`B=; A=${B-d}`, ""},
		{`A=${B:-"d e"f}`, "d ef"},
		{`C=c; A=${B:-$C${D:-e}}`, "ce"},
		{`A=${B:=DIRECT}; A=$A,$B`, "DIRECT,DIRECT"},
		{`B=x; A=${B:+y}`, "y"},
		{`A=${B:+y}`, ""},
		{`B=xyz; A=${#B}`, "3"},
		{`A=$HOME/x`, "/home/joe/x"},
		{`A=$`, "$"},
		{`A="http://a/@fqrn@;http://b|c(d)"`, "http://a/@fqrn@;http://b|c(d)"},
		{`: ${A:=b}`, "b"},
		{"A=\xff\xfe", "\xff\xfe"},
		{`A=b; return; A=c`, "b"},
		{`A=b; exit 0; A=c`, "b"},
		{`echo "A=c" >/dev/null 2>&1; A=b`, "b"},
		{`A=b; A=c true`, "b"},
	}
	for _, tt := range tests {
		in := tree(map[string]string{"/f": tt.script})
		if err := in.Run("/f"); err != nil {
			t.Errorf("%s: %v", tt.script, err)
			continue
		}
		if v := in.Vars["A"]; v.Value != tt.want || v.Unknown != "" {
			t.Errorf("%s: A = %q (%s), want %q", tt.script, v.Value, v.Unknown, tt.want)
		}
	}
}

func TestConditions(t *testing.T) {
	files := map[string]string{"/etc/debian_version": "12.5\n", "/etc/empty": ""}
	tests := []struct {
		condition string
		want      status
	}{
		{`[ a = a ]`, yes}, {`[ a == b ]`, no}, {`[ a != b ]`, yes}, {`test a = a`, yes},
		{`[ "$X" = "" ]`, yes}, {`[ "x$X" = "x" ]`, yes}, {`[ -z "$X" ]`, yes}, {`[ -n "$X" ]`, no},
		{`[ -n $X ]`, yes}, // one word, "-n": so does bash
		{`[ $X ]`, no}, {`[ x ]`, yes}, {`! [ x ]`, no}, {`[ ! x ]`, no}, {`[ ! -z x ]`, yes},
		{`[ 1 -lt 2 ]`, yes}, {`[ 2 -le 1 ]`, no}, {`[ 2 -eq 02 ]`, yes}, {`[ 1 -ne 1 ]`, no}, {`[ 2 -gt 1 ]`, yes}, {`[ 2 -ge 3 ]`, no}, {`[ x -eq 1 ]`, no},
		{`[ a = a -a b = b ]`, yes}, {`[ a = b -o b = b ]`, yes}, {`[ a = b -a b = b ]`, no}, {`[ a = b -o a = a -a b = c ]`, no},
		{`[ -f /etc/debian_version ]`, yes}, {`[ -f /etc ]`, no}, {`[ -d /etc ]`, yes}, {`[ -e /none ]`, no}, {`[ -e "" ]`, no},
		{`[ -r /etc/debian_version ]`, yes}, {`[ -r /etc ]`, yes}, {`[ -s /etc/empty ]`, no}, {`[ -x /etc/debian_version ]`, no}, {`[ -f etc/empty ]`, yes},
		{`[ a = a ] && [ b = b ]`, yes}, {`[ a = b ] || [ b = b ]`, yes}, {`[ a = b ] && whatever`, no},
		{`grep -q "wheezy\|jessie" /etc/debian_version`, no}, {`grep -q "12\|13" /etc/debian_version`, yes}, {`grep -q x /none`, no},
		{`grep -q "^1[23]" /etc/debian_version`, unsure}, {`grep x /etc/debian_version`, unsure},
		{`[ -f /etc/debian_version ] && grep -q "wheezy\|jessie" /etc/debian_version`, no},
		{`[ a = a ] | cat`, unsure}, {`whatever -x 2>/dev/null`, unsure}, {`[ "$(hostname)" = x ]`, unsure}, {"[ `id -u` = 0 ]", unsure},
		{`! whatever`, unsure}, {`whatever || [ a = a ]`, unsure}, {`[ "$((1/0))" == 1 ]`, unsure}, {`[ $((3 % 2)) -eq 1 ]`, yes}, {`true`, yes}, {`false`, no},
	}
	for _, tt := range tests {
		files["/f"] = "if " + tt.condition + "; then A=then; else A=else; fi\n"
		in := tree(files)
		if err := in.Run("/f"); err != nil {
			t.Errorf("%s: %v", tt.condition, err)
			continue
		}
		got := map[string]status{"then": yes, "else": no, "": unsure}[in.Vars["A"].Value]
		if got != tt.want || (got == unsure) != (in.Vars["A"].Unknown != "") {
			t.Errorf("%s: A = %+v, want status %d", tt.condition, in.Vars["A"], tt.want)
		}
	}
}

func TestBranches(t *testing.T) {
	const script = `
if [ "$X" = 1 ]; then
  A=one
elif [ "$X" = 2 ]
then
  if [ -z "$Y" ]; then A=two; else A=twoY; fi
else
  A=other
fi
`
	for x, want := range map[string]string{"1": "one", "2": "two", "3": "other", "2; Y=1": "twoY"} {
		in := tree(map[string]string{"/f": "X=" + x + "\n" + script})
		if err := in.Run("/f"); err != nil || in.Vars["A"].Value != want {
			t.Errorf("X=%s: A = %+v, %v; want %s", x, in.Vars["A"], err, want)
		}
	}
}

func TestOrigin(t *testing.T) {
	in := tree(map[string]string{"/f": "# one\n\nA=b\nif true; then\n  B='x\ny'; C=d\nfi\nD=e\n"})
	if err := in.Run("/f"); err != nil {
		t.Fatal(err)
	}
	for name, line := range map[string]int{"A": 3, "B": 5, "C": 6, "D": 8} {
		if got := in.Vars[name].Origin; got != (Origin{"/f", line}) {
			t.Errorf("%s comes from %v, want line %d", name, got, line)
		}
	}
}

// TestUnknown: what only a shell could know is never a wrong value.
func TestUnknown(t *testing.T) {
	tests := []struct{ script, reason string }{
		{`A=$(hostname)`, "the output of $(hostname)"},
		{"A=x`hostname`", "the output of `hostname`"},
		{`A=$((1<2))`, "$((1<2))"},
		{`A=${B%%.*}`, "${B%%.*}"},
		{`A=${1}`, "${1}"},
		{`A=$1`, "$1"},
		{`B=$(hostname); A=http://$B/`, "$(hostname)"},
		{`B=$(hostname); A=${B:-x}`, "$(hostname)"},
		{`A=${B:?message}`, "B is not set"},
		{`if whatever; then A=b; fi`, "depends on a condition"},
		{`A=b; if whatever; then A=c; fi`, "depends on a condition"},
		{`A=b; whatever && A=c`, "condition before it"},
		{`A=b; whatever && export A=c`, "condition before it"},
		{`if false; then A=b; elif whatever; then B=c; else [ x ] && A=d; fi`, "depends on a condition"},
		{`eval A=b`, "eval"},
	}
	for _, tt := range tests {
		in := tree(map[string]string{"/f": tt.script})
		if err := in.Run("/f"); err != nil {
			t.Errorf("%s: %v", tt.script, err)
		} else if v := in.Vars["A"]; !strings.Contains(v.Unknown, tt.reason) || v.Origin.Line != 1 {
			t.Errorf("%s: A = %+v, want the reason %q", tt.script, v, tt.reason)
		}
	}
	in := tree(map[string]string{"/f": "A=$(x)\nA=b\nwhatever\n"})
	if err := in.Run("/f"); err != nil || in.Vars["A"].Unknown != "" || in.Vars["A"].Value != "b" {
		t.Errorf("a later value does not cure: %+v, %v", in.Vars["A"], err)
	}
	if want := "/f:3: whatever is not run: nothing is executed"; len(in.Warnings) != 1 || in.Warnings[0] != want {
		t.Errorf("warnings %q, want %q", in.Warnings, want)
	}
}

func TestFaults(t *testing.T) {
	tests := []struct {
		script string
		line   int
		text   string
	}{
		{"A=b\nA='c\n", 2, "quote is not closed"},
		{"A=\"c\n\n", 1, "quote is not closed"},
		{"A=`c", 1, "quote is not closed"},
		{"A=$(c", 1, "not closed"},
		{"A=${B", 1, "${B is not closed"},
		{"A=b\nif [ x ]; then\nA=c\n", 4, "if without fi"},
		{"if [ x ]\nA=c\nfi", 3, `unexpected "fi"`},
		{"if; then A=b; fi", 1, "if without a condition"},
		{"fi", 1, `unexpected "fi"`},
		{"A=b\nfor x in 1 2; do A=$x; done", 2, `"for" is not understood`},
		{"case x in y) A=b;; esac", 1, `"case" is not understood`},
		{"f() { A=b; }", 1, "functions"},
		{"(A=b)", 1, `unexpected "("`},
		{"cat <<E\nE\n", 1, "here document"},
		{"A=b &&", 1, "ends too early"},
		{"A=b >", 1, "without a file"},
		{"\n[ a = a", 2, "[ without ]"},
		{"[ a b c d ]", 1, "is not understood"},
		{strings.Repeat("if [ x ]; then ", 60), 1, "nested too deeply"},
		{"A=" + strings.Repeat("${A:-", 60), 1, "nested too deeply"},
		{"A=x\n" + strings.Repeat("A=$A$A\n", 30), 18, "the value of A has more than"},
		{". /f", 1, "source each other too deeply"},
	}
	for _, tt := range tests {
		err := tree(map[string]string{"/f": tt.script}).Run("/f")
		var fault *Error
		if !errors.As(err, &fault) || fault.Line != tt.line || !strings.Contains(err.Error(), tt.text) {
			t.Errorf("%.40q: error %v, want line %d, %q", tt.script, err, tt.line, tt.text)
		}
	}
}

func TestSource(t *testing.T) {
	in := tree(map[string]string{
		"/etc/domain.d/x.conf": "A=1\n. ../common.conf\n[ -f ../common.conf ] && C=$A\n. /none\n. ../bad.conf\n",
		"/etc/common.conf":     "A=2; B=$A; return; B=3",
		"/etc/bad.conf":        "D=1\nE='",
	})
	err := in.Run("/etc/domain.d/x.conf")
	if err == nil || !strings.HasPrefix(err.Error(), "/etc/bad.conf:2: ") {
		t.Errorf("error %v does not name the file that is sourced", err)
	}
	if in.Vars["B"].Value != "2" || in.Vars["B"].Origin.File != "/etc/common.conf" || in.Vars["C"].Value != "2" {
		t.Errorf("got %+v", in.Vars)
	}
	if len(in.Warnings) != 1 || !strings.Contains(in.Warnings[0], "/etc/domain.d/x.conf:4: /none is not read") {
		t.Errorf("warnings %q", in.Warnings)
	}
	if err := in.Run("/none"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a script that is not there: %v", err)
	}
}

func TestAssignHook(t *testing.T) {
	in := tree(map[string]string{"/f": "A=@x@; B=2; export C=@x@"})
	in.Assign = func(name string, v *Var) bool {
		v.Value = strings.ReplaceAll(v.Value, "@x@", "y")
		return name != "B"
	}
	if err := in.Run("/f"); err != nil {
		t.Fatal(err)
	}
	if _, ok := in.Vars["B"]; ok || in.Vars["A"].Value != "y" || in.Vars["C"].Value != "y" {
		t.Errorf("got %+v", in.Vars)
	}
}

func FuzzShellFile(f *testing.F) {
	for _, s := range []string{
		"A=b\nif [ \"$A\" = b ]; then export C=\"${A:-x}\"; elif true; then . f; else D=$(e); fi\n",
		"A='b' B=\"c\\\"\" # d\n[ -f x ] && grep -q 'a\\|b' x || : ${E:=f}\n",
		"A=`x` | y & z 2>&1 >/dev/null; ! false; A+=${#A}${A#b}$1",
		". f; . f",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		in := tree(map[string]string{"/f": text, "/x": "a"})
		err := in.Run("/f")
		var fault *Error
		if err != nil && !errors.As(err, &fault) {
			t.Fatalf("fault without a place: %v", err)
		}
		if fault != nil && (fault.Line < 1 || fault.Line > strings.Count(text, "\n")+1) {
			t.Fatalf("line %d of %d: %v", fault.Line, strings.Count(text, "\n")+1, err)
		}
		for name, v := range in.Vars {
			if leadingName(name) != name || len(v.Value) > 2*maxValue {
				t.Fatalf("%q = %.100q", name, v.Value)
			}
		}
	})
}
