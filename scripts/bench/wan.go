package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// wan is a wide-area network on one machine, without root: two network namespaces, each with a TUN device, and a carrier
// between them that hands packets over after a delay and at a rate. TCP in the kernel sees it as it sees a real one,
// slow start and all.
type wan struct {
	client chan func() // runs on a thread in the client's namespace
	rate   float64     // bytes a second
	delay  time.Duration
}

const (
	serverAddr = "10.98.0.1"
	clientAddr = "10.98.0.2"
)

// inNetwork starts this program again in a user and network namespace, with the rights to configure the latter.
func inNetwork(args ...string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.Command(self, args...)
	cmd.Env = append(os.Environ(), "BENCH_IN_NETWORK=1")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: os.Getuid(), HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: os.Getgid(), HostID: os.Getgid(), Size: 1}},
		AmbientCaps: []uintptr{unix.CAP_NET_ADMIN, unix.CAP_SYS_ADMIN},
	}
	return cmd.Run()
}

// newWAN makes the network: this process is at serverAddr, what runs on w.client at clientAddr.
func newWAN(roundTrip time.Duration, mbit float64) (*wan, error) {
	w := &wan{client: make(chan func()), rate: mbit * 1e6 / 8, delay: roundTrip / 2}
	near, err := newTUN("server", serverAddr, clientAddr)
	if err != nil {
		return nil, err
	}
	type end struct {
		tun *os.File
		err error
	}
	made := make(chan end)
	go func() {
		runtime.LockOSThread() // for good: this thread lives in the client's namespace
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			made <- end{err: fmt.Errorf("new network namespace: %w", err)}
			return
		}
		tun, err := newTUN("client", clientAddr, serverAddr)
		// Commands started from here must not inherit rights that a user does not have.
		unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
		made <- end{tun, err}
		for f := range w.client {
			f()
		}
	}()
	far := <-made
	if far.err != nil {
		return nil, far.err
	}
	go w.carry(near, far.tun)
	go w.carry(far.tun, near)
	return w, nil
}

// newTUN makes a device in the calling thread's network namespace and gives it an address.
func newTUN(name, addr, peer string) (*os.File, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open /dev/net/tun: %w; as root: chmod 666 /dev/net/tun", err)
	}
	var req struct {
		name  [unix.IFNAMSIZ]byte
		flags uint16
		_     [22]byte
	}
	copy(req.name[:], name)
	req.flags = unix.IFF_TUN | unix.IFF_NO_PI
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.TUNSETIFF, uintptr(unsafe.Pointer(&req))); errno != 0 {
		return nil, fmt.Errorf("make TUN device %s: %w", name, errno)
	}
	for _, args := range [][]string{
		{"addr", "add", addr, "peer", peer, "dev", name}, {"link", "set", name, "up"}, {"link", "set", "lo", "up"},
	} {
		if err := command("ip", args...).run(); err != nil {
			return nil, fmt.Errorf("ip %v: %w", args, err)
		}
	}
	return os.NewFile(uintptr(fd), name), nil
}

// carry hands packets from one device to the other.
func (w *wan) carry(from, to *os.File) {
	type packet struct {
		data []byte
		due  time.Time
	}
	queue := make(chan packet, 2000)
	go func() {
		for p := range queue {
			time.Sleep(time.Until(p.due))
			to.Write(p.data)
		}
	}()
	free := time.Now() // when the line is free again
	for {
		buf := make([]byte, 2048)
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		if now := time.Now(); free.Before(now) {
			free = now
		}
		free = free.Add(time.Duration(float64(n) / w.rate * float64(time.Second)))
		select {
		case queue <- packet{buf[:n], free.Add(w.delay)}:
		default: // a full router drops
		}
	}
}

// run starts a command in the client's namespace and waits for it.
func (w *wan) run(cmd *exec.Cmd) error {
	done := make(chan error)
	w.client <- func() { done <- cmd.Start() } // the child inherits the starting thread's namespace
	if err := <-done; err != nil {
		return err
	}
	return cmd.Wait()
}

// meter counts what goes over the wire.
type meter struct {
	next            http.Handler
	requests, bytes atomic.Int64
	trace           io.Writer // nil for none
	began           time.Time
}

func (m *meter) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	m.requests.Add(1)
	came, before := time.Since(m.began), m.bytes.Load()
	m.next.ServeHTTP(&meteredWriter{w, m}, r)
	if m.trace != nil {
		fmt.Fprintf(m.trace, "%6d ms to %6d ms, %9d bytes before: %s from %s\n", came.Milliseconds(), time.Since(m.began).Milliseconds(), before, r.URL.Path, r.RemoteAddr)
	}
}

func (m *meter) reset() {
	m.requests.Store(0)
	m.bytes.Store(0)
	m.began = time.Now()
}

type meteredWriter struct {
	http.ResponseWriter
	m *meter
}

func (w *meteredWriter) Write(p []byte) (int, error) {
	n, err := w.ResponseWriter.Write(p)
	w.m.bytes.Add(int64(n))
	return n, err
}
