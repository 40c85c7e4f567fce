package session

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/flatrun/flatrun/mount/authz"
	"github.com/flatrun/flatrun/mount/fetch"
)

// authorize gives the servers of a repository that is not open to all what shows who the user is. The root catalog says
// whether it is one (voms_authz), which all may read. Where the site has the helper that the catalog names, that decides, and
// finds the credential. Otherwise whether the user may enter is the servers' to decide: the session and its cache are the
// user's own, so there is nobody to keep out here. A mount that goes on after its server was killed goes on without
// permission too, and gets nothing new.
func (v *served) authorize(ctx context.Context, resumed bool) error {
	props, err := v.repo.Head().Root().Catalog.Properties()
	if err != nil || props.Authz == "" {
		return err
	}
	helper, membership := authz.Requirement(props.Authz)
	override := v.settings.Variables["CVMFS_AUTHZ_HELPER"]
	program, err := authz.Find(helper, override, v.settings.Variables["CVMFS_AUTHZ_SEARCH_PATH"])
	switch {
	case err == nil:
		v.permission = &permission{program: program, membership: membership}
		if err = v.renewPermission(ctx); err != nil && resumed {
			v.permission.refused, err = membersOnly(membership, err), nil
		}
	case errors.Is(err, fs.ErrNotExist) && override == "":
		var own *fetch.Credential
		if own, err = fetch.FindCredential(os.Getenv, os.Getuid()); err == nil {
			err = v.show(own)
		}
	}
	if err != nil && resumed {
		v.log.Warn("the mount goes on without a credential", "error", err)
		return nil
	}
	return membersOnly(membership, err)
}

// membersOnly says of an error that it is about who may use the repository.
func membersOnly(membership string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("it is for members of %q only: %w", membership, err)
}

// show makes the repository's servers see the credential.
func (v *served) show(own *fetch.Credential) error {
	if own != nil && !slices.ContainsFunc(append(slices.Clone(v.settings.Servers), v.settings.ExternalServers...), overTLS) {
		return errors.New("a credential must not travel in the clear, and none of its servers is https")
	}
	if own != nil {
		v.log.Info("credential", "is", own.String())
	}
	v.main.Authorize(own)
	if external, ok := v.store.External.(*fetch.Client); ok {
		external.Authorize(own)
	}
	return nil
}

func overTLS(server string) bool { return strings.HasPrefix(server, "https://") }

// permission is what a helper has answered, and is asked again when the answer is too old.
type permission struct {
	program, membership string
	cancel              context.CancelFunc // nil while nobody goes on asking
	ended               chan struct{}

	asking sync.Mutex    // held while the helper is asked; guards what follows
	helper *authz.Helper // nil where none runs
	last   authz.Permit

	mu      sync.Mutex
	ttl     time.Duration // of the last answer
	asked   time.Time
	refused error // the last answer was a "no"
}

// askAgain is how soon somebody who comes after a "no" makes the helper be asked once more: he may have got a new credential.
const askAgain = time.Second

// keepAsking asks the helper whenever its last answer is too old, until close.
func (v *served) keepAsking() {
	p := v.permission
	if p == nil {
		return
	}
	v.fs.Refuse(p.refusal())
	var ctx context.Context
	ctx, p.cancel = context.WithCancel(context.Background())
	p.ended = make(chan struct{})
	go func() {
		defer close(p.ended)
		for {
			select {
			case <-ctx.Done():
				return
			case <-time.After(p.wait()):
			}
			if err := v.renewPermission(ctx); err != nil && ctx.Err() == nil {
				v.log.Warn("permission to use the repository", "error", err)
			}
		}
	}()
}

// wait is how long the last answer holds.
func (p *permission) wait() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return cmp.Or(p.ttl, time.Minute)
}

// refusal is the helper's last answer where it was a "no".
func (p *permission) refusal() error {
	if p == nil {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.refused
}

// permitted is the refusal, after asking anew: when again is set, or when the last "no" was a while ago.
func (v *served) permitted(ctx context.Context, again bool) error {
	p := v.permission
	if p == nil {
		return nil
	}
	p.mu.Lock()
	again = again || p.refused != nil && time.Since(p.asked) > askAgain
	p.mu.Unlock()
	if again {
		if err := v.renewPermission(ctx); err != nil {
			v.log.Warn("permission to use the repository", "error", err)
		}
	}
	return p.refusal()
}

// renewPermission asks the helper. A "no" takes the credential away, and the mount then refuses what was not read yet; while
// there is no answer, the last one holds.
func (v *served) renewPermission(ctx context.Context) error {
	p := v.permission
	p.asking.Lock()
	defer p.asking.Unlock()
	err := v.askHelper(ctx, p)
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case err == nil:
		p.refused = nil
	case errors.Is(err, authz.ErrDenied):
		p.refused = membersOnly(p.membership, err)
	}
	p.asked, p.ttl = time.Now(), p.last.TTL
	if v.fs != nil {
		v.fs.Refuse(p.refused)
	}
	return err
}

// askHelper starts the helper where none runs. The caller holds asking.
func (v *served) askHelper(ctx context.Context, p *permission) (err error) {
	if p.helper == nil {
		if p.helper, err = authz.Start(ctx, p.program, v.settings.FQRN); err != nil {
			return err
		}
	}
	permit, err := p.helper.Verify(ctx, os.Getuid(), os.Getgid(), os.Getpid(), p.membership)
	switch {
	case errors.Is(err, authz.ErrDenied):
		p.last = authz.Permit{TTL: p.last.TTL}
		return errors.Join(err, v.show(nil))
	case err != nil:
		p.close()
		return err
	case permit.Token == p.last.Token && string(permit.Proxy) == string(p.last.Proxy) && p.last.TTL > 0:
		p.last.TTL = permit.TTL
		return nil
	}
	var own *fetch.Credential
	if permit.Token != "" || permit.Proxy != nil {
		if own, err = fetch.NewCredential(p.program, permit.Token, permit.Proxy); err != nil {
			return fmt.Errorf("authorization helper %s: %w", p.program, err)
		}
	}
	p.last = permit
	return v.show(own)
}

// close ends the helper. The caller holds asking.
func (p *permission) close() {
	if p.helper != nil {
		p.helper.Close()
		p.helper = nil
	}
}

// end ends the asking too.
func (p *permission) end() {
	if p == nil {
		return
	}
	if p.cancel != nil {
		p.cancel()
		<-p.ended
	}
	p.asking.Lock()
	defer p.asking.Unlock()
	p.close()
}
