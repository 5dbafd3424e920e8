//! The watched file: a line on standard output at each change of its content.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;

/// How often the file is read. The way of an annotation into a file takes a tenth to half a second, so
/// this is fine enough to see its shape.
const POLL: Duration = Duration::from_millis(10);

/// One change, as the tests read it from the pod's log.
#[derive(Serialize)]
struct Change<'a> {
    /// Unix time in microseconds.
    at_us: u128,
    /// `null` where the file does not exist.
    content: Option<&'a str>,
}

/// Polls `path` for ever: the kubelet replaces the files of a volume by renaming a link, which a
/// poll sees like any other change.
pub(crate) async fn report_changes(path: PathBuf) -> anyhow::Result<()> {
    let mut last = None;
    loop {
        let now = read(&path);
        if last.as_ref() != Some(&now) {
            let at_us = SystemTime::now().duration_since(UNIX_EPOCH)?.as_micros();
            let change = serde_json::to_string(&Change { at_us, content: now.as_deref() })?;
            let mut out = std::io::stdout().lock();
            writeln!(out, "{change}")?;
            out.flush()?;
            last = Some(now);
        }
        tokio::time::sleep(POLL).await;
    }
}

fn read(path: &Path) -> Option<String> {
    std::fs::read(path).ok().map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}
