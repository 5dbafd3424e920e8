#!/bin/sh
# Checks what must be there before anything can be built: Rust, Go, a C and a C++ compiler, Python.
#
# The minimum versions are read where the compilers themselves read them. System packages that the test
# cluster needs are the cluster tool's business; a C compiler is needed to build that tool, a C++ compiler to build the
# fuzzer, and Python for the second opinion on the test vectors and the client that was written from the document alone.
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

packages=
command -v cc >/dev/null || packages="gcc libc6-dev"
command -v c++ >/dev/null || packages="$packages g++"
command -v python3 >/dev/null || packages="$packages python3"
# Debian's Python cannot make virtual environments without a package of its own.
python3 -c 'import ensurepip' 2>/dev/null || packages="$packages python3-venv"
if [ -n "$packages" ]; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        echo "installing" $packages >&2
        apt-get update -q >/dev/null
        DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $packages >/dev/null
    else
        fail "compilers or Python are missing: apt-get install" $packages
    fi
fi
