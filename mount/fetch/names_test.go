package fetch

import (
	"fmt"
	"slices"
	"testing"
)

func TestNames(t *testing.T) {
	n := &names{}
	if addrs, missing := n.last("a"); addrs != nil || missing {
		t.Errorf("an unknown name: %v, %v", addrs, missing)
	}
	n.found("a", []string{"10.0.0.1", "10.0.0.2"})
	n.led("a", "10.0.0.2")
	if addrs, missing := n.last("a"); !slices.Equal(addrs, []string{"10.0.0.2", "10.0.0.1"}) || missing {
		t.Errorf("what answered last is not the first: %v, %v", addrs, missing)
	}
	n.lost("a")
	if addrs, missing := n.last("a"); len(addrs) != 2 || !missing {
		t.Errorf("not found any more: %v, %v", addrs, missing)
	}
	n.found("a", []string{"10.0.0.9"})
	if addrs, missing := n.last("a"); !slices.Equal(addrs, []string{"10.0.0.9"}) || missing {
		t.Errorf("after the name has moved: %v, %v", addrs, missing)
	}
	for i := range 3 * maxKnown {
		n.led("a", fmt.Sprint("10.0.1.", i))
	}
	if addrs, _ := n.last("a"); len(addrs) != maxKnown || addrs[0] != fmt.Sprint("10.0.1.", 3*maxKnown-1) {
		t.Errorf("%d addresses are kept: %v", len(addrs), addrs)
	}
}
