//! Experiments: a file of runs and of what is expected of them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use assert_cmd::Command;
use serde_json::Value;
use tempfile::TempDir;
use toml::{Table, Value as Toml};

/// `brenier run FILE ARGS` in `folder`.
fn run(folder: &Path, file: &Path, args: &[&str]) -> Output {
    Command::cargo_bin("brenier").unwrap().current_dir(folder).arg("run").arg(file).args(args).output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The experiments of the repository.
fn experiments() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("experiments");
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = files.filter(|path| path.extension().is_some_and(|kind| kind == "toml")).collect();
    files.sort();
    files
}

/// The short form of each is met.
#[test]
fn every_experiment_of_the_repository_is_met() {
    let folder = TempDir::new().unwrap();
    assert!(!experiments().is_empty());
    for file in experiments() {
        let out = file.file_stem().unwrap().to_str().unwrap();
        let output = run(folder.path(), &file, &["--short", "--json", "--out", out]);
        assert_eq!(output.status.code(), Some(0), "{}: {}", file.display(), said(&output));
        let record: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(record["met"], true);
        let written: Value = serde_json::from_slice(&fs::read(folder.path().join(out).join("run.json")).unwrap()).unwrap();
        assert_eq!(written, record);
    }
}

/// With any one bound moved past what was found the experiment is not met.
#[test]
fn a_corrupted_bound_makes_an_experiment_fail() {
    let folder = TempDir::new().unwrap();
    let file = experiments().into_iter().find(|file| file.ends_with("ddim-is-euler.toml")).unwrap();
    let whole: Table = fs::read_to_string(&file).unwrap().parse().unwrap();
    let mut corrupted = 0;
    for k in 0..whole["expect"].as_array().unwrap().len() {
        for (bound, value) in [("low", 1e9), ("high", -1e9)] {
            let mut table = whole.clone();
            let expectation = table["expect"].as_array_mut().unwrap()[k].as_table_mut().unwrap();
            if expectation.remove(bound).is_none() {
                continue;
            }
            expectation.insert(bound.into(), Toml::Float(value));
            let bad = folder.path().join("corrupted.toml");
            fs::write(&bad, table.to_string()).unwrap();
            let output = run(folder.path(), &bad, &["--short"]);
            let said = said(&output);
            assert_eq!(output.status.code(), Some(1), "{bound} of {k}: {said}");
            assert!(said.contains(&format!("expectation {} is not met", k + 1)), "{bound} of {k}: {said}");
            corrupted += 1;
        }
    }
    assert_eq!(corrupted, 2);
}

/// A small experiment, with `expect` behind it.
fn small(folder: &Path, expect: &str) -> PathBuf {
    let file = folder.join("small.toml");
    let text = format!(
        r#"
version = 1
title = "t"
statement = "s"
exact = "e"
approximate = "a"
[[run]]
name = "a"
command = "sample"
field = "normal:1"
steps = 2
n = 40
[run.short]
n = 20
[[run]]
name = "b"
command = "evaluate"
a = "{{a}}/samples.npy"
b = "normal:1"
n = 50
{expect}"#
    );
    fs::write(&file, text).unwrap();
    file
}

const MET: &str = "[[expect]]\nvalue = \"a.n\"\nlow = 40\nhigh = 40\n[expect.short]\nlow = 20\nhigh = 20\n";

/// Runs see earlier ones by {NAME}, formulas the records by name; flags of the command line reach every run.
#[test]
fn an_experiment_makes_its_runs_and_judges_them() {
    let folder = TempDir::new().unwrap();
    let expect = "[[expect]]\nvalue = \"b.n / a.n + mean(array('a/samples.npy')) * 0\"\nlow = 1\nhigh = 1\n";
    let file = small(folder.path(), &format!("{MET}{expect}"));
    for (args, n) in [(&[][..], 40), (&["--short"], 20)] {
        let output = run(folder.path(), &file, &[args, &["--json", "--seed", "7", "--precision", "f64"]].concat());
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
        let record: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!((&record["runs"]["a"]["n"], &record["runs"]["b"]["m"]), (&n.into(), &50.into()));
        assert_eq!((&record["runs"]["a"]["seed"], &record["runs"]["b"]["arithmetic"]), (&7.into(), &"f64".into()));
        assert_eq!(
            (&record["title"], &record["met"], &record["expectations"][1]["found"]),
            (&"t".into(), &true.into(), &1.0.into())
        );
    }
    assert!(folder.path().join("brenier-out/run/small/a/samples.npy").is_file());
    let text = String::from_utf8(run(folder.path(), &file, &["--quiet"]).stdout).unwrap();
    assert!(text.starts_with("t\n") && text.contains("exact: e") && text.contains("met"), "{text}");
}

/// Every way not to be met is a sentence with the value and the bound, and exit code 1; the record is printed and written all the same.
#[test]
fn an_expectation_that_is_not_met_is_a_sentence_and_exit_code_one() {
    let folder = TempDir::new().unwrap();
    for (expect, words) in [
        ("value = \"a.n\"\nlow = 41", &["expectation 1 is not met", "\"a.n\" is 40, below 41"][..]),
        ("value = \"a.n\"\nhigh = 39.5", &["is 40, above 39.5"]),
        ("value = \"a.nn\"\nhigh = 1", &["no \"nn\" in the record", "did you mean \"n\"?"]),
        ("value = \"a.d / 0\"\nhigh = 1", &["has no value"]),
        ("value = \"log(-a.d)\"\nhigh = 1", &["\"log(-a.d)\" is NaN, not a finite number"]),
        ("value = \"array('a/sample.npy')[0]\"\nhigh = 1", &["sample.npy", "no such file"]),
        ("value = \"a.method\"\nhigh = 1", &["is ddim, not a number"]),
        ("value = \"column(b.flags, 'x')[0]\"\nhigh = 1", &["has no value"]),
    ] {
        let output = run(folder.path(), &small(folder.path(), &format!("[[expect]]\n{expect}\n{MET}")), &["--json"]);
        let said = said(&output);
        assert_eq!(output.status.code(), Some(1), "{expect}: {said}");
        assert!(words.iter().all(|word| said.contains(word)), "{expect}: {said}");
        let record: Value = serde_json::from_slice(&output.stdout).unwrap();
        let met = record["expectations"].as_array().unwrap().iter().map(|judged| judged["met"].as_bool().unwrap());
        assert!(record["met"] == false && met.eq([false, true]), "{record}");
    }
}

/// What is wrong with a file is found before its first run: exit code 2, with the nearest of what is known.
#[test]
fn a_file_that_is_not_an_experiment_is_refused_before_its_runs() {
    let folder = TempDir::new().unwrap();
    let good = fs::read_to_string(small(folder.path(), MET)).unwrap();
    let file = folder.path().join("bad.toml");
    for (from, to, words) in [
        ("version = 1", "version = 2", &["version 2", "reads version 1"][..]),
        ("version = 1", "", &["begins with version = 1"]),
        ("title = \"t\"", "titel = \"t\"", &["no key \"titel\"", "did you mean \"title\"?"]),
        ("exact = \"e\"", "exact = 3", &["needs exact"]),
        ("steps = 2", "stepz = 2", &["run \"a\"", "sample has no flag \"stepz\"", "did you mean \"steps\"?"]),
        ("steps = 2", "steps = 0", &["run \"a\"", "--steps"]),
        ("steps = 2", "out = \"x\"", &["\"out\" belongs to the experiment"]),
        ("command = \"sample\"", "command = \"smaple\"", &["run \"a\"", "did you mean \"sample\"?"]),
        ("command = \"sample\"", "command = \"generate\"", &["generate has no record"]),
        ("name = \"a\"", "name = \"b\"", &["run \"b\"", "taken"]),
        ("name = \"a\"", "name = \"1a\"", &["not the name of a run"]),
        ("name = \"a\"", "name = \"mean\"", &["a function of formulas"]),
        ("{a}", "{c}", &["run \"b\"", "{c} is not an earlier run", "did you mean {a}?"]),
        ("{a}", "{a", &["a { without a }"]),
        ("value = \"a.n\"", "value = \"a.n +\"", &["expectation 1", "is not a formula"]),
        ("value = \"a.n\"", "value = \"c.n\"", &["expectation 1", "nothing called \"c\""]),
        ("value = \"a.n\"", "value = \"maen(a.n)\"", &["\"maen\"", "did you mean \"mean\"?"]),
        ("low = 40", "lo = 40", &["no key \"lo\"", "did you mean \"low\"?"]),
        ("low = 40", "low = 41", &["low = 41 is above high = 40"]),
        ("low = 40", "low = \"x\"", &["is not a number"]),
        ("low = 40\nhigh = 40", "", &["low or high"]),
        ("low = 20", "loww = 20", &["short form has no key \"loww\""]),
        ("[[expect]]", "[expect]", &["at least one [[expect]]"]),
    ] {
        let text = good.replacen(from, to, 1);
        assert_ne!(text, good, "{from}");
        fs::write(&file, text).unwrap();
        let output = run(folder.path(), &file, &[]);
        let said = said(&output);
        assert_eq!(output.status.code(), Some(2), "{to}: {said}");
        assert!(said.starts_with("error: ") && words.iter().all(|word| said.contains(word)), "{to}: {said}");
        assert!(!folder.path().join("brenier-out").exists(), "{to}");
    }
    fs::write(&file, "command = \"devices\"\n").unwrap();
    assert!(said(&run(folder.path(), &file, &["--short"])).contains("no short form"));
    assert!(said(&run(folder.path(), &small(folder.path(), MET), &["--resume"])).contains("keeps no checkpoint"));
}

/// A run that fails ends the experiment with its own words and the name of the run.
#[test]
fn a_run_that_fails_is_named() {
    let folder = TempDir::new().unwrap();
    let file = small(folder.path(), MET);
    let text = fs::read_to_string(&file).unwrap().replace("field = \"normal:1\"", "field = \"mons\"");
    fs::write(&file, text).unwrap();
    let output = run(folder.path(), &file, &[]);
    let said = said(&output);
    assert_eq!(output.status.code(), Some(1));
    assert!(said.contains("did you mean moons?") && said.contains("run \"a\" did not end well"), "{said}");
}

/// The functions of formulas, each on numbers that can be done in the head; what has no value says why.
#[test]
fn formulas_know_numbers_lists_and_rows() {
    let folder = TempDir::new().unwrap();
    let values = [
        ("1/2 + 2 ** 3 - pi / pi", 7.5),
        ("sum(exp(log([1, 2, [3]])), abs(-1), sqrt(4), sin(0), cos(0), tan(0))", 10.0),
        ("max([1, 5], 2) - min(3, [2, 4])", 3.0),
        ("mean(add([1, 2], multiply(2, [3, 4])))", 8.5),
        ("sum(subtract(divide([6, 8], [2, 4]), 1))", 3.0),
        ("variance([[0, 0], [2, 4]]) + variance([0, 2])", 6.0),
        ("rms_distance([[0, 0], [1, 1]], [[3, 4], [1, 1]]) ** 2", 12.5),
        ("slope([0, 1, 2], [1, 3, 5])", 2.0),
        ("largest_rise([1, 3, 2, 2.5])", 2.0),
        ("-(3**2) + 2 - 1**2", -8.0),
        ("largest_rise([3, 2, 0][::-1])", 2.0),
        ("column([[1, 2], [3, 4]], 1)[1] + column(a.levels, 't')[2]", 5.0),
        ("where(a.levels, t=0.5, sigma=0.5)[0].alpha", 0.5),
    ];
    let refused = [
        ("add([1], [1, 2])", "a list of 1 and a list of 2 cannot be paired"),
        ("where(a.levels, t=7)[0].alpha", "no row has t = 7"),
        ("where(a.levels, tt=7)[0].alpha", "a row has no tt"),
        ("mean([])", "the list is empty"),
        ("max(log([-1, 1]))", "NaN"),
        ("largest_rise([1])", "one number"),
        ("variance([[1, 2], [3]])", "different lengths"),
        ("a.levels", "a list of 3"),
        ("log(0)", "not a finite number"),
        ("slope([1], [1])", "no line"),
        ("log('x')", "x is not a number"),
        ("mean(a.levels)", "not a number"),
    ];
    let expect = |(value, low): (&str, f64)| format!("[[expect]]\nvalue = \"{value}\"\nlow = {low}\nhigh = {low}\n");
    let all = values.iter().copied().chain(refused.map(|(value, _)| (value, 0.0))).map(expect).collect::<String>();
    let head = "version = 1\ntitle = \"\"\nstatement = \"\"\nexact = \"\"\napproximate = \"\"\n";
    let run_of = "[[run]]\nname = \"a\"\ncommand = \"schedule\"\nschedule = \"condot\"\nsteps = 2\n";
    let file = folder.path().join("f.toml");
    fs::write(&file, format!("{head}{run_of}{all}")).unwrap();
    let output = run(folder.path(), &file, &["--json", "--quiet"]);
    let record: Value = serde_json::from_slice(&output.stdout).unwrap();
    let judged = record["expectations"].as_array().unwrap();
    for (judged, (value, expected)) in judged.iter().zip(values) {
        let found = judged["found"].as_f64().unwrap_or_else(|| panic!("{value}: {judged}"));
        assert!((found - expected).abs() < 1e-12, "{value} is {found}");
    }
    for (judged, (value, why)) in judged[values.len()..].iter().zip(refused) {
        assert!(judged["found"].is_null() && judged["why"].as_str().unwrap().contains(why), "{value}: {judged}");
    }
}
