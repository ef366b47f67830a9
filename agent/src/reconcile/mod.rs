//! One cycle: observe, compare, apply, observe again. And its reverse, the cleanup.

mod addresses;
mod cleanup;
mod part;
mod problem;
mod rules;

use std::time::Instant;

use common::contention::{Fights, Told};

pub use self::{
    addresses::Addresses,
    cleanup::ToRemove,
    part::{Counts, Outcome, Part},
    problem::{Problem, Problems},
    rules::RuleSet,
};

fn tell_fights<K: Ord>(over: &str, fights: &mut Fights<K>) {
    match fights.change(Instant::now()) {
        Some(Told::Begins) => tracing::warn!(
            over,
            "something on this node takes these away again and again; putting them back more and more rarely; find \
             out what it is"
        ),
        Some(Told::Ends) => tracing::info!(over, "nothing takes these away any more"),
        None => {}
    }
}
