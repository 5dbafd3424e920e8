//! How far a file is, drawn on standard error where that is a terminal.

use indicatif::{ProgressBar, ProgressStyle};

/// A bar for a file with this name.
pub(crate) fn bar(name: String) -> ProgressBar {
    const LOOK: &str =
        "{msg} {bar:30} {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec}, {eta} left";
    let bar = ProgressBar::new(0);
    // It fails only if the look makes no sense, and then there is another.
    if let Ok(style) = ProgressStyle::with_template(LOOK) {
        bar.set_style(style);
    }
    bar.set_message(name);
    bar
}
