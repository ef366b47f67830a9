//! Where endpoints come from and whether they are well, with real DNS, TLS, HTTP and packets that are lost. Each test has
//! a network namespace of its own, in which its endpoints are addresses on `lo`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod checks;
mod discovery;
mod dns;
mod failover;
mod names;
mod proxy;
mod servers;
