//! The agent's binary against the real kernel. Each test has a network namespace and an xtables lock of its own.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod chaos;
mod choice;
mod cli;
mod conflict;
mod events;
mod faults;
mod fixture;
mod handover;
mod health;
mod lifecycle;
mod ownership;
mod privileges;
