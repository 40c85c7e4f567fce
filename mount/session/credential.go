package session

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/flatrun/flatrun/mount/authz"
	"github.com/flatrun/flatrun/mount/fetch"
)

// authorize gives the servers of a repository that is not open to all what shows who the user is. The root catalog says
// whether it is one (voms_authz), which all may read. Where the site has the helper that the catalog names, that decides, and
// finds the credential. Otherwise whether the user may enter is the servers' to decide: the session and its cache are the
// user's own, so there is nobody to keep out here.
func (v *served) authorize(ctx context.Context) error {
	props, err := v.repo.Head().Root().Catalog.Properties()
	if err != nil || props.Authz == "" {
		return err
	}
	helper, membership := authz.Requirement(props.Authz)
	override := v.settings.Variables["CVMFS_AUTHZ_HELPER"]
	program, err := authz.Find(helper, override, v.settings.Variables["CVMFS_AUTHZ_SEARCH_PATH"])
	switch {
	case err == nil:
		err = v.askHelper(ctx, program, membership)
	case errors.Is(err, fs.ErrNotExist) && override == "":
		var own *fetch.Credential
		if own, err = fetch.FindCredential(os.Getenv, os.Getuid()); err == nil {
			err = v.show(own)
		}
	}
	if err != nil {
		return fmt.Errorf("it is for members of %q only: %w", membership, err)
	}
	return nil
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
	helper              *authz.Helper
	last                authz.Permit
	cancel              context.CancelFunc
	ended               chan struct{}
}

// askHelper asks for the first time, and goes on asking until close.
func (v *served) askHelper(ctx context.Context, program, membership string) error {
	p := &permission{program: program, membership: membership, ended: make(chan struct{})}
	if err := v.renewPermission(ctx, p); err != nil {
		p.close()
		return err
	}
	ctx, p.cancel = context.WithCancel(context.Background())
	v.permission = p
	go func() {
		defer close(p.ended)
		defer p.close()
		for wait := p.last.TTL; ; wait = p.last.TTL {
			select {
			case <-ctx.Done():
				return
			case <-time.After(wait):
			}
			if err := v.renewPermission(ctx, p); err != nil && ctx.Err() == nil {
				v.log.Warn("permission to use the repository", "error", err)
			}
		}
	}()
	return nil
}

// renewPermission asks the helper, which is started where none runs. A "no" takes the credential away.
func (v *served) renewPermission(ctx context.Context, p *permission) (err error) {
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

// close ends the helper.
func (p *permission) close() {
	if p.helper != nil {
		p.helper.Close()
		p.helper = nil
	}
}

// end ends the asking too.
func (p *permission) end() {
	if p != nil {
		p.cancel()
		<-p.ended
	}
}
