//! The way from a future to an exit code.

use std::{fmt::Display, io, process::ExitCode};

/// Runs a future on this thread alone, and tells in the log why it failed. `cannot_start` makes an error of there being
/// no runtime.
pub fn run<E: Display>(
    future: impl Future<Output = Result<(), E>>,
    cannot_start: impl FnOnce(io::Error) -> E,
) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(cannot_start);
    let outcome = runtime.and_then(|runtime| {
        let outcome = runtime.block_on(future);
        // Not by dropping it: that would wait for a program that hangs in the kernel.
        runtime.shutdown_background();
        outcome
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failed) => {
            tracing::error!("{failed}");
            ExitCode::FAILURE
        }
    }
}
