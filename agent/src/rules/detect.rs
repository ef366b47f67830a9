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
}

impl Choice {
    /// The values of the flag.
    pub const VALUES: [&'static str; 4] = ["auto", "iptables", "iptables-legacy", "iptables-nft"];

    /// Reads one of [`Choice::VALUES`].
    #[must_use]
    pub fn from_value(value: &str) -> Option<Self> {
        Some(match value {
            "auto" => Self::Auto,
            "iptables" => Self::Iptables,
            "iptables-legacy" => Self::Legacy,
            "iptables-nft" => Self::Nft,
            _ => return None,
        })
    }
}

/// A pair of programs that is in use, one a family.
#[derive(Debug, Clone, Copy)]
pub struct Programs {
    /// Which of the two interfaces to the kernel they have.
    pub variant: Variant,
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
        Self { variant, v4: Program::find(v4), v6: Program::find(v6) }
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

/// Picks the programs and says why.
///
/// # Errors
/// When the node can't be asked, for want of a capability for instance. That the programs are missing shows
/// only once one of a needed family is asked for.
pub async fn choose(choice: Choice) -> Result<(Programs, String), RunError> {
    let asked = |programs: Programs| Ok((programs, "asked for by --rules-backend".to_owned()));
    match choice {
        Choice::Iptables => return asked(Programs::find(Variant::Plain)),
        Choice::Legacy => return asked(Programs::find(Variant::Legacy)),
        Choice::Nft => return asked(Programs::find(Variant::Nft)),
        Choice::Auto => {}
    }
    let (nft, legacy) = (Programs::find(Variant::Nft), Programs::find(Variant::Legacy));
    if !nft.found() && !legacy.found() {
        return Ok((
            Programs::find(Variant::Plain),
            "there is no iptables-nft and no iptables-legacy".to_owned(),
        ));
    }
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
