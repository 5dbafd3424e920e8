#!/bin/sh
# Checks what must be there before anything can be built: Rust, Go, a C compiler.
#
# The minimum versions are read where the compilers themselves read them. System packages that the
# tests need are the cluster tool's business; a C compiler is needed to build that tool.
set -eu
cd "$(dirname "$0")/.."

fail() {
    echo "make: $*" >&2
    exit 1
}

# at_least FOUND REQUIRED: compares dotted numbers.
at_least() {
    [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]
}

rust_required=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
command -v cargo >/dev/null && command -v rustc >/dev/null ||
    fail "Rust is not installed (or not on the PATH); $rust_required or newer is needed"
rust_found=$(rustc --version | cut -d ' ' -f 2)
at_least "$rust_found" "$rust_required" ||
    fail "Rust $rust_found is too old: $rust_required or newer is needed"

for tool in fmt clippy; do
    cargo $tool --version >/dev/null 2>&1 ||
        fail "cargo $tool is missing: rustup component add rustfmt clippy"
done

go_required=$(sed -n 's/^go //p' tests/cluster/kube/go.mod)
command -v go >/dev/null ||
    fail "Go is not installed (or not on the PATH); $go_required or newer is needed"
go_found=$(GOTOOLCHAIN=local go env GOVERSION | sed 's/^go//')
at_least "$go_found" "$go_required" ||
    fail "Go $go_found is too old: $go_required or newer is needed to build Kubernetes"

if ! command -v cc >/dev/null; then
    packages="gcc libc6-dev"
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        echo "installing $packages" >&2
        apt-get update -q >/dev/null
        DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $packages >/dev/null
    else
        fail "a C compiler is missing: apt-get install $packages"
    fi
fi
