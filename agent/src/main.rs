//! `apiserver-proxy-sidecar`. See the library for the story.

use std::process::ExitCode;

use agent::{app, cli, node_proxy, privileges, runtime};
use common::zpages;

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    let first = args.next();
    if first.as_ref().is_some_and(|first| first == node_proxy::NAME) {
        return node_proxy::main(first.into_iter().chain(args));
    }
    if first.is_some_and(|first| first == zpages::PROBE) {
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
    runtime::run(app::run(&config), app::Failed::Runtime)
}
