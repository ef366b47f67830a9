//! As many descriptors as the system lets us have: a connection takes two, and more while much moves.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What pages, threads and listeners take besides.
const BESIDES: u64 = 64;

/// Raises the soft limit to the hard one, and warns where that is too little for so many connections.
pub fn raise(connections: u64) {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    let limit = match raised {
        Ok(()) => maximum,
        Err(error) => {
            tracing::warn!(%error, "cannot raise the limit of open files (ulimit -n)");
            current
        }
    };
    let needed = connections.saturating_mul(2).saturating_add(BESIDES);
    match limit {
        Some(limit) if limit < needed => tracing::warn!(
            limit,
            needed,
            "fewer open files are allowed than --max-connections needs, two a connection; accepting pauses before it"
        ),
        _ => tracing::debug!(limit, "open files"),
    }
}
