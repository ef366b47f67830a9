//! `apiserver-proxy-sidecar`. See the library for the story.

use std::{io::Write, process::ExitCode};

use agent::{app, cli, node_proxy, privileges, probe, runtime};

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    let first = args.next();
    if first.as_ref().is_some_and(|first| first == node_proxy::NAME) {
        return node_proxy::main(first.into_iter().chain(args));
    }
    if first.is_some_and(|first| first == probe::NAME) {
        return match probe::run(args) {
            // Whoever asked may have closed the pipe already.
            Ok((true, report)) => {
                let _ = writeln!(std::io::stdout(), "{}", report.trim_end());
                ExitCode::SUCCESS
            }
            Ok((false, report)) => {
                let _ = writeln!(std::io::stderr(), "{}", report.trim_end());
                ExitCode::FAILURE
            }
            Err(stop) => ExitCode::from(stop.print()),
        };
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
