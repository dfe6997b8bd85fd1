//! The layout of the library: a file imports from floors below its own, in the order that CONTRIBUTING.md gives.

use std::fs;
use std::path::{Path, PathBuf};

/// The floors from the top, as the table under "The house" in CONTRIBUTING.md lists them.
fn floors() -> Vec<String> {
    let page = fs::read_to_string("CONTRIBUTING.md").unwrap();
    let (_, house) = page.split_once("## The house").unwrap();
    let table = house.split("```").nth(1).unwrap();
    table.lines().filter_map(|line| line.strip_prefix("src/")?.split_whitespace().next().map(str::to_owned)).collect()
}

/// All Rust files of the library under `folder`.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let (folders, here): (Vec<_>, Vec<_>) = entries.partition(|path| path.is_dir());
    let below = folders.iter().filter(|path| !path.ends_with("src/bin")).flat_map(|path| files(path));
    here.into_iter().filter(|path| path.extension().is_some_and(|kind| kind == "rs")).chain(below).collect()
}

/// The first name of each `crate::` path in the code of `text`, unit tests and comments left out.
fn imports(text: &str) -> Vec<&str> {
    let code = text.split("#[cfg(test)]").next().unwrap().lines().filter(|line| !line.trim_start().starts_with("//"));
    let paths = code.flat_map(|line| line.split("crate::").skip(1));
    paths.map(|path| path.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap()).collect()
}

#[test]
fn a_file_imports_from_floors_below_its_own() {
    let floors = floors();
    let height = |room: &str| floors.iter().rev().position(|floor| floor == room);
    let mut checked = 0;
    for file in files(Path::new("src")) {
        let room = file.strip_prefix("src").unwrap().iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs").to_owned();
        if room == "lib" {
            continue;
        }
        let own = height(&room).unwrap_or_else(|| panic!("{room} is not among the floors of CONTRIBUTING.md"));
        for import in imports(&fs::read_to_string(&file).unwrap()).into_iter().filter(|import| *import != room) {
            let below = height(import).unwrap_or_else(|| panic!("{}: crate::{import} is not a floor", file.display()));
            assert!(below < own, "{} imports crate::{import}, which is a floor above {room}", file.display());
            checked += 1;
        }
    }
    assert!(checked > 100, "only {checked} imports were found");
}

/// Name of each public type of `text` that derives `Error`, and whether it is an enum that may not grow without breaking a match.
fn errors(text: &str) -> Vec<(&str, bool)> {
    let derived = text.split("#[derive(").skip(1).filter(|item| {
        let (traits, _) = item.split_once(")]").unwrap();
        traits.split(", ").any(|derived| derived.ends_with("Error"))
    });
    let public = derived.filter_map(|item| {
        let (attributes, item) = item.split_once("\npub ")?;
        let (kind, item) = item.split_once(' ')?;
        let name = item.split(|c: char| !c.is_alphanumeric()).next()?;
        (!attributes.contains(" {")).then_some((name, kind == "enum" && !attributes.contains("#[non_exhaustive]")))
    });
    public.collect()
}

#[test]
fn every_error_converts_to_that_of_the_crate_and_may_grow() {
    let all = fs::read_to_string("src/error.rs").unwrap();
    let mut found = 0;
    for file in files(Path::new("src")) {
        let text = fs::read_to_string(&file).unwrap();
        for (name, is_closed) in errors(&text) {
            assert!(!is_closed, "{}: {name} is not #[non_exhaustive]", file.display());
            let converts = all.contains(&format!("(#[from] {name})")) || text.contains(&format!("impl From<{name}> for Error"));
            assert!(converts || name == "Error", "{}: {name} does not convert to brenier::Error", file.display());
            found += 1;
        }
    }
    assert!(found >= 22, "only {found} errors were found");
}
