// Package authz asks the official client's authorization helpers whether a user may see a repository that is not open to all.
//
// A repository's root catalog names the helper and what a user must be (voms_authz: HELPER%MEMBERSHIP). The helper is a
// program of the site's, cvmfs_HELPER_helper, that talks over its standard input and output. A message is two 32-bit numbers
// in the machine's order, the version 1 and a length, and that many bytes of JSON:
//
//	client → helper   {"cvmfs_authz_v1": {"msgid": 0, "revision": 0, "fqrn": …}}
//	helper → client   {"cvmfs_authz_v1": {"msgid": 1, "revision": 0}}
//	client → helper   {"cvmfs_authz_v1": {"msgid": 2, "revision": 0, "uid": …, "gid": …, "pid": …, "membership": …}}
//	helper → client   {"cvmfs_authz_v1": {"msgid": 3, "revision": 0, "status": …, "ttl": …, "x509_proxy" or "bearer_token": …}}
//	client → helper   {"cvmfs_authz_v1": {"msgid": 4, "revision": 0}}
//
// A proxy certificate comes in Base64, a bearer token as it is.
package authz

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

const (
	// DefaultSearchPath is where helpers are where the configuration does not say.
	DefaultSearchPath = "/usr/libexec/cvmfs/authz"

	version    = 1
	maxMessage = 1 << 20
	defaultTTL = 2 * time.Minute // of an answer that does not say
	minTTL     = 10 * time.Second
	patience   = 30 * time.Second // for one answer
)

const (
	msgHello = iota
	msgReady
	msgVerify
	msgPermit
	msgQuit
)

// statuses are what a helper's answer means, beginning with that of success.
var statuses = []string{"", "no credential of the user was found", "the user's credential is not valid", "the user is not a member"}

// ErrDenied is matched by the errors of a helper's "no". They match fs.ErrPermission too.
var ErrDenied error = denied{}

type denied struct{}

func (denied) Error() string        { return "access denied" }
func (denied) Is(target error) bool { return target == fs.ErrPermission }

// Requirement is the property voms_authz of a root catalog, taken apart.
func Requirement(property string) (helper, membership string) {
	helper, membership, _ = strings.Cut(property, "%")
	return helper, membership
}

// Find answers the program for the helper of that name: the one that override names (CVMFS_AUTHZ_HELPER), else
// cvmfs_NAME_helper in the directory searchPath (CVMFS_AUTHZ_SEARCH_PATH). The error matches fs.ErrNotExist where there is none.
func Find(name, override, searchPath string) (string, error) {
	file := override
	if file == "" {
		if name == "" || strings.ContainsFunc(name, func(r rune) bool {
			return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_' || r == '-')
		}) {
			return "", fmt.Errorf("authorization helper %q: the repository names no program", name)
		}
		if searchPath == "" {
			searchPath = DefaultSearchPath
		}
		file = filepath.Join(searchPath, "cvmfs_"+name+"_helper")
	}
	if !filepath.IsAbs(file) {
		return "", fmt.Errorf("authorization helper %s: want an absolute path in CVMFS_AUTHZ_HELPER and CVMFS_AUTHZ_SEARCH_PATH", file)
	}
	if _, err := os.Stat(file); err != nil {
		return "", fmt.Errorf("authorization helper: %w", err)
	}
	return file, nil
}

// Permit is a helper's "yes".
type Permit struct {
	TTL   time.Duration // when to ask again
	Token string        // bearer token for the servers, "" for none
	Proxy []byte        // proxy certificate with key and chain, PEM; nil for none
}

// Helper is a running one. Not for concurrent use.
type Helper struct {
	program string
	cmd     *exec.Cmd
	in      io.WriteCloser
	out     *os.File
}

// Start runs the program and makes its acquaintance.
func Start(ctx context.Context, program, fqrn string) (*Helper, error) {
	out, theirs, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	h := &Helper{program: program, cmd: exec.Command(program), out: out}
	h.cmd.Stdout, h.cmd.Env = theirs, environment(os.Environ())
	if h.in, err = h.cmd.StdinPipe(); err == nil {
		err = h.cmd.Start()
	}
	theirs.Close()
	if err != nil {
		out.Close()
		return nil, fmt.Errorf("authorization helper: %w", err)
	}
	if _, err := h.ask(ctx, message{ID: msgHello, FQRN: fqrn}, msgReady); err != nil {
		h.kill()
		return nil, err
	}
	return h, nil
}

// environment is what helpers are told: they refuse to run without the last one.
func environment(all []string) []string {
	env := []string{}
	for _, v := range all {
		if strings.HasPrefix(v, "CVMFS_AUTHZ_") && !strings.HasPrefix(v, "CVMFS_AUTHZ_HELPER=") {
			env = append(env, v)
		}
	}
	return append(env, "CVMFS_AUTHZ_HELPER=yes")
}

// message is any of them: the fields that it has are told by its id.
type message struct {
	ID       int    `json:"msgid"`
	Revision int    `json:"revision"`
	FQRN     string `json:"fqrn,omitempty"`

	UID        *int   `json:"uid,omitempty"`
	GID        *int   `json:"gid,omitempty"`
	PID        *int   `json:"pid,omitempty"`
	Membership string `json:"membership,omitempty"`

	Status *int   `json:"status,omitempty"`
	TTL    *int   `json:"ttl,omitempty"`
	Proxy  string `json:"x509_proxy,omitempty"`
	Token  string `json:"bearer_token,omitempty"`
}

type envelope struct {
	Message *message `json:"cvmfs_authz_v1"`
}

// Verify asks whether the user may. pid is a process of the user's whose environment may lead to a credential. A "no" matches
// ErrDenied.
func (h *Helper) Verify(ctx context.Context, uid, gid, pid int, membership string) (Permit, error) {
	m, err := h.ask(ctx, message{ID: msgVerify, UID: &uid, GID: &gid, PID: &pid, Membership: membership}, msgPermit)
	if err != nil {
		return Permit{}, err
	}
	switch {
	case m.Status == nil:
		return Permit{}, h.fail(errors.New("its answer has no status"))
	case *m.Status > 0 && *m.Status < len(statuses):
		return Permit{}, fmt.Errorf("%w: %s says that %s", ErrDenied, h.program, statuses[*m.Status])
	case *m.Status != 0:
		return Permit{}, fmt.Errorf("%w: %s answers with status %d", ErrDenied, h.program, *m.Status)
	}
	p := Permit{TTL: defaultTTL, Token: m.Token}
	if m.TTL != nil {
		p.TTL = max(time.Duration(*m.TTL)*time.Second, minTTL)
	}
	if m.Proxy != "" {
		if p.Proxy, err = base64.StdEncoding.DecodeString(m.Proxy); err != nil {
			return Permit{}, h.fail(fmt.Errorf("its proxy certificate: %w", err))
		}
	}
	return p, nil
}

// Close tells the helper to end, and sees to it.
func (h *Helper) Close() {
	h.send(message{ID: msgQuit})
	h.in.Close()
	timer := time.AfterFunc(time.Second, func() { h.cmd.Process.Kill() })
	h.cmd.Wait()
	timer.Stop()
	h.out.Close()
}

func (h *Helper) kill() {
	h.cmd.Process.Kill()
	h.in.Close()
	h.cmd.Wait()
	h.out.Close()
}

func (h *Helper) fail(err error) error {
	return fmt.Errorf("authorization helper %s: %w", h.program, err)
}

// ask sends a message and waits for the answer of that id.
func (h *Helper) ask(ctx context.Context, m message, answer int) (*message, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { h.out.SetReadDeadline(time.Now()) })
	defer stop()
	if err := h.send(m); err != nil {
		return nil, h.fail(err)
	}
	reply, err := parse(h.out)
	if err == nil && reply.ID != answer {
		err = fmt.Errorf("it answers with message %d in place of %d", reply.ID, answer)
	}
	if err != nil && ctx.Err() != nil {
		err = fmt.Errorf("no answer: %w", ctx.Err())
	}
	if err != nil {
		return nil, h.fail(err)
	}
	return reply, nil
}

func (h *Helper) send(m message) error {
	text, err := json.Marshal(envelope{&m})
	if err != nil {
		return err
	}
	b := binary.NativeEndian.AppendUint32(nil, version)
	b = binary.NativeEndian.AppendUint32(b, uint32(len(text)))
	_, err = h.in.Write(append(b, text...))
	return err
}

// parse reads one message.
func parse(r io.Reader) (*message, error) {
	var head [8]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, fmt.Errorf("it ended without an answer: %w", err)
	}
	if v := binary.NativeEndian.Uint32(head[:]); v != version {
		return nil, fmt.Errorf("it speaks version %d of the protocol, not %d", v, version)
	}
	n := binary.NativeEndian.Uint32(head[4:])
	if n > maxMessage {
		return nil, fmt.Errorf("its answer has %d bytes, more than %d", n, maxMessage)
	}
	text := make([]byte, n)
	if _, err := io.ReadFull(r, text); err != nil {
		return nil, fmt.Errorf("its answer is cut short: %w", err)
	}
	var e envelope
	if err := json.Unmarshal(text, &e); err != nil {
		return nil, fmt.Errorf("its answer: %w", err)
	}
	if e.Message == nil {
		return nil, errors.New("its answer has no cvmfs_authz_v1")
	}
	return e.Message, nil
}
