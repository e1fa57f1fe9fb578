.PHONY: test lint reference differential kubectl conformance four-ways bench facts

# All tests. Where Go is, builds the real Kubernetes first (minutes, once) and compares with it.
test:
	@if command -v go > /dev/null; then \
		$(MAKE) reference && CORACLE_REQUIRE_REFERENCE=1 cargo test --workspace; \
	else \
		echo "no Go: not compared with the real kube-apiserver" && cargo test --workspace; \
	fi

# The format, clippy, and, where cargo-deny is, the licences and advisories of what we depend on.
lint:
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	@if cargo deny --version > /dev/null 2>&1; then cargo deny check; else echo "no cargo-deny: dependencies not checked"; fi

# The real kube-apiserver, etcd and kubectl, from their Go modules, into the user's cache directory.
reference:
	tests/reference/build kube-apiserver etcd kubectl helm kube-scheduler

# Coracle's answers beside the real kube-apiserver's. CORACLE_DIFFERENTIAL_ONLY=TEXT: some of them;
# CORACLE_PROPERTIES=5000: so many cases by chance.
differential: reference
	CORACLE_REQUIRE_REFERENCE=1 cargo test --package coracle --test differential -- --nocapture

# A session with every kubectl that can be found.
kubectl:
	cargo test --package coracle --test kubectl -- --nocapture

# Upstream's conformance tests against a fresh cluster. AREA=AREA: those of an area; CORACLE_FOCUS=EXPRESSION: those
# with such names.
conformance:
	CORACLE_AREA=$(AREA) tests/conformance/run

# The tests of workloads on each mixture of our and upstream's loops and servers. CORACLE_FOCUS: those with such names.
four-ways:
	tests/conformance/ways

# Coracle beside the real Kubernetes: start, memory, writes, reads. QUICK=1: one short round.
bench:
	bench/run

# Writes the tables under api/src/facts again. Needs Go and the Go module proxy.
facts:
	cd api/facts-tool && go run . -out ../src/facts
	cargo fmt -p coracle-api
