//! `apiserver-proxy-sidecar`. See the library for the story.

use std::process::ExitCode;

use agent::{app, cli, privileges};
use common::zpages;

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    if args.next().is_some_and(|first| first == zpages::PROBE) {
        return ExitCode::from(zpages::exec_probe(cli::PROGRAM, cli::probe_socket(), args));
    }
    let config = match cli::Config::from_command_line(std::env::args_os()) {
        Ok(config) => config,
        Err(stop) => return ExitCode::from(stop.print()),
    };
    if let Err(error) = config.log.init() {
        eprintln!("Error: {error}");
        return ExitCode::FAILURE;
    }
    // There is no other thread yet, and the log file is open.
    let kept = privileges::needed(!config.wanted.rules.is_empty(), config.rules_backend);
    privileges::drop_all_but(&kept);
    let outcome =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(app::Failed::Runtime);
    let outcome = outcome.and_then(|runtime| {
        let outcome = runtime.block_on(app::run(&config));
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
