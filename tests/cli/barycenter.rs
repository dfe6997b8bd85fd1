//! The barycenter of clouds against closed forms, and the command.

use std::process::Output;

use assert_cmd::Command;
use brenier::backend::{Device, Precision};
use brenier::measure::Cloud;
use brenier::random::{Philox, Stream};
use brenier::transport::{Barycenter, Coupling, Gaussian, Sinkhorn};
use serde_json::Value;

const EXACT: Barycenter = Barycenter { n: 200, coupling: Coupling::Exact, tol: 1e-9, max_iter: 100, seed: 0 };

fn normals(n: usize, scale: [f64; 2], offset: f64, step: u32) -> Cloud {
    let philox = Philox::new(6, Stream::Source);
    let mut z = [0.0f32; 2];
    let point = |i: usize| {
        philox.normals(i as u32, step, 0, &mut z);
        [0, 1].map(|k| offset + scale[k] * f64::from(z[k]))
    };
    Cloud::new((0..n).flat_map(point).collect(), 2).unwrap()
}

/// Translations of one cloud: the barycenter is the cloud at the mean translation, found at once.
#[test]
fn translated_clouds_have_their_cloud_between_them() {
    let x = normals(200, [1.0, 0.5], 0.0, 0);
    let moved = |by: f64| Cloud::new(x.points().iter().map(|p| p + by).collect(), 2).unwrap();
    let found = EXACT.solve(&[x.clone(), moved(1.0), moved(5.0)], &[2.0, 1.0, 1.0], &Device::cpu(Precision::F64)).unwrap();
    assert!(found.converged && found.objective.len() <= 2);
    // Σ λ |t − 3/2|² in each of two coordinates.
    let objective = 2.0 * (0.5 * 2.25 + 0.25 * 0.25 + 0.25 * 12.25);
    assert!((found.objective.last().unwrap() - objective).abs() < 1e-12);
    let distance = brenier::transport::assign(&found.cloud, &moved(1.5)).unwrap().w2_squared;
    assert!(distance < 1e-24, "{distance}");
}

/// Moments of the barycenter of samples are those of the closed form up to sampling, debiased ones too; biased ones shrink.
#[test]
fn samples_of_gaussians_have_the_closed_barycenter() {
    let clouds = [normals(600, [1.0, 2.0], 0.0, 0), normals(500, [3.0, 1.0], 1.0, 1), normals(550, [0.5, 0.5], -1.0, 2)];
    let weights = [1.0, 1.0, 2.0];
    // Of the clouds' own moments, so that sampling plays no part in them.
    let moments = |cloud: &Cloud| {
        let mean = cloud.mean();
        let entry =
            |a: usize, b: usize| cloud.rows().map(|x| (x[a] - mean[a]) * (x[b] - mean[b])).sum::<f64>() / cloud.len() as f64;
        Gaussian::new(mean.clone(), &[entry(0, 0), entry(0, 1), entry(1, 0), entry(1, 1)]).unwrap()
    };
    let closed = Gaussian::barycenter(&clouds.each_ref().map(moments), &weights).unwrap();
    let device = Device::cpu(Precision::F64);
    let distance = |coupling| {
        let solver = Barycenter { n: 400, coupling, tol: 1e-3, max_iter: 30, seed: 0 };
        moments(&solver.solve(&clouds, &weights, &device).unwrap().cloud).w2_squared(&closed).unwrap()
    };
    let solver = Sinkhorn { tol: 1e-3, ..Sinkhorn::default() };
    let entropic = |debias| distance(Coupling::Entropic { eps: 0.3, debias, solver });
    // Deviations of about 1 known to a few percent from 500 points: their square.
    assert!(distance(Coupling::Exact) < 0.01);
    let (debiased, biased) = (entropic(true), entropic(false));
    assert!(debiased < 0.01 && biased > 4.0 * debiased, "{debiased} {biased}");
}

#[test]
fn the_exact_objective_never_rises() {
    let clouds = [normals(150, [1.0, 2.0], 0.0, 0), normals(130, [3.0, 1.0], 1.0, 1)];
    let found = Barycenter { n: 100, ..EXACT }.solve(&clouds, &[1.0, 2.0], &Device::cpu(Precision::F64)).unwrap();
    assert!(found.objective.windows(2).all(|pair| pair[1] <= pair[0] * (1.0 + 1e-12)), "{:?}", found.objective);
}

fn brenier(args: &str) -> Output {
    Command::cargo_bin("brenier").unwrap().args(args.split_whitespace()).output().unwrap()
}

fn json(args: &str) -> Value {
    let output = brenier(args);
    assert!(output.status.success(), "brenier {args}\n{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn refused(args: &str, code: i32, words: &[&str]) {
    let output = brenier(args);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "brenier {args}\n{said}");
    assert!(words.iter().all(|word| said.contains(word)), "brenier {args}\n{said}");
}

#[test]
fn the_command_finds_it_and_refuses_what_makes_none() {
    let folder = tempfile::TempDir::new().unwrap();
    let out = folder.path().to_str().unwrap();
    let found = json(&format!("barycenter moons circles 8gaussians --n 100 --weights 2,1,1 --steps 5 --json --out {out}"));
    assert_eq!((found["n"].as_u64(), found["d"].as_u64()), (Some(100), Some(2)));
    assert!(found["objective"].as_array().is_some_and(|o| !o.is_empty() && o.len() <= 5));
    let points = brenier::io::read_array(&folder.path().join("points.npy"), "points").unwrap();
    assert_eq!(points.shape, [100, 2]);
    refused("barycenter moons circles --weights 1", 1, &["1 weights for 2 clouds"]);
    refused("barycenter moons circles --weights 1,-2 --n 10", 1, &["weight 1 is -2"]);
    refused("barycenter moons digits --n 10", 1, &["dimension", "2", "64"]);
    refused("barycenter moons", 2, &["CLOUD"]);
}

#[test]
fn transport_prints_the_exact_low_rank_and_sliced_distances() {
    let folder = tempfile::TempDir::new().unwrap();
    let out = folder.path().to_str().unwrap();
    std::fs::write(folder.path().join("w.csv"), (1..=300).map(|i| format!("{i}\n")).collect::<String>()).unwrap();
    let x = folder.path().join("x.csv");
    json(&format!("generate moons --n 300 --out {} --json", x.display()));
    let ends = format!("transport {} circles --n 200 --source-weights {out}/w.csv --json", x.display());
    let exact = json(&format!("{ends} --exact --out {out}"));
    assert_eq!(exact["w2_squared_kind"], "exact");
    let number = |record: &Value, key: &str| record[key].as_f64().unwrap();
    // The dual is a certificate of its own: the sum of potentials, equal up to the rounding of 500 terms.
    assert!((number(&exact, "w2_squared") / (2.0 * number(&exact, "dual")) - 1.0).abs() < 1e-12);
    let array = |file: &str, name: &str| brenier::io::read_array(&folder.path().join(file), name).unwrap().values;
    let mass = array("plan.npz", "mass");
    assert!((mass.iter().sum::<f64>() - 1.0).abs() < 1e-12 && mass.len() < 500);
    assert!(array("plan.npz", "row").iter().all(|&i| i < 300.0) && array("plan.npz", "column").iter().all(|&j| j < 200.0));
    assert_eq!((array("f.npy", "f").len(), array("g.npy", "g").len(), array("map.npy", "map").len()), (300, 200, 600));
    let rank = json(&format!("{ends} --rank 10 --sliced 100"));
    assert!(rank["w2_squared_kind"] == "low_rank" && number(&rank, "w2_squared") > number(&exact, "w2_squared"));
    assert!(rank["dual"].is_null() && rank["regularised_cost"].is_null(), "a plan of low rank has no dual problem");
    // SW₂² ≤ W₂²/d up to the error of 100 directions.
    let sliced = &rank["sliced"];
    assert!(number(sliced, "w2_squared") < 0.5 * number(&exact, "w2_squared") + 4.0 * number(sliced, "standard_error"));
    refused("transport moons circles --n 5001 --exact", 1, &["5000 points a side", "5001", "subsample"]);
    refused("transport moons circles --n 50 --rank 51", 1, &["rank 51", "1 to 50"]);
    for flag in ["--rank 0", "--sliced 0", "--rank 3 --exact", "--rank 3 --eps 1"] {
        refused(&format!("transport moons circles {flag}"), 2, &[flag.split(' ').next().unwrap()]);
    }
}
