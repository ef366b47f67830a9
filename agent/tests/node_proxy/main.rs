//! `node-proxy` against a real systemd. Each test has one of its own.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod apply;
mod check;
mod daemon;
mod faults;
mod fixture;
mod hostile;
mod secrets;
