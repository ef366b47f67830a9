//! `apiserver-proxy`. See the library for the story.

use std::process::ExitCode;

use common::zpages;
use proxy::{app, cli};

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    if args.next().is_some_and(|first| first == zpages::PROBE) {
        return ExitCode::from(zpages::exec_probe(cli::PROGRAM, cli::probe_socket(), args));
    }
    let (config, source) = match cli::Config::from_command_line(std::env::args_os()) {
        Ok(config) => config,
        Err(stop) => return ExitCode::from(stop.print()),
    };
    if let Err(error) = config.log.init() {
        eprintln!("Error: {error}");
        return ExitCode::FAILURE;
    }
    match app::run(config, source) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failed) => {
            tracing::error!("{failed}");
            ExitCode::FAILURE
        }
    }
}
