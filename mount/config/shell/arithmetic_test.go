package shell

import (
	"os"
	"strings"
	"testing"
)

func TestCalculate(t *testing.T) {
	lookup := func(name string) (string, bool) {
		value, ok := map[string]string{"a": "7", "empty": "", "word": "x", "octal": "010"}[name]
		return value, ok
	}
	pid := int64(os.Getpid())
	tests := []struct {
		expression string
		want       int64
	}{
		{"1", 1}, {" 1 + 2 ", 3}, {"2+3*4", 14}, {"(2+3)*4", 20}, {"7%4", 3}, {"7/2", 3}, {"-7/2", -3}, {"10-3-2", 5}, {"--5", 5}, {"+5", 5}, {"2*-3", -6},
		{"a+1", 8}, {"$a+1", 8}, {"${a}%2", 1}, {"empty", 0}, {"$$", pid}, {"$$ % 2", pid % 2}, {"0", 0},
	}
	for _, tt := range tests {
		if got, err := calculate(tt.expression, lookup); err != nil || got != tt.want {
			t.Errorf("%s = %d, %v; want %d", tt.expression, got, err, tt.want)
		}
	}
	for _, expression := range []string{
		"", " ", "1+", "(1", "1)", "1/0", "1%0", "1 2", "a=1", "1<2", "none", "word", "octal", "010", "0x10", "${a", "${a-1}", "$", "99999999999999999999", "1+$(x)", strings.Repeat("(", 100) + "1", "a++", "\x00",
	} {
		if got, err := calculate(expression, lookup); err == nil {
			t.Errorf("%q = %d, want an error", expression, got)
		}
	}
}

func TestArithmeticInScripts(t *testing.T) {
	in := tree(map[string]string{"/f": `
N=3
A="$((N * 2))"
B=$(( (N + 1) % 2 ))
C=$((N + none))
D=x$((1/0))
if [ "$(($$ % 2))" == 1 ]; then E=odd; else E=even; fi
`})
	if err := in.Run("/f"); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"A": "6", "B": "0", "E": []string{"even", "odd"}[os.Getpid()%2]}
	for name, value := range want {
		if v := in.Vars[name]; v.Value != value || v.Unknown != "" {
			t.Errorf("%s = %+v, want %s", name, v, value)
		}
	}
	if v := in.Vars["C"]; v.Value != "3" || v.Unknown != "" {
		t.Errorf("a variable that is not set counts as 0: %+v", v)
	}
	if v := in.Vars["D"]; !strings.Contains(v.Unknown, "$((1/0))") {
		t.Errorf("D = %+v, want unknown", v)
	}
}
