//! One target of `baton_fuzz` under libFuzzer: the variable `BATON_FUZZ_TARGET` says which; arguments are libFuzzer's.
//!
//! Built with the hooks of `instrument.sh` it is guided by coverage; without, it guesses.
#![no_main]

use std::sync::OnceLock;

use baton_fuzz::Target;

static TARGET: OnceLock<Target> = OnceLock::new();

#[expect(clippy::expect_used, reason = "without a target there is nothing to run")]
fn chosen() -> Target {
    let name = std::env::var("BATON_FUZZ_TARGET").expect("BATON_FUZZ_TARGET names a target");
    baton_fuzz::target(&name).expect("BATON_FUZZ_TARGET names a known target")
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| (TARGET.get_or_init(chosen).run)(data));
