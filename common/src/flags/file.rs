//! A YAML file that says what flags say.
//!
//! Its keys are the flags' names in camelCase: `maxConnections` is `--max-connections`. A flag that may be repeated takes
//! a list. What the file has becomes arguments, so that one parser checks both.

use std::{ffi::OsString, path::Path};

use clap::{ArgAction, Command};

use super::is_meta;
use crate::yaml::{self, ConfigError, Field, Text};

/// What a file has, flag by flag. No `Debug`: there may be a password in it.
#[derive(Clone, Default)]
pub struct FromFile(Vec<(String, Text)>);

impl FromFile {
    /// Reads what a file holds. All flags of the command may be in it but those of `never`.
    ///
    /// # Errors
    /// With the line and the key of what is wrong. Values are not looked at yet.
    pub fn read(command: &Command, bytes: &[u8], never: &[&str]) -> Result<Self, ConfigError> {
        let flags = command.get_arguments().filter_map(|arg| Some((arg.get_long()?, arg.get_action())));
        let flags = flags.filter(|(flag, _)| !is_meta(flag) && !never.contains(flag));
        let known: Vec<(String, &str, bool)> =
            flags.map(|(flag, action)| (key_of(flag), flag, matches!(action, ArgAction::Append))).collect();
        let mut keys: Vec<&str> = known.iter().map(|(key, _, _)| key.as_str()).collect();
        keys.sort_unstable();
        let mut settings = Vec::new();
        for field in yaml::read(yaml::text(bytes)?)?.section(&keys)?.fields() {
            if let Some((_, flag, repeatable)) = known.iter().find(|(key, _, _)| key == field.key()) {
                settings
                    .extend(values(field, *repeatable)?.into_iter().map(|text| ((*flag).to_owned(), text)));
            }
        }
        Ok(Self(settings))
    }

    pub(super) fn has(&self, flag: &str) -> bool {
        self.0.iter().any(|(name, _)| name == flag)
    }

    /// As arguments, each with what they were made of.
    pub(super) fn args(&self, given: impl Fn(&str) -> bool) -> Vec<(&Text, OsString)> {
        let settings = self.0.iter().filter(|(flag, _)| !given(flag));
        settings.map(|(flag, text)| (text, OsString::from(format!("--{flag}={}", text.as_str())))).collect()
    }
}

fn values(field: Field, repeatable: bool) -> Result<Vec<Text>, ConfigError> {
    let values = field.values()?;
    match values.as_slice() {
        [_, second, ..] if !repeatable => Err(second.wrong("one value is expected, and no list")),
        _ => Ok(values),
    }
}

/// `max-connections` to `maxConnections`.
#[must_use]
pub fn key_of(flag: &str) -> String {
    let mut words = flag.split('-');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |mut key, word| {
        let mut letters = word.chars();
        key.extend(letters.next().map(|letter| letter.to_ascii_uppercase()));
        key.push_str(letters.as_str());
        key
    })
}

/// A mistake in the file, by its place.
pub(super) fn told(path: &Path, text: &Text, mistake: String) -> String {
    format!("{}: {}", path.display(), text.wrong(mistake))
}
