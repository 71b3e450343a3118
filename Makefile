# mailsplice: `make help` lists the targets.

SHELL       := /bin/bash
GO          ?= go
export CGO_ENABLED = 0
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
OUT         := build
VERSION     := $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
FUZZTIME    ?= 1m
# The interop suite skips, loudly, unless its target runs it; nothing else may skip.
PACKAGES    ?= $(shell $(GO) list ./... | grep -v core/interop)

.DEFAULT_GOAL := help

help: ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## build/mailsplice, a static binary
	@mkdir -p $(OUT)
	$(GO) build -trimpath -ldflags "-X main.version=$(VERSION)" -o $(OUT)/mailsplice ./cmd/mailsplice

demo: build ## show a live cut-over between two embedded mail servers; nothing to install
	@$(OUT)/mailsplice demo

test: ## everything; as root on Debian it installs the servers it needs, elsewhere it says what it left out
	@.ci/test

check: lint arch unit ## what needs nothing installed: format, vet, staticcheck, arch, tests

lint: ## gofmt, go vet, staticcheck
	@bad=$$(gofmt -l $$(git ls-files '*.go')); [ -z "$$bad" ] || { echo "gofmt would change:"; echo "$$bad"; exit 1; }
	$(GO) vet ./...
	$(GO) run $(STATICCHECK) ./...

arch: ## package structure, imports, sizes, section numbers
	$(GO) test -count=1 ./core/arch

unit: ## tests and fuzz seeds, counted by kind
	@.ci/count unit $(GO) test -count=1 -v $(PACKAGES)

race: ## the same under the race detector (needs a C compiler)
	@CGO_ENABLED=1 .ci/count race $(GO) test -race -count=1 -v $(PACKAGES)

interop: build ## real servers and clients of Debian, as root; installs them
	core/interop/install.sh
	@MAILSPLICE_INTEROP=1 MAILSPLICE_BIN=$(CURDIR)/$(OUT)/mailsplice .ci/count interop $(GO) test -count=1 -v -timeout 15m -p 1 -parallel 3 ./core/interop/...

test-ktls: ## kernel TLS, in virtual machines with Debian's kernels 6.1, 6.12 and newest, as root; fetches them and qemu
	@.ci/ktls

soak: ## 1 GiB each way through the bridge, 40 MiB 200 times through all pairs of suites, under the race detector
	MAILSPLICE_SOAK=1 CGO_ENABLED=1 $(GO) test -race -count=1 -timeout 30m -run 'Soak|Bulk|Slow' ./core/bridge ./core/proxy

fuzz: ## every fuzz target for FUZZTIME (default 1m)
	@for f in $$(git grep -l '^func Fuzz' -- '*_test.go'); do \
	  for t in $$(sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\)(.*/\1/p' $$f); do \
	    echo "== $$t in ./$$(dirname $$f) for $(FUZZTIME)"; \
	    $(GO) test -run '^$$' -fuzz "^$$t\$$" -fuzztime $(FUZZTIME) ./$$(dirname $$f) || exit 1; \
	  done; done

bench: ## Go benchmarks with allocations
	$(GO) test -run '^$$' -bench . -benchmem $(PACKAGES)

RUN ?= compare
bench-compare: ## mailsplice beside HAProxy, Dovecot, nginx and a naive proxy; or RUN="idle -sessions 2000,8500" (docs/benchmarks.md)
	@bench/install.sh || echo "bench: peers that are not installed are left out"
	$(GO) run ./bench $(RUN)

docs: ## rewrite the key reference in docs/configuration.md
	$(GO) test ./core/config -run Docs -update

cover: ## coverage by function
	@mkdir -p $(OUT)
	$(GO) test -coverprofile $(OUT)/cover.out ./... && $(GO) tool cover -func $(OUT)/cover.out | tail -1

clean: ## remove build/
	rm -rf $(OUT)

.PHONY: help build demo test check lint arch unit race interop test-ktls soak fuzz bench bench-compare docs cover clean
