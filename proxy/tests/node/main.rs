//! The proxy's binary with real sockets. Each test has a network namespace of its own.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod fixture;
mod handover;
mod limits;
mod pages;
mod ready;
mod reload;
mod start;
mod stop;
