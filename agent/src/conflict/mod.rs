//! DNAT that keeps connections from the local proxy. Only looked for and told: whose rules they are is not known.
//!
//! - With rules of ours, connection tracking is off for our address. If a DNAT leads *to* it, as to an endpoint of
//!   a Service, the replies are not translated back, and connections through that Service time out.
//! - Without them, a DNAT for what goes *to* our address takes it elsewhere: the address is a ClusterIP of
//!   kube-proxy, or the port is a hostPort of a Pod. The local proxy never sees these connections.
//!
//! kube-proxy writes no plain rule for either. In iptables mode `KUBE-SERVICES` leads to a chain for the Service,
//! that to one for each endpoint, and there the DNAT is; in nftables mode the first step is an element of a map, and
//! the second one too. So the way of a packet is followed ([`walk`]), through rules of nf_tables ([`kernel`],
//! [`rule`], [`machine`], [`registers`], [`xtables`], [`elements`]), which iptables-nft writes too, and through those
//! of the legacy interface ([`save`], [`values`]). Both say what they can of a [`packet`], and what a [`translation`]
//! makes of it.
//!
//! Not seen: ipvs, eBPF, and what hangs on sets of ipset(8). For the first conflict, a new destination in nf_tables
//! counts if it stands in the rule itself, alone or as an end of a range, whether or not anything leads to that rule.

pub mod elements;
pub mod kernel;
pub mod machine;
pub mod packet;
pub mod registers;
pub mod rule;
pub mod save;
pub mod translation;
pub mod values;
pub mod walk;
pub mod watch;
pub mod xtables;

use std::{collections::BTreeSet, fmt, net::IpAddr, num::NonZeroU16};

use crate::{
    netlink::nft::NftError,
    rules::{
        Family, detect,
        exec::{Haste, Program, RunError},
    },
    wanted::LocalAddress,
};
use packet::Packet;
use save::Saved;

/// What is asked about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// Our addresses.
    pub addresses: Vec<LocalAddress>,
    /// The port on each of them.
    pub port: NonZeroU16,
    /// Whether connection tracking is off for them: `--setup-iptables`.
    pub rules: bool,
}

/// What a DNAT does to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// It leads to our address, whose replies it does not see.
    Target,
    /// It leads away what goes to our address.
    Destination,
}

/// A DNAT that is in the way. Reads as one line that says what it means and what to do.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Conflict {
    /// Which of our addresses.
    pub address: IpAddr,
    /// Our port.
    pub port: NonZeroU16,
    /// What it does.
    pub kind: Kind,
    /// Where it is: family or program, table and chains, such as `ip nat KUBE-SERVICES > KUBE-SVC-X > KUBE-SEP-Y`.
    pub place: String,
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { address, port, kind, place } = self;
        let ours = std::net::SocketAddr::new(*address, port.get());
        match kind {
            Kind::Target => write!(
                f,
                "{ours} is the target of a DNAT ({place}), and --setup-iptables keeps its replies from being \
                 translated back, so connections through that DNAT time out: leave --setup-iptables out, or use \
                 an address that is no endpoint of a Service"
            ),
            Kind::Destination => write!(
                f,
                "a DNAT takes what goes to {ours} elsewhere ({place}), so the local proxy never sees it: use an \
                 address that is no ClusterIP and a port that is no hostPort, or --setup-iptables"
            ),
        }
    }
}

/// Why it could not be found out. Nothing that stops the agent.
#[derive(Debug, thiserror::Error)]
pub enum ConflictError {
    /// The rules of nf_tables could not be read.
    #[error(transparent)]
    Nft(#[from] NftError),
    /// The rules of the legacy interface could not be read.
    #[error(transparent)]
    Legacy(#[from] RunError),
    /// A search broke off.
    #[error("the search for DNAT ended early: {0}")]
    Task(#[from] tokio::task::JoinError),
}

/// Looks for conflicts, again and again if need be.
#[derive(Debug)]
pub struct Search {
    question: Question,
    legacy: [(Family, Option<Program>); 2],
}

impl Search {
    /// Touches nothing yet.
    #[must_use]
    pub fn new(question: Question) -> Self {
        let legacy = [(Family::V4, "iptables-legacy"), (Family::V6, "ip6tables-legacy")]
            .map(|(family, program)| (family, Program::find(program)));
        Self { question, legacy }
    }

    /// Looks once, at what is there now: in nf_tables, and in the legacy interface where that has a nat table. Each
    /// conflict is told once, in order. Blocking work is done on other threads; with 15,000 rules on the node it
    /// takes some 1 to 50 ms.
    ///
    /// # Errors
    /// When either could not be looked through, and the other has no conflict.
    pub async fn look(&self) -> Result<Vec<Conflict>, ConflictError> {
        let question = self.question.clone();
        let nft = tokio::task::spawn_blocking(move || kernel::look(&question)).await;
        let parts =
            [nft.map_err(Into::into).and_then(|nft| nft.map_err(Into::into)), self.look_at_legacy().await];
        let (mut found, mut errors) = (BTreeSet::new(), Vec::new());
        for part in parts {
            match part {
                Ok(conflicts) => found.extend(conflicts),
                Err(error) => errors.push(error),
            }
        }
        match errors.into_iter().next() {
            Some(error) if found.is_empty() => Err(error),
            Some(error) => {
                tracing::debug!(%error, "there may be more conflicts");
                Ok(found.into_iter().collect())
            }
            None => Ok(found.into_iter().collect()),
        }
    }

    async fn look_at_legacy(&self) -> Result<Vec<Conflict>, ConflictError> {
        let mut found = Vec::new();
        for (family, program) in &self.legacy {
            let addresses = || self.question.addresses_of(*family);
            // A legacy table that is asked for is made, so it has to be there already.
            let Some(program) = program.filter(|_| addresses().next().is_some()) else { continue };
            if !detect::legacy_has(*family, "nat") {
                continue;
            }
            let printed = program.run(Haste::None, "nat", "-S").await?.unwrap_or_default();
            let name = match family {
                Family::V4 => "iptables-legacy",
                Family::V6 => "ip6tables-legacy",
            };
            let (question, addresses): (_, Vec<IpAddr>) = (self.question.clone(), addresses().collect());
            let conflicts = tokio::task::spawn_blocking(move || {
                let of = |address: &IpAddr| question.look_through(&printed, name, *address);
                addresses.iter().flat_map(of).collect::<Vec<_>>()
            });
            found.extend(conflicts.await?);
        }
        Ok(found)
    }
}

impl Question {
    fn addresses_of(&self, family: Family) -> impl Iterator<Item = IpAddr> {
        let addresses = self.addresses.iter().map(|address| address.ip());
        addresses.filter(move |address| address.is_ipv4() == (family == Family::V4))
    }

    fn conflict(&self, address: IpAddr, kind: Kind, place: String) -> Conflict {
        Conflict { address, port: self.port, kind, place }
    }

    /// Looks through a nat table of the legacy interface, as printed. Pure.
    #[must_use]
    pub fn look_through(&self, printed: &str, program: &str, address: IpAddr) -> Vec<Conflict> {
        let conflict = |kind, chains: &str| self.conflict(address, kind, format!("{program} nat {chains}"));
        let mut saved = Saved(printed);
        if self.rules {
            let chains = saved.targets(address, self.port.get());
            return chains.into_iter().map(|chain| conflict(Kind::Target, chain)).collect();
        }
        let packet = Packet::to(address, self.port.get());
        let mut found = Vec::new();
        for hook in ["PREROUTING", "OUTPUT"] {
            let Ok(chains) = walk::translated(&mut saved, hook, packet);
            found.extend(chains.map(|chains| conflict(Kind::Destination, &chains.join(" > "))));
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_conflict_says_what_it_means_and_what_to_do() {
        let conflict = |address: &str, kind| Conflict {
            address: address.parse().unwrap(),
            port: 443.try_into().unwrap(),
            kind,
            place: "ip nat KUBE-SERVICES > KUBE-SVC-X > KUBE-SEP-Y".to_owned(),
        };
        assert_eq!(
            conflict("10.96.0.1", Kind::Destination).to_string(),
            "a DNAT takes what goes to 10.96.0.1:443 elsewhere (ip nat KUBE-SERVICES > KUBE-SVC-X > KUBE-SEP-Y), so \
             the local proxy never sees it: use an address that is no ClusterIP and a port that is no hostPort, or \
             --setup-iptables"
        );
        let line = conflict("fd00::2", Kind::Target).to_string();
        assert!(line.starts_with("[fd00::2]:443 is the target of a DNAT (ip nat KUBE-SERVICES"), "{line}");
        assert!(line.contains("time out: leave --setup-iptables out, or use an address"), "{line}");
    }
}
