package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/runc/libcontainer/capabilities"
	"github.com/opencontainers/runtime-spec/specs-go"
)

func TestCapabilities(t *testing.T) {
	none := &specs.LinuxCapabilities{}
	all := capabilities.KnownCapabilities()
	slices.Sort(all)
	without := func(name string) []string {
		return slices.DeleteFunc(slices.Clone(all), func(n string) bool { return n == name })
	}
	for _, c := range []struct {
		name     string
		options  options
		base     *specs.LinuxCapabilities
		want     []string
		messages string
	}{
		{"root", options{}, nil, all, ""},
		{"a user", options{}, none, nil, ""},
		{"added to none", options{AddCaps: "CAP_NET_RAW, chown"}, none, []string{"CAP_CHOWN", "CAP_NET_RAW"}, ""},
		{"added twice", options{AddCaps: "cap_chown,CHOWN"}, none, []string{"CAP_CHOWN"}, ""},
		{"all added", options{AddCaps: "all"}, none, all, ""},
		{"dropped from all", options{DropCaps: "CAP_CHOWN"}, nil, without("CAP_CHOWN"), ""},
		{"all dropped", options{DropCaps: "ALL"}, nil, nil, ""},
		{"dropped what was added", options{AddCaps: "chown,kill", DropCaps: "chown"}, none, []string{"CAP_KILL"}, ""},
		{"one of no privileges", options{NoPrivs: true, AddCaps: "kill"}, nil, []string{"CAP_KILL"}, ""},
		{"unknown", options{AddCaps: "CAP_FLY,kill", DropCaps: "swim"}, none, []string{"CAP_KILL"}, "add CAP_FLY;drop CAP_SWIM;"},
		{"more in what runs", options{AddCaps: "kill"}, &specs.LinuxCapabilities{Permitted: []string{"CAP_CHOWN"}}, []string{"CAP_CHOWN", "CAP_KILL"}, ""},
	} {
		var messages strings.Builder
		got := c.options.capabilitiesFrom(c.base, func(verb, names string) { messages.WriteString(verb + " " + names + ";") })
		if !slices.Equal(got, c.want) || messages.String() != c.messages {
			t.Errorf("%s: %v and %q, want %v and %q", c.name, got, messages.String(), c.want, c.messages)
		}
	}
}
