//! The text of `--help`.

use clap::{Arg, Command};

use super::{Program, variable};
use crate::version::version;

/// The text of `--help`, laid out as pflag does: sorted by name, a column of names and kinds, a column of
/// what they mean with the default behind it.
pub(super) fn usage(program: Program, command: &Command) -> String {
    let mut rows: Vec<(String, String)> = command
        .get_arguments()
        .filter(|arg| !arg.is_hide_set())
        .filter_map(|arg| {
            let name = arg.get_long()?;
            let short = arg.get_short().map_or_else(|| "      ".to_owned(), |short| format!("  -{short}, "));
            let kind = arg.get_value_names().filter(|_| !is_boolean(arg)).and_then(<[_]>::first);
            let kind = kind.map(|kind| format!(" {kind}")).unwrap_or_default();
            let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
            Some((format!("{short}--{name}{kind}"), help + &shown_default(arg)))
        })
        .collect();
    rows.sort_by(|(a, _), (b, _)| by_flag(a).cmp(by_flag(b)));
    let width = rows.iter().map(|(left, _)| left.len()).max().unwrap_or_default() + 3;
    let mut text = format!("Usage of {} ({}):\n", program.name, version());
    for (left, right) in rows {
        text.push_str(&format!("{left:width$}{right}\n"));
    }
    text.push_str(&format!(
        "\nEvery flag can also be set by environment: --some-name as {}.",
        variable(program, "some-name")
    ));
    text
}

fn by_flag(row: &str) -> &str {
    row.split_once("--").map_or(row, |(_, name)| name)
}

fn is_boolean(arg: &Arg) -> bool {
    arg.get_num_args().is_some_and(|count| count.min_values() == 0)
}

/// pflag's rule: a default that is the type's zero value is not shown; texts are quoted.
fn shown_default(arg: &Arg) -> String {
    let Some(default) = arg.get_default_values().first().and_then(|value| value.to_str()) else {
        return String::new();
    };
    let quoted = arg.get_value_names().and_then(<[_]>::first).is_some_and(|kind| kind == "string");
    match default {
        "" | "0" | "false" => String::new(),
        text if quoted && !is_boolean(arg) => format!(" (default {text:?})"),
        text => format!(" (default {text})"),
    }
}
