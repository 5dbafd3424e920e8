//! Prints the generated custom resource definition:
//! `cargo run --package baton-crds --example print-crd > crds/relaypools.baton.dev.yaml`

use std::io::Write as _;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let yaml = serde_saphyr::to_string(&baton_crds::definition()?)?;
    let mut out = std::io::stdout().lock();
    out.write_all(b"# Generated: see crds/examples/print-crd.rs.\n")?;
    out.write_all(yaml.as_bytes())?;
    Ok(())
}
