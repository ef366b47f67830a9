//! What `--version` says.

/// The release, and the commit it was built from where the build said so (`GIT_COMMIT` in its environment):
/// `v0.1.0` or `v0.1.0 (1a2b3c4)`.
#[must_use]
pub fn version() -> String {
    let release = concat!("v", env!("CARGO_PKG_VERSION"));
    match option_env!("GIT_COMMIT") {
        Some(commit) if !commit.is_empty() => format!("{release} ({commit})"),
        _ => release.to_owned(),
    }
}
