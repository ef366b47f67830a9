//! Two instances on one node: what the newer one wants must not go away with the older one.
//!
//! In a rolling update two agents live in one network namespace for a while, in different containers, with no
//! file in common. So they tell one another by abstract Unix sockets (unix(7)): these names belong to the network
//! namespace, take no file, and vanish with their process, on SIGKILL too. A name says all there is to say, and
//! being bound is the whole message. There is no protocol, so an instance that is stopped (SIGSTOP) or too busy to
//! answer counts like any other.
//!
//! - [`claim`]: what an instance wants. Pure.
//! - [`names`]: how that is written as a name, and read. Pure.
//! - [`announce`]: binds them for as long as they hold.
//! - [`mod@living`]: finds those of others, and sees that they are not forged.
//! - [`kept`]: what nobody may take away. Pure.
//! - [`lock`]: one instance at a time changes things.
//! - [`place`]: what this instance announces, and when.
//!
//! # How to use it
//!
//! Coming, an instance publishes its [`Announcement`](announce::Announcement), takes the [`Lock`](lock::Lock), does
//! its first cycle, and only then lets go of the lock: whoever cleaned up before has ended, and whoever cleans up
//! after sees all of it. A rules backend that is found out
//! only in that cycle is announced as [`Undecided`](claim::Rules::Undecided) first, and
//! [replaced](announce::Announcement::replace) then.
//!
//! Going with `--cleanup`, it withdraws its announcement, takes the lock, reads who is
//! [living](mod@living), removes what is not [`Kept`], and lets go. Its own announcement goes
//! first, since of two that go at once each would otherwise leave everything to the other.
//!
//! All of it is bounded. Without the lock, an instance goes on with a warning. When it can't know who lives,
//! somebody may: [`Kept::everything`](kept::Kept::everything).
//!
//! # What it does not do
//!
//! It keeps honest instances from hurting each other; it is no protection from a process of the same user, which
//! could as well remove the addresses. A process of another user can't make a claim. By binding many names,
//! or by keeping a socket's queue full, it can make a cleanup leave things in place, and nothing worse.

pub mod announce;
pub mod claim;
pub mod kept;
pub mod living;
pub mod lock;
pub mod names;
pub mod place;
mod socket;
#[cfg(test)]
mod tests;

use self::{claim::InstanceId, kept::Kept, living::living};

/// What all living instances but `own` want; everything, if that can't be found out.
#[must_use]
pub fn kept_by_others(own: InstanceId) -> Kept {
    living(own).map_or_else(
        |error| {
            tracing::warn!(%error, "taking nothing away, since another instance may want it");
            Kept::everything()
        },
        |others| Kept::of(&others),
    )
}
