//! `couple` on the command line: what is in the files, who is in which pair, and what the record says of them.

use std::path::Path;

use assert_cmd::Command;
use brenier::io::{Array, Float, read_array, write_npy};
use serde_json::Value;

fn couple(out: &Path, args: &[&str]) -> Value {
    let mut command = Command::cargo_bin("brenier").unwrap();
    let output = command.arg("couple").args(args).args(["--json", "--out"]).arg(out).assert().success().get_output().clone();
    serde_json::from_slice(&output.stdout).unwrap()
}

fn number(record: &Value, key: &str) -> f64 {
    record[key].as_f64().unwrap_or_else(|| panic!("{key} in {record}"))
}

fn shard(out: &Path, k: usize, ending: &str, name: &str) -> Array {
    read_array(&out.join(format!("pairs-{k:05}.{ending}")), name).unwrap()
}

/// Points of the line at their own number, so that an array says which points it holds.
fn numbered(path: &Path, n: usize) -> String {
    write_npy(path, &(0..n).map(|i| i as f64).collect::<Vec<_>>(), &[n, 1], Float::F64).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn shards_hold_the_points_of_their_indices_and_every_source_as_often_as_every_other() {
    let (data, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (x, y) = (numbered(&data.path().join("x.npy"), 50), numbered(&data.path().join("y.npy"), 80));
    for (ending, shards) in [("npz", 4), ("safetensors", 2)] {
        let rows = (150usize).div_ceil(shards).to_string();
        let args = [&x, &y, "--pairs", "150", "--shard", &rows, "--format", ending, "--without-replacement"];
        let record = couple(out.path(), &args);
        assert_eq!((record["pairs"].as_u64(), record["shards"].as_u64()), (Some(150), Some(shards as u64)));
        // 150 pairs of 80 targets: no target is in more than ⌈150/80⌉ of them.
        assert_eq!(record["most_uses"], 2);
        let mut uses = [0; 50];
        for k in 0..shards {
            for (index, points) in [("source_index", "x0"), ("target_index", "x1")] {
                let (index, points) = (shard(out.path(), k, ending, index), shard(out.path(), k, ending, points));
                assert_eq!(index.values, points.values);
                assert_eq!(points.shape, [index.shape[0], 1]);
            }
            shard(out.path(), k, ending, "source_index").values.iter().for_each(|&i| uses[i as usize] += 1);
        }
        assert_eq!(uses, [3; 50]);
        let files = std::fs::read_dir(out.path()).unwrap().count();
        assert_eq!(files, shards + 1, "the shards of an earlier run are gone");
    }
}

/// On 8gaussians W₂² is 7.8 and independent pairs cost 18 (README): a smaller ε makes straighter pairs, and batches cost more.
#[test]
fn the_record_tells_what_the_pairs_buy() {
    let out = tempfile::tempdir().unwrap();
    let at = |more: &[&str]| couple(out.path(), &[&["normal", "8gaussians", "--n", "1024", "--pairs", "2048"], more].concat());
    let (fine, coarse, batches) = (at(&["--eps", "0.05"]), at(&["--eps", "2"]), at(&["--eps", "0.05", "--batch", "32"]));
    for key in ["renormalised_entropy", "cost_ratio", "conditional_variance", "cfm_loss_floor"] {
        assert!(number(&fine, key) < number(&coarse, key), "{key}");
    }
    assert!(number(&fine, "pair_cost") < number(&batches, "pair_cost"));
    assert_eq!((batches["batches"].as_u64(), batches["batch"].as_u64()), (Some(64), Some(32)));
    assert!(number(&fine, "cfm_loss_floor") < 0.2 * number(&fine, "cfm_loss_floor_independent"));
    // Independent pairs lose coupling cost less action, 18.4 − 10.5 (the ledger of `compare 8gaussians`); neighbours among 1,024 see
    // a little more.
    let floor = number(&fine, "cfm_loss_floor_independent");
    assert!((7.0..10.0).contains(&floor), "{floor}");
}

/// The default ε takes off the floor of the flow-matching loss nine tenths of what a plan five times sharper does.
#[test]
fn the_default_eps_buys_nearly_all_that_a_plan_can() {
    let out = tempfile::tempdir().unwrap();
    for target in ["8gaussians", "digits"] {
        let at = |more: &[&str]| couple(out.path(), &[&["normal", target, "--n", "500", "--batch", "500"], more].concat());
        let default = at(&[]);
        let sharp = at(&["--eps", &(number(&default, "eps") / 5.0).to_string()]);
        let bought = |record: &Value| number(record, "cfm_loss_floor_independent") - number(record, "cfm_loss_floor");
        assert!(bought(&default) > 0.9 * bought(&sharp), "{target}: {default} {sharp}");
    }
}

#[test]
fn the_same_seed_gives_the_same_pairs_whatever_the_shards() {
    let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let run = |out: &Path, rows: &str| couple(out, &["moons", "8gaussians", "--n", "300", "--pairs", "900", "--shard", rows]);
    run(a.path(), "900");
    run(b.path(), "450");
    let whole = shard(a.path(), 0, "npz", "target_index").values;
    let halves = [0, 1].map(|k| shard(b.path(), k, "npz", "target_index").values).concat();
    assert_eq!(whole, halves);
}

/// Of 1,000 pairs, 300 are of the first class and 700 of the second: in each every one of 100 sources has its exact share.
#[test]
fn within_each_class_every_source_is_used_as_often_as_every_other() {
    let (data, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (x, y) = (numbered(&data.path().join("x.npy"), 100), numbered(&data.path().join("y.npy"), 50));
    let class = |j: usize| f64::from(u8::from(j >= 15));
    let labels = data.path().join("labels.npy");
    write_npy(&labels, &(0..50).map(class).collect::<Vec<_>>(), &[50], Float::F32).unwrap();
    let args = [&x, &y, "--pairs", "1000", "--labels", labels.to_str().unwrap(), "--format", "safetensors"];
    let record = couple(out.path(), &args);
    let [source, target, label] = ["source_index", "target_index", "label"].map(|name| shard(out.path(), 0, "safetensors", name));
    let mut uses = [[0; 100]; 2];
    for ((i, j), label) in source.values.iter().zip(&target.values).zip(&label.values) {
        assert_eq!(*label, class(*j as usize));
        uses[*label as usize][*i as usize] += 1;
    }
    assert_eq!(uses, [[3; 100], [7; 100]]);
    // The classes come in random order: a run of 20 of one has a chance of 1 in 1,000.
    let runs = label.values.windows(25).filter(|run| run.iter().all(|label| *label == run[0])).count();
    assert_eq!(runs, 0);
    for (of_class, pairs) in record["classes"].as_array().unwrap().iter().zip([300, 700]) {
        assert_eq!(of_class["pairs"], pairs);
        assert!(number(of_class, "source_mean_shift") < 1e-9 && number(of_class, "shift_by_chance") > 1.0);
    }
    // Two classes on either side of a line: a plan that ignores them gains nearly all there is, one that does not, less.
    let kept = number(&record, "gain_kept");
    assert!(kept > 0.0 && kept < 0.8, "{kept}");
}

#[test]
fn a_plan_that_ignores_classes_moves_their_sources_and_one_that_knows_them_does_not() {
    let (data, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let points: Vec<f64> = (0..400).flat_map(|j| [if j % 2 == 0 { 1.0 } else { -1.0 }, f64::from(j) * 1e-3]).collect();
    let (y, labels) = (data.path().join("y.npy"), data.path().join("labels.npy"));
    write_npy(&y, &points, &[400, 2], Float::F64).unwrap();
    write_npy(&labels, &(0..400).map(|j| f64::from(j % 2)).collect::<Vec<_>>(), &[400], Float::F32).unwrap();
    let (y, labels) = (y.to_str().unwrap(), labels.to_str().unwrap());
    for batch in ["64", "400"] {
        let args = ["normal:2", y, "--n", "400", "--pairs", "4000", "--batch", batch, "--labels", labels];
        let record = couple(out.path(), &args);
        let (x0, label) = (shard(out.path(), 0, "npz", "x0"), shard(out.path(), 0, "npz", "label"));
        let mean: f64 = x0.values.chunks(2).zip(&label.values).map(|(x, label)| if *label == 0.0 { x[0] } else { 0.0 }).sum();
        // 2,000 draws of N(0, 1): four standard errors. Label-blind pairs have a mean of 0.8 there.
        assert!((mean / 2000.0).abs() < 4.0 / 2000f64.sqrt(), "{mean}");
        assert!(record["classes"].as_array().unwrap().iter().all(|one| number(one, "source_mean_shift") < 0.1));
    }
}

/// The condition is the first coordinate: pairs that match it cannot follow x0 there, and pairs that ignore it do.
#[test]
fn matched_conditions_leave_x0_free_of_them() {
    let (data, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let target: Vec<f64> =
        (0..600).flat_map(|j| [(f64::from(j) * 0.618).fract() * 4.0 - 2.0, (f64::from(j) * 0.414).fract()]).collect();
    let conditions: Vec<f64> = target.chunks(2).map(|y| 10.0 * y[0]).collect();
    let (y, c) = (data.path().join("y.npy"), data.path().join("c.npy"));
    write_npy(&y, &target, &[600, 2], Float::F64).unwrap();
    write_npy(&c, &conditions, &[600, 1], Float::F64).unwrap();
    let (y, c) = (y.to_str().unwrap(), c.to_str().unwrap());
    let correlation = |more: &[&str]| {
        let args = [&["normal:2", y, "--n", "600", "--pairs", "3000", "--batch", "600", "--conditions", c], more].concat();
        let record = couple(out.path(), &args);
        let [x0, condition, target] = ["x0", "condition", "target_index"].map(|name| shard(out.path(), 0, "npz", name));
        assert_eq!(condition.shape, [3000, 1]);
        let same = condition.values.iter().zip(&target.values).all(|(c, j)| (c - conditions[*j as usize]).abs() < 1e-5);
        assert!(same, "each pair has the condition of its target");
        let product: f64 = x0.values.chunks(2).zip(&condition.values).map(|(x, c)| x[0] * c).sum();
        let squares: f64 = condition.values.iter().map(|c| c * c).sum();
        (product / (squares * 3000.0).sqrt(), record)
    };
    let (free, record) = correlation(&[]);
    assert!(free.abs() < 0.1, "{free}");
    let mismatch = number(&record, "condition_mismatch");
    assert!(mismatch > 1e-4 && mismatch < 2e-3, "{mismatch}");
    assert!(number(&record, "condition_weight") > 0.0 && number(&record, "gain_kept") < 1.0);
    let (blind, record) = correlation(&["--condition-weight", "0"]);
    assert!(blind > 0.8, "{blind}");
    assert!((number(&record, "gain_kept") - 1.0).abs() < 1e-3);
}

#[test]
fn classes_and_conditions_that_do_not_fit_are_refused_in_words() {
    let data = tempfile::tempdir().unwrap();
    for (name, n) in [("x.npy", 4), ("y.npy", 5)] {
        numbered(&data.path().join(name), n);
    }
    for (name, labels) in [("five", &[0.0, 1.0, 0.0, 1.0, 3.0][..]), ("four", &[0.0, 1.0, 0.0, 2.0]), ("half", &[0.5; 5])] {
        write_npy(&data.path().join(format!("{name}.npy")), labels, &[labels.len()], Float::F64).unwrap();
    }
    for (args, code, words) in [
        ("x.npy y.npy --labels four.npy", 1, "4 classes for 5 points of the target"),
        ("x.npy y.npy --labels half.npy", 1, "classes are 0, 1"),
        ("x.npy y.npy --labels five.npy --source-labels four.npy", 1, "class 3 of the target has no point in the source"),
        ("x.npy normal:1 --labels five.npy", 2, "this one is a law"),
        ("normal:1 y.npy --labels five.npy --source-labels four.npy", 2, "this one is a law"),
        ("x.npy y.npy --conditions four.npy", 1, "4 conditions for 5 target points"),
        ("x.npy y.npy --conditions five.npy --labels five.npy", 2, "cannot be used with"),
        ("x.npy y.npy --conditions five.npy --condition-weight heavy", 2, "neither auto nor a finite weight"),
    ] {
        let mut command = Command::cargo_bin("brenier").unwrap();
        let run = command.current_dir(data.path()).arg("couple").args(args.split(' ')).assert().code(code).get_output().clone();
        let said = String::from_utf8(run.stderr).unwrap();
        assert!(said.contains(words), "{args}: {said}");
    }
}
