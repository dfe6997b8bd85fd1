//! `couple --semidiscrete`, `--from` and `--project` on the command line.

use std::path::Path;
use std::process::Output;

use assert_cmd::Command;
use brenier::io::{Float, read_array, write_npy};
use brenier::measure::named;
use brenier::random::Stream;
use serde_json::Value;

fn brenier(folder: &Path, args: &str) -> Output {
    Command::cargo_bin("brenier").unwrap().current_dir(folder).args(args.split(' ')).output().unwrap()
}

fn record(folder: &Path, args: &str) -> Value {
    let output = brenier(folder, &format!("{args} --json --quiet"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// What is said where it fails, with that exit code.
fn refusal(folder: &Path, args: &str, code: i32) -> String {
    let output = brenier(folder, args);
    assert_eq!(output.status.code(), Some(code), "{args}");
    String::from_utf8(output.stderr).unwrap()
}

fn points(folder: &Path, name: &str, law: &str, n: usize, d: usize) {
    let cloud = named(law, (law == "normal").then_some(d)).unwrap().sample(n, 5, Stream::Split, 0);
    write_npy(&folder.join(name), cloud.points(), &[n, d], Float::F32).unwrap();
}

/// The pairs are points of the target by the saved potential; it serves again without another ascent, and other pairs come of it
/// with another seed.
#[test]
fn a_saved_potential_pairs_any_draw_as_the_one_that_was_fitted() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    points(at, "y.npy", "8gaussians", 300, 2);
    let fitted = record(at, "couple normal y.npy --semidiscrete --pairs 2000 --out fitted --precision f64");
    let of_fit = &fitted["semidiscrete"];
    assert_eq!((&of_fit["converged"], &fitted["from"]), (&Value::Bool(true), &Value::Null));
    assert!(of_fit["marginal_error"].as_f64().unwrap() <= 0.1, "{of_fit}");
    // 2,000 draws of 300 cells: a mean of 6.7 uses each, e^-6.7 of them unused, none used more than 5 deviations above the mean.
    assert!(fitted["targets_used"].as_u64().unwrap() >= 290 && fitted["most_uses"].as_u64().unwrap() < 22, "{fitted}");
    assert!(fitted["cost_ratio"].as_f64().unwrap() < 0.55, "{fitted}");
    assert!(fitted["cfm_loss_floor"].as_f64() < Some(0.1 * fitted["cfm_loss_floor_independent"].as_f64().unwrap()), "{fitted}");

    let again = record(at, "couple normal y.npy --from fitted --pairs 2000 --out again --precision f64");
    assert_eq!((&again["semidiscrete"], &again["from"]), (of_fit, &Value::from("fitted")));
    record(at, "couple normal y.npy --from again --pairs 2000 --seed 1 --out other");
    let array = |run: &str, name: &str| read_array(&at.join(run).join("pairs-00000.npz"), name).unwrap().values;
    assert_eq!(array("fitted", "target_index"), array("again", "target_index"));
    assert_ne!(array("fitted", "x0"), array("other", "x0"));
    assert_eq!(std::fs::read(at.join("fitted/g.npy")).unwrap(), std::fs::read(at.join("again/g.npy")).unwrap());

    let (y, g) = (read_array(&at.join("y.npy"), "").unwrap().values, read_array(&at.join("fitted/g.npy"), "").unwrap().values);
    let (x, x1, index) = (array("fitted", "x0"), array("fitted", "x1"), array("fitted", "target_index"));
    for (k, &j) in index.iter().enumerate().step_by(50) {
        let score = |j: usize| 0.5 * ((x[2 * k] - y[2 * j]).powi(2) + (x[2 * k + 1] - y[2 * j + 1]).powi(2)) - g[j];
        let best = (0..300).min_by(|&a, &b| score(a).total_cmp(&score(b))).unwrap();
        assert_eq!((best, &x1[2 * k..2 * k + 2]), (j as usize, &y[2 * best..2 * best + 2]));
    }
}

/// The same points as doubles are the points that the potential is of; others are not.
#[test]
fn a_saved_potential_knows_its_points_in_another_precision() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let cloud = named("8gaussians", None).unwrap().sample(40, 5, Stream::Split, 0);
    for (name, float) in [("y32.npy", Float::F32), ("y64.npy", Float::F64)] {
        write_npy(&at.join(name), cloud.points(), &[40, 2], float).unwrap();
    }
    let moved: Vec<f64> = cloud.points().iter().map(|y| y + 1e-3).collect();
    write_npy(&at.join("moved.npy"), &moved, &[40, 2], Float::F64).unwrap();
    for (fitted, other) in [("y32.npy", "y64.npy"), ("y64.npy", "y32.npy")] {
        record(at, &format!("couple normal {fitted} --semidiscrete --tol 0.5 --out fitted"));
        let pairs = |target: &str| {
            record(at, &format!("couple normal {target} --from fitted --pairs 100 --precision f64 --out served"));
            read_array(&at.join("served/pairs-00000.npz"), "target_index").unwrap().values
        };
        assert_eq!(pairs(fitted), pairs(other));
        assert!(refusal(at, "couple normal moved.npy --from fitted --out served", 1).contains("of other points than moved.npy"));
    }
}

/// Data in a plane of six dimensions: two components keep all variance, and the pairs all dimensions.
#[test]
fn a_cost_on_principal_components_keeps_the_dimensions_of_the_pairs() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let plane = named("8gaussians", None).unwrap().sample(200, 5, Stream::Split, 0);
    let wide: Vec<f64> = plane.rows().flat_map(|y| [y[0], y[1], y[0] + y[1], 0.0, -y[0], 1.0]).collect();
    write_npy(&at.join("y.npy"), &wide, &[200, 6], Float::F64).unwrap();
    for (args, out) in [("--eps 0.5 --n 200", "plan"), ("--semidiscrete --tol 0.3", "potential")] {
        let made = record(at, &format!("couple normal y.npy --project pca:2 {args} --out {out}"));
        assert_eq!(made["projection"]["k"], 2);
        assert!((made["projection"]["variance_kept"].as_f64().unwrap() - 1.0).abs() < 1e-9, "{made}");
        assert_eq!(read_array(&at.join(out).join("pairs-00000.npz"), "x1").unwrap().shape, [200, 6]);
    }
    let projected = record(at, "couple normal y.npy --project pca:2 --eps 0.5 --n 200 --out plan");
    let whole = record(at, "couple normal y.npy --eps 0.5 --n 200 --out whole");
    let cost = |record: &Value| record["pair_cost"].as_f64().unwrap();
    assert!((cost(&projected) / cost(&whole) - 1.0).abs() < 0.05, "{} {}", cost(&projected), cost(&whole));
    record(at, "couple normal y.npy --from potential --out served");
    assert_eq!(
        read_array(&at.join("served/pairs-00000.npz"), "target_index").unwrap(),
        read_array(&at.join("potential/pairs-00000.npz"), "target_index").unwrap()
    );
}

#[test]
fn what_a_potential_does_not_fit_is_refused_in_words() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    points(at, "y.npy", "normal", 20, 3);
    points(at, "other.npy", "normal", 21, 3);
    points(at, "one.npy", "normal", 1, 3);
    write_npy(&at.join("bad.npy"), &[1.0, f64::NAN], &[2, 1], Float::F64).unwrap();
    record(at, "couple normal y.npy --semidiscrete --tol 0.5 --out fitted");
    record(at, "couple normal y.npy --eps 1 --n 20 --out plan");
    for (args, code, words) in [
        ("normal other.npy --from fitted", 1, "is of other points than other.npy"),
        ("8gaussians y.npy --from fitted", 1, "same space"),
        ("tilted-a y.npy --from fitted", 1, "same space"),
        ("normal y.npy --from nowhere", 1, "--from takes a folder that couple --semidiscrete has written"),
        ("normal y.npy --from plan", 1, "has no potential"),
        ("y.npy y.npy --semidiscrete", 2, "this one is 20 points"),
        ("normal 8gaussians --semidiscrete", 2, "this one is a law"),
        ("normal one.npy --semidiscrete", 1, "lie at one place"),
        ("normal bad.npy --semidiscrete", 1, "row 1, column 0 is NaN"),
        ("normal y.npy --semidiscrete --eps 1", 2, "--eps"),
        ("normal y.npy --semidiscrete --project pca:4", 1, "ask for 1 to 3"),
        ("normal y.npy --project 4", 2, "pca:K"),
    ] {
        let said = refusal(at, &format!("couple {args} --out refused"), code);
        assert!(said.contains(words), "{args}: {said}");
    }
    let strict = refusal(at, "couple normal y.npy --semidiscrete --tol 1e-3 --max-iter 3 --strict --out strict", 1);
    assert!(strict.contains("raise --max-iter or --batch"), "{strict}");
}
