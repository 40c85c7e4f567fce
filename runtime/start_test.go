package runtime

import "testing"

func TestHello(t *testing.T) {
	image := newImage(t)
	r := container{Request: Request{Image: Image{Path: image}, Args: sh("echo hello; id -u; ls -l /; cat /proc/self/mountinfo; cat /etc/passwd")}}.run(t)
	t.Log(r.code, r.out, r.err)
}
