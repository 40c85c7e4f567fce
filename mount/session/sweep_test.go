package session

import (
	"maps"
	"strings"
	"testing"
)

// Mount tables as containers have them.
const (
	plainTable = `
600 500 0:55 /.flatrun@aa/.flat/ab/abc / ro,nosuid,nodev,relatime master:9 - fuse.flatrun r.example.org ro,user_id=1000
601 600 0:5 / /dev rw master:2 - devtmpfs devtmpfs rw
602 600 0:50 / /cvmfs rw,nosuid,nodev master:8 - tmpfs flatrun rw,size=1024k
603 602 0:55 / /cvmfs/r.example.org ro,nosuid,nodev master:9 - fuse.flatrun r.example.org ro
604 603 0:55 /.flatrun@aa /cvmfs/r.example.org ro,nosuid,nodev master:9 - fuse.flatrun r.example.org ro
605 602 0:56 /.flatrun@bb-rmd160//deleted /cvmfs/s.example.org ro - fuse.flatrun s.example.org ro
`
	overlaidTable = `
700 500 0:60 / / rw,nosuid,nodev - overlay overlay rw,lowerdir=image,userxattr
704 703 0:55 /.flatrun@aa /cvmfs/r.example.org ro - fuse.flatrun r.example.org ro
`
	opaqueTable = `
700 500 0:60 / / rw,nosuid,nodev - overlay overlay rw,lowerdir=image,userxattr
701 700 0:5 / /dev rw master:2 - devtmpfs devtmpfs rw
702 700 0:55 / /tmp/flatrun-1000/login/cvmfs/r.example.org ro,nosuid,nodev master:9 - fuse.flatrun r.example.org ro
`
	hostTable = `
20 1 8:1 / / rw shared:1 - ext4 /dev/root rw
21 20 0:60 / /var/lib/docker/overlay2/x/merged rw shared:2 - overlay overlay rw
22 20 0:70 /.flatrun@cc /x rw

nonsense - -
`
)

func TestPresence(t *testing.T) {
	for _, tt := range []struct {
		table  string
		pins   map[string]int
		opaque bool
	}{
		{plainTable, map[string]int{".flatrun@aa": 1, ".flatrun@bb-rmd160": 1}, false},
		{overlaidTable, map[string]int{".flatrun@aa": 1}, false},
		{opaqueTable, nil, true},
		{hostTable, nil, false},
		{plainTable + overlaidTable, map[string]int{".flatrun@aa": 1, ".flatrun@bb-rmd160": 1}, false}, // one namespace counts once
	} {
		p := presence{pins: map[string]int{}}
		p.add([]byte(strings.TrimPrefix(tt.table, "\n")))
		if !maps.Equal(p.pins, tt.pins) || p.opaque != tt.opaque {
			t.Errorf("%v %v, want %v %v in%s", p.pins, p.opaque, tt.pins, tt.opaque, tt.table)
		}
	}
}
