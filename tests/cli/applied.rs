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

/// The cost of the entries under the cost asked for, and not W₂²; classes that must not mix do not.
#[test]
fn exact_plans_take_costs_and_classes() {
    let folder = snapshots();
    let (x, y) = (values(&folder, "x0.npy").0, values(&folder, "x1.npy").0);
    let (of_x, of_y) = (values(&folder, "l0.npy").0, values(&folder, "l1.npy").0);
    let l1 = |i: usize, j: usize| (x[2 * i] - y[2 * j]).abs() + (x[2 * i + 1] - y[2 * j + 1]).abs();
    for (flags, with) in
        [("--cost lp:1", 0.0), ("--cost lp:1 --class-costs W.npy --source-labels l0.npy --target-labels l1.npy", 200.0)]
    {
        let found = record(folder.path(), &format!("transport x0.npy x1.npy --exact --out o {flags}"));
        let part = |name: &str| read_array(&folder.path().join("o/plan.npz"), name).unwrap().values;
        let (rows, columns, masses) = (part("row"), part("column"), part("mass"));
        let entries = || rows.iter().zip(&columns).map(|(i, j)| (*i as usize, *j as usize)).zip(&masses);
        let apart = |i: usize, j: usize| if of_x[i] == of_y[j] { 0.0 } else { with };
        let cost: f64 = entries().map(|((i, j), mass)| mass * (l1(i, j) + apart(i, j))).sum();
        assert!((found["transport_cost"].as_f64().unwrap() / cost - 1.0).abs() < 1e-12, "{found}");
        assert!(found["w2_squared"].is_null() && found["w2_squared_kind"] == "exact" && found["converged"] == true);
        assert!(found["dual"].as_f64().unwrap() <= found["transport_cost"].as_f64().unwrap());
    }
    refused(
        folder.path(),
        "transport x0.npy x1.npy --exact --class-costs W.npy --source-labels l0.npy --target-labels l2.npy",
        "l2.npy: 20 labels for 40 points",
    );
    refused(
        folder.path(),
        "transport x0.npy x1.npy --rank 3 --class-costs W.npy --source-labels l0.npy --target-labels l1.npy",
        "--rank",
    );
    refused(folder.path(), "transport x0.npy x1.npy --rank 3 --cost euclidean", "--cost");
}

/// Along the exact plan of as many points as there are the path ends in the target itself, at W₂; of low rank it is shorter.
#[test]
fn a_geodesic_follows_the_plan_that_is_asked_for() {
    let folder = snapshots();
    let ends = "geodesic moons 8gaussians --n 200 --precision f64 --steps 2 --out g";
    let w2 = record(folder.path(), "transport moons 8gaussians --n 200 --exact")["w2_squared"].as_f64().unwrap();
    for pairs in ["", " --pairs"] {
        let exact = record(folder.path(), &format!("{ends} --exact --top-k 1{pairs}"));
        assert!((exact["w2_squared"].as_f64().unwrap() / w2 - 1.0).abs() < 1e-12 && exact["w2_squared_kind"] == "exact");
        // The divergence's own problems stop at marginals within 1e-3.
        assert!(exact["endpoint_divergence"].as_f64().unwrap().abs() < 1e-3 && exact["eps"].is_null(), "{exact}");
        let probability = read_array(&folder.path().join("g/partners.npz"), "probability").unwrap();
        assert!(probability.shape == [200, 1] && probability.values.iter().all(|p| (p - 1.0).abs() < 1e-12));
    }
    let low = record(folder.path(), &format!("{ends} --rank 20"));
    assert!(low["w2_squared"].as_f64().unwrap() < w2 && low["w2_squared_kind"] == "map" && low["rank"] == 20, "{low}");
    assert!(!folder.path().join("g/partners.npz").exists(), "what another run wrote is taken away");
    let drawn = record(folder.path(), &format!("{ends} --rank 20 --pairs"));
    assert!(drawn["w2_squared"].as_f64().unwrap() > w2 && drawn["variance_ratio"].as_f64().unwrap() > 0.9, "{drawn}");
    // Classes in the target that cost 200 to change: ends lie in their own cluster, 10 apart, by every plan.
    let ends = "geodesic x0.npy x1.npy --source-labels l0.npy --target-labels l0.npy --steps 1";
    refused(folder.path(), ends, "--class-costs");
    refused(folder.path(), &format!("{ends} --class-costs W.npy --points x0.npy"), "--points");
    for flags in ["--exact --points x0.npy", "--rank 3 --bridge", "--exact --rank 3", "--exact --eps 1"] {
        refused(folder.path(), &format!("geodesic x0.npy x1.npy {flags}"), "--");
    }
    let swapped: Vec<f64> = values(&folder, "l1.npy").0.iter().map(|label| 1.0 - label).collect();
    write_npy(&folder.path().join("swapped.npy"), &swapped, &[40], Float::F64).unwrap();
    for flags in ["--exact", "--eps 0.5"] {
        let swap =
            "geodesic x0.npy x1.npy --class-costs W.npy --source-labels l0.npy --target-labels swapped.npy --steps 1 --out g";
        let found = record(folder.path(), &format!("{swap} {flags}"));
        assert!(found["w2_squared"].as_f64().unwrap() > 80.0, "most cross to the other cluster: {found}");
    }
}

/// Pairs of the exact plan cost W₂², each source and target in its share; of low rank they cost what that plan does, and the record
/// says how much of the gain it keeps.
#[test]
fn pairs_are_drawn_from_plans_without_eps() {
    let folder = tempfile::tempdir().unwrap();
    for (name, law, seed) in [("x.npy", "moons", 0), ("y.npy", "8gaussians", 1)] {
        let args = format!("generate {law} --n 300 --seed {seed} --out {name}");
        brenier(folder.path(), &args).assert().success();
    }
    let number = |record: &Value, key: &str| record[key].as_f64().unwrap();
    let w2 = number(&record(folder.path(), "transport x.npy y.npy --exact"), "w2_squared");
    let exact = record(folder.path(), "couple x.npy y.npy --exact --pairs 3000 --out p");
    // Each pair of the assignment is drawn ten times, up to one where the offset falls.
    assert!((number(&exact, "pair_cost") / w2 - 1.0).abs() < 1e-6 && exact["targets_used"] == 300, "{exact}");
    assert!(exact["most_uses"].as_u64() <= Some(11) && exact["gain_kept"].is_null());
    let low = record(folder.path(), "couple x.npy y.npy --rank 10 --pairs 30000 --out p");
    let kept = number(&low, "gain_kept");
    assert!(kept > 0.8 && kept < 1.0 && low["rank"] == 10, "{low}");
    let plan = number(&record(folder.path(), "transport x.npy y.npy --rank 10"), "w2_squared");
    let independent = number(&low, "independent_cost");
    assert!(((independent - plan) / (independent - w2) - kept).abs() < 1e-6, "{low}");
    // Systematic in the source: what is left is the spread of the targets of a station over 100 pairs of each source.
    assert!((number(&low, "pair_cost") / plan - 1.0).abs() < 0.01, "{} for {plan}", low["pair_cost"]);
    let fresh = record(folder.path(), "couple normal y.npy --rank 5 --batch 100 --pairs 250 --out p");
    assert!(fresh["batches"] == 3 && fresh["n"] == 100 && fresh["pairs"] == 250, "{fresh}");
    for flags in ["--rank 3 --entropy 0.1", "--exact --semidiscrete", "--exact --without-replacement", "--rank 3 --eps 1"] {
        refused(folder.path(), &format!("couple x.npy y.npy {flags}"), "cannot be used with");
    }
}

/// P_ij = a_i b_j exp((f_i + g_j − c_ij)/ε) of the files written out: what is carried is its conditional means and its table, and what
/// is pushed weighs as much as what was there.
#[test]
fn what_is_written_is_that_of_the_dense_plan_of_the_potentials() {
    let folder = snapshots();
    let (x, y) = (values(&folder, "x0.npy").0, values(&folder, "x1.npy").0);
    let (of_x, of_y) = (values(&folder, "l0.npy").0, values(&folder, "l1.npy").0);
    let (u, v) = (values(&folder, "v0.npy").0, values(&folder, "v1.npy").0);
    let weights = |name: &str| {
        let weights = values(&folder, name).0;
        let total: f64 = weights.iter().sum();
        weights.into_iter().map(|w| w / total).collect::<Vec<f64>>()
    };
    let (a, b) = (weights("w0.npy"), weights("w1.npy"));
    for flags in ["--tol 1e-10", "--tau-source 0.9 --tau-target 0.8 --tol 1e-12"] {
        let found = record(
            folder.path(),
            &format!(
                "transport x0.npy x1.npy --source-weights w0.npy --target-weights w1.npy --push v0.npy --pull v1.npy --eps 5 \
                 --transition --source-labels l0.npy --target-labels l1.npy --precision f64 --out o {flags}"
            ),
        );
        let (f, g) = (values(&folder, "o/f.npy").0, values(&folder, "o/g.npy").0);
        let half = |i: usize, j: usize| 0.5 * ((x[2 * i] - y[2 * j]).powi(2) + (x[2 * i + 1] - y[2 * j + 1]).powi(2));
        let plan = |i: usize, j: usize| a[i] * b[j] * ((f[i] + g[j] - half(i, j)) / 5.0).exp();
        let column = |j: usize, of: &dyn Fn(usize) -> f64| (0..30).map(|i| plan(i, j) * of(i)).sum::<f64>();
        let row = |i: usize, of: &dyn Fn(usize) -> f64| (0..40).map(|j| plan(i, j) * of(j)).sum::<f64>();
        let near = |found: f64, expected: f64| assert!((found - expected).abs() < 1e-9, "{flags}: {found} for {expected}");
        let (pushed, pulled) = (values(&folder, "o/pushed.npy").0, values(&folder, "o/pulled.npy").0);
        for k in 0..2 {
            (0..40).for_each(|j| near(pushed[2 * j + k], column(j, &|i| u[2 * i + k]) / column(j, &|_| 1.0)));
            (0..30).for_each(|i| near(pulled[2 * i + k], row(i, &|j| v[2 * j + k]) / row(i, &|_| 1.0)));
            let there: f64 = (0..40).map(|j| column(j, &|_| 1.0) * pushed[2 * j + k]).sum();
            near(there, (0..30).map(|i| row(i, &|_| 1.0) * u[2 * i + k]).sum());
        }
        for (k, masses) in found["transition"]["mass"].as_array().unwrap().iter().enumerate() {
            for (l, mass) in numbers(masses).into_iter().enumerate() {
                let is = |label: f64, k: usize| f64::from(u8::from(label == k as f64));
                near(mass, (0..30).map(|i| is(of_x[i], k) * row(i, &|j| is(of_y[j], l))).sum());
            }
        }
    }
}

/// Between N(0, σ²) and N(0, τ²) the plan is Gaussian with E[xy] = C = √(σ²τ² + ε²/4) − ε/2, so that y is pushed to from C/τ² y, x pulls
/// C/σ² x, and of a pair both are positive with probability ¼ + arcsin(C/στ)/2π (Sheppard). On a grid that carries the densities as
/// weights the sums converge faster than any power of its step h, those over half-lines as h².
#[test]
fn linear_values_and_signs_are_carried_between_normals_in_closed_form() {
    let folder = tempfile::tempdir().unwrap();
    let grid: Vec<f64> = (-180..180).map(|k| 0.05 * (f64::from(k) + 0.5)).collect();
    let write = |name: &str, values: Vec<f64>| write_npy(&folder.path().join(name), &values, &[360, 1], Float::F64).unwrap();
    let (sigma, tau, eps) = (1.0f64, 1.5f64, 0.7f64);
    write("grid.npy", grid.clone());
    for (name, scale) in [("a.npy", sigma), ("b.npy", tau)] {
        write(name, grid.iter().map(|x| (-0.5 * (x / scale).powi(2)).exp()).collect());
    }
    write("sign.npy", grid.iter().map(|x| f64::from(u8::from(*x > 0.0))).collect());
    let covariance = (sigma * sigma * tau * tau + 0.25 * eps * eps).sqrt() - 0.5 * eps;
    // Single precision carries exponents of up to 40 radii squared.
    for (precision, rounding) in [("f64", 1e-7), ("f32", 2e-3)] {
        let found = record(
            folder.path(),
            &format!(
                "transport grid.npy grid.npy --source-weights a.npy --target-weights b.npy --eps 0.7 --tol 1e-9 --push grid.npy \
                 --pull grid.npy --transition --source-labels sign.npy --target-labels sign.npy --out o --precision {precision}"
            ),
        );
        for (name, slope) in [("pushed", covariance / (tau * tau)), ("pulled", covariance / (sigma * sigma))] {
            let carried = values(&folder, &format!("o/{name}.npy")).0;
            for (at, value) in grid.iter().zip(carried).filter(|(at, _)| at.abs() < 2.5) {
                assert!((value - slope * at).abs() < rounding, "{name} in {precision}: {value} for {}", slope * at);
            }
        }
        let both = 0.25 + (covariance / (sigma * tau)).asin() / std::f64::consts::TAU;
        let mass = &found["transition"]["mass"];
        let (other, same) = (numbers(&mass[0])[1], numbers(&mass[1])[1]);
        assert!((same - both).abs() < 3e-4 && (other - (0.5 - both)).abs() < 3e-4, "{mass} for {both}");
    }
}
