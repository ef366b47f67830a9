//! What numbers and durations may be.

use common::duration::{GoDuration, NotADuration};

pub(super) fn parse_size(text: &str) -> Result<usize, &'static str> {
    match text.parse() {
        Ok(size) if (1024..=1 << 30).contains(&size) => Ok(size),
        _ => Err("not a number of bytes from 1024 to 1073741824"),
    }
}

pub(super) fn parse_budget(text: &str) -> Result<usize, &'static str> {
    match text.parse() {
        Ok(size) if (1024..=1 << 40).contains(&size) => Ok(size),
        _ => Err("not a number of bytes from 1024 to 1099511627776"),
    }
}

pub(super) fn parse_count(text: &str) -> Result<usize, &'static str> {
    match text.parse() {
        Ok(count) if (1..=1_000_000).contains(&count) => Ok(count),
        _ => Err("not a number from 1 to 1000000"),
    }
}

pub(super) fn parse_duration(text: &str) -> Result<GoDuration, String> {
    text.parse().map_err(|error: NotADuration| error.to_string())
}
