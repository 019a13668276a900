# What there is to make. `make` alone tells.
#
# A target installs the Debian packages that it needs and that are missing, and says which.
# Root is needed for that, and for making namespaces; without it, sudo is used there. Rust is
# expected to be here (https://rustup.rs); 'help', 'install' and 'uninstall' do without.

ifneq ($(shell id -u),0)
SUDO := sudo --preserve-env
endif
SUITE ?= bookworm

.PHONY: audit licences help build release install uninstall deb demo check test test-one test-install test-arm64 test-graph lint e2e fidelity hosts crash soak mass bench picture graph-picture

help:
	@echo 'make demo           a guided tour, in a test host: this machine and its Docker stay as they are'
	@echo 'make demo HOST=1    the same tour, with the Docker of this machine'
	@echo 'make check          format, lints and unit tests: the loop of a change, in under a minute'
	@echo 'make test-one T=…   the tests whose name contains that, with what they need'
	@echo 'make test           everything that must hold: format, lints, all tests with real Dockers'
	@echo 'make e2e            only the tests with real Dockers'
	@echo 'make fidelity       chain by chain: what a container gets, and what a pod gets'
	@echo 'make hosts          one network over several hosts: who reaches whom, by what'
	@echo 'make crash          the driver killed at each of its crash points, under real Dockers'
	@echo 'make soak           2,000 containers come and go while the driver is killed; its memory'
	@echo 'make mass           300 containers on one network: checked, removed at once, over a reboot'
	@echo 'make picture        docs/architecture.svg, drawn from docs/architecture.txt'
	@echo 'make test-graph     the page of cnm-cni graph, in a real Chromium'
	@echo 'make graph-picture  docs/graph.svg, drawn by cnm-cni of a test host'
	@echo 'make lint           only format and lints'
	@echo 'make licences       licences and sources of all that is built in; CI runs it'
	@echo 'make audit          licences and sources of all that is built in, and what is known against it'
	@echo 'make bench          containers beside Docker'\''s own bridge, and the CNI engine beside libcni; BENCH=run: a part'
	@echo 'make build          target/release/cnm-cni'
	@echo 'make release        target/static/cnm-cni: it runs on any Linux; with man pages and completions'
	@echo 'make install        that, and the systemd units, below PREFIX (/usr/local) and DESTDIR'
	@echo 'make uninstall      takes all of this away'
	@echo 'make deb            target/debian/cnm-cni_*.deb'
	@echo 'make test-install   each way of installation, by the steps of docs/install.md'
	@echo 'make test-arm64     the build for arm64, below emulators; with Docker, on a kernel of its own'
	@echo 'make plugin         target/plugin, the managed plugin; see docs/managed-plugin.md'
	@echo 'make plugin-create  gives it to the Docker of this machine, as PLUGIN=$(PLUGIN)'

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

# --- Installation: docs/install.md -------------------------------------------------------------

BUILDER = $(shell rustc -vV 2>/dev/null | sed -n 's/^host: //p')
TARGET ?= $(BUILDER)
# What is for another machine is set apart: `make install` is for this one.
FOREIGN = $(filter-out $(BUILDER),$(TARGET))
STATIC = target/static/$(if $(FOREIGN),$(TARGET)/)cnm-cni

# For arm64 on another machine: its linker, and Debian's Rust where the Rust that is here has no
# standard library for it (`rustup target add` brings that). See docs/install.md.
ARM64 := aarch64-unknown-linux-gnu
CROSS = $(filter $(ARM64),$(FOREIGN))
STD = $(wildcard $(shell rustc --print target-libdir --target $(ARM64)))
FOR_TARGET = RUSTFLAGS='-C target-feature=+crt-static' $(if $(CROSS), \
    CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc \
    $(if $(STD),,RUSTC=$(CURDIR)/tests/testbed/rustc-arm64))

FOR_CROSS = gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user-static $(if $(STD),,mmdebstrap)
# What tells its own command line: for another machine an emulator runs it, or a debug build does.
RUN = $(if $(CROSS),qemu-aarch64-static $(STATIC),$(if $(FOREIGN),cargo run --locked --quiet --,$(STATIC)))

# In a folder of its own below target/, so that other builds are not begun anew.
release:
	$(call install,gcc libc6-dev $(if $(CROSS),$(FOR_CROSS)))
	$(FOR_TARGET) cargo build --release --locked --target $(TARGET)
	install -D target/$(TARGET)/release/cnm-cni $(STATIC)
	rm -rf target/documents
	$(RUN) documents target/documents

PREFIX ?= /usr/local
share := $(DESTDIR)$(PREFIX)/share
cli_plugins := $(DESTDIR)$(PREFIX)/libexec/docker/cli-plugins
UNITS ?= $(PREFIX)/lib/systemd/system

# Root's part: builds nothing, and needs no Rust. Settings that are there stay as they are.
install:
	@[ -x $(STATIC) ] || { echo 'There is nothing to install yet; run: make release'; exit 1; }
	install -D $(STATIC) $(DESTDIR)$(PREFIX)/bin/cnm-cni
	install -d $(cli_plugins)
	cp --no-dereference plugin-spec/docker-cni $(cli_plugins)/docker-cni
	install -D --mode=644 --target-directory=$(share)/man/man1 target/documents/*.1
	install -D --mode=644 target/documents/cnm-cni.bash $(share)/bash-completion/completions/cnm-cni
	install -D --mode=644 target/documents/_cnm-cni $(share)/zsh/site-functions/_cnm-cni
	install -D --mode=644 target/documents/cnm-cni.fish $(share)/fish/vendor_completions.d/cnm-cni.fish
	install -D --mode=644 --target-directory=$(share)/doc/cnm-cni/examples conflists/*
	install -D --mode=644 --target-directory=$(share)/doc/cnm-cni/contrib contrib/*/*
	install -D --mode=644 --target-directory=$(share)/doc/cnm-cni/examples/dhcp plugin-spec/dhcp/*
	install -D --mode=644 --target-directory=$(DESTDIR)$(UNITS) plugin-spec/systemd/cnm-cni.s*
	sed -i 's|/usr/bin/cnm-cni|$(PREFIX)/bin/cnm-cni|' $(DESTDIR)$(UNITS)/cnm-cni.service
	[ -e $(DESTDIR)/etc/default/cnm-cni ] || \
	    install -D --mode=644 plugin-spec/systemd/cnm-cni.default $(DESTDIR)/etc/default/cnm-cni

# A configuration that was changed is the user's.
uninstall:
	rm -f $(cli_plugins)/docker-cni
	rm -f $(DESTDIR)$(PREFIX)/bin/cnm-cni $(share)/man/man1/cnm-cni.1 $(share)/man/man1/cnm-cni-*.1
	rm -f $(share)/bash-completion/completions/cnm-cni $(share)/zsh/site-functions/_cnm-cni
	rm -f $(share)/fish/vendor_completions.d/cnm-cni.fish
	rm -f $(DESTDIR)$(UNITS)/cnm-cni.service $(DESTDIR)$(UNITS)/cnm-cni.socket
	rm -rf $(share)/doc/cnm-cni
	! cmp --quiet plugin-spec/systemd/cnm-cni.default $(DESTDIR)/etc/default/cnm-cni || \
	    rm $(DESTDIR)/etc/default/cnm-cni

# VERSION is another one than Cargo.toml's.
deb: release
	cargo deb --version >/dev/null 2>&1 || cargo install --quiet --locked cargo-deb@3.8.0
	cargo deb --no-build --no-strip --quiet --target $(TARGET) --output target/$(if $(FOREIGN),$(TARGET)/)debian/ \
	    $(if $(VERSION),--deb-version $(VERSION),--deb-revision '')

# The managed plugin: what it asks for, and that program. See docs/managed-plugin.md.
PLUGIN ?= cnm-cni:$(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml)

.PHONY: plugin plugin-create
plugin: release
	install -D $(STATIC) target/plugin/rootfs/cnm-cni
	install --mode=644 plugin-spec/managed/config.json target/plugin/config.json

plugin-create: plugin
	$(SUDO) docker plugin create $(PLUGIN) target/plugin

# --- Tests -------------------------------------------------------------------------------------

# What the test hosts are made with.
TESTBED := debootstrap iproute2 busybox-static

ifdef HOST
demo: build
	$(call install,iptables iproute2 curl busybox-static containernetworking-plugins $(if $(shell command -v dockerd),,docker.io))
	@$(SUDO) docker version >/dev/null 2>&1 || $(SUDO) service docker start
	$(SUDO) demo/tour target/release/cnm-cni
else
demo: build
	$(call install,$(TESTBED))
	$(SUDO) demo/in-test-host target/release/cnm-cni $(SUITE)
endif

# The documentation of the examples, too: with them the dependencies are those that clippy has looked at,
# with the features that tests have, and none is looked at again.
lint:
	$(call install,gcc libc6-dev)
	cargo fmt --check
	cargo clippy --all-targets --locked -- -D warnings
	RUSTDOCFLAGS='-D warnings -A rustdoc::private-intra-doc-links' cargo doc --lib --examples --no-deps --document-private-items --locked --quiet
	$(if $(shell command -v cargo-deny),$(DENY) check bans licenses sources)

DENY := cargo deny --locked

# Licences and sources of others' work that is built in. The checker is built in a minute: it need not be fast.
licences:
	cargo deny --version >/dev/null 2>&1 || cargo install --quiet --locked --profile dev cargo-deny@0.20.2
	$(DENY) check bans licenses sources

# The same, and what is known against it, where that can be had.
audit: licences
	@if cargo deny fetch db 2>/dev/null; then $(DENY) check --disable-fetch advisories; \
	else echo 'audit: the advisories cannot be had; they were not checked'; fi

# The tests make namespaces: cargo runs as you are, and what it has built runs as root.
RUNNER = $(if $(SUDO),CARGO_TARGET_$(shell rustc -vV | sed -n 's/^host: //p' | tr a-z- A-Z_)_RUNNER='$(SUDO)')
NEXTEST = $(shell cargo nextest --version >/dev/null 2>&1 && echo yes)
# Tests wait more than they work: three for each processor. Of those with a Docker fewer run at a time.
export NEXTEST_TEST_THREADS ?= $(shell expr 3 '*' `nproc`)

# The loop of a change; CONTRIBUTING.md has more.
check:
	$(call install,gcc libc6-dev iproute2)
	cargo fmt --check
	cargo clippy --all-targets --locked --quiet -- -D warnings
	$(RUNNER) cargo test --locked --quiet --lib --test rooms

# The picture of ARCHITECTURE.md; 'make check' says when it is not what its source says.
picture:
	$(call install,gcc libc6-dev)
	CNM_CNI_DRAW=1 cargo test --locked --quiet --test rooms the_picture

# A page is looked at by a browser, a large one; photographs of it are in target/graph.
test-graph:
	$(call install,gcc libc6-dev iptables $(TESTBED) chromium)
	$(RUNNER) $(DRAW) cargo test --locked --test it e2e::graph:: -- --ignored --test-threads=1

# The picture of README.md: of a host with two compose projects, on which a bridge is down.
graph-picture:
	$(MAKE) test-graph DRAW=CNM_CNI_DRAW=1

# The first test on a Docker makes the Debian folder that it needs.
test-one:
	$(if $(T),,$(error T is missing: a part of a test's name, as in 'make test-one T=e2e::mac::docker_28_5'))
	$(call install,gcc libc6-dev iptables ipset nftables $(TESTBED))
	$(RUNNER) cargo $(if $(NEXTEST),nextest run,test) --locked $(T)

test: lint testbed
	$(if $(NEXTEST),$(RUNNER) cargo test --locked --quiet --doc)
	$(RUNNER) cargo $(if $(NEXTEST),nextest run,test) --locked

e2e: testbed
	$(RUNNER) cargo $(if $(NEXTEST),nextest run,test) --locked e2e::

# What is installed is built first, which takes minutes: the tests build it once more, which
# takes none, by the steps of docs/install.md and docs/managed-plugin.md. Root needs Rust for that.
test-install: testbed deb
	$(RUNNER) cargo $(if $(NEXTEST),nextest run,test) --locked $(if $(NEXTEST),--run-ignored only,-- --ignored --test-threads=1) e2e::packages:: e2e::managed::

# The program for arm64: built by the steps of docs/install.md; below an emulator of its instructions,
# all tests of the command line, and the unit tests but those that need a kernel for arm64; and
# these, after the life of two containers, in an emulated machine.
# The emulator of instructions does not tell a program that what it started could not be run.
NOT_EMULATED := --skip an_executable_that_is_no_plugin_is_recognised_by_what_it_does
test-arm64: TARGET := $(ARM64)
test-arm64: deb plugin
	$(call install,$(TESTBED) binutils cpio e2fsprogs file kmod qemu-system-arm qemu-user-static xz-utils)
	cargo $(if $(NEXTEST),nextest run,test) --locked $(if $(NEXTEST),--run-ignored only,-- --ignored) e2e::arm64::
	CNM_CNI_BINARY=$(CURDIR)/tests/testbed/emulated/cnm-cni cargo $(if $(NEXTEST),nextest run,test) --locked --test it cli:: -- $(NOT_EMULATED)
	CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER=qemu-aarch64-static \
	    $(FOR_TARGET) cargo test --lib --locked --target $(ARM64) -- --skip netns:: --skip netlink::
	CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER='$(SUDO) $(CURDIR)/tests/testbed/arm64 $(CURDIR)/$(STATIC)' \
	    $(FOR_TARGET) cargo test --lib --locked --target $(ARM64)

# Prints the table; docs/fidelity.md explains it.
fidelity: testbed
	$(RUNNER) cargo test --locked --test it e2e::fidelity:: -- --nocapture --test-threads=1

# Prints a table for each backend.
hosts: testbed
	$(RUNNER) cargo test --locked --test it -- e2e::several_hosts:: e2e::two_hosts:: --nocapture --test-threads=1

# Five minutes for each Docker, half that for the rest.
crash: testbed
	$(RUNNER) cargo test --locked --test it crash:: -- --include-ignored --nocapture --skip soak

# As it is released, for the memory; CNM_CNI_SEED=N repeats a run.
soak: export CNM_CNI_SOAK ?= 2000
soak: export CNM_CNI_BINARY = $(CURDIR)/target/release/cnm-cni
soak: build testbed
	$(RUNNER) cargo test --locked --test it crash::soak:: -- --include-ignored --nocapture --test-threads=1

# As it is released, on a machine that does nothing else; CNM_CNI_MASS=N has N containers.
mass: export CNM_CNI_BINARY = $(CURDIR)/target/release/cnm-cni
mass: build testbed
	$(RUNNER) cargo test --locked --test it e2e::mass:: -- --include-ignored --nocapture

# The Debian folders of the test hosts, and Prometheus; and what an interrupted run has left is taken away.
.PHONY: testbed
testbed:
	$(call install,gcc libc6-dev iptables ipset nftables $(TESTBED))
	$(SUDO) tests/testbed/host prepare bookworm
	$(SUDO) tests/testbed/host prepare trixie
	$(SUDO) tests/testbed/host prepare forky
	$(SUDO) tests/testbed/host prepare podman
	$(SUDO) tests/testbed/host prepare bullseye
	$(SUDO) tests/testbed/host clean
	tests/testbed/prometheus >/dev/null

# Each part alone: `make bench BENCH=run`; on one Docker only: BENCH_ON=28.5; for a first look: BENCH_TURNS=3. OLD=FILE puts another build of the
# driver beside this one. See benches/README.md.
BENCH ?= engine figures verbs packets run burst many growth others
BENCH_ON ?=
BENCH_TURNS ?=
OLD ?=
WITH_DOCKERS = $(filter run burst many growth others,$(BENCH))
bench:
	$(call install,gcc libc6-dev)
	$(if $(filter engine,$(BENCH)),$(MAKE) bench-engine)
	$(if $(WITH_DOCKERS),$(call install,iptables $(TESTBED)))
	$(if $(WITH_DOCKERS),BENCH='$(WITH_DOCKERS)' BENCH_ON='$(BENCH_ON)' BENCH_TURNS='$(BENCH_TURNS)' $(RUNNER) cargo bench --locked --bench docker)
	$(if $(filter verbs,$(BENCH)),$(call install,iptables $(TESTBED)))
	$(if $(filter verbs,$(BENCH)),$(RUNNER) cargo bench --locked --bench verbs)
	$(if $(filter packets,$(BENCH)),$(call install,iptables nftables $(TESTBED)))
	$(if $(filter packets,$(BENCH)),$(RUNNER) cargo bench --locked --bench packets)
	$(if $(OLD)$(filter figures,$(BENCH)),cargo build --locked --example fake-plugin)
	$(if $(OLD)$(filter figures,$(BENCH)),cargo build --locked --release)
	$(if $(filter figures,$(BENCH)),$(RUNNER) cargo bench --locked --bench figures -- $(CURDIR)/target/debug/examples/fake-plugin $(CURDIR)/target/release/cnm-cni)
	$(if $(OLD),$(RUNNER) cargo bench --locked --bench beside -- $(CURDIR)/target/debug/examples/fake-plugin $(abspath $(OLD)) $(CURDIR)/target/release/cnm-cni)

# The engine beside libcni, on a plugin that does nothing.
.PHONY: bench-engine
bench-engine:
	$(call install,gcc libc6-dev golang-go golang-github-appc-cni-dev)
	mkdir -p target/bench
	gcc -O2 -static -Wall -o target/bench/nothing benches/nothing.c
	GO111MODULE=off GOPATH=/usr/share/gocode go build -o target/bench/libcni benches/libcni/main.go
	cargo bench --locked --bench engine -- $(CURDIR)/target/bench/nothing $(CURDIR)/target/bench/libcni
