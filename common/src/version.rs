//! What `--version` says.

/// The release, such as `v0.1.0`.
pub const RELEASE: &str = concat!("v", env!("CARGO_PKG_VERSION"));

/// The commit that it was built from, where the build said so (`GIT_COMMIT` in its environment).
#[must_use]
pub fn commit() -> Option<&'static str> {
    option_env!("GIT_COMMIT").filter(|commit| !commit.is_empty())
}

/// Both: `v0.1.0` or `v0.1.0 (1a2b3c4)`.
#[must_use]
pub fn version() -> String {
    match commit() {
        Some(commit) => format!("{RELEASE} ({commit})"),
        None => RELEASE.to_owned(),
    }
}
