# What people run. Root's runs install packages and then drop to an ordinary user; others need the packages there.
GO ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo 0.1.0)
STRIP = -s -w -X main.version=$(VERSION)
SECCOMP = $(shell pkg-config --exists libseccomp 2>/dev/null && echo ,seccomp) # filters of OCI bundles; wants libseccomp-dev
# LINK=shared is for packages of a distribution: flathub and flatrun-session, which deflate and inflate, use its libraries.
# flatrun and flatrun-oci stay static: they start wherever they are copied to.
LINK ?= static
# Fast zlib. Debian's libisal-dev has the shared library only, and a static program linked with that jumps to nowhere.
STATIC_ISAL = $(shell test -e "$$(pkg-config --variable=libdir libisal 2>/dev/null)/libisal.a" && echo ,isal)
SHARED_ISAL = $(shell pkg-config --exists libisal 2>/dev/null && echo ,isal)
# Of the client: fast zlib of whole objects; of flathub: the smallest start-up packs.
archive = $(shell test -e "$$($${CC:-cc} -print-file-name=$(1).a 2>/dev/null)" && echo ,$(2))
package = $(shell pkg-config --exists $(1) 2>/dev/null && echo ,$(2))
TAGS = -tags osusergo,netgo$(strip $(SECCOMP))
STATIC_TAGS = $(TAGS)$(strip $(STATIC_ISAL))$(call archive,libdeflate,libdeflate)$(call archive,libzstd,libzstd)
SHARED_TAGS = $(TAGS)$(strip $(SHARED_ISAL))$(call package,libdeflate,libdeflate)$(call package,libzstd,libzstd)
STATIC = $(STATIC_TAGS) -ldflags '$(STRIP) -linkmode external -extldflags -static'
SHARED = $(SHARED_TAGS) -ldflags '$(STRIP)'

.PHONY: build demo test check bench fuzz man install clean

build: ## bin/flatrun, bin/flatrun-session, bin/flatrun-oci, bin/flathub, with C parts; static unless LINK=shared
	CGO_ENABLED=1 $(GO) build -trimpath $(STATIC) -o bin/ ./cmd/flatrun ./cmd/flatrun-oci
	CGO_ENABLED=1 $(GO) build -trimpath $(if $(filter shared,$(LINK)),$(SHARED),$(STATIC)) -o bin/ ./cmd/flatrun-session ./cmd/flathub

demo: ## make an image from Debian packages, publish it, serve it, run Python in it
	scripts/setup
	scripts/as-user scripts/demo

test: ## every check and test
	scripts/setup
	scripts/as-user scripts/check

bench: ## ratios against native, bwrap and the other peers at hand
	scripts/setup
	scripts/as-user sh -c "make -s build LINK=$(LINK) && $(GO) run ./scripts/bench $(SECTIONS)"

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
