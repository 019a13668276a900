# What there is to make. `make` alone tells.
#
# A target installs the Debian packages that it needs and that are missing, and says which.
# Root is needed for that, and for making namespaces; without it, sudo is used there. Rust is
# expected to be here (https://rustup.rs).

ifneq ($(shell id -u),0)
SUDO := sudo --preserve-env
endif
SUITE ?= bookworm

.PHONY: help build demo test lint e2e fidelity bench

help:
	@echo 'make demo           a guided tour, in a test host: this machine and its Docker stay as they are'
	@echo 'make demo HOST=1    the same tour, with the Docker of this machine'
	@echo 'make test           everything that must hold: format, lints, all tests with real Dockers'
	@echo 'make e2e            only the tests with real Dockers'
	@echo 'make fidelity       chain by chain: what a container gets, and what a pod gets'
	@echo 'make lint           only format and lints'
	@echo 'make bench          the time that the CNI engine takes, beside that of libcni'
	@echo 'make build          target/release/cnm-cni'

# $(call install,PACKAGE...): installs what is missing.
define install
	@missing=$$(for package in $(1); do \
	    dpkg-query --show --showformat '$${Status}' $$package 2>/dev/null | grep -q 'ok installed' || echo $$package; \
	done); \
	[ -z "$$missing" ] || { echo "Installing:" $$missing; \
	    $(SUDO) apt-get update --quiet=2 && \
	    $(SUDO) apt-get install --quiet=2 --yes --no-install-recommends $$missing; }
endef

# Rust links with the C compiler.
build:
	$(call install,gcc libc6-dev)
	cargo build --release

# What the test hosts are made with.
TESTBED := debootstrap iproute2 busybox-static

ifdef HOST
demo: build
	$(call install,iptables iproute2 curl busybox-static containernetworking-plugins $(if $(shell command -v dockerd),,docker.io))
	@docker version >/dev/null 2>&1 || $(SUDO) service docker start
	$(SUDO) demo/tour target/release/cnm-cni
else
demo: build
	$(call install,$(TESTBED))
	$(SUDO) demo/in-test-host target/release/cnm-cni $(SUITE)
endif

lint:
	$(call install,gcc libc6-dev)
	cargo fmt --check
	cargo clippy --all-targets --locked -- -D warnings
	RUSTDOCFLAGS='-D warnings -A rustdoc::private-intra-doc-links' cargo doc --no-deps --document-private-items --locked --quiet
	$(if $(shell command -v cargo-deny),cargo deny --locked check bans licenses sources)

# The tests make namespaces: cargo runs as you are, and what it has built runs as root.
RUNNER := $(if $(SUDO),CARGO_TARGET_$(shell rustc -vV | sed -n 's/^host: //p' | tr a-z- A-Z_)_RUNNER='$(SUDO)')
NEXTEST := $(shell cargo nextest --version >/dev/null 2>&1 && echo yes)

test: lint testbed
	$(if $(NEXTEST),$(RUNNER) cargo test --locked --quiet --doc)
	$(RUNNER) cargo $(if $(NEXTEST),nextest run,test) --locked

e2e: testbed
	$(RUNNER) cargo $(if $(NEXTEST),nextest run,test) --locked e2e::

# Prints the table; docs/fidelity.md explains it.
fidelity: testbed
	$(RUNNER) cargo test --locked --test it e2e::fidelity:: -- --nocapture --test-threads=1

# The Debian folders of the test hosts; and what an interrupted run has left is taken away.
.PHONY: testbed
testbed:
	$(call install,gcc libc6-dev iptables $(TESTBED))
	$(SUDO) tests/testbed/host prepare bookworm
	$(SUDO) tests/testbed/host prepare trixie
	$(SUDO) tests/testbed/host prepare forky
	$(SUDO) tests/testbed/host clean

# The engine beside libcni, on a plugin that does nothing; see benches/README.md. No root needed.
bench:
	$(call install,gcc libc6-dev golang-go golang-github-appc-cni-dev)
	mkdir -p target/bench
	gcc -O2 -static -Wall -o target/bench/nothing benches/nothing.c
	GO111MODULE=off GOPATH=/usr/share/gocode go build -o target/bench/libcni benches/libcni/main.go
	cargo bench --locked --bench engine -- $(CURDIR)/target/bench/nothing $(CURDIR)/target/bench/libcni
