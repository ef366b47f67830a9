//! The binary between real sockets and real programs: what is carried, how, and what it costs.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod bytes;
mod connect;
mod endings;
mod fixture;
mod header;
mod idle;
mod slow;
mod tls;
