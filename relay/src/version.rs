//! Which version this is.

use std::sync::LazyLock;

/// The environment variable that says it, if it is set: images of one binary can be told apart by it.
const VARIABLE: &str = "BATON_VERSION";

/// As `--version`, the status and `build_info` say it.
#[must_use]
pub fn version() -> &'static str {
    static VERSION: LazyLock<String> = LazyLock::new(|| named(std::env::var(VARIABLE).ok()));
    &VERSION
}

fn named(variable: Option<String>) -> String {
    let named = variable.filter(|name| !name.trim().is_empty());
    named.unwrap_or_else(|| env!("CARGO_PKG_VERSION").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_may_name_its_version() {
        assert_eq!(named(Some("1.2.3-rc1".into())), "1.2.3-rc1");
        assert_eq!(named(Some(" ".into())), env!("CARGO_PKG_VERSION"));
        assert_eq!(named(None), env!("CARGO_PKG_VERSION"));
    }
}
