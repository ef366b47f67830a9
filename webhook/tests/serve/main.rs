//! The webhook's binary over real sockets and TLS, with curl and with clients that count.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod answers;
mod egress;
mod fixture;
mod http;
mod http2;
mod lifecycle;
mod limits;
mod memory;
mod metrics;
mod overload;
mod patched;
mod resumption;
mod slow;
mod start;
mod tls;
