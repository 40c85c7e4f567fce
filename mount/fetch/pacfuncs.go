package fetch

import (
	"context"
	"net"
	"path"
	"strings"
	"time"

	"github.com/dop251/goja"
)

// definePAC gives a script the functions of the proxy auto-configuration convention.
func definePAC(ctx context.Context, vm *goja.Runtime, now func() time.Time) error {
	p := pac{ctx, now}
	for name, f := range map[string]any{
		"isPlainHostName": func(host string) bool { return !strings.Contains(host, ".") },
		"dnsDomainIs": func(host, domain string) bool {
			return strings.HasSuffix(strings.ToLower(host), strings.ToLower(domain))
		},
		"localHostOrDomainIs": func(host, full string) bool { return host == full || strings.HasPrefix(full, host+".") },
		"dnsDomainLevels":     func(host string) int { return strings.Count(host, ".") },
		"shExpMatch":          shellMatch,
		"isResolvable":        func(host string) bool { return p.resolve(host) != nil },
		"dnsResolve": func(host string) any {
			if ip := p.resolve(host); ip != nil {
				return ip.String()
			}
			return nil
		},
		"isInNet":      p.isInNet,
		"myIpAddress":  myAddress,
		"weekdayRange": func(args ...any) bool { return p.inRange(args, weekdayOf) },
		"dateRange":    func(args ...any) bool { return p.inRange(args, dateOf) },
		"timeRange":    func(args ...any) bool { return p.inRange(args, timeOf) },
		"alert":        func(...any) {},
	} {
		if err := vm.Set(name, f); err != nil {
			return err
		}
	}
	return nil
}

type pac struct {
	ctx context.Context
	now func() time.Time
}

// shellMatch matches * and ? over all characters, a slash too.
func shellMatch(s, pattern string) bool {
	const slash = "\x00"
	pattern = strings.NewReplacer("/", slash, `\`, `\\`, "[", `\[`).Replace(pattern)
	ok, err := path.Match(pattern, strings.ReplaceAll(s, "/", slash))
	return ok && err == nil
}

// resolve returns an address of the host, of version 4 if there is one: the convention is older than version 6.
func (p pac) resolve(host string) net.IP {
	if ip := net.ParseIP(host); ip != nil {
		return ip
	}
	addrs, err := net.DefaultResolver.LookupIP(p.ctx, "ip", host)
	if err != nil || len(addrs) == 0 {
		return nil
	}
	for _, a := range addrs {
		if a.To4() != nil {
			return a
		}
	}
	return addrs[0]
}

func (p pac) isInNet(host, network, mask string) bool {
	ip, n, m := p.resolve(host).To4(), net.ParseIP(network).To4(), net.ParseIP(mask).To4()
	if ip == nil || n == nil || m == nil {
		return false
	}
	return ip.Mask(net.IPMask(m)).Equal(n.Mask(net.IPMask(m)))
}

// myAddress is the address that packets to elsewhere leave from. Connecting a datagram socket sends nothing.
func myAddress() string {
	conn, err := net.Dial("udp4", "192.0.2.1:9")
	if err != nil {
		return "127.0.0.1"
	}
	defer conn.Close()
	return conn.LocalAddr().(*net.UDPAddr).IP.String()
}

// rangeOf reads the arguments of a range, and says for a time where in such a range it is. from and to are the same for one
// argument; ok is false if they make no sense.
type rangeOf func(args []any, t time.Time) (from, to, at int, ok bool)

// inRange is the common part of the three range functions: "GMT" as last argument, and ranges that go around.
func (p pac) inRange(args []any, of rangeOf) bool {
	now := p.now()
	if n := len(args); n > 0 && args[n-1] == "GMT" {
		args, now = args[:n-1], now.UTC()
	}
	from, to, at, ok := of(args, now)
	if !ok {
		return false
	}
	if from <= to {
		return from <= at && at <= to
	}
	return from <= at || at <= to
}

func weekdayOf(args []any, t time.Time) (from, to, at int, ok bool) {
	if len(args) != 1 && len(args) != 2 {
		return 0, 0, 0, false
	}
	from, to = index("SUNMONTUEWEDTHUFRISAT", args[0]), index("SUNMONTUEWEDTHUFRISAT", args[len(args)-1])
	return from, to, int(t.Weekday()), from >= 0 && to >= 0
}

// index finds a three-letter name in a list of them.
func index(names string, arg any) int {
	s, _ := arg.(string)
	if i := strings.Index(names, strings.ToUpper(s)); len(s) == 3 && i >= 0 && i%3 == 0 {
		return i / 3
	}
	return -1
}

// timeOf takes one hour, or hours, hours and minutes, or hours, minutes and seconds of two times of day. What is not given
// is the beginning for the first and the end for the second.
func timeOf(args []any, t time.Time) (from, to, at int, ok bool) {
	n := []int{}
	for _, a := range args {
		v, isInt := a.(int64)
		if !isInt || v < 0 || v > 60 {
			return 0, 0, 0, false
		}
		n = append(n, int(v))
	}
	if len(n) == 1 {
		n = append(n, n[0])
	}
	half := len(n) / 2
	if half == 0 || half > 3 || len(n)%2 != 0 {
		return 0, 0, 0, false
	}
	first, last := [3]int{0, 0, 0}, [3]int{0, 59, 59}
	copy(first[:], n[:half])
	copy(last[:], n[half:])
	seconds := func(v [3]int) int { return v[0]*3600 + v[1]*60 + v[2] }
	return seconds(first), seconds(last), seconds([3]int{t.Hour(), t.Minute(), t.Second()}), true
}

// dateOf takes one or two of: a day, a month, a year, a day and a month, a month and a year, all three. Only what is given counts.
func dateOf(args []any, t time.Time) (from, to, at int, ok bool) {
	half := (len(args) + 1) / 2
	if len(args) != 1 && (len(args)%2 != 0 || half > 3) || half == 0 {
		return 0, 0, 0, false
	}
	from, mask, ok1 := dateNumber(args[:half])
	to, mask2, ok2 := dateNumber(args[len(args)-half:])
	if !ok1 || !ok2 || mask != mask2 {
		return 0, 0, 0, false
	}
	values := [3]int{t.Year(), int(t.Month()), t.Day()}
	for i := range values {
		if mask&(1<<i) == 0 {
			values[i] = 0
		}
	}
	return from, to, values[0]*10000 + values[1]*100 + values[2], true
}

// dateNumber reads year, month and day, each at most once, into a number that orders dates; mask tells which were there.
func dateNumber(args []any) (n, mask int, ok bool) {
	var values [3]int
	for _, a := range args {
		i, v := 1, index("JANFEBMARAPRMAYJUNJULAUGSEPOCTNOVDEC", a)+1
		if k, isInt := a.(int64); isInt && k > 31 {
			i, v = 0, int(k)
		} else if isInt {
			i, v = 2, int(k)
		}
		if v < 1 || v > 9999 || mask&(1<<i) != 0 {
			return 0, 0, false
		}
		values[i], mask = v, mask|1<<i
	}
	return values[0]*10000 + values[1]*100 + values[2], mask, true
}
