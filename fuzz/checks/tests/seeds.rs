//! What is in `fuzz/seeds` keeps the promises that the fuzzer tests.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use fuzz_checks::ALL;

fn fuzz() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// All files below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

#[test]
fn every_seed_passes_its_check() {
    for (name, check) in ALL {
        let seeds = files(&fuzz().join("seeds").join(name));
        assert!(seeds.len() >= 2, "{name} has {} seeds", seeds.len());
        check(b"");
        for seed in seeds {
            // Shown if it fails.
            println!("{name}: {}", seed.display());
            let whole = fs::read(&seed).unwrap();
            check(&whole);
            check(&whole[..whole.len() / 2]);
        }
    }
}

#[test]
fn checks_seeds_and_targets_have_the_same_names() {
    let names = |folder: &str| -> BTreeSet<String> {
        let entries = fs::read_dir(fuzz().join(folder)).unwrap().map(|entry| entry.unwrap().path());
        entries.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect()
    };
    let checks: BTreeSet<String> = ALL.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(names("seeds"), checks);
    assert_eq!(names("fuzz_targets"), checks);
    let manifest = fs::read_to_string(fuzz().join("Cargo.toml")).unwrap();
    for name in checks {
        let target = fs::read_to_string(fuzz().join(format!("fuzz_targets/{name}.rs"))).unwrap();
        assert!(target.contains(&format!("fuzz_checks::{name}(data)")), "{target}");
        assert!(manifest.contains(&format!("path = \"fuzz_targets/{name}.rs\"")), "{name}");
    }
}

/// The fuzzer has a lock file of its own.
#[test]
fn what_is_fuzzed_is_what_ships() {
    let read = |path: &str| fs::read_to_string(fuzz().join(path)).unwrap();
    let value = |package: &str, key: &str| {
        let line = package.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(" = "));
        line.unwrap_or_default().trim_matches('"').to_owned()
    };
    let packages = |lock: &str| -> BTreeSet<(String, String)> {
        let packages = lock.split("[[package]]").skip(1);
        packages.map(|package| (value(package, "name"), value(package, "version"))).collect()
    };
    let (fuzzed, shipped) = (read("Cargo.lock"), read("../Cargo.lock"));
    let mend = "to mend it: cp Cargo.lock fuzz/ && cargo metadata --manifest-path fuzz/Cargo.toml";
    let (fuzzed_packages, shipped) = (packages(&fuzzed), packages(&shipped));
    let only_here: Vec<&str> = fuzzed_packages.difference(&shipped).map(|(name, _)| name.as_str()).collect();
    assert_eq!(only_here, ["arbitrary", "fuzz", "jobserver", "libfuzzer-sys"], "{mend}");
    for krate in ["agent", "common", "proxy", "webhook"] {
        let package = fuzzed.split("[[package]]").find(|package| value(package, "name") == krate).unwrap();
        let manifest = read(&format!("../{krate}/Cargo.toml"));
        let dependencies =
            manifest.split("\n[").find_map(|part| part.strip_prefix("dependencies]\n")).unwrap();
        for name in dependencies.lines().filter_map(|line| line.split(['.', ' ']).next()) {
            let there = [format!("\"{name}\""), format!("\"{name} ")];
            assert!(
                name.is_empty() || there.iter().any(|name| package.contains(name)),
                "{krate}: {name}; {mend}"
            );
        }
    }
}

/// Else the checks could hold for want of anything to look at.
#[test]
fn the_kernels_listing_is_understood() {
    let whole = |case| {
        let path = fuzz().join("seeds/nft_listing").join(case);
        fuzz_checks::is_whole(&fs::read(path).unwrap())
    };
    assert!(whole("whole"));
    for case in ["one-rule-more", "chain-empty", "chain-gone", "asleep"] {
        assert!(!whole(case), "{case}");
    }
}
