//! docs/records.md lists the keys and files that the commands print and write, all of them and no other.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use assert_cmd::Command;
use serde_json::Value;

const PAGE: &str = include_str!("../../docs/records.md");

/// The names in the first column of the tables headed `head` under `## section`.
fn documented(section: &str, head: &str) -> BTreeSet<String> {
    let text = PAGE.split("\n## ").find(|part| part.lines().next() == Some(section)).unwrap();
    let tables = text.split("\n\n").filter(|block| block.starts_with(&format!("| {head} |")));
    let cells = tables.flat_map(|table| table.lines().skip(2)).map(|row| row.split('|').nth(1).unwrap());
    cells.flat_map(|cell| cell.split('`').skip(1).step_by(2)).map(str::to_owned).collect()
}

/// The keys of `value`, those of objects inside with a dot.
fn keys(value: &Value, prefix: &str, found: &mut BTreeSet<String>) {
    for (key, value) in value.as_object().unwrap() {
        let inner = value.as_array().and_then(|list| list.first()).unwrap_or(value);
        match inner {
            Value::Object(_) if key != "inputs" => keys(inner, &format!("{prefix}{key}."), found),
            _ => drop(found.insert(format!("{prefix}{key}"))),
        }
    }
}

fn run(folder: &Path, args: &str) -> (BTreeSet<String>, BTreeSet<String>) {
    let out = tempfile::tempdir_in(folder).unwrap();
    let mut command = Command::cargo_bin("brenier").unwrap();
    let output = command.current_dir(folder).args(args.split(' ')).args(["--json", "--quiet", "--out"]).arg(out.path());
    let output = output.assert().success().get_output().clone();
    let (mut found, name) = (BTreeSet::new(), |entry: std::io::Result<fs::DirEntry>| entry.unwrap().file_name());
    keys(&serde_json::from_slice(&output.stdout).unwrap(), "", &mut found);
    let files = fs::read_dir(out.path()).unwrap().map(|entry| name(entry).into_string().unwrap());
    // Of numbered files the first stands for all.
    (found, files.filter(|file| !file.bytes().any(|b| (b'1'..=b'9').contains(&b))).collect())
}

/// Runs `all` of a command: together they print and write what the page says, which is in any of them or in every one.
fn agree(section: &str, folder: &Path, all: &[&str], lacks: &[&str]) {
    let common = |head: &str| -> BTreeSet<String> {
        documented("Common", head).into_iter().filter(|name| !lacks.contains(&name.as_str())).collect()
    };
    let (mut keys, mut files) = (BTreeSet::new(), BTreeSet::new());
    for args in all {
        let (printed, written) = run(folder, args);
        let missing = common("key").difference(&printed).cloned().collect::<Vec<_>>();
        assert!(missing.is_empty(), "{args} does not print {missing:?}");
        keys.extend(printed);
        files.extend(written);
    }
    let page = |head: &str| documented(section, head).union(&common(head)).cloned().collect::<BTreeSet<String>>();
    assert_eq!(keys, page("key"), "keys of {section}");
    assert_eq!(files, page("file"), "files of {section}");
}

#[test]
fn transport_prints_and_writes_what_the_page_says() {
    let folder = tempfile::tempdir().unwrap();
    let runs = [
        "transport moons circles --n 60 --debias --sliced 5 --top-k 3",
        "transport moons circles --n 60 --reach-source 1 --reach-target 2 --storage f16",
        "transport moons circles --n 60 --exact",
        "transport moons circles --n 60 --rank 3",
        "transport normal normal --n 60",
        "transport normal normal --closed-form",
    ];
    agree("transport", folder.path(), &runs, &[]);
}

#[test]
fn couple_prints_and_writes_what_the_page_says() {
    let folder = tempfile::tempdir().unwrap();
    let runs = ["couple normal digits --n 60 --eps 5", "couple moons circles --n 60 --batch 30 --format safetensors"];
    agree("couple", folder.path(), &runs, &[]);
}

#[test]
fn geodesic_prints_and_writes_what_the_page_says() {
    let folder = tempfile::tempdir().unwrap();
    agree("geodesic", folder.path(), &["geodesic moons circles --n 60", "geodesic normal:1 normal:1 --n 60"], &[]);
}

#[cfg(feature = "image")]
#[test]
fn geodesic_between_pictures_prints_and_writes_what_the_page_says() {
    let folder = tempfile::tempdir().unwrap();
    for (name, ground) in [("a.png", 255), ("b.png", 0)] {
        let pixels = (0..64u8).map(|k| [ground; 3].map(|c: u8| if k % 9 == 0 { 128 } else { c })).collect();
        let picture = brenier::measure::Picture { width: 8, height: 8, pixels };
        let bytes = brenier::io::encode_picture(&picture, brenier::io::PictureFormat::Png).unwrap();
        fs::write(folder.path().join(name), bytes).unwrap();
    }
    let runs = ["colour", "density --canvas 8"].map(|kind| format!("geodesic a.png b.png --steps 1 --as {kind}"));
    agree("geodesic --as", folder.path(), &runs.each_ref().map(String::as_str), &[]);
}

#[test]
fn barycenter_prints_and_writes_what_the_page_says() {
    let folder = tempfile::tempdir().unwrap();
    agree("barycenter", folder.path(), &["barycenter moons circles --n 40 --steps 3"], &["source", "target"]);
}
