//! Steps of their own: `sample --times`, `compare --find-steps`, and the steps that adaptive methods accept and reject.

use std::fs;
use std::path::Path;
use std::process::Output;

use assert_cmd::Command;
use brenier::io::{Float, read_array, write_npy};
use brenier::path::Schedule;
use brenier::sampler::{Choice, Kind, METHODS};
use serde_json::{Value, json};
use tempfile::TempDir;

fn brenier(folder: &Path, args: &str) -> Output {
    Command::cargo_bin("brenier").unwrap().current_dir(folder).args(args.split_whitespace()).output().unwrap()
}

fn record(folder: &Path, args: &str) -> Value {
    let output = brenier(folder, &format!("{args} --json --out made"));
    assert!(output.status.success(), "brenier {args}\n{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn array(folder: &Path, name: &str) -> Vec<f64> {
    read_array(&folder.join("made").join(name), "points").unwrap().values
}

#[track_caller]
fn refused(folder: &Path, args: &str, code: i32, words: &[&str]) {
    let output = brenier(folder, args);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "brenier {args}\n{said}");
    assert!(output.stdout.is_empty() && said.starts_with("error: "), "brenier {args}\n{said}");
    for word in words {
        assert!(said.contains(word), "brenier {args}: no {word:?} in\n{said}");
    }
}

/// Equal steps of time by a file are the trailing grid to the bit, and another file is another run; a method without levels on a
/// schedule refuses them.
#[test]
fn every_method_with_a_grid_takes_times() {
    let folder = TempDir::new().unwrap();
    let write = |name: &str, times: &[f64]| write_npy(&folder.path().join(name), times, &[times.len()], Float::F64).unwrap();
    write("equal.npy", &[0.0, 0.25, 0.5, 0.75, 1.0]);
    write("uneven.npy", &[0.0, 0.1, 0.4, 0.9, 1.0]);
    fs::write(folder.path().join("uneven.txt"), "0\n0.1\n\n4e-1\n0.9\n1\n").unwrap();
    for entry in METHODS {
        let run = |more: &str| record(folder.path(), &format!("sample 8gaussians --n 8 --method {} {more}", entry.name));
        if !entry.takes(Choice::Times) {
            assert!(matches!(entry.kind, Kind::Loop(_)) || entry.name == "langevin", "{}", entry.name);
            let args = format!("sample normal:2 --method {} --times equal.npy", entry.name);
            refused(folder.path(), &args, 2, &[entry.name, "has levels of its own", "leave --grid, --times and --shift out"]);
            continue;
        }
        let found = run("--times uneven.npy");
        assert_eq!((&found["grid"], &found["times"]), (&json!("times"), &json!([0.0, 0.1, 0.4, 0.9, 1.0])), "{}", entry.name);
        let uneven = array(folder.path(), "samples.npy");
        run("--times uneven.txt");
        assert_eq!(array(folder.path(), "samples.npy"), uneven, "{}: a text is the array it holds", entry.name);
        let given = run("--times equal.npy");
        let equal = array(folder.path(), "samples.npy");
        assert_ne!(equal, uneven, "{}", entry.name);
        let schedule = entry.schedule.unwrap();
        let named = run(&format!("--grid trailing --steps 4 --schedule {schedule}"));
        assert_eq!((&named["grid"], &named["times"]), (&json!("trailing"), &Value::Null), "{}", entry.name);
        assert_eq!(given["nfe"], named["nfe"], "{}", entry.name);
        // On ve the trailing grid of edm-* goes to σ_min in three steps and then to the data.
        if !entry.name.starts_with("edm") {
            assert_eq!(array(folder.path(), "samples.npy"), equal, "{}", entry.name);
        }
    }
}

#[test]
fn times_that_make_no_run_are_refused_by_file_place_and_remedy() {
    let folder = TempDir::new().unwrap();
    for (name, text, words) in [
        ("level.txt", "0\n0.5\n0.5\n1\n", &["time 2 of the grid is 0.5", "increase strictly"][..]),
        ("falls.txt", "1\n0.5\n0\n", &["time 1 of the grid is 0.5", "from noise (0) to data (1)"]),
        ("late.txt", "0.1\n0.5\n1\n", &["from 0.1 to 1", "starts at 0 (noise)"]),
        ("short.txt", "0\n0.5\n0.9\n", &["from 0 to 0.9", "ends at 1 (data)"]),
        ("nan.txt", "0\nnan\n1\n", &["time 1 of the grid is NaN"]),
        ("one.txt", "1\n", &["1 times make no step", "at least two"]),
        ("empty.txt", "", &["0 times make no step"]),
        ("words.txt", "0\n0.5\nend\n", &["line 3 holds \"end\"", "one a line"]),
        ("words.npy", "0\n1\n", &["not a .npy file"]),
        ("empty.npy", "", &["0 bytes"]),
    ] {
        fs::write(folder.path().join(name), text).unwrap();
        refused(folder.path(), &format!("sample normal --times {name}"), 1, &[&[name], words].concat());
    }
    write_npy(&folder.path().join("nan.npy"), &[0.0, f64::NAN, 1.0], &[3], Float::F64).unwrap();
    refused(folder.path(), "sample normal --times nan.npy", 1, &["nan.npy", "NaN"]);
    refused(folder.path(), "sample normal --times none.npy", 1, &["none.npy", "no such file"]);
    fs::write(folder.path().join("times.txt"), "0\n0.3\n1\n").unwrap();
    for other in ["--steps 2", "--grid karras", "--shift 3 --method fm-euler"] {
        let flag = other.split(' ').next().unwrap();
        let words = [&format!("--times gives the levels, and so their number; leave {flag} out")[..]];
        refused(folder.path(), &format!("sample normal --times times.txt {other}"), 2, &words);
    }
    refused(folder.path(), "compare normal --find-steps 1", 2, &["--find-steps"]);
}

/// What is found is written, drawn, and taken by `sample` as it is.
#[test]
fn the_steps_that_are_found_can_be_run() {
    let folder = TempDir::new().unwrap();
    fs::create_dir(folder.path().join("made")).unwrap();
    fs::write(folder.path().join("made/times-ddim-7.npy"), "of an earlier run").unwrap();
    let found = record(folder.path(), "compare 8gaussians --n 300 --steps 3 --find-steps 3");
    let report = fs::read_to_string(folder.path().join("made/report.html")).unwrap();
    assert!(report.contains("<figure id=\"steps\">") && report.contains("The best 3 steps"));
    assert!(!folder.path().join("made/times-ddim-7.npy").exists());
    let found = found["found"].as_array().unwrap().clone();
    assert_eq!(found.len(), 5);
    for one in &found {
        let method = one["method"].as_str().unwrap();
        let times = array(folder.path(), &format!("times-{method}-3.npy"));
        assert_eq!(json!(times), one["times"], "{method}");
        fs::copy(folder.path().join(format!("made/times-{method}-3.npy")), folder.path().join(format!("{method}.npy"))).unwrap();
    }
    for one in &found {
        let method = one["method"].as_str().unwrap();
        let run = record(folder.path(), &format!("sample 8gaussians --n 10 --method {method} --times {method}.npy"));
        assert_eq!((&run["times"], &run["steps"]), (&one["times"], &json!(3)), "{method}");
    }
}

/// Where σ̇ is infinite at the data the flow is left just before them: from N(0, 1) to N(0, ¼) on a variance-preserving schedule x₀ goes
/// to x₀/2 over √(α₀²/4 + σ₀²), within the tolerance; a network is asked there too.
#[test]
fn adaptive_methods_reach_the_data_of_a_variance_preserving_schedule() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("law.json"), r#"{"weights": [1], "means": [[0, 0]], "variances": [0.25]}"#).unwrap();
    let start = [0.3, -1.1, 2.0, 0.01];
    write_npy(&folder.path().join("start.npy"), &start, &[2, 2], Float::F64).unwrap();
    for name in ["linear-vp", "cosine"] {
        let noise = Schedule::parse(name).unwrap().level(0.0);
        for (method, tol) in [("dopri5", 1e-7), ("bosh3", 1e-5)] {
            let args = format!("--schedule {name} --method {method} --tol {tol} --precision f64 --start start.npy");
            record(folder.path(), &format!("sample law.json {args}"));
            for (x, x0) in array(folder.path(), "samples.npy").iter().zip(start) {
                let exact = 0.5 * x0 / (0.25 * noise.alpha.powi(2) + noise.sigma.powi(2)).sqrt();
                assert!((x - exact).abs() <= 2.0 * tol, "{name} {method}: {x} for {exact}");
            }
        }
    }
    let network = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/networks/eight-v.safetensors");
    let end = |method: &str| {
        record(folder.path(), &format!("sample {network} --tol 1e-5 --precision f64 --start start.npy --method {method}"));
        array(folder.path(), "samples.npy")
    };
    let (one, other) = (end("dopri5"), end("bosh3"));
    assert!(one.iter().zip(&other).all(|(a, b)| (a - b).abs() < 1e-4), "{one:?} {other:?}");
}

/// Each evaluation of Dormand–Prince is one of the six of a try, or one of the two that a run at a tolerance begins with.
#[test]
fn adaptive_methods_tell_the_steps_of_each_particle() {
    let folder = TempDir::new().unwrap();
    let velocity = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/networks/velocity.safetensors");
    for field in ["8gaussians", "digits", velocity] {
        for method in ["dopri5", "dpm-adaptive --schedule linear-vp"] {
            let run = record(folder.path(), &format!("sample {field} --n 6 --tol 1e-2 --method {method}"));
            let steps = array(folder.path(), "steps.npy");
            assert_eq!(steps.len(), 12, "{field} {method}");
            for (column, key) in ["accepted", "rejected"].into_iter().enumerate() {
                let mean = steps.iter().skip(column).step_by(2).sum::<f64>() / 6.0;
                assert!((run[key].as_f64().unwrap() - mean).abs() < 1e-12, "{field} {method}: {key}");
            }
            assert!(run["steps"].is_null() && run["grid"].is_null());
            assert!(steps.chunks(2).all(|one| one[0] >= 2.0), "{field} {method}: {steps:?}");
            let tried = run["accepted"].as_f64().unwrap() + run["rejected"].as_f64().unwrap();
            let (each, begun) = if method == "dopri5" { (6.0, 2.0..16.0) } else { (3.0, 0.0..1.0) };
            let rest = run["nfe"].as_f64().unwrap() - each * tried;
            assert!((begun.start..=begun.end).contains(&rest), "{field} {method}: {rest} evaluations of no step");
        }
    }
    let run = record(folder.path(), "sample 8gaussians --n 6 --method ddim --steps 3");
    assert!(run.get("accepted").is_none() && !folder.path().join("made/steps.npy").exists());
}
