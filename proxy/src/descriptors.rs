//! As many descriptors as the system lets us have.

use rustix::{
    io::fcntl_dupfd_cloexec,
    process::{Resource, Rlimit, getrlimit, setrlimit},
};

/// What a connection takes.
const EACH: u64 = 2;
/// What pages, threads and listeners take besides.
const BESIDES: u64 = 64;

/// Raises the soft limit to the hard one, and says how many connections that is good for. Warns if those are fewer than
/// wanted: who is accepted without a descriptor for its other half would be turned away, while who waits is served.
///
/// To be called before there is a second thread: the table of descriptors is made larger, too.
pub fn raise(wanted: u64) -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let limit = match setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        Ok(()) => maximum,
        Err(error) => {
            tracing::warn!(%error, "cannot raise the limit of open files (ulimit -n)");
            current
        }
    };
    let Some(limit) = limit else {
        make_room(wanted);
        return u64::MAX;
    };
    let most = (limit.saturating_sub(BESIDES) / EACH).max(1);
    if most < wanted {
        tracing::warn!(
            limit,
            wanted,
            most,
            "fewer open files are allowed than --max-connections needs, two a connection; accepting pauses earlier"
        );
    }
    make_room(most.min(wanted));
    most
}

/// Has the kernel make its table of our descriptors large enough for so many connections, eight bytes each. It would grow
/// as they come; but where there are threads it then waits until no processor looks at the old one (`expand_fdtable` in
/// Linux' `fs/file.c`, `synchronize_rcu`), and whoever needs a descriptor waits with it: some 10 ms mostly, and tens of
/// seconds were seen on a machine that had too much to do.
fn make_room(connections: u64) {
    let last = connections.saturating_mul(EACH).saturating_add(BESIDES).saturating_sub(1);
    if let Ok(last) = i32::try_from(last) {
        // It stays as large when the descriptor is closed. Where it can't, it grows later.
        drop(fcntl_dupfd_cloexec(std::io::stderr(), last));
    }
}
