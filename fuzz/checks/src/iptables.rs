//! What the iptables programs print.

use std::{
    os::unix::process::ExitStatusExt,
    process::{ExitStatus, Output},
};

use agent::rules::{
    exec::{RunError, understand},
    iptables::copies_in,
};

use crate::our_rules;

/// Bytes: what iptables says is cut to 400 characters, and around it stand the command and advice.
const LONGEST_ERROR: usize = 2000;

/// A chain as `iptables -S` lists it: rules of ours are counted, each for itself.
pub fn iptables_listing(data: &[u8]) {
    let listed = String::from_utf8_lossy(data);
    let rules = our_rules();
    let count = |text: &str| -> Vec<usize> { rules.iter().map(|rule| copies_in(text, *rule)).collect() };
    let counted = count(&listed);
    assert!(counted.iter().sum::<usize>() <= listed.lines().count(), "no line is two rules");

    let backwards: Vec<&str> = listed.lines().rev().collect();
    assert_eq!(count(&backwards.join("\n")), counted, "the order does not matter");

    let all: String = rules.iter().map(|rule| format!("-A {} {}\n", rule.chain(), rule.spec())).collect();
    let one_more: Vec<usize> = counted.iter().map(|copies| copies + 1).collect();
    assert_eq!(count(&format!("{all}{listed}")), one_more, "each is found, and taken for itself only");
    let longer = all.replace('\n', " --more\n");
    assert_eq!(count(&(longer + &listed)), counted, "a rule with one word more is another");
}

/// An answer: the first two bytes are how the program ended (wait(2)), the others are standard error.
pub fn iptables_answer(data: &[u8]) {
    let Some((status, stderr)) = data.split_first_chunk() else { return };
    let status = ExitStatus::from_raw(u16::from_le_bytes(*status).into());
    let output = Output { status, stdout: b"-P OUTPUT ACCEPT\n".to_vec(), stderr: stderr.to_vec() };
    match understand("iptables -S".to_owned(), &output) {
        Ok(Some(printed)) => {
            assert!(status.success());
            assert_eq!(printed.as_bytes(), output.stdout);
        }
        // To take a failure for "no such rule" would have rules inserted again and again.
        Ok(None) => {
            let said = String::from_utf8_lossy(stderr);
            assert_eq!(status.code(), Some(1));
            assert!(said.contains("No chain/target/match by that name") || said.contains("a matching rule"));
        }
        Err(error) => {
            assert!(
                !status.success() && !matches!(error, RunError::Start { .. } | RunError::TimedOut { .. })
            );
            let told = error.to_string();
            assert!(told.len() < LONGEST_ERROR && !told.contains('\n'), "{told:?}");
        }
    }
}
