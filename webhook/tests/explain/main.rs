//! `no-proxy explain`, held against the programs that it speaks of.

mod command_line;
mod document;
mod live;
mod programs;
