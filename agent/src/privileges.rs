//! Drops every capability that is not needed, for good.
//!
//! Capabilities belong to threads (capabilities(7)), so this is to run before there is a second one: later ones, and
//! the programs that are started, have what the first one has left.

use std::collections::HashSet;

use caps::{CapSet, Capability, CapsHashSet};

use crate::rules::detect::Choice;

/// What the agent needs: CAP_NET_ADMIN for everything it does, and CAP_NET_RAW for iptables-legacy.
#[must_use]
pub fn needed(with_rules: bool, choice: Choice) -> CapsHashSet {
    let mut needed = HashSet::from([Capability::CAP_NET_ADMIN]);
    let maybe_legacy = matches!(choice, Choice::Auto | Choice::Iptables | Choice::Legacy);
    if with_rules && maybe_legacy {
        needed.insert(Capability::CAP_NET_RAW);
    }
    needed
}

/// Drops all capabilities but `kept` from every set of this thread, and gives up the way back (no_new_privs). What
/// could not be done is told in the log; nothing of it keeps the program from its work.
///
/// The bounding set can be narrowed with CAP_SETPCAP only. Without it that set is as small as who started the program
/// made it.
pub fn drop_all_but(kept: &CapsHashSet) {
    let tell = |what: &str, error: &dyn std::fmt::Display| {
        tracing::warn!("running with more privileges than needed: cannot {what}: {error}");
    };
    if let Err(error) = nix::sys::prctl::set_no_new_privs() {
        tell("set no_new_privs", &error);
    }
    // In this order: the first two sets need what the last ones give up.
    match caps::read(None, CapSet::Bounding) {
        Err(error) => tell("read the bounding set", &error),
        Ok(there) => {
            for capability in there.difference(kept) {
                if let Err(error) = caps::drop(None, CapSet::Bounding, *capability) {
                    tell("narrow the bounding set (CAP_SETPCAP)", &error);
                    break;
                }
            }
        }
    }
    for set in [CapSet::Ambient, CapSet::Inheritable, CapSet::Effective, CapSet::Permitted] {
        let narrowed = caps::read(None, set).and_then(|there| {
            let left: CapsHashSet = there.intersection(kept).copied().collect();
            if left.len() == there.len() { Ok(()) } else { caps::set(None, set, &left) }
        });
        if let Err(error) = narrowed {
            tell(&format!("narrow the {set:?} set"), &error);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raw_sockets_are_for_iptables_legacy_alone() {
        for (with_rules, choice, raw) in [
            (true, Choice::Auto, true),
            (true, Choice::Iptables, true),
            (true, Choice::Legacy, true),
            (true, Choice::Nft, false),
            (true, Choice::Nftables, false),
            (false, Choice::Auto, false),
        ] {
            let needed = needed(with_rules, choice);
            assert_eq!(needed.contains(&Capability::CAP_NET_RAW), raw, "{with_rules} {choice:?}");
            assert!(needed.contains(&Capability::CAP_NET_ADMIN));
        }
    }
}
