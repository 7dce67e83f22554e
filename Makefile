# Needs Go and make, nothing else. `make` lists what there is.

GO       ?= go
# How long `make fuzz` runs, in seconds, over all fuzz targets together.
FUZZTIME ?= 60
# What `make bench` runs, a regular expression.
BENCH    ?= .
PLATFORMS = linux/amd64 linux/arm64 darwin/amd64 darwin/arm64
STATIC    = CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w'

.DEFAULT_GOAL := help
.PHONY: help build test kills bench bench-check lint fuzz cross demo clean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## one static binary, ./iatp
	$(STATIC) -o iatp ./cmd/iatp

# The race detector needs cgo, and cgo needs a C compiler with its headers:
# building runtime/cgo asks for exactly that.
test: ## all tests, with the race detector if there is a C compiler
	@set -e; $(GO) mod download; \
	if CGO_ENABLED=1 $(GO) build -race runtime/cgo 2>/dev/null; then \
		race=-race; export CGO_ENABLED=1; \
	else \
		race=; export CGO_ENABLED=0; \
		echo "make test: no C compiler here: running WITHOUT the race detector (gcc or clang brings it back)"; \
	fi; \
	$(GO) run .ci/report.go $$race -timeout 20m ./...

kills: ## 200 kills of two sidecars that call each other
	$(GO) test -count=1 -timeout 20m -run TestMeshIsKilled -v ./e2e -kills 200

bench: ## benchmarks; BENCH=regexp selects
	$(GO) test -run '^$$' -bench '$(BENCH)' -benchmem ./...

bench-check: ## processor time and allocations against the baseline (Linux, minutes)
	$(GO) run ./experiments/load --check --rounds 20 --time 250ms

lint: ## gofmt, vet, staticcheck
	@set -e; bad=$$(gofmt -l .); if [ -n "$$bad" ]; then echo "gofmt would change:"; echo "$$bad"; exit 1; fi
	@$(GO) vet ./...
	@$(GO) vet .ci/report.go
	@$(GO) tool staticcheck ./...

fuzz: ## all fuzz targets, FUZZTIME=60 seconds shared out equally
	@GO='$(GO)' sh .ci/fuzz $(FUZZTIME)

cross: ## static binaries for linux and darwin on amd64 and arm64, in dist/
	@set -e; for p in $(PLATFORMS); do \
		export GOOS=$${p%/*} GOARCH=$${p#*/}; \
		echo "$$p"; \
		CGO_ENABLED=0 $(GO) build -trimpath ./...; \
		$(STATIC) -o dist/iatp-$$GOOS-$$GOARCH ./cmd/iatp; \
	done

demo: ## the whole story in ten seconds
	@$(GO) run ./cmd/iatp demo

clean: ## remove what the targets above made
	rm -rf iatp dist
