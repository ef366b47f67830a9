//! Two clocks.

/// A point in time by two clocks, in seconds since 1970. Certificates are measured by API servers, so theirs counts;
/// but one of several may be wrong, and then nothing that works must be taken away. Where a certificate is good by
/// either it is good, and it is old only by both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clocks {
    /// That of the API server that has just answered.
    pub server: i64,
    /// Our own.
    pub own: i64,
}

impl Clocks {
    /// What has passed by this has passed by both.
    #[must_use]
    pub fn earlier(self) -> i64 {
        self.server.min(self.own)
    }

    /// What is yet to come by this is so by both.
    #[must_use]
    pub fn later(self) -> i64 {
        self.server.max(self.own)
    }
}
