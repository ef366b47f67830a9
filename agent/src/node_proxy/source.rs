//! The configuration file: read at the start, and again by the daemon.

use std::path::PathBuf;

use common::{
    egress::{Config, Secret, drop_in},
    files,
};

use super::cli::{Options, each_once};

/// The longest configuration, in bytes.
const LONGEST: u64 = 1024 * 1024;

/// Why a configuration can't be used. Holds no password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {problem}")]
pub struct BadSource {
    path: String,
    problem: String,
}

/// What the file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The drop-in, the same for all units.
    pub text: Secret,
    /// Without `.service`, each once, one at least.
    pub units: Vec<String>,
}

/// The file, and what was last read of it.
#[derive(Debug)]
pub struct Source {
    path: PathBuf,
    units: Option<Vec<String>>,
    /// What `wanted` was made of.
    in_use: Secret,
    wanted: Wanted,
    /// What is new counts once it was read the same twice: it may still be being written.
    before: Option<Result<Secret, BadSource>>,
}

/// What came of looking at the file again.
#[derive(Debug, PartialEq, Eq)]
pub enum Look {
    /// As before.
    Same,
    /// Something else, which counts if it is still there in a moment.
    Unsure,
    /// Something else, in use from now on; with the units that are not named any more.
    New(Vec<String>),
    /// It can't be used; the last good one stays in use.
    Bad(BadSource),
}

impl Source {
    /// Reads the file for the first time.
    ///
    /// # Errors
    /// When it can't be read or used.
    pub fn load(path: PathBuf, units: Option<Vec<String>>) -> Result<Self, BadSource> {
        let in_use = read(&path)?;
        let wanted = parse(&path, &in_use, units.as_ref())?;
        Ok(Self { path, units, in_use, wanted, before: None })
    }

    /// What is in use.
    #[must_use]
    pub fn wanted(&self) -> &Wanted {
        &self.wanted
    }

    /// Looks at the file again.
    pub fn look(&mut self) -> Look {
        let seen = read(&self.path);
        if seen.as_ref() == Ok(&self.in_use) {
            self.before = None;
            return Look::Same;
        }
        if self.before.as_ref() != Some(&seen) {
            self.before = Some(seen);
            return Look::Unsure;
        }
        let parsed = seen.and_then(|text| Ok((parse(&self.path, &text, self.units.as_ref())?, text)));
        match parsed {
            Ok((wanted, text)) => {
                let gone =
                    self.wanted.units.iter().filter(|unit| !wanted.units.contains(unit)).cloned().collect();
                (self.in_use, self.wanted, self.before) = (text, wanted, None);
                Look::New(gone)
            }
            Err(bad) => Look::Bad(bad),
        }
    }
}

/// The units to be removed from: those named, or the file's.
///
/// # Errors
/// When the file is needed, and can't be used.
pub fn units_to_remove(options: &Options) -> Result<Vec<String>, BadSource> {
    match (&options.units, &options.file) {
        (None, Some(path)) => Ok(Source::load(path.clone(), None)?.wanted.units),
        (units, _) => Ok(units.clone().unwrap_or_default()),
    }
}

fn read(path: &std::path::Path) -> Result<Secret, BadSource> {
    let bad = |problem| BadSource { path: path.display().to_string(), problem };
    let bytes = files::read(path, LONGEST).map_err(|error| bad(format!("cannot be read: {error}")))?;
    String::from_utf8(bytes).map(Secret::new).map_err(|_| bad("is no UTF-8".to_owned()))
}

fn parse(path: &std::path::Path, text: &Secret, units: Option<&Vec<String>>) -> Result<Wanted, BadSource> {
    let bad = |problem| BadSource { path: path.display().to_string(), problem };
    let config = Config::parse(text.reveal()).map_err(|error| bad(error.to_string()))?;
    let units = units.cloned().unwrap_or_else(|| each_once(config.nodes.units.clone()));
    if units.is_empty() {
        return Err(bad("nodes.units: names no unit; leave it out for containerd and kubelet".to_owned()));
    }
    Ok(Wanted { text: drop_in(&config), units })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "proxy: {http: 'http://me:SECRET@one'}\n";

    #[test]
    fn what_is_new_counts_once_it_was_read_twice() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("egress.yaml");
        std::fs::write(&path, ONE).unwrap();
        let mut source = Source::load(path.clone(), None).unwrap();
        assert_eq!(source.look(), Look::Same);
        std::fs::write(&path, "proxy: {").unwrap();
        assert_eq!(source.look(), Look::Unsure);
        let Look::Bad(bad) = source.look() else { panic!("it is broken") };
        assert!(bad.to_string().starts_with(&format!("{}: line 1", path.display())), "{bad}");
        assert_eq!(source.look(), Look::Bad(bad));
        std::fs::write(&path, format!("{ONE}nodes: {{units: kubelet}}\n")).unwrap();
        assert_eq!((source.look(), source.wanted().units.len()), (Look::Unsure, 2));
        assert_eq!(source.look(), Look::New(vec!["containerd".to_owned()]));
        assert_eq!(source.wanted().units, ["kubelet"]);
        std::fs::remove_file(&path).unwrap();
        assert_eq!(source.look(), Look::Unsure);
        let Look::Bad(bad) = source.look() else { panic!("it is gone") };
        assert!(bad.to_string().contains("cannot be read"), "{bad}");
        assert!(!format!("{source:?}").contains("SECRET"));
    }

    #[test]
    fn units_are_named_once_and_one_at_least() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("egress.yaml");
        let load = |nodes: &str, units| {
            std::fs::write(&path, format!("{ONE}nodes: {{units: {nodes}}}\n")).unwrap();
            Source::load(path.clone(), units).map(|source| source.wanted.units)
        };
        assert_eq!(load("[b, a, b.service]", None).unwrap(), ["b", "a"]);
        assert_eq!(load("[b]", Some(vec!["c".to_owned()])).unwrap(), ["c"]);
        assert!(load("[]", None).unwrap_err().to_string().contains("names no unit"));
        assert!(load("[../x]", None).unwrap_err().to_string().contains("nodes.units"));
        std::fs::write(&path, [0xff]).unwrap();
        assert!(Source::load(path.clone(), None).unwrap_err().to_string().ends_with("is no UTF-8"));
    }
}
