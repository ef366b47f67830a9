//! `docs/no-proxy.md`: what it says is so.

use std::{collections::BTreeSet, fs, process::Command};

use common::egress::{Dialect, Target};

pub const TEXT: &str = include_str!("../../../docs/no-proxy.md");

/// A row of the table of dialects.
#[derive(Debug)]
pub struct Row {
    line: &'static str,
    pub no_proxy: &'static str,
    pub host: &'static str,
    /// What stands in it, beside what stands at the column's head.
    cells: Vec<(&'static str, &'static str)>,
}

impl Row {
    /// What it says of a dialect.
    pub fn is_proxied(&self, dialect: Dialect) -> bool {
        let is_about = |head: &str| names(head).any(|name| name == dialect.to_string());
        let cells: Vec<_> = self.cells.iter().filter(|(head, _)| is_about(head)).collect();
        let [(_, cell)] = cells[..] else { panic!("{} columns for {dialect}", cells.len()) };
        ["direct", "proxy"].iter().position(|known| known == cell).unwrap_or_else(|| panic!("{self:?}")) == 1
    }

    /// What should stand there.
    fn corrected(&self) -> String {
        let target: Target = format!("http://{}", self.host).parse().unwrap();
        let way = |name: &str| {
            let dialect = Dialect::ALL.into_iter().find(|dialect| dialect.to_string() == name);
            let way = dialect.unwrap_or_else(|| panic!("{name}")).way(&target, self.no_proxy);
            if way.is_proxy() { "proxy" } else { "direct" }
        };
        let cells = self.cells.iter().map(|(head, _)| names(head).map(way).collect::<BTreeSet<_>>());
        let cells = cells.map(|ways| ways.into_iter().collect::<Vec<_>>().join(" and ") + " |");
        let (what, _) = self.line.trim_start_matches('|').split_once('|').unwrap();
        let (list, host) = (self.no_proxy, self.host);
        format!("|{what}| `{list}` | `{host}` | {}", cells.collect::<Vec<_>>().join(" "))
    }
}

/// The dialects of a column.
fn names(head: &str) -> impl Iterator<Item = &str> {
    head.split(", ")
}

fn cells(line: &'static str) -> Vec<&'static str> {
    line.trim_matches('|').split('|').map(str::trim).collect()
}

/// The table's rows.
pub fn rows() -> Vec<Row> {
    let mut lines = TEXT.lines().skip_while(|line| !line.starts_with("| | `NO_PROXY` | host |"));
    let heads = cells(lines.next().expect("the table's head"));
    let row = |line| {
        let cells = cells(line);
        assert_eq!(cells.len(), heads.len(), "{line}");
        let (no_proxy, host) = (cells[1].trim_matches('`'), cells[2].trim_matches('`'));
        let cells = heads.iter().copied().zip(cells).skip(3).collect();
        Row { line, no_proxy, host, cells }
    };
    lines.skip(1).take_while(|line| line.starts_with('|')).map(row).collect()
}

/// `UPDATE_GOLDEN=1` writes its cells anew.
#[test]
fn its_table_is_what_explain_goes_by() {
    let rows = rows();
    assert!(rows.len() >= 25, "{}", rows.len());
    let mut corrected = TEXT.to_owned();
    for row in &rows {
        corrected = corrected.replace(row.line, &row.corrected());
    }
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/no-proxy.md"), &corrected).unwrap();
    }
    for (is, should) in TEXT.lines().zip(corrected.lines()) {
        assert_eq!(is, should);
    }
    for dialect in Dialect::ALL.into_iter().filter(|dialect| *dialect != Dialect::Java) {
        let _ = rows[0].is_proxied(dialect);
    }
}

/// Where there was a program to ask, it was asked.
#[test]
fn its_table_was_recorded() {
    let seen = fs::read_to_string(testkit::testdata("egress/dialects.tsv")).unwrap();
    for row in rows() {
        for (program, dialect) in [
            ("curl", Dialect::Curl),
            ("wget", Dialect::Wget),
            ("go", Dialect::Go),
            ("requests-2.33", Dialect::RequestsOld),
            ("requests-2.34", Dialect::Requests),
            ("urllib", Dialect::Urllib),
            ("net-http", Dialect::NetHttp),
            ("open-uri", Dialect::OpenUri),
        ] {
            let way = if row.is_proxied(dialect) { "proxy" } else { "direct" };
            let line = format!("{program}\t{}\t{}\t{way}", row.no_proxy, row.host);
            assert!(seen.lines().any(|seen| seen == line), "not recorded: {line}");
        }
    }
}

#[test]
fn its_example_is_the_programs_own() {
    let (_, example) = TEXT.split_once("```console\n$ ").unwrap();
    let (command, rest) = example.split_once('\n').unwrap();
    let (output, _) = rest.split_once("```").unwrap();
    let mut words = command.split_whitespace();
    assert_eq!(words.next(), Some("apiserver-proxy-pod-webhook"));
    let printed = Command::new(env!("CARGO_BIN_EXE_apiserver-proxy-pod-webhook"))
        .args(words)
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .output()
        .unwrap();
    assert_eq!(String::from_utf8(printed.stdout).unwrap(), output);
}
