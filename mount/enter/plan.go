package enter

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

const planVariable = "FLATRUN_ENTER"

// maxTries bounds how often a start is tried anew when the session ended between its start and our joining it.
const maxTries = 3

// encode writes the plan as the constructor reads it.
func (p Plan) encode() string {
	var b strings.Builder
	word := func(format string, args ...any) { fmt.Fprintf(&b, format+";", args...) }
	if p.Join {
		word("join")
	}
	if p.New != 0 {
		word("new=%#x", uint32(p.New))
	}
	if p.Init {
		word("init")
	}
	if p.Linger {
		word("linger")
	}
	if p.Netns != "" {
		word("netns=%s", p.Netns)
	}
	if p.Grace {
		word("grace")
	}
	if p.Detach {
		word("detach=%d", p.Keep)
	}
	if p.Fakeroot {
		word("fakeroot")
	}
	if p.Process != 0 {
		word("process=%d", p.Process)
	}
	if len(p.UIDs) > 0 {
		word("uids=%s", joinMaps(p.UIDs))
	}
	if len(p.GIDs) > 0 {
		word("gids=%s", joinMaps(p.GIDs))
	}
	if p.tries != 0 {
		word("try=%d", p.tries)
	}
	if b.Len() == 0 {
		word("own")
	}
	return b.String()
}

func joinMaps(maps []IDMap) string {
	var words []string
	for _, m := range maps {
		words = append(words, fmt.Sprint(m.Inside), fmt.Sprint(m.Outside), fmt.Sprint(m.Count))
	}
	return strings.Join(words, " ")
}

// decodePlan reads what encode wrote. The variable can be set by anybody who runs the program, with no more rights
// than he has: nonsense gives a plan of nonsense.
func decodePlan(text string) Plan {
	var p Plan
	for word := range strings.SplitSeq(text, ";") {
		key, value, _ := strings.Cut(word, "=")
		switch key {
		case "join":
			p.Join = true
		case "init":
			p.Init = true
		case "linger":
			p.Linger = true
		case "netns":
			p.Netns = value
		case "grace":
			p.Grace = true
		case "detach":
			p.Detach = true
			p.Keep, _ = strconv.Atoi(value)
		case "fakeroot":
			p.Fakeroot = true
		case "new":
			n, _ := strconv.ParseUint(value, 0, 32)
			p.New = Namespaces(n)
		case "process":
			p.Process, _ = strconv.Atoi(value)
		case "uids":
			p.UIDs = splitMaps(value)
		case "gids":
			p.GIDs = splitMaps(value)
		case "try":
			p.tries, _ = strconv.Atoi(value)
		}
	}
	return p
}

func splitMaps(text string) []IDMap {
	words := strings.Fields(text)
	var maps []IDMap
	for ; len(words) >= 3; words = words[3:] {
		var n [3]uint32
		for i := range n {
			v, _ := strconv.ParseUint(words[i], 10, 32)
			n[i] = uint32(v)
		}
		maps = append(maps, IDMap{n[0], n[1], n[2]})
	}
	return maps
}

func ensure(ctx context.Context, p Plan, o StartOptions) (State, error) {
	s := Current()
	if s.Satisfies(p) {
		return s, nil
	}
	if s.Plan != nil {
		// The plan was carried out and does not suit: once more would not end.
		p.tries = s.Plan.tries + 1
		switch {
		case s.Err != nil:
			return s, s.Err
		case !p.Join || p.tries >= maxTries:
			return s, errors.New("the session ended as soon as it was started; see flatrun status, or try again")
		}
	} else if s.Err != nil {
		return s, s.Err
	}
	if p.Join && s.Kind != Joined {
		if err := Start(ctx, o); err != nil {
			return s, err
		}
	}
	if o.Before != nil {
		o.Before()
	}
	return s, Reexec(p)
}

func reexec(p Plan) error {
	s := Current()
	text := p.encode()
	if s.Err == nil && (s.Kind == Joined || s.Kind == Own) && p.Process == 0 {
		// The user namespace is the right one or cannot be left: go on from here. Capabilities must survive the execve, and so must the connection.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		if err := keepCapabilities(); err != nil {
			return err
		}
		text += fmt.Sprintf("here=%d;dir=%s;", s.Kind, s.Dir)
		if s.Session != nil {
			fd := int(s.Session.Conn.Fd())
			if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, 0); err != nil {
				return fmt.Errorf("keep the connection to the session: %w", err)
			}
			text += fmt.Sprintf("conn=%d;", fd)
			if s.Session.asked != "" {
				text += "asked;"
			}
		}
	}
	err := unix.Exec("/proc/self/exe", os.Args, append(environWithout(planVariable), planVariable+"="+text))
	return fmt.Errorf("start %s once more: %w", os.Args[0], err)
}

func environWithout(name string) []string {
	var env []string
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, name+"=") {
			env = append(env, e)
		}
	}
	return env
}
