//! The seam itself: how wide it is, and that the selftest leaves nothing of it out.

use std::path::Path;

/// The four traits that a device implements.
const TRAITS: [&str; 4] = ["memory", "pairs", "particles", "potentials"];
/// Operations that have no result to compare: of another backend, which has checks of its own.
const APART: [&str; 1] = ["streamed"];

/// The text of a file of the sources.
fn source(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(file);
    std::fs::read_to_string(&path).unwrap_or_else(|why| panic!("{}: {why}", path.display()))
}

/// The functions that each trait declares.
fn operations() -> [Vec<String>; 4] {
    TRAITS.map(|name| {
        let text = source(&format!("backend/{name}.rs"));
        let functions = text.lines().filter_map(|line| line.strip_prefix("    fn ")?.split(['(', '<']).next().map(String::from));
        functions.collect()
    })
}

/// What the operations of the selftest call.
fn selftest() -> String {
    ["operation", "partners", "updates"].map(|name| source(&format!("experiment/selftest/{name}.rs"))).concat()
}

/// No trait of the seam has more than eight operations, there are no more than thirty in all, and the seam is their sum.
#[test]
fn the_seam_is_narrow() {
    let counts = operations().map(|functions| functions.len());
    assert!(counts.iter().all(|count| (1..=8).contains(count)) && counts.iter().sum::<usize>() <= 30, "{counts:?}");
    assert!(source("backend/mod.rs").contains("pub trait Backend: Memory + Pairs + Particles + Potentials {}"));
}

/// Every operation of the seam is called by some operation of the selftest.
#[test]
fn the_selftest_calls_every_operation_of_the_seam() {
    let selftest = selftest();
    let called = |name: &String| APART.contains(&name.as_str()) || selftest.contains(&format!(".{name}("));
    let missing: Vec<String> = operations().concat().into_iter().filter(|name| !called(name)).collect();
    assert!(missing.is_empty(), "not in the selftest: {missing:?}");
}

/// Every kind of logit is a kernel of its own, and the selftest has each.
#[test]
fn the_selftest_has_every_kind_of_logit() {
    let (text, selftest) = (source("backend/soft_min.rs"), selftest());
    let body = text.split("pub enum Logit").nth(1).and_then(|rest| rest.split("\n}").next()).unwrap();
    let variants = body.lines().filter_map(|line| line.strip_prefix("    ")).filter(|line| line.starts_with(char::is_uppercase));
    let variants: Vec<&str> = variants.filter_map(|line| line.split([' ', '(', ',']).next()).collect();
    let missing: Vec<&&str> = variants.iter().filter(|kind| !selftest.contains(&format!("Logit::{kind}"))).collect();
    assert!(variants.len() > 1 && missing.is_empty(), "{variants:?}, not in the selftest: {missing:?}");
}
