//! The command line: what it prints, writes and repeats.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Output;

use assert_cmd::Command;
use brenier::io::{Float, write_npy};
use serde_json::Value;
use tempfile::TempDir;

const TRANSPORT: &str = "command n m d cost eps eps_origin iterations converged marginal_error transport_cost w2_squared w2_squared_kind dual \
    regularised_cost seconds wall_seconds device precision seed flags version inputs source target";
const ENTROPIC: &str = "gap entropy mass verdict residuals skipped_mass_bound";
const EVALUATE: &str = "divergence divergence_interval w2_squared_exact w2_size noise_floor variance_ratio mean_distance nn_a_to_b flags \
    precision precision_interval precision_p recall recall_interval recall_p density density_interval density_p coverage \
    coverage_interval coverage_p k energy_distance energy_distance_interval energy_distance_p mmd_squared mmd_squared_interval \
    mmd_squared_p mmd_bandwidth \
    permutations sliced_w2_squared sliced_standard_error sliced_directions \
    command version inputs a b n m d eps seconds wall_seconds device arithmetic seed";
const SAMPLE: &str = "method steps nfe grid n d seconds wall_seconds command version inputs field device precision seed flags";

/// `brenier` with `args` in `folder`; it must end with `code`.
fn brenier(folder: &Path, args: &str, code: i32) -> Output {
    let mut command = Command::cargo_bin("brenier").unwrap();
    let output = command.current_dir(folder).args(args.split_whitespace()).output().unwrap();
    assert_eq!(output.status.code(), Some(code), "brenier {args}\n{}", String::from_utf8_lossy(&output.stderr));
    output
}

/// The JSON object that `brenier ARGS --json` prints.
fn json(folder: &Path, args: &str) -> Value {
    serde_json::from_slice(&brenier(folder, &format!("{args} --json"), 0).stdout).unwrap()
}

fn keys(value: &Value) -> BTreeSet<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

fn named(list: &str) -> BTreeSet<&str> {
    list.split_whitespace().collect()
}

/// `value` without what may differ between two equal runs.
fn repeatable(mut value: Value) -> Value {
    for key in ["seconds", "wall_seconds", "inputs"] {
        value.as_object_mut().unwrap().remove(key);
    }
    value
}

/// The numbers of a .npy file, as bytes behind its header.
fn numbers(path: &Path) -> Vec<u8> {
    let bytes = fs::read(path).unwrap();
    let header = usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    bytes[10 + header..].to_vec()
}

#[test]
fn transport_prints_the_keys_of_the_interface() {
    let folder = TempDir::new().unwrap();
    let entropic = json(folder.path(), "transport moons 8gaussians --n 200");
    assert_eq!(keys(&entropic), named(&format!("{TRANSPORT} {ENTROPIC}")));
    assert_eq!(entropic["w2_squared_kind"], "entropic");
    assert_eq!(entropic["w2_squared"].as_f64().unwrap(), 2.0 * entropic["transport_cost"].as_f64().unwrap());

    let debiased = json(folder.path(), "transport moons 8gaussians --n 200 --debias");
    // A divergence whose self-terms have not converged has not either.
    std::fs::write(folder.path().join("point.csv"), "0,0\n").unwrap();
    let early = json(folder.path(), "transport moons point.csv --n 200 --debias --eps 0.01 --max-iter 3");
    assert_eq!(early["converged"], false);
    assert!(early["verdict"].as_str().unwrap().starts_with("between the source and itself: "), "{}", early["verdict"]);
    assert_eq!(keys(&debiased), named(&format!("{TRANSPORT} {ENTROPIC} divergence")));
    assert_eq!(debiased["w2_squared_kind"], "debiased");
    assert_eq!(debiased["w2_squared"].as_f64().unwrap(), 2.0 * debiased["divergence"].as_f64().unwrap());
}

/// Another cost has its own unit of ε, no W₂², and refuses what it has no meaning for.
#[test]
fn transport_takes_other_costs() {
    let folder = TempDir::new().unwrap();
    for cost in ["euclidean", "lp:1.5", "cosine"] {
        let record = json(folder.path(), &format!("transport moons 8gaussians --n 200 --debias --cost {cost}"));
        assert!(record["cost"] == cost && record["converged"] == true && record["w2_squared"].is_null());
        assert!(record["divergence"].as_f64().unwrap() > 0.0);
    }
    let blurred = json(folder.path(), "transport moons 8gaussians --n 200 --cost euclidean --blur 0.5");
    assert_eq!(blurred["eps"], 0.5);
    for args in ["--cost cosine --blur 0.1", "--cost lp:0.5", "--cost lp:0.5 --exact"] {
        let mut command = Command::cargo_bin("brenier").unwrap();
        command.args("transport moons 8gaussians --n 200".split(' ')).args(args.split(' ')).assert().failure();
    }
}

/// Rounding to 11 bits moves points of radius about 3 by some 1e-3 and W₂ by less, to 8 bits eight times as far; what has no products
/// is refused.
#[test]
fn transport_stores_points_in_half_precision() {
    let folder = TempDir::new().unwrap();
    let run = |storage: &str| json(folder.path(), &format!("transport normal:8 normal:8 --n 300 --eps 0.5 {storage}"));
    let w2 = |record: &Value| record["w2_squared"].as_f64().unwrap().sqrt();
    let (full, mut coarser) = (run(""), f64::INFINITY);
    for storage in ["bf16", "f16"] {
        let half = run(&format!("--storage {storage}"));
        let moved = half["storage_error"].as_f64().unwrap();
        assert!(moved < 0.2 * coarser && moved > 1e-5, "{storage}: {moved}");
        assert!(w2(&half) != w2(&full) && (w2(&half) - w2(&full)).abs() <= moved, "{storage}: {} {}", w2(&half), w2(&full));
        coarser = moved;
    }
    for cost in ["--cost euclidean", "--cost lp:3"] {
        let refused = brenier(folder.path(), &format!("transport moons circles --n 20 --storage f16 {cost}"), 1);
        assert!(String::from_utf8_lossy(&refused.stderr).contains("leave out --storage"), "{cost}");
    }
}

#[test]
fn transport_is_exact_on_request_and_on_a_line() {
    let folder = TempDir::new().unwrap();
    for args in ["transport moons 8gaussians --n 200 --exact", "transport normal:1 normal:1 --n 200"] {
        let record = json(folder.path(), args);
        let mut expected = named(TRANSPORT);
        // Between two Gaussian laws there is a closed form beside it.
        if args.contains("normal:1") {
            expected.insert("closed_form");
        }
        assert_eq!(keys(&record), expected);
        assert_eq!(record["w2_squared_kind"], "exact", "{args}");
        assert_eq!(record["eps"], 0.0);
    }
    let blurred = json(folder.path(), "transport normal:1 normal:1 --n 200 --blur 1");
    assert_eq!(blurred["w2_squared_kind"], "entropic");
    assert_eq!(blurred["eps"], 1.0);
}

/// Every flag that only the entropic solver has is one for that solver, on a line as elsewhere.
#[test]
fn a_flag_of_the_entropic_solver_asks_for_it_on_a_line() {
    let folder = TempDir::new().unwrap();
    let run = "transport normal:1 normal:1 --n 200";
    assert_eq!(json(folder.path(), &format!("{run} --out exact"))["w2_squared_kind"], "exact");
    for flag in [
        "--plain",
        "--tol 1e-2",
        "--max-iter 50",
        "--convention ott",
        "--start-subsample 50",
        "--start-from exact",
        "--storage f16",
    ] {
        let record = json(folder.path(), &format!("{run} {flag}"));
        assert_eq!(record["w2_squared_kind"], "entropic", "{flag}");
        assert!(record["eps"].as_f64().unwrap() > 0.0, "{flag}");
    }
    // A plan of low rank has steps to count, and no other flag of the entropic one.
    assert_eq!(json(folder.path(), "transport moons circles --n 50 --rank 3 --max-iter 5")["w2_squared_kind"], "low_rank");
}

/// Within N(0, I) of the plane |x−x′|²/2 is exponential of mean 2, whose smallest nine tenths have the mean 2 (1 − 0.1 (1 + ln 10))/0.9.
#[test]
fn the_default_eps_is_a_twentieth_of_the_mean_cost_within_the_clouds() {
    let folder = TempDir::new().unwrap();
    let trimmed = 2.0 * (1.0 - 0.1 * (1.0 + 10f64.ln())) / 0.9;
    for (args, share) in [
        ("transport normal:2 normal:2", 0.05),
        ("transport normal:2 normal:2 --closed-form", 0.05),
        ("geodesic normal:2 normal:2 --n 2000 --out g", 0.05),
    ] {
        let record = json(folder.path(), args);
        let eps = record["eps"].as_f64().unwrap();
        // Draws of some thousand points vary by 3 %.
        assert!((eps / (share * trimmed) - 1.0).abs() < 0.05, "{args}: {eps}");
        assert_eq!(record["eps_origin"], format!("{share} x the mean cost within the clouds"), "{args}");
        assert_eq!(record["flags"], serde_json::json!([]), "{args}");
    }
    // Pairs are as sharp as is asked of them.
    for (flag, entropy) in [("", 0.1), (" --entropy 0.3", 0.3)] {
        let record = json(folder.path(), &format!("couple normal:2 normal:2 --n 600 --out c{flag}"));
        assert!((number(&record["renormalised_entropy"]) / entropy - 1.0).abs() < 0.06, "{record}");
        assert_eq!(record["eps_origin"], format!("renormalised entropy {entropy}"));
    }
    // Where no plan has it, as between two points in one place each, ε is a share as elsewhere.
    fs::write(folder.path().join("one.csv"), "1,2\n1,2\n").unwrap();
    let record = json(folder.path(), "couple normal:2 one.csv --n 50 --out c");
    assert_eq!(record["eps_origin"], "0.005 x the mean cost within the clouds");
    assert_eq!(json(folder.path(), "transport moons circles --n 50 --eps 0.3")["eps_origin"], "given");
    assert_eq!(json(folder.path(), "transport moons circles --n 50 --blur 0.3")["eps_origin"], "blur 0.3 squared");
    assert!(json(folder.path(), "transport moons circles --n 50 --exact")["eps_origin"].is_null());
}

/// The points of `cloud`, n × 2, as a .csv file.
fn write_points(path: &Path, points: &[[f64; 2]]) {
    fs::write(path, points.iter().map(|[x, y]| format!("{x},{y}\n")).collect::<String>()).unwrap();
}

/// A shift of the target changes no plan, so at the default ε neither the spread of the map nor the entropy of the pairs.
#[test]
fn how_far_apart_the_clouds_lie_changes_neither_map_nor_pairs() {
    let folder = TempDir::new().unwrap();
    // A sunflower, 300 points of equal density on a disc, and it stretched.
    let disc: Vec<[f64; 2]> = (0..300).map(|i| f64::from(i) + 0.5).map(|i| [2.4 * i, (i / 300.0).sqrt()]).collect();
    let disc: Vec<[f64; 2]> = disc.iter().map(|[turn, r]| [r * turn.cos(), r * turn.sin()]).collect();
    write_points(&folder.path().join("x.csv"), &disc);
    let mut seen = Vec::new();
    for shift in [0.0, 30.0] {
        write_points(&folder.path().join("y.csv"), &disc.iter().map(|[x, y]| [2.0 * x + shift, 0.5 * y]).collect::<Vec<_>>());
        let ran = ["transport x.csv y.csv", "couple x.csv y.csv --out c", "geodesic x.csv y.csv --out g"].map(|args| {
            let output = brenier(folder.path(), &format!("{args} --json"), 0);
            let record: Value = serde_json::from_slice(&output.stdout).unwrap();
            assert_eq!(record["flags"], serde_json::json!([]), "{args} at {shift}");
            assert!(!String::from_utf8_lossy(&output.stderr).contains("eps ="), "{args} at {shift}");
            record
        });
        seen.push([&ran[0]["eps"], &ran[0]["entropy"], &ran[1]["renormalised_entropy"], &ran[2]["variance_ratio"]].map(number));
    }
    for (near, far) in seen[0].iter().zip(&seen[1]) {
        assert!((far / near - 1.0).abs() < 0.02, "{seen:?}");
    }
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap()
}

#[test]
fn what_has_collapsed_is_flagged_and_an_eps_above_spread_or_reach_is_warned_of() {
    let folder = TempDir::new().unwrap();
    for command in ["transport", "geodesic", "couple"] {
        let run = |eps: &str| brenier(folder.path(), &format!("{command} moons 8gaussians --n 200 {eps} --out o --json"), 0);
        let (blurred, clean) = (run("--eps 200"), run(""));
        let flags = |output: &Output| serde_json::from_slice::<Value>(&output.stdout).unwrap()["flags"].clone();
        assert_eq!(flags(&blurred), serde_json::json!(["collapsed"]), "{command}");
        let words = String::from_utf8_lossy(&blurred.stderr).into_owned();
        assert!(words.contains("the mean cost within the source") && words.contains("collapsed"), "{command}: {words}");
        assert_eq!(flags(&clean), serde_json::json!([]), "{command}");
        assert!(!String::from_utf8_lossy(&clean.stderr).contains("smaller --eps"), "{command}");
    }
    let reach = |more: &str| brenier(folder.path(), &format!("transport moons circles --n 100 {more}"), 0);
    let words = |output: Output| String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(words(reach("--reach 0.1 --eps 0.2")).contains("above rho"));
    assert!(!words(reach("--reach 1 --eps 0.02")).contains("above rho"));
}

/// README: clouds with outliers have the distance of those without, within their own reach.
#[test]
fn an_outlier_leaves_the_distance_within_reach_as_it_is() {
    let folder = TempDir::new().unwrap();
    let at = |centre: f64| -> Vec<[f64; 2]> {
        let place = |i: f64| ((i / 200.0).sqrt() * 2.0, 2.4 * i);
        (0..200).map(|i| place(f64::from(i) + 0.5)).map(|(r, turn)| [centre + r * turn.cos(), r * turn.sin()]).collect()
    };
    write_points(&folder.path().join("y.csv"), &at(1.0));
    let distance = |far: Option<f64>| {
        let mut x = at(0.0);
        x[0][0] = far.unwrap_or(x[0][0]);
        write_points(&folder.path().join("x.csv"), &x);
        let record = json(folder.path(), "transport x.csv y.csv --reach 1 --debias");
        assert_eq!((&record["flags"], &record["converged"]), (&serde_json::json!([]), &Value::Bool(true)), "{far:?}");
        number(&record["w2_squared"])
    };
    let clean = distance(None);
    for far in [1e2, 1e3, 1e4, 1e6] {
        let found = distance(Some(far));
        // The point itself is a two-hundredth of the mass, destroyed at the price of the reach.
        assert!((found / clean - 1.0).abs() < 0.05, "{found} for {clean} with a point at {far}");
    }
}

/// Points in one place have no mean cost to take a share of, and need none: nothing moves, whatever ε is. A ruler has nothing to go by.
#[test]
fn points_in_one_place_are_at_distance_zero() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("one.csv"), "1.5,-2\n").unwrap();
    fs::write(folder.path().join("two.csv"), "1.5,-2\n1.5,-2\n").unwrap();
    for args in ["transport one.csv two.csv", "transport two.csv two.csv --debias", "geodesic one.csv one.csv --out g"] {
        let record = json(folder.path(), args);
        assert_eq!(record["w2_squared"], 0.0, "{args}");
        // The ratio of variances is 0/0.
        let flags = if args.starts_with("geodesic") { vec!["not_finite"] } else { vec![] };
        assert_eq!(record["flags"], serde_json::json!(flags), "{args}");
    }
    let summary = String::from_utf8(brenier(folder.path(), "transport one.csv two.csv", 0).stdout).unwrap();
    assert!(summary.contains("0.05 x 1, as all costs are 0"), "{summary}");
    let refused = brenier(folder.path(), "evaluate one.csv two.csv", 1);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("lie in one place"));
}

#[test]
fn what_one_pair_cannot_tell_is_left_out() {
    let folder = TempDir::new().unwrap();
    let output = brenier(folder.path(), "couple moons circles --batch 1 --pairs 1 --out c", 0);
    let summary = String::from_utf8(output.stdout).unwrap();
    assert!(summary.contains("one pair has none") && !summary.contains("NaN"), "{summary}");
    let record: Value = serde_json::from_slice(&fs::read(folder.path().join("c/run.json")).unwrap()).unwrap();
    // A null with a reason is not a number that is not finite.
    assert!(record["cfm_loss_floor"].is_null() && record["flags"] == serde_json::json!([]), "{record}");
}

/// What pandas writes above the columns of a bare array is a point as good as any, so it is read, but not in silence.
#[test]
fn a_first_row_that_counts_the_columns_is_named() {
    let folder = TempDir::new().unwrap();
    for (text, warned) in [("0,1\n2.5,3\n4,5\n", true), ("0,2\n2.5,3\n4,5\n", false)] {
        fs::write(folder.path().join("x.csv"), text).unwrap();
        let output = brenier(folder.path(), "transport x.csv x.csv --json", 0);
        assert_eq!(String::from_utf8_lossy(&output.stderr).contains("header=False"), warned, "{text}");
        let record: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(record["n"], 3);
    }
}

#[test]
fn a_plain_normal_takes_the_dimension_of_the_other_end() {
    let folder = TempDir::new().unwrap();
    assert_eq!(json(folder.path(), "transport normal digits --n 100 --tol 0 --max-iter 1")["d"], 64);
    assert_eq!(json(folder.path(), "transport digits normal --n 100 --tol 0 --max-iter 1")["d"], 64);
}

#[test]
fn run_json_is_what_json_prints_and_the_arrays_have_their_shapes() {
    let folder = TempDir::new().unwrap();
    let printed = brenier(folder.path(), "transport moons 8gaussians --n 100 --json --out t", 0).stdout;
    assert_eq!(fs::read(folder.path().join("t/run.json")).unwrap(), printed);
    for (name, count) in [("f", 100), ("g", 100), ("map", 200)] {
        assert_eq!(numbers(&folder.path().join(format!("t/{name}.npy"))).len(), 8 * count, "{name}");
    }
    let printed = brenier(folder.path(), "sample 8gaussians --n 10 --steps 3 --trajectory --json", 0).stdout;
    let made = folder.path().join("brenier-out/sample");
    assert_eq!(fs::read(made.join("run.json")).unwrap(), printed);
    assert_eq!(numbers(&made.join("samples.npy")).len(), 4 * 10 * 2);
    assert_eq!(numbers(&made.join("trajectory.npy")).len(), 4 * 4 * 10 * 2);
    assert_eq!(numbers(&made.join("trajectory.npy"))[4 * 3 * 20..], numbers(&made.join("samples.npy")));
}

#[test]
fn a_folder_loses_the_files_of_an_earlier_run_and_keeps_those_of_others() {
    let folder = TempDir::new().unwrap();
    brenier(folder.path(), "transport moons 8gaussians --n 50 --out o", 0);
    fs::write(folder.path().join("o/mine.txt"), "mine").unwrap();
    // A plan of low rank has no potentials.
    brenier(folder.path(), "transport moons 8gaussians --n 50 --rank 5 --out o", 0);
    let names: BTreeSet<_> = fs::read_dir(folder.path().join("o")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names, ["map.npy", "mine.txt", "run.json"].map(Into::into).into());
}

#[test]
fn tol_zero_makes_exactly_the_iterations_asked_for() {
    let folder = TempDir::new().unwrap();
    let record = json(folder.path(), "transport moons 8gaussians --n 100 --tol 0 --max-iter 7");
    assert_eq!(record["iterations"], 7);
    assert_eq!(record["converged"], false);
}

#[test]
fn a_solver_that_did_not_converge_is_an_error_only_when_strict() {
    let folder = TempDir::new().unwrap();
    for (strict, code) in [("", 0), ("--strict", 1)] {
        let output = brenier(folder.path(), &format!("transport moons 8gaussians --n 100 --max-iter 2 --json {strict}"), code);
        let record: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(record["converged"], false);
        assert!(String::from_utf8_lossy(&output.stderr).contains("not converged"));
    }
}

#[test]
fn an_eps_far_below_the_costs_leaves_finite_numbers_and_says_that_it_has_not_converged() {
    let folder = TempDir::new().unwrap();
    let record = json(folder.path(), "transport moons 8gaussians --n 50 --eps 1e-9 --precision f64 --max-iter 10");
    assert_eq!(keys(&record), named(&format!("{TRANSPORT} {ENTROPIC}")));
    assert_eq!(record["converged"], false);
    assert!(record["marginal_error"].as_f64().unwrap() <= 2.0, "both marginals hold all the mass, so they differ by 2 at most");
    assert_eq!(record["flags"], serde_json::json!([]));
}

/// e^{−f/ρ} of a start as far out as f = −10⁶ ρ overflows, and with it both values.
#[test]
fn a_number_that_is_not_finite_is_null_with_a_flag() {
    let folder = TempDir::new().unwrap();
    let write = |name: &str, value: f64| write_npy(&folder.path().join(name), &[value; 50], &[50], Float::F64).unwrap();
    write("f.npy", -1e6);
    write("g.npy", 0.0);
    let record = json(folder.path(), "transport moons 8gaussians --n 50 --reach 1 --eps 1 --start-from . --max-iter 0");
    assert!(record["dual"].is_null() && record["gap"].is_null(), "{record}");
    assert!(record["regularised_cost"].is_null() && record["transport_cost"].is_number());
    assert_eq!(record["flags"], serde_json::json!(["not_finite"]));
}

#[test]
fn evaluate_prints_the_keys_of_the_interface() {
    let folder = TempDir::new().unwrap();
    assert_eq!(keys(&json(folder.path(), "evaluate moons checkerboard --n 200")), named(EVALUATE));
    let of_law = json(folder.path(), "evaluate 8gaussians 8gaussians --n 200 --out e");
    assert_eq!(keys(&of_law), named(&format!("{EVALUATE} mode_weights")));
    assert_eq!(keys(&of_law["noise_floor"]), named("divergence w2_squared_exact"));
    let written: Value = serde_json::from_slice(&fs::read(folder.path().join("e/run.json")).unwrap()).unwrap();
    assert_eq!(written, of_law);
}

/// What is found of features that are the points is what is found of the points, to the bit.
#[test]
fn features_are_measured_as_points_are() {
    let folder = TempDir::new().unwrap();
    for (seed, name) in ["x.npy", "y.npy", "t.npy"].iter().enumerate() {
        brenier(folder.path(), &format!("generate moons --n 60 --seed {seed} --out {name}"), 0);
    }
    let record = json(folder.path(), "evaluate x.npy y.npy --train t.npy --features x.npy y.npy t.npy");
    let of_features = record["features"].as_object().unwrap();
    assert!(of_features["frechet_distance"].as_f64().unwrap() > 0.0);
    for (key, value) in of_features.iter().filter(|(key, _)| *key != "frechet_distance") {
        assert_eq!(*value, record[key], "{key}");
    }
    assert!(of_features.contains_key("authenticity_p") && of_features.contains_key("flags"));
}

#[test]
fn compare_prints_the_keys_of_the_interface_and_writes_its_files() {
    let folder = TempDir::new().unwrap();
    let record = json(folder.path(), "compare 8gaussians --n 200 --steps 2,5");
    for key in ["rows", "noise_floor", "target", "source", "n", "d", "seed", "ledger", "command", "version", "inputs"] {
        assert!(keys(&record).contains(key), "{key}");
    }
    let rows = record["rows"].as_array().unwrap();
    let of_row = "family method eps_relative steps nfe seconds solver_error divergence w2_squared_exact variance_ratio nn_train \
        nn_heldout action length flags";
    assert_eq!(keys(&rows[0]), named(of_row));
    let paths: Vec<&str> = record["ledger"].as_array().unwrap().iter().map(|row| row["path"].as_str().unwrap()).collect();
    assert_eq!(paths, ["diffusion", "diffusion-cosine", "fm", "ot", "displacement"]);
    let found: BTreeSet<&str> = rows.iter().map(|row| row["method"].as_str().unwrap()).collect();
    let methods = "ddpm ddim pf-euler pf-heun annealed-langevin fm-euler fm-heun ot-euler ot-heun displacement";
    assert_eq!(found, named(methods));

    let made = folder.path().join("brenier-out/compare");
    let written: Value = serde_json::from_slice(&fs::read(made.join("run.json")).unwrap()).unwrap();
    assert_eq!(written, record);
    for file in ["report.html", "rows.csv", "figures", "samples/ddim-5.npy", "samples/displacement-1.npy"] {
        assert!(made.join(file).exists(), "{file}");
    }
}

#[test]
fn compare_leaves_diffusion_out_when_the_source_is_not_gaussian() {
    let folder = TempDir::new().unwrap();
    let record = json(folder.path(), "compare 8gaussians --source moons --n 200 --steps 2 --out c");
    let families: BTreeSet<&str> = record["rows"].as_array().unwrap().iter().map(|r| r["family"].as_str().unwrap()).collect();
    assert_eq!(families, named("flow"));
    assert!(record["notes"][0].as_str().unwrap().contains("moons"));
}

/// A Gaussian source has an exact field too; another has none.
#[test]
fn compare_keeps_the_flow_of_independent_pairs_from_a_gaussian_source() {
    let folder = TempDir::new().unwrap();
    let record = json(folder.path(), "compare tilted-b --source tilted-a --n 300 --steps 2 --out c");
    let paths: Vec<&str> = record["ledger"].as_array().unwrap().iter().map(|row| row["path"].as_str().unwrap()).collect();
    assert_eq!(paths, ["fm", "ot", "displacement"]);
    assert!(record["notes"][0].as_str().unwrap().contains("tilted-a"));
}

#[test]
fn sample_prints_the_keys_of_the_interface_for_every_method() {
    let folder = TempDir::new().unwrap();
    for method in ["ddpm", "ddim", "pf-euler", "pf-heun", "annealed-langevin", "fm-euler", "fm-heun"] {
        for field in ["8gaussians", "digits", "moons"] {
            let record = json(folder.path(), &format!("sample {field} --method {method} --steps 5 --n 20"));
            assert_eq!(keys(&record), named(SAMPLE), "{method} {field}");
            assert_eq!(record["n"], 20);
        }
    }
}

/// The samples that `args` write.
fn samples(folder: &Path, args: &str) -> Vec<u8> {
    brenier(folder, &format!("sample {args} --out s"), 0);
    numbers(&folder.join("s/samples.npy"))
}

#[test]
fn two_ranges_of_particles_are_the_whole_run_bit_for_bit() {
    let folder = TempDir::new().unwrap();
    let run = "8gaussians --method ddpm --steps 10 --n 100000";
    let whole = samples(folder.path(), run);
    let halves = ["0..33333", "33333..100000"].map(|range| samples(folder.path(), &format!("{run} --particles {range}")));
    assert_eq!(whole, halves.concat());
}

#[test]
fn a_range_of_particles_takes_its_rows_of_given_starts_and_noise() {
    let folder = TempDir::new().unwrap();
    brenier(folder.path(), "generate normal:2 --n 50 --out x.npy", 0);
    brenier(folder.path(), "generate normal:2 --n 250 --seed 1 --out z.npy", 0);
    // Five draws (of six steps the last draws none), as an array of three axes.
    let z: Vec<u8> = numbers(&folder.path().join("z.npy"));
    let header = "{'descr': '<f4', 'fortran_order': False, 'shape': (5, 50, 2), }\n";
    let start = [b"\x93NUMPY\x01\x00".as_slice(), &(header.len() as u16).to_le_bytes(), header.as_bytes()].concat();
    fs::write(folder.path().join("noise.npy"), [start, z].concat()).unwrap();
    for field in ["8gaussians", "moons"] {
        let run = format!("{field} --method ddpm --steps 6 --start x.npy --noise noise.npy");
        let whole = samples(folder.path(), &run);
        let halves = ["0..17", "17..50"].map(|range| samples(folder.path(), &format!("{run} --particles {range}")));
        assert_eq!(whole, halves.concat(), "{field}");
    }
}

#[test]
fn results_are_the_same_bits_whatever_the_number_of_threads() {
    let folder = TempDir::new().unwrap();
    let run = |threads: u32| {
        let transport = json(folder.path(), &format!("transport moons 8gaussians --n 2000 --debias --out t --threads {threads}"));
        let files = ["f", "g", "map"].map(|name| numbers(&folder.path().join(format!("t/{name}.npy"))));
        let of_law = samples(folder.path(), &format!("8gaussians --method ddpm --n 5000 --steps 10 --threads {threads}"));
        let of_data = samples(folder.path(), &format!("digits --method ddpm --n 300 --steps 5 --threads {threads}"));
        (repeatable(transport), files, of_law, of_data)
    };
    let one = run(1);
    assert!(one == run(2) && one == run(8));
}

#[test]
fn the_seed_and_nothing_else_chooses_the_draws() {
    let folder = TempDir::new().unwrap();
    let [first, again, other] =
        ["5", "5", "6"].map(|seed| samples(folder.path(), &format!("moons --n 50 --steps 4 --seed {seed}")));
    assert_eq!(first, again);
    assert_ne!(first, other);
    let [first, again, other] =
        ["5", "5", "6"].map(|seed| repeatable(json(folder.path(), &format!("transport moons 8gaussians --n 50 --seed {seed}"))));
    assert_eq!(first, again);
    assert_ne!(first, other);
}

#[test]
fn generate_writes_draws_that_other_commands_read() {
    let folder = TempDir::new().unwrap();
    for file in ["m.npy", "m.npz", "m.csv", "m.safetensors"] {
        let record = json(folder.path(), &format!("generate moons --n 64 --out {file}"));
        assert_eq!((record["n"].as_u64(), record["d"].as_u64()), (Some(64), Some(2)));
        // The same 64 points, so nothing is left of the divergence but rounding.
        let record = json(folder.path(), &format!("transport {file} m.npy --debias"));
        assert!(record["divergence"].as_f64().unwrap().abs() < 1e-3, "{file}: {record}");
    }
    assert_eq!(json(folder.path(), "generate digits --out d.npy")["n"], 1797);
}

#[test]
fn a_file_of_flags_runs_as_the_command_line_would() {
    let folder = TempDir::new().unwrap();
    let file = "command = \"transport\"\nsource = \"moons\"\ntarget = \"8gaussians\"\nn = 100\nblur = 0.5\ndebias = true\nmax-iter = 50\n";
    fs::write(folder.path().join("run.toml"), file).unwrap();
    let of_file = json(folder.path(), "run run.toml --seed 3");
    let direct = json(folder.path(), "transport moons 8gaussians --n 100 --blur 0.5 --debias --max-iter 50 --seed 3");
    assert_eq!(of_file["inputs"], direct["inputs"]);
    assert_eq!(repeatable(of_file), repeatable(direct));

    let file = "command = \"compare\"\ntarget = \"8gaussians\"\nn = 50\nsteps = [1, 3]\nquiet = true\nout = \"c\"\njson = true\n";
    fs::write(folder.path().join("list.toml"), file).unwrap();
    let record: Value = serde_json::from_slice(&brenier(folder.path(), "run list.toml", 0).stdout).unwrap();
    assert_eq!(record["inputs"]["steps"], serde_json::json!([1, 3]));
}

#[test]
fn devices_lists_the_processor_and_the_gpus_or_says_why_there_are_none() {
    let folder = TempDir::new().unwrap();
    let record = json(folder.path(), "devices");
    assert_eq!(keys(&record), named("devices kernels cuda command version inputs"));
    assert_eq!(record["devices"][0]["device"], "cpu");
    assert!(named("device name memory").is_subset(&keys(&record["devices"][0])));
    // Those of the build: without NVRTC none, with it machine code and PTX.
    let kernels = record["kernels"].as_array().unwrap();
    assert!(kernels.is_empty() || kernels.contains(&"compute_80".into()), "{kernels:?}");
    let gpus = record["devices"].as_array().unwrap().len() - 1;
    assert_eq!(record["cuda"].is_string(), gpus == 0, "either a GPU or the reason why there is none");
}

#[test]
fn the_selftest_passes_on_the_processor_in_both_precisions() {
    let folder = TempDir::new().unwrap();
    for precision in ["f32", "f64"] {
        let record = json(folder.path(), &format!("selftest --device cpu --precision {precision}"));
        assert_eq!(record["passed"], true, "{record}");
        let checks = record["checks"].as_array().unwrap();
        assert!(checks.len() >= 100 && checks.iter().all(|check| check["passed"] == true));
    }
}

/// One operation by its name, with the checks of that operation alone; a name that is none's is bad usage, which says the names.
#[test]
fn the_selftest_checks_one_operation_alone() {
    let folder = TempDir::new().unwrap();
    let output = brenier(folder.path(), "selftest --device cpu --only sweep --json", 0);
    let record: Value = serde_json::from_slice(&output.stdout).unwrap();
    let checks = record["checks"].as_array().unwrap();
    assert!(checks.len() == 5 && checks.iter().all(|check| check["operation"] == "sweep" && check["error"].is_number()));
    let said = String::from_utf8(brenier(folder.path(), "selftest --device cpu --only sweeps", 2).stderr).unwrap();
    assert!(said.contains("\"sweep\"") && said.contains("\"soft-blend\""), "{said}");
}

/// What runs on the processor in f64 whatever is asked says so; a GPU asked for by name is refused before anybody looks for one.
/// What runs where it is asked says that.
#[test]
fn device_and_precision_are_those_of_the_arithmetic() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("line.csv"), "0\n1\n2\n").unwrap();
    let elsewhere = [
        "sample 8gaussians --n 5 --method dopri5",
        "sample 8gaussians --n 5 --method dpm-adaptive",
        "transport moons 8gaussians --n 20 --exact",
        "transport moons 8gaussians --n 20 --rank 2",
        "transport line.csv line.csv",
        "transport normal:2 normal:2 --closed-form",
    ];
    for command in elsewhere {
        for asked in ["", "--device cpu --precision f32", "--precision f64"] {
            let record = json(folder.path(), &format!("{command} {asked}"));
            assert_eq!(
                (&record["device"], &record["precision"]),
                (&Value::from("cpu"), &Value::from("f64")),
                "{command} {asked}"
            );
        }
        for device in ["cuda", "cuda:7"] {
            let said = String::from_utf8(brenier(folder.path(), &format!("{command} --device {device}"), 2).stderr).unwrap();
            assert!(said.contains("on the processor alone") && said.contains("use --device cpu"), "{command}: {said}");
        }
        let said = String::from_utf8(brenier(folder.path(), &format!("{command} --device tpu"), 2).stderr).unwrap();
        assert!(said.contains("there is no device \"tpu\""), "{command}: {said}");
    }
    let here = [
        "sample 8gaussians --n 5 --steps 2",
        "sample 8gaussians --n 5 --method pc-ve --steps 20",
        "transport line.csv line.csv --eps 1",
    ];
    for command in here {
        let record = json(folder.path(), &format!("{command} --device cpu --precision f32"));
        assert_eq!((&record["device"], &record["precision"]), (&Value::from("cpu"), &Value::from("f32")), "{command}");
    }
}

#[test]
fn every_help_has_examples() {
    let folder = TempDir::new().unwrap();
    for command in [
        "",
        "transport",
        "evaluate",
        "sample",
        "schedule",
        "generate",
        "run",
        "devices",
        "selftest",
        "bench",
        "compare",
        "completions",
    ] {
        let output = brenier(folder.path(), &format!("{command} --help"), 0);
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.contains(&format!("Examples:\n  brenier {command}")), "{text}");
    }
}

#[test]
fn completions_name_the_commands_and_the_methods() {
    let folder = TempDir::new().unwrap();
    let script = String::from_utf8(brenier(folder.path(), "completions bash", 0).stdout).unwrap();
    assert!(script.contains("transport") && script.contains("annealed-langevin"));
}

#[test]
fn without_json_words_and_results_keep_apart() {
    let folder = TempDir::new().unwrap();
    let output = brenier(folder.path(), "sample moons --n 20 --steps 2", 0);
    assert!(String::from_utf8(output.stdout).unwrap().starts_with("sample moons by ddim\n"));
    assert!(String::from_utf8(output.stderr).unwrap().contains("no field in closed form"));
    let output = brenier(folder.path(), "sample moons --n 20 --steps 2 --quiet", 0);
    assert!(output.stderr.is_empty());
}

/// A list is what the command line takes several of: clouds, a flag again and again, or one value with commas.
#[test]
fn a_list_in_a_file_is_what_the_command_line_has() {
    let folder = TempDir::new().unwrap();
    let run = |text: &str| {
        fs::write(folder.path().join("run.toml"), format!("\u{feff}{text}")).unwrap();
        let mut record = json(folder.path(), "run run.toml");
        record.as_object_mut().unwrap().retain(|key, _| !key.contains("seconds"));
        record
    };
    let same = |text: &str, line: &str| {
        let mut expected = json(folder.path(), line);
        expected.as_object_mut().unwrap().retain(|key, _| !key.contains("seconds"));
        assert_eq!(run(text), expected, "{text}");
    };
    same(
        "command = \"barycenter\"\nclouds = [\"moons\", \"circles\", \"moons\"]\nweights = [2, 1, 1.5]\nn = 20\n",
        "barycenter moons circles moons --weights 2,1,1.5 --n 20",
    );
    same(
        "command = \"sample\"\nfield = \"8gaussians\"\nmethod = \"pc-ve\"\nsteps = 5\nn = 10\nout = \"s\"\nprobability-flow = true\n\
         compat = [\"batch_mean_norms\", \"unused_draws\"]\n",
        "sample 8gaussians --method pc-ve --steps 5 --n 10 --out s --probability-flow --compat batch_mean_norms --compat unused_draws",
    );
}
