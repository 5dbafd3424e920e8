//! `baton-image`: a static binary in, an image archive out.

use std::fs;
use std::io::BufWriter;
use std::path::PathBuf;

use anyhow::Context as _;
use baton_image::{Binary, Image, ImageName};
use clap::Parser;

/// Writes a static binary as a container image archive (`docker load`, `ctr images import`).
#[derive(Parser)]
#[command(version)]
struct Args {
    /// The static program; it becomes the image's entry point
    #[arg(long)]
    binary: PathBuf,
    /// Full image name, such as registry.local/baton/app:1
    #[arg(long)]
    name: ImageName,
    /// The archive to write
    #[arg(long)]
    out: PathBuf,
    /// OCI label, KEY=VALUE (may be repeated)
    #[arg(long = "label", value_parser = parse_label)]
    labels: Vec<(String, String)>,
}

fn parse_label(label: &str) -> Result<(String, String), String> {
    match label.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write KEY=VALUE".to_owned()),
    }
}

#[expect(clippy::print_stdout, reason = "the digest is what this program is asked for")]
fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let file = args.binary.display();
    let bytes = fs::read(&args.binary).with_context(|| format!("cannot read {file}"))?;
    let binary = Binary::new(bytes).with_context(|| file.to_string())?;
    let program = args.binary.file_name().context("--binary has no file name")?;
    let program = program.to_str().context("--binary has a file name that is no UTF-8")?.to_owned();
    let image = Image { name: args.name, program, binary, labels: args.labels };

    // Written beside its place and moved there whole: a reader never sees half an archive.
    let partial = args.out.with_extension("partial");
    let write = || -> anyhow::Result<_> {
        let digest = image.archive(BufWriter::new(fs::File::create(&partial)?))?;
        fs::rename(&partial, &args.out)?;
        Ok(digest)
    };
    let digest = write().with_context(|| format!("cannot write {}", args.out.display()))?;
    println!("{digest}  {}  {}", image.name, args.out.display());
    Ok(())
}
