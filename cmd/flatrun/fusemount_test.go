package main

import (
	"reflect"
	"testing"

	"github.com/flatrun/flatrun/runtime"
)

func TestFUSEMounts(t *testing.T) {
	for _, c := range []struct {
		value string
		want  []runtime.FUSE
	}{
		{"container:sshfs h:/ /mnt", []runtime.FUSE{{Program: []string{"sshfs", "h:/"}, Target: "/mnt"}}},
		{"host-daemon:a  b   /m", []runtime.FUSE{{Program: []string{"a", "b"}, Target: "/m", Host: true, Daemon: true}}},
		{"container-daemon:a /m,host:a -o x,y,z:1 /n", []runtime.FUSE{
			{Program: []string{"a"}, Target: "/m", Daemon: true}, {Program: []string{"a", "-o", "x,y,z:1"}, Target: "/n", Host: true},
		}},
		{"host:a", nil}, {"host: /m", nil}, {"a /m", nil}, {"image:a /m", nil}, {"host:a m", nil}, {" ", nil},
	} {
		o := &options{PID: true, FUSEMount: texts{c.value}}
		r := &runtime.Request{}
		err := (&container{options: o}).placeFUSE(r)
		if (err != nil) != (c.want == nil) || err == nil && !reflect.DeepEqual(r.FUSE, c.want) {
			t.Errorf("%q: %+v, %v; want %+v", c.value, r.FUSE, err, c.want)
		}
	}
}
