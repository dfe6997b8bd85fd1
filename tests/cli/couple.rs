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
