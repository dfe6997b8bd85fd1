//! The examples run: `cargo test` builds them beside the binary.

use std::path::Path;

use assert_cmd::Command;

/// Every example runs to its end and prints something. `cargo test --test cli` alone does not build them.
#[test]
fn every_example_runs() {
    let built = Path::new(env!("CARGO_BIN_EXE_brenier")).with_file_name("examples");
    let (mut ran, mut there) = (0, 0);
    for source in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples")).unwrap() {
        let source = source.unwrap().path();
        let program = built.join(source.file_stem().unwrap()).with_extension(std::env::consts::EXE_EXTENSION);
        if source.extension().is_none_or(|extension| extension != "rs") {
            continue;
        }
        there += 1;
        if !program.exists() {
            continue;
        }
        ran += 1;
        let output = Command::new(&program).assert().success().get_output().clone();
        assert!(!output.stdout.is_empty(), "{}", program.display());
    }
    assert!(ran == there || ran == 0, "{ran} of {there} examples are built");
    if ran == 0 {
        eprintln!("skipped: the examples are not built; cargo test builds them");
    }
}

/// A reader sees an example whole: none hides a case that it calls unreachable, and a new method takes 30 lines.
#[test]
fn a_new_method_is_30_lines() {
    let text = include_str!("../../examples/04_new_method.rs");
    assert!(text.lines().count() <= 30 && !text.contains("unreachable!"));
}
