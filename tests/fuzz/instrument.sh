#!/bin/sh
# Runs rustc so that what it compiles tells libFuzzer which ways it took and what it compared: cargo runs this in rustc's place,
# for the crates of this workspace alone (RUSTC_WORKSPACE_WRAPPER). The dependencies are those that all other tests use.
#
# Stable flags all. What goes wrong quietly elsewhere stops the fuzzer: debug assertions and overflow checks are on. Cargo does
# not notice a change of this file: `cargo clean --package baton-protocol --package baton-relay ...` after one.
exec "$@" \
    -Cpasses=sancov-module \
    -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares \
    -Copt-level=2 -Cdebug-assertions=on -Coverflow-checks=on
