//! `baton-operator`: the program.

use anyhow::Context as _;
use baton_operator::config::Config;
use baton_operator::run;
use clap::Parser as _;

fn main() -> anyhow::Result<()> {
    let config = Config::parse();
    run::log(&config)?;
    if rustls::crypto::aws_lc_rs::default_provider().install_default().is_err() {
        anyhow::bail!("another provider of cryptography was installed before ours");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.context("the runtime")?.block_on(run::run(config))
}
