package repo_test

import (
	"crypto/rsa"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/flatrun/flatrun/mount/cas"
	"github.com/flatrun/flatrun/mount/repo"
	"github.com/flatrun/flatrun/mount/repotest"
)

func seal(t testing.TB, text string) []byte {
	t.Helper()
	return []byte(text + "--\n" + cas.Sum(cas.SHA1, []byte(text)).String() + "\nsignature")
}

func h(s string) cas.Hash { return cas.Sum(cas.SHAKE128, []byte(s)) }

func TestManifestRoundTrip(t *testing.T) {
	key := repotest.Key(t, 1)
	want := repo.Manifest{Root: h("c"), RootSize: 4096, TTL: 61, Revision: 1 << 63, Collectable: true, AltPaths: true, Micro: h("l"),
		Name: "a.example.org", Certificate: h("x"), History: h("h"), Timestamp: 1.7e9, Metainfo: h("m"), Reflog: h("y")}
	raw, err := repo.SignManifest(&want, key)
	if err != nil {
		t.Fatal(err)
	}
	m, err := repo.ParseManifest(raw)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Verify(&key.PublicKey); err != nil {
		t.Error(err)
	}
	if err := m.Verify(&repotest.Key(t, 2).PublicKey); err == nil {
		t.Error("verified with another key")
	}
	if got := m.Marshal(); string(got) != string(want.Marshal()) {
		t.Errorf("came back as\n%s", got)
	}
	if order := "CBRDSGALNXHTMY"; strings.Count(string(want.Marshal()), "\n") != len(order) {
		t.Errorf("fields of\n%s", want.Marshal())
	} else {
		for i, line := range strings.Split(strings.TrimSpace(string(want.Marshal())), "\n") {
			if line[0] != order[i] {
				t.Errorf("field %d is %c, want %c", i, line[0], order[i])
			}
		}
	}
	if _, err := repo.SignManifest(&repo.Manifest{Name: "a\nb", Root: h("c")}, key); err == nil {
		t.Error("a name with a line feed is signed")
	}
}

func TestManifestErrors(t *testing.T) {
	good := string((&repo.Manifest{Root: h("c"), Name: "a"}).Marshal())
	if _, err := repo.ParseManifest(seal(t, good)); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"no C": strings.Replace(good, "C", "Z", 1), "no S": strings.Replace(good, "\nS", "\nZ", 1),
		"C twice": good + "C" + h("c").String() + "\n", "bad hash": good + "Xzz\n", "bad number": good + "T-1\n",
		"number too large": strings.Replace(good, "S0", "S99999999999999999999", 1), "neither yes nor no": strings.Replace(good, "Gno", "Gmaybe", 1),
		"another root": strings.Replace(good, "Rd4", "Rd5", 1), "empty line": good + "\n", "size negative": strings.Replace(good, "\nB0", "\nB-7", 1),
	} {
		if m, err := repo.ParseManifest(seal(t, text)); err == nil {
			t.Errorf("%s: read as %+v", name, m)
		}
	}
	if _, err := repo.ParseManifest(make([]byte, 2<<20)); err == nil {
		t.Error("2 MB are taken")
	}
}

func TestWhitelistRoundTrip(t *testing.T) {
	master := repotest.Key(t, 0)
	want := &repo.Whitelist{Created: time.Unix(1.7e9, 0).UTC(), Expires: time.Unix(1.8e9, 0).UTC(), Name: "a.example.org",
		Fingerprints: []repo.Fingerprint{{Hash: h("1")}, {Hash: cas.Sum(cas.SHA1, nil), Comment: "old one"}, {Hash: cas.Sum(cas.RMD160, nil)}}}
	for _, a := range []cas.Algorithm{cas.SHA1, cas.SHAKE128} {
		raw, err := repo.SignWhitelist(want, a, master)
		if err != nil {
			t.Fatal(err)
		}
		w, err := repo.ParseWhitelist(raw)
		if err != nil {
			t.Fatal(err)
		}
		if w.Created != want.Created || w.Expires != want.Expires || w.Name != want.Name || !reflect.DeepEqual(w.Fingerprints, want.Fingerprints) {
			t.Errorf("came back as %+v", w)
		}
		masters := []*rsa.PublicKey{&repotest.Key(t, 2).PublicKey, &master.PublicKey}
		if err := w.Verify(masters, time.Unix(1.8e9, 0)); err != nil {
			t.Error(err)
		}
		if err := w.Verify(masters, time.Unix(1.8e9+1, 0)); err == nil {
			t.Error("not expired a second later")
		}
		if err := w.Verify(masters[:1], time.Unix(1.75e9, 0)); err == nil {
			t.Error("verified with another key")
		}
	}
}

func TestWhitelistForms(t *testing.T) {
	fingerprint := "AA:" + strings.Repeat("11:", 18) + "22"
	head := "20200101000000\nE20300101000000\nNa.example.org\n"
	for name, text := range map[string]string{
		"comment after space": head + fingerprint + " the first\n", "comment after tab": head + fingerprint + "\t# x\n",
		"comment at once": head + fingerprint + "#x\n", "comment lines": head + "# x\n\n" + fingerprint + "\n",
		"no colons": head + strings.ReplaceAll(fingerprint, ":", "") + "\n", "lower case": head + strings.ToLower(fingerprint) + "\n",
	} {
		w, err := repo.ParseWhitelist(seal(t, text))
		if err != nil || len(w.Fingerprints) != 1 || !strings.HasPrefix(w.Fingerprints[0].String(), fingerprint) {
			t.Errorf("%s: %+v, %v", name, w, err)
		}
	}
	for name, text := range map[string]string{
		"short": "20200101000000\n", "no expiry": "20200101000000\n20300101000000\nNa\n", "bad time": "2020\nE20300101000000\nNa\n",
		"month 13": strings.Replace(head, "E203001", "E203013", 1), "no name": "20200101000000\nE20300101000000\n" + fingerprint + "\n",
		"bad fingerprint": head + "AA:BB\n", "pkcs7": head + "Vpkcs7\n",
	} {
		if w, err := repo.ParseWhitelist(seal(t, text)); err == nil {
			t.Errorf("%s: read as %+v", name, w)
		}
	}
}

func TestKeys(t *testing.T) {
	a, b := repotest.Key(t, 0).PublicKey, repotest.Key(t, 1).PublicKey
	both := append(must(repo.MarshalKey(&a)), must(repo.MarshalKey(&b))...)
	path := filepath.Join(t.TempDir(), "both.pub")
	if err := os.WriteFile(path, both, 0o600); err != nil {
		t.Fatal(err)
	}
	keys, err := repo.LoadKeys(path, path)
	if err != nil || len(keys) != 4 || !keys[0].Equal(&a) || !keys[3].Equal(&b) {
		t.Errorf("%d keys, %v", len(keys), err)
	}
	if _, err := repo.LoadKeys(path, path+".none"); err == nil {
		t.Error("an absent file is no error")
	}
	r := repotest.Build(t, repotest.Spec{})
	for name, text := range map[string]string{"empty": "", "certificate": string(r.Certificate), "text": "hello",
		"broken": "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"} {
		if _, err := repo.ParseKeys([]byte(text)); err == nil {
			t.Errorf("%s is read as a key", name)
		}
	}
	for name, text := range map[string]string{"empty": "", "key": string(both),
		"broken": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"} {
		if _, err := repo.ParseCertificate([]byte(text)); err == nil {
			t.Errorf("%s is read as a certificate", name)
		}
	}
}

func FuzzManifest(f *testing.F) {
	m := repo.Manifest{Root: h("c"), RootSize: 1, Name: "a", Certificate: h("x"), History: h("h"), AltPaths: true}
	f.Add(string(m.Marshal()))
	f.Add("C\nB\nR\nD\nS\n")
	f.Fuzz(func(t *testing.T, text string) {
		repo.ParseManifest([]byte(text))
		if !strings.HasSuffix(text, "\n") {
			text += "\n"
		}
		m, err := repo.ParseManifest(seal(t, text))
		if err != nil {
			return
		}
		again, err := repo.ParseManifest(seal(t, string(m.Marshal())))
		if m.RootSize < 0 { // absent, and then written as it is
			return
		}
		if err != nil || string(again.Marshal()) != string(m.Marshal()) {
			t.Errorf("%q became %q, %v", text, m.Marshal(), err)
		}
	})
}

func FuzzWhitelist(f *testing.F) {
	w := repo.Whitelist{Created: time.Unix(1.7e9, 0), Expires: time.Unix(1.8e9, 0), Name: "a",
		Fingerprints: []repo.Fingerprint{{Hash: h("1"), Comment: "c"}}}
	f.Add(string(w.Marshal()))
	f.Add("20200101000000\nE20300101000000\nNa\nVpkcs7\nWx\n:\n")
	f.Fuzz(func(t *testing.T, text string) {
		repo.ParseWhitelist([]byte(text))
		if !strings.HasSuffix(text, "\n") {
			text += "\n"
		}
		w, err := repo.ParseWhitelist(seal(t, text))
		if err != nil {
			return
		}
		again, err := repo.ParseWhitelist(seal(t, string(w.Marshal())))
		if err != nil || len(again.Fingerprints) != len(w.Fingerprints) || again.Name != w.Name {
			t.Errorf("%q became %q, %v", text, w.Marshal(), err)
		}
	})
}
