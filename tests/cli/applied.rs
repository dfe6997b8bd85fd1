//! Plans applied on the command line, and the flags that `transport`, `couple` and `geodesic` share.

use std::path::Path;

use assert_cmd::Command;
use brenier::io::{Float, read_array, write_npy};
use serde_json::Value;
use tempfile::TempDir;

fn brenier(folder: &Path, args: &str) -> Command {
    let mut command = Command::cargo_bin("brenier").unwrap();
    command.current_dir(folder).args(args.split_whitespace()).args(["--json", "--quiet"]);
    command
}

fn record(folder: &Path, args: &str) -> Value {
    serde_json::from_slice(&brenier(folder, args).assert().success().get_output().stdout).unwrap()
}

#[track_caller]
fn refused(folder: &Path, args: &str, words: &str) {
    let output = brenier(folder, args).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(matches!(output.status.code(), Some(1 | 2)) && said.contains(words), "{args}: {said}");
}

fn values(folder: &TempDir, name: &str) -> (Vec<f64>, Vec<usize>) {
    let array = read_array(&folder.path().join(name), "values").unwrap();
    (array.values, array.shape)
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
}

/// Three snapshots of two clusters, 10 apart, in another order each time: 30, 40 and 20 points, with labels and values.
fn snapshots() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (k, n) in [30usize, 40, 20].into_iter().enumerate() {
        let label = |i: usize| ((i * 7 + k) / 3 % 2) as f64;
        let at = |i: usize| [10.0 * label(i) + 0.3 * (i as f64).sin(), 0.5 * k as f64 + 0.3 * (1.7 * i as f64).cos()];
        let write = |name: String, values: Vec<f64>, shape: &[usize]| {
            write_npy(&folder.path().join(name), &values, shape, Float::F64).unwrap();
        };
        write(format!("x{k}.npy"), (0..n).flat_map(at).collect(), &[n, 2]);
        write(format!("l{k}.npy"), (0..n).map(label).collect(), &[n]);
        write(format!("w{k}.npy"), (0..n).map(|i| 1.0 + label(i)).collect(), &[n]);
        write(format!("v{k}.npy"), (0..n).flat_map(|i| [1.0, 5.0 * label(i)]).collect(), &[n, 2]);
    }
    write_npy(&folder.path().join("W.npy"), &[0.0, 200.0, 200.0, 0.0], &[2, 2], Float::F64).unwrap();
    folder
}

/// Clusters that far apart keep their mass: what is known of one end is known of the other, by every solver in either precision.
#[test]
fn values_and_labels_of_clusters_are_carried_whole_by_every_solver() {
    let folder = snapshots();
    let ends = "transport x0.npy x1.npy --source-weights w0.npy --target-weights w1.npy --push v0.npy --pull v1.npy \
                --transition --source-labels l0.npy --target-labels l1.npy --top-k 2 --out o";
    let labels = values(&folder, "l1.npy").0;
    let flags =
        ["", " --precision f64", " --tau-source 0.9", " --class-costs W.npy", " --cost euclidean", " --rank 4", " --exact"];
    for flag in flags {
        let found = record(folder.path(), &format!("{ends}{flag}"));
        let (pushed, shape) = values(&folder, "o/pushed.npy");
        assert_eq!(shape, [40, 2], "{flag}");
        // Masses of the clusters differ by a part in twenty between the ends, which held marginals move across.
        let near = pushed.chunks_exact(2).zip(&labels);
        let off = near.map(|(row, label)| (row[1] - 5.0 * label).abs()).sum::<f64>() / 40.0;
        assert!(pushed.iter().step_by(2).all(|one| (one - 1.0).abs() < 1e-5) && off < 0.5, "{flag}: {off}");
        assert_eq!(values(&folder, "o/pulled.npy").1, [30, 2], "{flag}");
        let table = &found["transition"];
        assert_eq!(table["source_labels"], serde_json::json!([0, 1]));
        let rows: Vec<f64> = table["mass"].as_array().unwrap().iter().map(|row| numbers(row).iter().sum()).collect();
        let weights = numbers(&table["source_weights"]);
        if !flag.contains("tau") {
            assert!(rows.iter().zip(&weights).all(|(row, weight)| (row - weight).abs() < 2e-3), "{flag}: {rows:?} {weights:?}");
        }
        let text = std::fs::read_to_string(folder.path().join("o/fates.csv")).unwrap();
        assert!(text.starts_with("source,0,1\n0,") && text.lines().count() == 3, "{text}");
        assert!(folder.path().join("o/transition.csv").exists() && folder.path().join("o/partners.npz").exists());
    }
    let found = record(folder.path(), "transport x0.npy x1.npy --source-labels l0.npy --reach 3 --out o");
    let given = read_array(&folder.path().join("o/transferred.npz"), "label").unwrap().values;
    assert_eq!(given, labels);
    assert!(found["transferred"]["mean_probability"].as_f64().unwrap() > 0.99);
    assert!(!folder.path().join("o/pushed.npy").exists(), "what another run wrote is taken away");
    record(folder.path(), "transport x0.npy x1.npy --labels l1.npy --out o");
    assert_eq!(read_array(&folder.path().join("o/transferred.npz"), "label").unwrap().shape, [30]);
}

#[test]
fn snapshots_are_coupled_one_after_another() {
    let folder = snapshots();
    let chain = "transport x0.npy x1.npy x2.npy --tau 0.95 --eps 0.5 --precision f64 --push v0.npy --pull v2.npy --transition \
                 --source-labels l0.npy --target-labels l1.npy --target-labels l2.npy --out o";
    let found = record(folder.path(), chain);
    assert_eq!(found["steps"].as_array().unwrap().len(), 2);
    let fates = found["transition"]["fates"].as_array().unwrap();
    assert!(
        fates.iter().enumerate().all(|(k, row)| numbers(row)[k] > 0.9 && (numbers(row).iter().sum::<f64>() - 1.0).abs() < 1e-12)
    );
    assert_eq!((values(&folder, "o/pushed.npy").1, values(&folder, "o/pulled.npy").1), (vec![20, 2], vec![30, 2]));
    // A step is the plan of its two ends alone.
    let step = record(folder.path(), "transport x1.npy x2.npy --tau 0.95 --eps 0.5 --precision f64");
    assert_eq!(found["steps"][1]["transport_cost"], step["transport_cost"]);
    assert!(folder.path().join("o/step-1/f.npy").exists());
    refused(
        folder.path(),
        "transport x0.npy x1.npy x2.npy --class-costs W.npy --source-labels l0.npy --target-labels l1.npy",
        "two ends",
    );
    refused(folder.path(), &chain.replace(" --target-labels l2.npy", ""), "l1.npy: 40 labels for 20 points");
    refused(folder.path(), "transport x0.npy x1.npy l2.npy", "the same space");
}

/// In units of |x−y|², as OTT has them, τ is the same number; ρ of the record says what it stands for.
#[test]
fn tau_is_that_of_rho_and_eps_in_every_command() {
    let folder = snapshots();
    let tau = record(folder.path(), "transport x0.npy x1.npy --eps 0.5 --tau-source 0.8 --convention ott");
    assert!(
        (tau["rho_source"].as_f64().unwrap() - 1.0).abs() < 1e-12 && tau["eps"] == 0.25 && tau["rho_target"].is_null(),
        "{tau}"
    );
    let held = record(folder.path(), "transport x0.npy x1.npy --eps 0.5 --tau 1");
    assert!(held["rho_source"].is_null());
    for command in ["couple", "geodesic"] {
        let free = |flag: &str| record(folder.path(), &format!("{command} x0.npy x1.npy --eps 0.25 {flag} --out {command}"));
        let (by_tau, by_reach) = (free("--tau 0.8"), free("--reach 1"));
        assert_eq!(by_tau["mass"], by_reach["mass"], "{command}");
        assert!(by_tau["mass"].as_f64().unwrap() < 1.0);
    }
    let weights = values(&folder, "geodesic/weights.npy");
    assert_eq!(weights.1, [30]);
    assert!((weights.0.iter().sum::<f64>() - 1.0).abs() < 1e-12);
    assert!(record(folder.path(), "geodesic x0.npy x1.npy --tau 1 --out geodesic")["mass"].is_null());
    assert!(!folder.path().join("geodesic/weights.npy").exists());
    refused(folder.path(), "couple x0.npy x1.npy --tau 0.9", "give --eps or --blur");
    refused(folder.path(), "transport x0.npy x1.npy --tau 0.9 --reach 1", "cannot be used with");
    for tau in ["0", "1.5", "nan", "-1"] {
        refused(folder.path(), &format!("transport x0.npy x1.npy --tau {tau}"), "above 0 and at most 1");
    }
}

#[test]
fn couple_and_geodesic_take_the_flags_of_a_plan() {
    let folder = snapshots();
    record(folder.path(), "transport x0.npy x1.npy --eps 0.5 --out start");
    for flags in [
        "--cost euclidean --eps 0.5",
        "--start-from start --eps 0.5",
        "--start-subsample 10 --eps 0.5",
        "--plain --eps 0.5",
        "--storage f16 --eps 0.5",
    ] {
        let found = record(folder.path(), &format!("couple x0.npy x1.npy --out c {flags}"));
        assert!(found["converged"] == true && found["pairs"] == 30, "{flags}: {found}");
    }
    let costs = "couple x0.npy x1.npy --pairs 600 --eps 0.5 --source-labels l0.npy --labels l1.npy --class-costs W.npy --out c";
    record(folder.path(), costs);
    let shard = |name: &str| read_array(&folder.path().join("c/pairs-00000.npz"), name).unwrap().values;
    let labels = values(&folder, "l1.npy").0;
    let of_target: Vec<f64> = shard("target_index").iter().map(|j| labels[*j as usize]).collect();
    assert_eq!(shard("label"), of_target);

    for flags in [
        "--start-from start --eps 0.5",
        "--start-subsample 10",
        "--plain --tol 1e-4",
        "--storage f16",
        "--convention ott --eps 1",
    ] {
        assert_eq!(record(folder.path(), &format!("geodesic x0.npy x1.npy --out g {flags}"))["converged"], true, "{flags}");
    }
    refused(folder.path(), "geodesic x0.npy x1.npy --cost euclidean --out g", "leave --cost out");
    refused(folder.path(), "couple x0.npy x1.npy --conditions v1.npy --cost euclidean --out c", "--conditions are matched");
    refused(
        folder.path(),
        "couple x0.npy x1.npy --source-labels l1.npy --labels l1.npy --class-costs W.npy --out c",
        "30 source labels",
    );
}

#[test]
fn what_cannot_be_carried_is_refused_in_words() {
    let folder = snapshots();
    std::fs::write(folder.path().join("nan.csv"), "1\nnan\n").unwrap();
    std::fs::write(folder.path().join("half.csv"), "0.5\n".repeat(30)).unwrap();
    for (flags, words) in [
        ("--push v1.npy --out o", "v1.npy: 40 values for the 30 points of the source"),
        ("--pull v0.npy --out o", "v0.npy: 30 values for the 40 points of the target"),
        ("--push nan.csv --out o", "nan.csv"),
        ("--push v0.npy", "--out DIR"),
        ("--source-labels l0.npy", "--out DIR"),
        ("--source-labels l1.npy --out o", "l1.npy: 40 labels for 30 points"),
        ("--source-labels half.csv --out o", "classes are 0, 1"),
        ("--source-labels l0.npy --target-labels l1.npy", "--transition, or --class-costs"),
        ("--transition", "--source-labels <FILE>"),
        ("--transition --source-labels l0.npy", "--target-labels <FILE>"),
        ("--class-costs W.npy", "--source-labels <FILE>"),
        ("--source-labels l0.npy --target-labels l1.npy --target-labels l1.npy --transition", "give each its own"),
    ] {
        refused(folder.path(), &format!("transport x0.npy x1.npy {flags}"), words);
    }
}
