//! Looks for conflicts while the agent runs: at the start, a minute later, when the node's other agents have come up
//! too, and then rarely. Each is told once.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use super::{Conflict, Question, Search};
use crate::{status::Status, wanted::Wanted};

/// After the start.
const SECOND_LOOK: Duration = Duration::from_secs(60);
const LATER_LOOKS: Duration = Duration::from_secs(600);

impl Question {
    /// About what is wanted on this node.
    #[must_use]
    pub fn about(wanted: &Wanted) -> Self {
        let rules = !wanted.rules.is_empty();
        Self { addresses: wanted.addresses.clone(), port: wanted.port, rules }
    }
}

/// Looks again and again, for ever.
pub async fn watch(question: Question, status: Arc<Status>) {
    let search = Search::new(question);
    let mut told = BTreeSet::new();
    let mut wait = SECOND_LOOK;
    loop {
        match search.look().await {
            Ok(conflicts) => tell(conflicts, &mut told, &status),
            // A part of it is missing on many nodes, and nothing else depends on it.
            Err(error) => tracing::debug!(%error, "no look for DNAT conflicts"),
        }
        tokio::time::sleep(wait).await;
        wait = LATER_LOOKS;
    }
}

fn tell(conflicts: Vec<Conflict>, told: &mut BTreeSet<Conflict>, status: &Status) {
    for conflict in &conflicts {
        if !told.contains(conflict) {
            tracing::warn!("{conflict}");
        }
    }
    for gone in told.iter().filter(|conflict| !conflicts.contains(conflict)) {
        tracing::info!(place = gone.place, "a DNAT conflict is gone");
    }
    let addresses: BTreeSet<_> = conflicts.iter().map(|conflict| conflict.address).collect();
    status.set_conflicts(addresses.len(), conflicts.iter().map(ToString::to_string).collect());
    *told = conflicts.into_iter().collect();
}
