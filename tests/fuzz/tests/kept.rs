//! The seeds and the corpus through their targets, without a fuzzer: what was found once stays mended.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use baton_fuzz::{TARGETS, corpus, seeds};

#[test]
fn what_was_found_stays_mended() {
    for target in TARGETS {
        let kept = corpus::read(target.name).unwrap();
        assert!(!kept.is_empty(), "{} has no corpus: BATON_BLESS=1 make show T=fuzz", target.name);
        kept.iter().for_each(|input| (target.run)(input));
    }
}

#[test]
fn every_target_has_seeds_which_it_takes() {
    for target in TARGETS {
        let seeds = seeds::of(target.name);
        assert!(!seeds.is_empty(), "{} has no seeds", target.name);
        for seed in seeds.iter().filter(|seed| seed.len() <= target.max_length) {
            (target.run)(seed);
        }
    }
}

#[test]
fn no_corpus_is_left_over() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for file in std::fs::read_dir(folder).unwrap() {
        let name = file.unwrap().file_name().into_string().unwrap();
        assert!(TARGETS.iter().any(|target| name == format!("{}.hex", target.name)), "{name}");
    }
}
