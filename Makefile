# What people run. Root's runs install packages and then drop to an ordinary user; others need the packages there.
GO ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo 0.1.0)
STRIP = -s -w -X main.version=$(VERSION)
SECCOMP = $(shell pkg-config --exists libseccomp 2>/dev/null && echo ,seccomp) # filters of OCI bundles; wants libseccomp-dev
# Fast zlib. Debian's libisal-dev has the shared library only, and a static program linked with that jumps to nowhere.
ISAL = $(shell test -e "$$(pkg-config --variable=libdir libisal 2>/dev/null)/libisal.a" && echo ,isal)
STATIC = -tags osusergo,netgo$(strip $(SECCOMP))$(strip $(ISAL)) -ldflags '$(STRIP) -linkmode external -extldflags "-static -Wl,--no-warnings"'

.PHONY: build demo test check bench fuzz man install clean

build: ## bin/flatrun, bin/flatrun-session, bin/flatrun-oci, bin/flathub: static, with C parts
	CGO_ENABLED=1 $(GO) build -trimpath $(STATIC) -o bin/ ./cmd/flatrun ./cmd/flatrun-session ./cmd/flatrun-oci ./cmd/flathub

demo: ## make an image from Debian packages, publish it, serve it, run Python in it
	scripts/setup
	scripts/as-user scripts/demo

test: ## every check and test
	scripts/setup
	scripts/as-user scripts/check

bench: ## ratios against native, bwrap and the other peers at hand
	scripts/setup
	scripts/as-user sh -c "make -s build && $(GO) run ./scripts/bench $(SECTIONS)"

fuzz: ## every fuzz target for FUZZTIME (default 5m)
	scripts/as-user scripts/fuzz

man: build ## bin/man: the pages
	bin/flatrun man bin/man
	$(GO) run ./scripts/man bin/man bin/flathub

PREFIX ?= /usr/local
install: build man
	install -D -m 644 -t $(DESTDIR)$(PREFIX)/share/man/man1 bin/man/*.1
	install -D -m 644 -t $(DESTDIR)$(PREFIX)/share/man/man5 bin/man/*.5
	install -D -t $(DESTDIR)$(PREFIX)/bin bin/flatrun bin/flathub
	install -D -t $(DESTDIR)$(PREFIX)/libexec/flatrun bin/flatrun-session bin/flatrun-oci

clean:
	rm -rf bin
