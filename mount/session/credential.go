package session

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/flatrun/flatrun/mount/fetch"
)

// authorize gives the servers of a repository that is not open to all what shows who the user is. The root catalog says
// whether it is one (voms_authz), which all may read. Whether the user may enter is the servers' to decide: the session and
// its cache are the user's own, so there is nobody to keep out here.
func (v *served) authorize() error {
	props, err := v.repo.Head().Root().Catalog.Properties()
	if err != nil || props.Authz == "" {
		return err
	}
	_, membership, _ := strings.Cut(props.Authz, "%")
	own, err := fetch.FindCredential(os.Getenv, os.Getuid())
	if err != nil {
		return fmt.Errorf("it is for members of %q only: %w", membership, err)
	}
	if !slices.ContainsFunc(append(v.settings.Servers, v.settings.ExternalServers...), overTLS) {
		return fmt.Errorf("it is for members of %q only, and a credential must not travel in the clear: none of its servers is https", membership)
	}
	v.log.Info("credential", "is", own.String(), "for", membership)
	v.main.Authorize(own)
	if external, ok := v.store.External.(*fetch.Client); ok {
		external.Authorize(own)
	}
	return nil
}

func overTLS(server string) bool { return strings.HasPrefix(server, "https://") }
