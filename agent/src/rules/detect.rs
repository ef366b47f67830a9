//! Which iptables a node uses: through nf_tables, or the legacy interface.
//!
//! Rules in the other one would be in force too, but nobody would see them with the node's own tools. The order
//! is that of Kubernetes' iptables-wrappers: where kubelet left its mark in mangle, nft before legacy, else nft.
//!
//! Source: <https://github.com/kubernetes-sigs/iptables-wrappers>, KEP-3178.

use std::fmt;

use super::{
    Family, Table,
    exec::{Haste, Program, RunError},
};

/// `--rules-backend`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// As the node does.
    Auto,
    /// `iptables`, whatever that is where the agent runs.
    Iptables,
    /// `iptables-legacy`
    Legacy,
    /// `iptables-nft`
    Nft,
    /// A table of our own, without any program.
    Nftables,
}

impl Choice {
    /// The values of the flag.
    pub const VALUES: [&'static str; 5] = ["auto", "iptables", "iptables-legacy", "iptables-nft", "nftables"];

    /// Reads one of [`Choice::VALUES`].
    #[must_use]
    pub fn from_value(value: &str) -> Option<Self> {
        Some(match value {
            "auto" => Self::Auto,
            "iptables" => Self::Iptables,
            "iptables-legacy" => Self::Legacy,
            "iptables-nft" => Self::Nft,
            "nftables" => Self::Nftables,
            _ => return None,
        })
    }
}

/// A pair of programs that is in use, one a family.
#[derive(Debug, Clone, Copy)]
pub struct Programs {
    /// Their name.
    pub variant: Variant,
    /// Whether their rules live in nf_tables, which numbers its states and tells of changes.
    pub in_nf_tables: bool,
    v4: Option<Program>,
    v6: Option<Program>,
}

/// An interface to the kernel's packet filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Variant {
    /// `iptables`, not known which.
    Plain,
    /// Through nf_tables.
    Nft,
    /// Through xtables.
    Legacy,
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plain => "iptables",
            Self::Nft => "iptables-nft",
            Self::Legacy => "iptables-legacy",
        })
    }
}

/// No program to keep rules with.
#[derive(Debug, thiserror::Error)]
#[error(
    "{program} is neither in PATH nor in /usr/sbin: install the node's iptables package, or use the image that has it"
)]
pub struct Missing {
    program: &'static str,
}

impl Programs {
    fn find(variant: Variant) -> Self {
        let (v4, v6) = Self::names(variant);
        let in_nf_tables = variant == Variant::Nft;
        Self { variant, in_nf_tables, v4: Program::find(v4), v6: Program::find(v6) }
    }

    /// `iptables`, whichever it is.
    async fn plain() -> Self {
        let mut plain = Self::find(Variant::Plain);
        if let Some(program) = plain.v4.or(plain.v6) {
            let version = program.run(Haste::None, "filter", "-V").await;
            plain.in_nf_tables =
                version.is_ok_and(|version| version.is_some_and(|text| text.contains("nf_tables")));
        }
        plain
    }

    fn names(variant: Variant) -> (&'static str, &'static str) {
        match variant {
            Variant::Plain => ("iptables", "ip6tables"),
            Variant::Nft => ("iptables-nft", "ip6tables-nft"),
            Variant::Legacy => ("iptables-legacy", "ip6tables-legacy"),
        }
    }

    /// The program of a family.
    ///
    /// # Errors
    /// When it is not installed.
    pub fn of(&self, family: Family) -> Result<Program, Missing> {
        let (v4, v6) = Self::names(self.variant);
        match family {
            Family::V4 => self.v4.ok_or(Missing { program: v4 }),
            Family::V6 => self.v6.ok_or(Missing { program: v6 }),
        }
    }

    /// The programs of the other interface, if there are any.
    #[must_use]
    pub fn other(&self) -> Option<Self> {
        let other = match self.variant {
            Variant::Plain => return None,
            Variant::Nft => Self::find(Variant::Legacy),
            Variant::Legacy => Self::find(Variant::Nft),
        };
        other.found().then_some(other)
    }

    fn found(&self) -> bool {
        self.v4.is_some() || self.v6.is_some()
    }

    /// Whether kubelet left its mark with these programs: the chain `KUBE-IPTABLES-HINT`, or before
    /// Kubernetes 1.24 `KUBE-KUBELET-CANARY`, in mangle.
    async fn marked(&self) -> Result<Option<String>, RunError> {
        for (family, program) in [(Family::V4, self.v4), (Family::V6, self.v6)] {
            let Some(program) = program else { continue };
            if self.variant == Variant::Legacy && !legacy_has(family, "mangle") {
                continue;
            }
            for chain in ["KUBE-IPTABLES-HINT", "KUBE-KUBELET-CANARY"] {
                if program.lists_chain("mangle", chain).await? {
                    return Ok(Some(format!("{program} has the chain {chain} in mangle")));
                }
            }
        }
        Ok(None)
    }
}

/// Whether the legacy interface has a table. Asked of the kernel, because asking `iptables-legacy` creates it.
#[must_use]
pub fn legacy_has(family: Family, table: &str) -> bool {
    // Of this thread: /proc/net is that of the first one, which in tests is in another network namespace.
    let names = match family {
        Family::V4 => "/proc/thread-self/net/ip_tables_names",
        Family::V6 => "/proc/thread-self/net/ip6_tables_names",
    };
    match std::fs::read_to_string(names) {
        Ok(names) => names.lines().any(|name| name == table),
        // Without the file the kernel has no legacy interface, or nobody has used it yet. That it can't be read
        // says nothing: then the program has to be asked.
        Err(error) => error.kind() != std::io::ErrorKind::NotFound,
    }
}

/// Whether a legacy table may be looked at without creating it.
#[must_use]
pub fn table_exists(variant: Variant, family: Family, table: Table) -> bool {
    variant != Variant::Legacy || legacy_has(family, table.name())
}

/// What rules are kept with.
#[derive(Debug, Clone, Copy)]
pub enum Chosen {
    /// The iptables programs.
    Programs(Programs),
    /// A table of our own.
    Nftables,
}

/// Picks a backend and says why.
///
/// # Errors
/// When the node can't be asked, for want of a capability for instance. That a program that was asked for is missing
/// shows only once it is needed.
pub async fn choose(choice: Choice) -> Result<(Chosen, String), RunError> {
    let asked = |chosen| Ok((chosen, "asked for by --rules-backend".to_owned()));
    match choice {
        Choice::Iptables => return asked(Chosen::Programs(Programs::plain().await)),
        Choice::Legacy => return asked(Chosen::Programs(Programs::find(Variant::Legacy))),
        Choice::Nft => return asked(Chosen::Programs(Programs::find(Variant::Nft))),
        Choice::Nftables => return asked(Chosen::Nftables),
        Choice::Auto => {}
    }
    let (nft, legacy) = (Programs::find(Variant::Nft), Programs::find(Variant::Legacy));
    if !nft.found() && !legacy.found() {
        let plain = Programs::plain().await;
        return Ok(if plain.found() {
            (Chosen::Programs(plain), "there is no iptables-nft and no iptables-legacy".to_owned())
        } else {
            (Chosen::Nftables, "there is no iptables program".to_owned())
        });
    }
    let (programs, why) = as_the_node(nft, legacy).await?;
    Ok((Chosen::Programs(programs), why))
}

async fn as_the_node(nft: Programs, legacy: Programs) -> Result<(Programs, String), RunError> {
    if !nft.found() {
        return Ok((legacy, "there is no iptables-nft".to_owned()));
    }
    // Only a mark in the legacy interface could change the answer.
    let legacy_mangle = [Family::V4, Family::V6].into_iter().any(|family| legacy_has(family, "mangle"));
    if !legacy.found() || !legacy_mangle {
        return Ok((nft, "nothing on this node uses iptables-legacy".to_owned()));
    }
    if let Some(mark) = nft.marked().await? {
        return Ok((nft, mark));
    }
    match legacy.marked().await? {
        Some(mark) => Ok((legacy, mark)),
        None => Ok((nft, "kubelet left no mark in either interface".to_owned())),
    }
}

impl Program {
    /// Whether a chain is there. iptables-nft words a missing chain in its own way: not an error here.
    async fn lists_chain(self, table: &'static str, chain: &str) -> Result<bool, RunError> {
        match self.run(Haste::None, table, &format!("-S {chain}")).await {
            Ok(answer) => Ok(answer.is_some()),
            Err(RunError::Failed { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }
}
