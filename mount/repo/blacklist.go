package repo

import (
	"fmt"
	"strconv"
	"strings"
)

// blacklist is what the site refuses, whoever signed it.
type blacklist struct {
	fingerprints []Fingerprint
	minimum      uint64 // the lowest revision of this repository that is accepted
}

// parseBlacklist reads lines: fingerprints, and "<FQRN N", which refuses the
// revisions of a repository below N. Lines about other repositories are passed
// over; one that cannot be read is an error, for it meant to refuse something.
func parseBlacklist(lines []string, fqrn string) (b blacklist, err error) {
	for _, line := range lines {
		line = strings.TrimSpace(line)
		switch {
		case line == "" || line[0] == '#':
		case line[0] == '<':
			err = b.limit(strings.Fields(line[1:]), fqrn)
		default:
			var f Fingerprint
			f, err = ParseFingerprint(line)
			b.fingerprints = append(b.fingerprints, f)
		}
		if err != nil {
			return b, fmt.Errorf("blacklist: line %q: %w", line, err)
		}
	}
	return b, nil
}

func (b *blacklist) limit(fields []string, fqrn string) error {
	if len(fields) < 2 {
		return fmt.Errorf("want <REPOSITORY REVISION")
	}
	n, err := strconv.ParseUint(fields[1], 10, 64)
	if err == nil && fields[0] == fqrn {
		b.minimum = max(b.minimum, n)
	}
	return err
}

func (b blacklist) checkCertificate(c *Certificate) error {
	for _, f := range b.fingerprints {
		if c.Fingerprint(f.Algorithm()) == f.Hash {
			return fmt.Errorf("certificate %s: %w", f, ErrBlacklisted)
		}
	}
	return nil
}

func (b blacklist) checkRevision(n uint64) error {
	if n < b.minimum {
		return fmt.Errorf("revision %d: %w: the blacklist refuses those below %d", n, ErrBlacklisted, b.minimum)
	}
	return nil
}
