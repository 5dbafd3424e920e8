# Baton's verbs. `make help` lists them.

CARGO ?= cargo
NODES ?= 3
PROXY_MODE ?= nftables
CHECK := $(CARGO) run --quiet --package baton-check --
CLUSTER_TOOL := $(CARGO) run --quiet --package baton-cluster --

.DEFAULT_GOAL := help
.PHONY: help demo test test-full show bench fmt fuzz lint unit cluster-up cluster-down cluster-status cluster-env clean tools

help: ## List the verbs
	@sed -n 's/\$$\$$/$$/; s/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 18

# What a first run writes, in GiB, goes with its verb: see tests/space.sh.
demo: tools ## A download that goes on while every relay under it is replaced
	@tests/space.sh 8
	@$(CARGO) build --quiet --package baton-demo --package baton-client --package baton-cluster
	@$${CARGO_TARGET_DIR:-target}/debug/baton-demo run

test: tools ## Lints, unit tests and a real Kubernetes, within the budget of a change
	@tests/space.sh 11
	@$(CHECK) test

test-full: tools ## Every target; up to two hours
	@tests/space.sh 19
	@$(CHECK) test-full

show: tools ## One target with its figures: make show T=NAME (without T: list them)
	@$(CHECK) show $(T)

fuzz: tools ## An hour of fuzzing for whatever strangers may send, six in all on two cores
	@$(CHECK) show fuzz-long

bench: tools ## What a relay costs, beside a bare quinn loop (QUICK=1: two minutes; ONLY=bulk, sparse, lone, light, handshakes or sessions: that alone; BESIDE=FILE: and beside another build; AWAKE=1: clients that never sleep; WRITE=1: into docs/performance.md)
	@$(CARGO) build --profile image --quiet --package baton-relay
	@$(CARGO) build --release --quiet --package baton-bench
	@$${CARGO_TARGET_DIR:-target}/release/baton-bench run --relay $${CARGO_TARGET_DIR:-target}/image/baton-relay $(if $(QUICK),--quick) $(if $(ONLY),--only $(ONLY)) $(if $(BESIDE),--beside $(BESIDE)) $(if $(AWAKE),--awake) \
		$(if $(WRITE),--write docs/performance.md --json $${CARGO_TARGET_DIR:-target}/bench.jsonl)

fmt: ## Format all code
	@$(CARGO) fmt
	@gofmt -w tests/cluster/kube

lint: tools ## Formatting and lints
	@$(CHECK) show lint

unit: tools ## The tests that need nothing but this checkout
	@$(CHECK) show unit

cluster-up: tools ## A real Kubernetes on this machine (NODES=3 PROXY_MODE=nftables)
	@$(CLUSTER_TOOL) up --install-packages --nodes $(NODES) --proxy-mode $(PROXY_MODE)

cluster-down: tools ## Take it down, leaving nothing
	@$(CLUSTER_TOOL) down

cluster-status: tools ## How it is
	@$(CLUSTER_TOOL) status

cluster-env: ## Shell commands that point kubectl and helm at it: eval "$$(make -s cluster-env)"
	@$(CLUSTER_TOOL) env

clean: ## Remove what was built, here and in the cache
	@$(CARGO) clean --quiet
	@rm -rf "$${XDG_CACHE_HOME:-$$HOME/.cache}/baton"

tools:
	@tests/tools.sh

.DEFAULT:
	$(error there is no verb '$@'; `make help` lists them)
