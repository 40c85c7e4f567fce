package fusefs

import (
	"os"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func newNotes(t testing.TB) *os.File {
	fd, err := unix.MemfdCreate("notes", unix.MFD_CLOEXEC)
	if err != nil {
		t.Skip(err)
	}
	f := os.NewFile(uintptr(fd), "notes")
	t.Cleanup(func() { f.Close() })
	return f
}

func TestNotes(t *testing.T) {
	f := newNotes(t)
	m, r, err := openMemory(f)
	if err != nil || r.init != nil || len(r.dirs) > 0 {
		t.Fatalf("an empty file says %+v, %v", r, err)
	}
	m.note(noteRoot, nil, "aa")
	m.note(noteInit, nil, "\x00init")
	m.note(noteCatalog, []uint64{1, 256, 1 << 40}, "aa", "")
	m.note(noteLineage, []uint64{1}, "/a")
	m.note(noteDir, []uint64{1, 300, 0}, "/a\nb")
	m.note(noteDir, []uint64{2, 301, 0}, "/c")
	m.note(noteForgot, []uint64{1})
	m.note(noteRoot, nil, "bb")
	want := &remembered{
		init: []byte("\x00init"), root: "bb", catalogs: []rememberedCatalog{{1, 256, 1 << 40, "aa", ""}},
		lineages: []rememberedPlace{{1, "/a"}}, dirs: map[uint64]rememberedDir{2: {301, 0, "/c"}}, serial: 2, end: m.size - notesHeader,
	}
	_, got, err := openMemory(f)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Fatalf("got %+v, %v; want %+v", got, err, want)
	}
	// What was cut short by the end of a server is written over by the next one.
	if err := f.Truncate(m.size - 1); err != nil {
		t.Fatal(err)
	}
	again, got, err := openMemory(f)
	if err != nil || got.root != "aa" {
		t.Fatalf("cut short: %+v, %v", got, err)
	}
	again.note(noteRoot, nil, "cc")
	if _, got, err = openMemory(f); err != nil || got.root != "cc" {
		t.Fatalf("gone on: %+v, %v", got, err)
	}
}

func TestNotesWithoutRoom(t *testing.T) {
	f := newNotes(t)
	m, _, err := openMemory(f)
	if err != nil {
		t.Fatal(err)
	}
	m.note(noteInit, nil, "init")
	readOnly, err := os.Open("/proc/self/fd/" + strconv.Itoa(int(f.Fd())))
	if err != nil {
		t.Fatal(err)
	}
	defer readOnly.Close()
	m.file = readOnly
	m.note(noteRoot, nil, "aa")
	m.file = f
	m.note(noteRoot, nil, "bb")
	if m.err == nil || m.size != notesHeader+int64(len("I\x04init")) {
		t.Errorf("after a note that could not be written: %v, %d bytes", m.err, m.size)
	}
	var none *notebook
	none.note(noteRoot, nil, "aa")
}

// Notes about directories that come and go take bounded memory.
func TestNotesGathered(t *testing.T) {
	f := newNotes(t)
	m, _, err := openMemory(f)
	if err != nil {
		t.Fatal(err)
	}
	m.note(noteInit, nil, "init")
	m.note(noteRoot, nil, "aa")
	m.note(noteCatalog, []uint64{1, 256, 100}, "aa", "")
	m.note(noteLineage, []uint64{1}, "")
	path := "/" + strings.Repeat("long", 500)
	for serial := range uint64(20_000) {
		m.note(noteDir, []uint64{serial + 1, 300, 0}, path)
		if serial%1000 != 999 {
			m.note(noteForgot, []uint64{serial + 1})
		}
	}
	if m.err != nil {
		t.Fatal(m.err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil || st.Blocks*512 > 4<<20 {
		t.Errorf("%d kB are taken, %v", st.Blocks/2, err)
	}
	_, r, err := openMemory(f)
	if err != nil || string(r.init) != "init" || r.root != "aa" || len(r.catalogs) != 1 || len(r.lineages) != 1 || len(r.dirs) != 20 || r.serial != 20_000 {
		t.Errorf("%d directories, serial %d, %v", len(r.dirs), r.serial, err)
	}
}

func TestDirsRecalled(t *testing.T) {
	head, pinned := &view{}, &view{number: 7}
	table := newDirs(head)
	table.recall(&remembered{serial: 9, dirs: map[uint64]rememberedDir{4: {300, 0, "/a"}, 5: {300, 7, "/a"}, 6: {300, 8, "/a"}}},
		map[uint64]*view{0: head, 7: pinned})
	d := table.find(head, "/a")
	if d == nil || d.id != dirBit|4 || d.inode != 300 || !d.entered.Load() {
		t.Fatalf("recalled as %+v", d)
	}
	table.forget(d.id, 3)
	if table.find(head, "/a") != d || table.ref(head, "/a", 1) != d {
		t.Error("forgotten although the kernel may have been told of it more often")
	}
	if other := table.find(pinned, "/a"); other == nil || other == d || other.view != pinned || table.get(dirBit|6) != nil {
		t.Errorf("of the pinned revision %+v is known, of one that is gone %+v", other, table.get(dirBit|6))
	}
	table.abandon(pinned)
	if table.find(pinned, "/a") != nil || table.find(head, "/a") != d {
		t.Error("a revision that is not pinned any more keeps its directories, or the head lost its own")
	}
	if next := table.ref(head, "/b", 301); next.id != dirBit|10 {
		t.Errorf("the next id is %#x", next.id)
	}
}

func FuzzNotes(f *testing.F) {
	f.Add([]byte("R\x02aaI\x04initC\x01\x80\x02\x05\x02aa\x00L\x01\x02/aP\x01D\x01\x05\x01\x02/aF\x01U\x01"))
	f.Add([]byte("D\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := parseNotes(b)
		if err != nil {
			return
		}
		if r.end < 0 || r.end > int64(len(b)) {
			t.Fatalf("the notes end at %d of %d", r.end, len(b))
		}
		again, err := parseNotes(b[:r.end])
		if err != nil || !reflect.DeepEqual(again, r) {
			t.Fatalf("%+v, %v, want %+v", again, err, r)
		}
	})
}
