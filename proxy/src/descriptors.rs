//! As many descriptors as the system lets us have.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What a connection takes; one on which much moves borrows others, and does without if there are none.
const EACH: u64 = 2;
/// What pages, threads and listeners take besides.
const BESIDES: u64 = 64;

/// Raises the soft limit to the hard one, and says how many connections that is good for. Warns if those are fewer than
/// wanted: who is accepted without a descriptor for its other half would be turned away, while who waits is served.
pub fn raise(wanted: u64) -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let limit = match setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        Ok(()) => maximum,
        Err(error) => {
            tracing::warn!(%error, "cannot raise the limit of open files (ulimit -n)");
            current
        }
    };
    let Some(limit) = limit else { return u64::MAX };
    let most = (limit.saturating_sub(BESIDES) / EACH).max(1);
    if most < wanted {
        tracing::warn!(
            limit,
            wanted,
            most,
            "fewer open files are allowed than --max-connections needs, two a connection; accepting pauses earlier"
        );
    }
    most
}
