//! The agent's binary against the real kernel. Each test has a network namespace and an xtables lock of its own.

mod choice;
mod cli;
mod faults;
mod fixture;
mod lifecycle;
