//! `no-proxy explain`, held against the programs that it speaks of.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod command_line;
mod document;
mod live;
mod programs;
