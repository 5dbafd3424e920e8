//! `baton-image`: a program in, an image archive out.

mod build;

use std::fs;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use baton_image::{Binary, Image, ImageName};
use clap::{Parser, Subcommand};
use serde_json::json;

/// Container images of one static program each, without a container engine.
#[derive(Parser)]
#[command(version, max_term_width = 100)]
struct Command {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Build a program of this workspace statically and write it as an image archive
    Build {
        /// The cargo package
        #[arg(long)]
        package: String,
        /// Its program, where that has another name
        #[arg(long)]
        bin: Option<String>,
        /// Image name without the tag, such as registry.local/baton/app
        #[arg(long)]
        repository: String,
        /// The tag; by default the start of the SHA-256 of the program and its environment, so that a
        /// changed program never hides behind an old name
        #[arg(long)]
        tag: Option<String>,
        /// Folder for the archive
        #[arg(long, default_value = "target/images")]
        out: PathBuf,
        /// OCI label, KEY=VALUE (may be repeated)
        #[arg(long = "label", value_parser = parse_label)]
        labels: Vec<(String, String)>,
        /// Environment variable of the program, KEY=VALUE (may be repeated)
        #[arg(long = "env", value_parser = parse_label)]
        environment: Vec<(String, String)>,
    },
    /// Write a static program as an image archive (for docker load, ctr images import, ...)
    Pack {
        /// The program; it becomes the image's entry point
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
        /// Environment variable of the program, KEY=VALUE (may be repeated)
        #[arg(long = "env", value_parser = parse_label)]
        environment: Vec<(String, String)>,
    },
}

fn parse_label(label: &str) -> Result<(String, String), String> {
    match label.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write KEY=VALUE".to_owned()),
    }
}

#[expect(clippy::print_stderr, reason = "errors are for people")]
fn main() -> ExitCode {
    match run(Command::parse().verb) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("baton-image: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(verb: Verb) -> anyhow::Result<()> {
    match verb {
        Verb::Build { package, bin, repository, tag, out, labels, environment } => {
            let path = build::static_program(&package, bin.as_deref().unwrap_or(&package))?;
            let (program, binary) = read(&path)?;
            let tag = tag.unwrap_or_else(|| build::content_tag(&binary, &environment));
            let name: ImageName = format!("{repository}:{tag}").parse()?;
            let out = out.join(format!("{program}-{tag}.tar"));
            pack(Image { name, program, binary, labels, environment }, &out)
        }
        Verb::Pack { binary, name, out, labels, environment } => {
            let (program, binary) = read(&binary)?;
            pack(Image { name, program, binary, labels, environment }, &out)
        }
    }
}

fn read(path: &Path) -> anyhow::Result<(String, Binary)> {
    let file = path.display();
    let bytes = fs::read(path).with_context(|| format!("cannot read {file}"))?;
    let binary = Binary::new(bytes).with_context(|| file.to_string())?;
    let program = path.file_name().context("the program's path has no file name")?;
    Ok((program.to_str().context("the program's name is no UTF-8")?.to_owned(), binary))
}

/// Writes the archive, and a JSON line with what a script needs next.
#[expect(clippy::print_stdout, reason = "the result is what this program is asked for")]
fn pack(image: Image, out: &Path) -> anyhow::Result<()> {
    // Written beside its place and moved there whole: a reader never sees half an archive.
    let partial = out.with_extension("partial");
    let write = || -> anyhow::Result<_> {
        if let Some(folder) = out.parent() {
            fs::create_dir_all(folder)?;
        }
        let digest = image.archive(BufWriter::new(fs::File::create(&partial)?))?;
        fs::rename(&partial, out)?;
        Ok(digest)
    };
    let digest = write().with_context(|| format!("cannot write {}", out.display()))?;
    let archive = out.canonicalize()?;
    let result = json!({
        "name": image.name.to_string(),
        "archive": archive,
        "digest": digest.to_string(),
    });
    println!("{result}");
    Ok(())
}
