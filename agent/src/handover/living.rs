//! Finds out which other instances live on this node.

use std::{
    collections::BTreeSet,
    fs::File,
    io::{self, Read},
};

use nix::unistd::geteuid;

use super::{
    claim::{self, Instance, InstanceId},
    names::{self, Name},
    socket::{self, Holder},
};

/// The sockets of the calling thread's network namespace; `/proc/net` would be the main thread's.
const LISTING: &str = "/proc/thread-self/net/unix";
/// A line has some 60 bytes and a name; a node has some thousand sockets.
const LONGEST_LISTING: u64 = 16 << 20;
/// To look up one takes some 10 µs. An instance has a name an address.
const MOST_NAMES: usize = 10_000;
/// How often the list is read, what is new in it being looked up each time.
///
/// An announcement may be replaced between its reading and its looking up: then the new one is in the next list.
/// Moreover the kernel hands the list out by the page, and finds its way back by counting: when sockets close
/// between two pages, one behind them may be passed over. Measured with thousands opened and closed a second: one
/// reading in 20,000 missed a given name.
const READINGS: usize = 3;

/// Why it could not be found out who lives. Then somebody may, and nothing shared may be removed:
/// [`Kept::everything`](super::kept::Kept::everything).
#[derive(Debug, thiserror::Error)]
pub enum LivingError {
    /// The list can't be read.
    #[error("cannot list Unix sockets in {LISTING} to look for other instances: {0}; is /proc mounted?")]
    Read(#[source] io::Error),
    /// The list is too long.
    #[error(
        "cannot look for other instances: {LISTING} has more than {LONGEST_LISTING} bytes; find with ss -xp which process opens so many sockets"
    )]
    TooLong,
    /// Too many names are announced.
    #[error(
        "cannot look for other instances: {0} socket names look like theirs, and at most {MOST_NAMES} are looked up; find with ss -xlp which process binds them"
    )]
    TooMany(usize),
    /// A name can't be looked up.
    #[error("cannot look up whether the instance still lives that announced {name}: {cause}")]
    LookUp {
        /// The name.
        name: Name,
        /// What the kernel said.
        cause: io::Error,
    },
}

/// The other instances in the calling thread's network namespace: all but `own`, by their numbers.
///
/// An instance counts if its name is bound and listened to by a process of our effective user, stopped or not.
/// When the kernel does not say whose a name is, it counts too: to keep too much is harmless. Names of other users
/// are left out, with one warning. Does not wait for anybody.
///
/// # Errors
/// When not all could be seen; see [`LivingError`] for what follows.
pub fn living(own: InstanceId) -> Result<Vec<Instance>, LivingError> {
    let (instances, foreign) = living_of(own, geteuid().as_raw())?;
    if !foreign.is_empty() {
        let uids: Vec<String> = foreign.iter().map(ToString::to_string).collect();
        tracing::warn!(
            uids = uids.join(","),
            own_uid = geteuid().as_raw(),
            "processes of other users announce themselves as instances of the agent, which is ignored; \
             instances on one node have to run as the same user"
        );
    }
    Ok(instances)
}

/// The instances of a user, and the other users who announce any.
pub(super) fn living_of(own: InstanceId, uid: u32) -> Result<(Vec<Instance>, BTreeSet<u32>), LivingError> {
    let (mut known, mut living, mut foreign) = (BTreeSet::new(), Vec::new(), BTreeSet::new());
    for _ in 0..READINGS {
        let mut new = names::parse_names(&read_listing()?);
        new.retain(|name| name.instance != own && !known.contains(name));
        if known.len() + new.len() > MOST_NAMES {
            return Err(LivingError::TooMany(known.len() + new.len()));
        }
        for name in new {
            match socket::holder(&name.to_string()) {
                Ok(Holder::Process { uid: theirs, .. }) if theirs != uid => {
                    foreign.insert(theirs);
                }
                Ok(Holder::Process { .. } | Holder::Unknown) => {
                    living.push((name.instance, name.claim.clone()))
                }
                Ok(Holder::Gone) => {}
                Err(cause) => return Err(LivingError::LookUp { name, cause }),
            }
            known.insert(name);
        }
    }
    Ok((claim::by_instance(living), foreign))
}

fn read_listing() -> Result<Vec<u8>, LivingError> {
    let mut listing = Vec::new();
    let file = File::open(LISTING).map_err(LivingError::Read)?;
    let length = file.take(LONGEST_LISTING + 1).read_to_end(&mut listing).map_err(LivingError::Read)?;
    // A cut list would look like fewer instances.
    if length as u64 > LONGEST_LISTING { Err(LivingError::TooLong) } else { Ok(listing) }
}
