# Every target runs on Go alone unless its help line names what else it needs.
GO        ?= go
FUZZTIME  ?= 10000x
TESTFLAGS ?=
# What the product leaves out of its libraries: gin's MessagePack, and the types of pgx that sqldb registers itself.
TAGS      := nomsgpack,nopgxregisterdefaulttypes
TOOL      := $(GO) tool -modfile=tools/go.mod
export CGO_ENABLED := 0

# What has to run inside a browser or a native shell: the phone core and the leaves it stands on.
WASM_PACKAGES = ./protocol/... ./trust/... ./ca/assistapi/... ./ca/realname/... ./app/core/...

.DEFAULT_GOAL := help

.PHONY: help
help: ## list the targets
	@awk -F':.*## ' '/^[a-z0-9-]+:.*## /{printf "  %-11s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

.PHONY: build
build: ## build bin/bidseal, one static binary
	$(GO) build -trimpath -tags $(TAGS) -o bin/bidseal ./cmd/bidseal

.PHONY: build-bench
build-bench: ## build bin/bidseal-bench, the measurements
	$(GO) build -trimpath -tags $(TAGS) -o bin/bidseal-bench ./cmd/bidseal-bench

MAX_SIZE = 47000000

.PHONY: size
size: ## hold the product, stripped, to MAX_SIZE bytes
	$(GO) build -trimpath -tags $(TAGS) -ldflags '-s -w' -o bin/bidseal-stripped ./cmd/bidseal
	@bytes=$$(wc -c <bin/bidseal-stripped); echo "$$bytes bytes of $(MAX_SIZE)"; test "$$bytes" -le $(MAX_SIZE)

.PHONY: demo
demo: build ## build and run the whole thing on this machine
	bin/bidseal demo

.PHONY: test
test: ## run the tests; no service and nothing but Go needed
	$(GO) test $(TESTFLAGS) ./...

.PHONY: check
check: lint race ## everything a change has to pass besides the tests: lint and race

.PHONY: lint
lint: ## gofmt, vet, staticcheck and golangci-lint, all pinned in tools/go.mod
	@unformatted=$$(gofmt -l $$(git ls-files -co --exclude-standard '*.go')); \
	  test -z "$$unformatted" || { echo "gofmt these files:"; echo "$$unformatted"; exit 1; }
	$(GO) vet -tags bench,e2e,interop,redis,postgres ./...
	$(TOOL) staticcheck -tags bench,e2e,interop,redis,postgres ./...
	CGO_ENABLED=1 $(GO) vet -tags pkcs11 ./ca/hsm/... ./cmd/internal/cacmd
	CGO_ENABLED=1 $(TOOL) staticcheck -tags pkcs11 ./ca/hsm/...
	$(TOOL) golangci-lint run ./...

.PHONY: race
race: ## run the tests under the race detector (needs gcc)
	CGO_ENABLED=1 $(GO) test -race $(TESTFLAGS) ./...

.PHONY: generate
generate: ## make the generated files again: the widget's script
	$(GO) generate ./...

.PHONY: vuln
vuln: ## look for known vulnerabilities in what we call (needs the network)
	$(TOOL) govulncheck ./...

.PHONY: bench
bench: build-bench ## measure completed logins through the real HTTP and WebSocket stack
	bin/bidseal-bench login

.PHONY: bench-peer
bench-peer: ## build bin/bench-peer, the push server that the relay is measured against
	cd test/peer && $(GO) vet ./... && $(GO) build -trimpath -o ../../bin/bench-peer .

.PHONY: bench-relay
bench-relay: build-bench bench-peer ## measure the relay beside centrifuge and write docs/benchmarks.md (needs redis-server, 12 quiet minutes)
	bin/bidseal-bench relay --peer bin/bench-peer --plot docs/memory.svg --markdown docs/benchmarks.md

.PHONY: soak
soak: build-bench ## have pages come and go for three minutes, some badly behaved, and look for what is left; then every mutant
	bin/bidseal-bench soak
	$(GO) run ./test/mutants -all

.PHONY: mutants
mutants: ## remove the security rules whose file or test changed, one by one, and see a test fail (MUTANTS_BASE=commit)
	$(GO) run ./test/mutants

.PHONY: bench-smoke
bench-smoke: build-bench bench-peer ## run every part of bench-relay in small (needs redis-server)
	BIDSEAL_BENCH_BIN=$(CURDIR)/bin/bidseal-bench BENCH_PEER_BIN=$(CURDIR)/bin/bench-peer \
	  $(GO) test -tags bench -count=1 -run BenchRelay -timeout 5m $(TESTFLAGS) ./cmd/internal/benchcmd

.PHONY: wasm
wasm: ## build the phone core for js/wasm
	GOOS=js GOARCH=wasm $(GO) build $(WASM_PACKAGES)

.PHONY: fuzz
fuzz: ## run every fuzz target FUZZTIME each (10000x inputs, or a time such as 1m)
	GO="$(GO)" bash test/fuzz.sh $(FUZZTIME)

.PHONY: interop
interop: ## have BouncyCastle, OpenSSL, sm-crypto-v2 and @noble/curves judge what we make (needs java, libbcpkix-java, openssl, node, npm)
	npm ci --prefix test/interop/smcrypto --ignore-scripts --no-audit --no-fund --loglevel=error
	npm ci --prefix test/interop/voprf --ignore-scripts --no-audit --no-fund --loglevel=error
	$(GO) test -tags interop -count=1 $(TESTFLAGS) ./test/interop/...

.PHONY: redis
redis: ## run the relay's suites on Redis: one server, TLS, Sentinel, a Cluster (needs redis-server)
	$(GO) test -tags redis,$(TAGS) -count=1 -timeout 3m $(TESTFLAGS) ./relay ./relay/redisstore/...
	$(GO) test -tags redis,$(TAGS) -count=1 -timeout 3m -run Redis $(TESTFLAGS) ./cmd/internal/relaycmd

.PHONY: pkcs11
pkcs11: ## run an authority with its keys in SoftHSM, and build bin/bidseal-pkcs11 (needs gcc, softhsm2, openssl)
	CGO_ENABLED=1 $(GO) test -tags pkcs11 -count=1 -timeout 5m $(TESTFLAGS) ./ca/hsm/...
	CGO_ENABLED=1 $(GO) build -trimpath -tags pkcs11,$(TAGS) -o bin/bidseal-pkcs11 ./cmd/bidseal

.PHONY: postgres
postgres: ## run the database suites on PostgreSQL, the relay's beside Redis, too (needs postgresql-15, redis-server)
	$(GO) test -tags postgres,$(TAGS) -count=1 -timeout 10m $(TESTFLAGS) ./internal/sqldb/... ./relay/sqlstore ./relay ./ca/kmc ./ca/assist ./ca ./sdk/sqlstore
	$(GO) test -tags redis,postgres,$(TAGS) -count=1 -timeout 10m $(TESTFLAGS) ./relay
	$(GO) test -tags redis,postgres,$(TAGS) -count=1 -timeout 10m -run 'ConformanceSingle|ConformanceCluster|Failover' $(TESTFLAGS) ./relay/redisstore
	$(GO) test -tags redis,postgres,$(TAGS) -count=1 -timeout 10m -run 'OnPostgres|Restart' $(TESTFLAGS) ./cmd/internal/relaycmd ./cmd/internal/cacmd ./cmd/internal/benchcmd

.PHONY: bare
bare: ## do what the README says, and .ci/run, in a fresh minimal Debian 12 (needs root, debootstrap, the network)
	GO="$(GO)" bash test/bare.sh

.PHONY: e2e
e2e: build ## drive the demo in headless Chromium (needs chromium, fonts-noto-cjk)
	BIDSEAL_BIN=$(CURDIR)/bin/bidseal $(GO) test -tags e2e -count=1 -timeout 15m $(TESTFLAGS) ./test/e2e/... ./sdk/widget/...
