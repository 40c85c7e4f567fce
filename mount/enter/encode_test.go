package enter

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func TestPlanSurvivesEncoding(t *testing.T) {
	for _, p := range []Plan{
		{}, {Join: true}, {New: PID | IPC | UTS | Net | Cgroup, Init: true}, {Fakeroot: true, Join: true, tries: 2}, {Process: 4711},
		{Netns: "/run/netns/a=b"}, {New: PID, Init: true, Grace: true}, {New: PID, Detach: true, Keep: 4, Grace: true},
		{Fakeroot: true, UIDs: []IDMap{{0, 1000, 1}, {1, 100000, 65536}}, GIDs: []IDMap{{0, 1000, 1}}},
	} {
		if got := decodePlan(p.encode()); !reflect.DeepEqual(got, p) {
			t.Errorf("%+v became %+v by way of %q", p, got, p.encode())
		}
	}
}

func FuzzDecodePlan(f *testing.F) {
	f.Add(Plan{Join: true, New: PID, Process: 3, UIDs: []IDMap{{0, 1, 2}}}.encode())
	f.Add("uids=1 2;gids=a b c;new=99999999999;;=;process=-1")
	f.Fuzz(func(t *testing.T, text string) {
		p := decodePlan(text)
		if again := decodePlan(p.encode()); !reflect.DeepEqual(again, p) {
			t.Errorf("%q: %+v became %+v", text, p, again)
		}
	})
}

func TestReadSubIDs(t *testing.T) {
	for _, tt := range []struct {
		text string
		want []IDMap
		err  string
	}{
		{"alice:100000:65536\n", []IDMap{{0, 7, 1}, {1, 100000, 65536}}, ""},
		{"bob:1:2\nalice:100000:10\n1001:200000:5\n", []IDMap{{0, 7, 1}, {1, 100000, 10}, {11, 200000, 5}}, ""},
		{"alice:x:1\nalice:1\nalice\n:::\nalice:1:0\n", nil, "has no range for alice"},
		{"alice:1:4294967295\n", nil, "has no range"},
		{"", nil, "has no range"},
	} {
		path := filepath.Join(t.TempDir(), "subuid")
		if err := os.WriteFile(path, []byte(tt.text), 0o644); err != nil {
			t.Fatal(err)
		}
		got, err := readSubIDs(path, []string{"1001", "alice"}, 7)
		if !reflect.DeepEqual(got, tt.want) || (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%q: %v, %v", tt.text, got, err)
		}
	}
	if _, err := readSubIDs("/nonexistent", nil, 1); err == nil || !strings.Contains(err.Error(), "usermod") {
		t.Errorf("no file: %v", err)
	}
}

func TestSatisfies(t *testing.T) {
	session := &Session{}
	joined, own := State{Kind: Joined, Session: session}, State{Kind: Own}
	fake := State{Kind: Own, Plan: &Plan{Fakeroot: true}}
	pid := State{Kind: Own, New: PID, Plan: &Plan{New: PID, Init: true}}
	for _, tt := range []struct {
		name  string
		state State
		plan  Plan
		want  bool
	}{
		{"nothing", State{}, Plan{}, false},
		{"own", own, Plan{}, true},
		{"own but session", own, Plan{Join: true}, false},
		{"session", joined, Plan{Join: true}, true},
		{"session for a directory", joined, Plan{}, true},
		{"no pid namespace", joined, Plan{Join: true, New: PID}, false},
		{"pid", pid, Plan{New: PID, Init: true}, true},
		{"pid without init", State{Kind: Own, New: PID, Plan: &Plan{New: PID}}, Plan{New: PID, Init: true}, false},
		{"fakeroot", fake, Plan{Fakeroot: true}, true},
		{"fakeroot unasked", fake, Plan{}, false},
		{"subordinate ids missing", fake, Plan{Fakeroot: true, UIDs: []IDMap{{}}}, false},
		{"process", State{Kind: Entered, Plan: &Plan{Process: 3}}, Plan{Process: 3}, true},
		{"other process", State{Kind: Entered, Plan: &Plan{Process: 3}}, Plan{Process: 4}, false},
		{"failed", State{Kind: Own, Err: os.ErrInvalid}, Plan{}, false},
	} {
		if got := tt.state.Satisfies(tt.plan); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}
