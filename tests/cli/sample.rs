//! `sample` on the command line: the methods that choose their own steps, and the defects that are reproduced on request.

use std::path::Path;

use assert_cmd::Command;
use brenier::backend::{Device, Noise, Precision};
use brenier::field::network::{Layer, Output};
use brenier::field::{Field, Network};
use brenier::io::{Float, read_array, write_npy};
use brenier::measure::{Cloud, Covariance, Mixture};
use brenier::path::{Grid, Prediction, Schedule, Spacing};
use brenier::program::Activation;
use brenier::random::{Philox, Stream};
use brenier::sampler::{COMPATS, Compat, Kind, Levels, METHODS, Options, Setting};
use serde_json::Value;
use tempfile::TempDir;

const MIXTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/mixture_g2.json");

fn sample(folder: &Path, args: &str) -> (Value, Vec<f64>) {
    let mut command = Command::cargo_bin("brenier").unwrap();
    let command = command.current_dir(folder).arg("sample").args(args.split(' ')).args(["--json", "--out", "made"]);
    let output = command.assert().success().get_output().clone();
    let record = serde_json::from_slice(&output.stdout).unwrap();
    (record, read_array(&folder.join("made/samples.npy"), "points").unwrap().values)
}

fn refused(args: &str, code: i32) -> String {
    let folder = TempDir::new().unwrap();
    let mut command = Command::cargo_bin("brenier").unwrap();
    let output = command.current_dir(folder.path()).arg("sample").args(args.split(' ')).assert().code(code).get_output().clone();
    String::from_utf8(output.stderr).unwrap()
}

/// `n` points of the plane in f64.
fn starts(folder: &Path, n: u32) -> Vec<f64> {
    let mut points = vec![0.0f32; 2 * n as usize];
    points.chunks_exact_mut(2).zip(0..).for_each(|(x, i)| Philox::new(5, Stream::Source).normals(i, 0, 0, x));
    let points: Vec<f64> = points.into_iter().map(f64::from).collect();
    write_npy(&folder.join("start.npy"), &points, &[n as usize, 2], Float::F64).unwrap();
    points
}

/// The straight path from N(0, I) to N(0, I) brings every particle back to where it started.
#[test]
fn adaptive_methods_keep_the_tolerance_of_every_particle() {
    let folder = TempDir::new().unwrap();
    let start = starts(folder.path(), 500);
    for (method, tol) in [("dopri5", 1e-7), ("bosh3", 1e-5), ("dopri8", 1e-9), ("adaptive-heun", 1e-4)] {
        let args = format!("normal:2 --method {method} --tol {tol} --precision f64 --start start.npy");
        let (record, samples) = sample(folder.path(), &args);
        let worst = samples.iter().zip(&start).map(|(a, b)| (a - b).abs() / (1.0 + b.abs())).fold(0.0, f64::max);
        assert!(worst <= tol, "{method}: {worst:e} at tolerance {tol:e}");
        assert!(record["nfe"].as_u64().unwrap() > 10);
    }
}

/// A particle's steps are its own, so a range of particles is those rows of the whole run; not so with one step for the batch.
#[test]
fn an_adaptive_particle_does_not_know_the_others() {
    let folder = TempDir::new().unwrap();
    starts(folder.path(), 40);
    let run = |args: &str| sample(folder.path(), &format!("{MIXTURE} --start start.npy --precision f64 {args}")).1;
    for method in ["dopri5", "dpm-adaptive"] {
        let whole = run(&format!("--method {method}"));
        assert_eq!(run(&format!("--method {method} --particles 10..20")), whole[20..40], "{method}");
        let batch = run(&format!("--method {method} --compat batch_error_norm"));
        assert_ne!(run(&format!("--method {method} --compat batch_error_norm --particles 10..20")), batch[20..40], "{method}");
    }
}

/// The variance of pc-ve or pc-vp on N(0, v I): every level has a linear score −x/(α²v + σ²), a corrector of step 2a (0.16 σ)² and
/// the reverse-diffusion predictor, whose last mean is the sample.
fn predictor_corrector_variance(method: &str, v: f64, steps: usize) -> f64 {
    let of_ve = method == "pc-ve";
    let last = (steps - 1).max(1) as f64;
    let (end, sigma_of) = (if of_ve { 1e-5 } else { 1e-3 }, |t: f64| 0.01 * 5000.0_f64.powf(t));
    let level = |t: f64| {
        let exponent = 0.5 * t * t * 19.9 + 0.1 * t;
        if of_ve { (1.0, sigma_of(t)) } else { ((-0.5 * exponent).exp(), (-(-exponent).exp_m1()).sqrt()) }
    };
    let (mut spread, mut mean) = (level(1.0).1.powi(2), 0.0);
    for i in 0..steps {
        let t = 1.0 + i as f64 / last * (end - 1.0);
        let (alpha, sigma) = level(t);
        let slope = 1.0 / (alpha * alpha * v + sigma * sigma);
        let j = (t * (steps - 1) as f64).floor();
        let beta = (0.1 + j / last * 19.9) / steps as f64;
        let e = 2.0 * if of_ve { 1.0 } else { 1.0 - beta } * (0.16 * sigma).powi(2);
        spread = (1.0 - e * slope).powi(2) * spread + 2.0 * e;
        let below = if j > 0.0 { sigma_of((j - 1.0) / last).powi(2) } else { 0.0 };
        let (factor, added) = if of_ve { (1.0, sigma_of(j / last).powi(2) - below) } else { (2.0 - (1.0 - beta).sqrt(), beta) };
        mean = (factor - added * slope).powi(2) * spread;
        spread = mean + added;
    }
    mean
}

/// The corrector's step is a function of the level alone, so the law of the samples is the recursion's in every dimension, in few
/// steps too, and the right one in many; √(2/nd) of it is one standard error of its variance.
#[test]
fn predictor_corrector_samples_a_gaussian_in_every_dimension() {
    let folder = TempDir::new().unwrap();
    for d in [1usize, 2, 8, 64] {
        let law = format!(r#"{{"weights": [1], "means": [{:?}], "variances": [0.25]}}"#, vec![0.0; d]);
        std::fs::write(folder.path().join("law.json"), law).unwrap();
        for method in ["pc-ve", "pc-vp"] {
            for (steps, n) in [(20, 8192 / d), (300, 4096 / d)] {
                let args = format!("law.json --method {method} --steps {steps} --n {n} --precision f64");
                let (record, samples) = sample(folder.path(), &args);
                assert_eq!(record["nfe"], 2 * steps, "a predictor and a corrector a level");
                assert_eq!(record["flags"], serde_json::json!([]), "{method}");
                let expected = predictor_corrector_variance(method, 0.25, steps);
                let variance = samples.iter().map(|x| x * x).sum::<f64>() / samples.len() as f64;
                let error = (2.0 / samples.len() as f64).sqrt();
                assert!((variance / expected - 1.0).abs() < 4.0 * error, "{method} in {d}: {variance} for {expected}");
                assert!(steps < 300 || (expected / 0.25 - 1.0).abs() < 0.02, "{method}: {expected}");
            }
        }
    }
}

/// Modes of unequal weight and width keep both; a particle does not know the others.
#[test]
fn predictor_corrector_keeps_weights_and_widths_of_modes() {
    let folder = TempDir::new().unwrap();
    let law = r#"{"weights": [0.7, 0.3], "means": [[-2], [2]], "variances": [0.04, 0.16]}"#;
    std::fs::write(folder.path().join("law.json"), law).unwrap();
    for method in ["pc-ve", "pc-vp", "pc-subvp"] {
        let run = |more: &str| sample(folder.path(), &format!("law.json --method {method} --steps 200 --n 2000{more}")).1;
        let whole = run("");
        assert_eq!(run(" --particles 100..150"), whole[100..150], "{method}");
        let left: Vec<f64> = whole.iter().copied().filter(|x| *x < 0.0).collect();
        let right: Vec<f64> = whole.iter().copied().filter(|x| *x > 0.0).collect();
        let share = left.len() as f64 / whole.len() as f64;
        assert!((share - 0.7).abs() < 4.0 * (0.21f64 / 2000.0).sqrt(), "{method}: {share}");
        for (mode, mean, variance) in [(left, -2.0, 0.04), (right, 2.0, 0.16)] {
            let n = mode.len() as f64;
            let found = mode.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / n;
            assert!((found / variance - 1.0).abs() < 0.04 + 4.0 * (2.0 / n).sqrt(), "{method}: {found} for {variance}");
        }
    }
}

/// β = 20/N is at most 1 from twenty levels on; on VE one level is the posterior mean.
#[test]
fn too_few_levels_for_a_predictor_are_refused() {
    let folder = TempDir::new().unwrap();
    for method in ["pc-vp", "pc-subvp"] {
        for steps in [1, 2, 10, 19] {
            let said = refused(&format!("8gaussians --method {method} --steps {steps} --n 10"), 1);
            assert!(said.contains(&format!("{method} needs at least 20 steps")), "{said}");
        }
        let (record, samples) = sample(folder.path(), &format!("8gaussians --method {method} --steps 20 --n 100"));
        assert!(record["flags"] == serde_json::json!([]) && samples.iter().all(|x| x.is_finite()), "{method}");
    }
    let (_, samples) = sample(folder.path(), "normal:2 --method pc-ve --steps 1 --n 100");
    assert!(samples.iter().all(|x| x.abs() < 0.2), "x̂₀ is x/(1 + 50²)");
    assert!(refused("8gaussians --method pc-ve --snr 1", 2).contains("below 1"));
}

/// Two modes of weights 0.8 and 0.2 and variance 0.01: more updates leave less excess of variance, down to the share that is printed.
#[test]
fn annealed_langevin_becomes_right_within_and_between_modes() {
    let folder = TempDir::new().unwrap();
    let law = r#"{"weights": [0.8, 0.2], "means": [[-1], [1]], "variances": [0.01, 0.01]}"#;
    std::fs::write(folder.path().join("law.json"), law).unwrap();
    let run = |steps: usize| {
        let samples = sample(folder.path(), &format!("law.json --method annealed-langevin --steps {steps} --n 4000")).1;
        let n = samples.len() as f64;
        let excess = samples.iter().map(|x| (x.abs() - 1.0).powi(2)).sum::<f64>() / n / 0.01 - 1.0;
        (excess, samples.iter().filter(|x| **x < 0.0).count() as f64 / n)
    };
    let (error, (few, _), (many, share)) = ((2.0 / 4000.0_f64).sqrt(), run(50), run(1000));
    assert!((many - 0.036).abs() < 4.0 * error && few > many + 0.2, "{few} and {many}"); // (1 + h/2)/(g − 1) at h = 0.18
    assert!((share - 0.8).abs() < 4.0 * (0.16 / 4000.0_f64).sqrt() + 0.005, "{share}"); // and h² tenths
}

/// Whatever is refused is refused before the work; whatever is written and is not finite is flagged, with a count, and fails with
/// --strict; and the clean twin has no flag and no sentence.
#[test]
fn numbers_that_are_not_finite_do_not_leave_unseen() {
    let folder = TempDir::new().unwrap();
    let law = |mean: &str| format!(r#"{{"weights": [1], "means": [[{mean}, 0]], "variances": [1]}}"#);
    std::fs::write(folder.path().join("far.json"), law("1e39")).unwrap();
    std::fs::write(folder.path().join("near.json"), law("1")).unwrap();
    let run = |args: &str, code: i32| {
        let mut command = Command::cargo_bin("brenier").unwrap();
        let command = command.current_dir(folder.path()).args(args.split(' ')).arg("--json");
        let output = command.assert().code(code).get_output().clone();
        let said = String::from_utf8(output.stderr).unwrap();
        (serde_json::from_slice::<Value>(&output.stdout).unwrap()["flags"].clone(), said)
    };
    let (none, flag) = (serde_json::json!([]), serde_json::json!(["not_finite"]));
    let sample = "sample LAW --method fm-euler --steps 5 --n 7 --out made";
    let generate = "generate LAW --n 7 --out made.npy";
    for command in [sample, generate] {
        let far = command.replace("LAW", "far.json"); // above the largest number of single precision
        let (flags, said) = run(&far, 0);
        assert!(flags == flag && said.contains("7 of the 7 rows of") && said.contains("not finite"), "{flags} {said}");
        let (flags, said) = run(&format!("{far} --strict"), 1);
        assert!(flags == flag && said.contains("error:"), "{flags} {said}");
        for clean in [far + " --precision f64", command.replace("LAW", "near.json")] {
            let (flags, said) = run(&(clean + " --strict"), 0);
            assert!((flags == none || flags == Value::Null) && !said.contains("finite"), "{flags} {said}");
        }
    }
    let narrow = r#"{"weights": [0.5, 0.5], "means": [[0], [1]], "variances": [1, 0.004]}"#;
    std::fs::write(folder.path().join("narrow.json"), narrow).unwrap();
    for method in ["langevin --step 0.008", "energy-matching", "energy-matching-image"] {
        let said = refused(&format!("{} --method {method}", folder.path().join("narrow.json").display()), 1);
        assert!(said.contains("does not settle in a mode of variance 0.004"), "{said}");
    }
    run("sample narrow.json --method langevin --step 0.0079 --steps 20 --n 20 --strict", 0);
}

/// A pilot run with draws of its own makes the grid, whatever the threads and the particles asked for.
#[test]
fn a_grid_by_arc_length_is_the_same_for_any_threads_and_particles() {
    let folder = TempDir::new().unwrap();
    for (field, method) in [("8gaussians", "ddpm"), ("moons", "fm-heun"), ("8gaussians", "edm-heun")] {
        let run = |grid: &str, more: &str| {
            sample(folder.path(), &format!("{field} --method {method} --grid {grid} --steps 9 --n 300{more}")).1
        };
        let whole = run("arc-length", " --threads 1");
        assert_eq!(run("arc-length", " --threads 2"), whole, "{method}");
        assert_eq!(run("arc-length", " --particles 100..150"), whole[200..300], "{method}");
        assert_ne!(run("trailing", ""), whole, "{method}");
    }
}

/// A run that starts where N(0, σ²I) is not the law of the particles says so: a schedule with too little noise, a leading grid, data far
/// from the origin. Not where the start is pure noise, or as good as that, or given, nor for a method that needs no such start.
#[test]
fn a_schedule_that_ends_short_of_noise_is_said() {
    let folder = TempDir::new().unwrap();
    let law = |mean: &str| format!(r#"{{"weights": [1], "means": [[{mean}, 0]], "variances": [0.25]}}"#);
    std::fs::write(folder.path().join("far.json"), law("100")).unwrap();
    std::fs::write(folder.path().join("near.json"), law("2")).unwrap();
    starts(folder.path(), 20);
    let run = |args: &str| {
        let mut command = Command::cargo_bin("brenier").unwrap();
        let command = command.current_dir(folder.path()).arg("sample").args(args.split(' '));
        let output = command.args(["--json", "--out", "made"]).assert().success().get_output().clone();
        let said = String::from_utf8(output.stderr).unwrap();
        (serde_json::from_slice::<Value>(&output.stdout).unwrap()["flags"].clone(), said)
    };
    for short in [
        "near.json --method pf-heun --schedule linear-vp:1,1 --n 20",
        "8gaussians --method ddim --schedule ve:0.01,1 --n 20",
        "near.json --method ddim --schedule ddpm --grid leading --steps 2 --n 20",
        "start.npy --method ddim --schedule linear-vp:0.1,3 --n 20",
        "far.json --method ddim --n 20",
    ] {
        let (flags, said) = run(short);
        assert_eq!(flags, serde_json::json!(["short_of_noise"]), "{short}");
        assert!(said.contains("short of pure noise, at alpha = ") && said.contains("--start"), "{said}");
    }
    for clean in [
        "near.json --method pf-heun --schedule linear-vp:1,1 --start start.npy",
        "near.json --method annealed-langevin --schedule ve:0.01,5 --n 20",
        "near.json --method langevin --n 20",
        "near.json --n 20",
        "far.json --method fm-heun --n 20",
        "8gaussians --method edm-heun --n 20",
        "8gaussians --method pc-vp --n 20",
        "digits --method ddim --n 20 --steps 2",
    ] {
        let (flags, said) = run(clean);
        assert!(flags == serde_json::json!([]) && !said.contains("short of pure noise"), "{clean}: {flags} {said}");
    }
}

/// Every method on every schedule and grid, in few steps, over a law, points and networks: what runs is finite, whatever could not be
/// is refused.
#[test]
fn what_is_not_refused_is_finite() {
    let law =
        Field::Mixture(Mixture::new(vec![0.6, 0.4], vec![vec![-1.0], vec![2.0]], vec![Covariance::Isotropic(0.2); 2]).unwrap());
    let points = Field::DataSet(Cloud::new(vec![-1.0, 0.5, 2.0], 1).unwrap());
    let network = |prediction, schedule: &str| {
        let layer = Layer { name: "0".into(), weight: vec![0.5], bias: vec![0.1] };
        let (output, schedule) = (Output::Prediction(prediction), Schedule::parse(schedule).unwrap());
        Field::Network(Network::new(vec![layer], Activation::Relu, None, output, schedule).unwrap())
    };
    let fields = [
        law,
        points,
        network(Prediction::Noise, "cosine"),
        network(Prediction::Denoised, "condot"),
        network(Prediction::Velocity, "condot"),
        network(Prediction::Score, "ve"),
    ];
    let spacings = [
        Spacing::Trailing,
        Spacing::Leading,
        Spacing::Linspace,
        Spacing::Karras,
        Spacing::Geometric,
        Spacing::Balanced,
        Spacing::Iddpm,
    ];
    let (mut ran, mut refused, mut wrong) = (0, 0, Vec::new());
    for spec in ["linear-vp", "cosine", "ve", "condot", "trigonometric", "ddpm", "linear-vp:1,1"] {
        let schedule = Schedule::parse(spec).unwrap();
        for (spacing, steps) in spacings.into_iter().flat_map(|spacing| [1, 2, 3, 5, 10, 20].map(|steps| (spacing, steps))) {
            for entry in METHODS {
                let Kind::Program(make) = entry.kind else { continue };
                let grid =
                    if entry.levels == Levels::ToData { Grid::spaced_to_data } else { Grid::spaced }(&schedule, steps, spacing);
                let Ok(grid) = grid else { continue };
                for (k, field) in fields.iter().enumerate() {
                    if entry.check(field).is_err() {
                        continue; // the command refuses it: points have no score without noise
                    }
                    let options = Options::default();
                    let setting = Setting { entry, field, schedule: schedule.clone(), updates: 5, options: &options };
                    let program = make(&setting).unwrap().program(&grid);
                    let noise = Noise::Counter { philox: Philox::new(1, Stream::Noise), first: 0 };
                    let start = [-1.5, 0.0, 0.7].map(|x| x * grid.start().sigma);
                    let end = program.run(field, &start, noise, &Device::cpu(Precision::F64));
                    match end {
                        Ok(end) if end.iter().all(|x| x.is_finite()) => ran += 1,
                        Ok(_) => wrong.push(format!("{} on {spec}, {spacing:?}, {steps} steps, field {k}", entry.name)),
                        Err(_) => refused += 1,
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {ran} and {refused} refused: {:#?}", wrong.len(), &wrong[..wrong.len().min(40)]);
    assert!(ran > 20 * refused / 10, "{ran} ran, {refused} refused");
}

/// On data EDM ends on points of them, and from pure noise it samples the law; a network of the noise is refused there.
#[test]
fn edm_reaches_the_data_on_every_grid_and_from_pure_noise() {
    let folder = TempDir::new().unwrap();
    let points = starts(folder.path(), 30);
    for (method, evaluations) in [("edm-heun", 39), ("edm-euler", 20)] {
        for grid in ["trailing", "karras", "geometric", "balanced", "iddpm"] {
            let args = format!("start.npy --method {method} --grid {grid} --steps 20 --n 50 --precision f64");
            let (record, samples) = sample(folder.path(), &args);
            assert_eq!((&record["nfe"], &record["flags"]), (&evaluations.into(), &serde_json::json!([])), "{method} {grid}");
            let on_a_point = |x: &[f64]| points.chunks_exact(2).any(|y| x.iter().zip(y).all(|(x, y)| (x - y).abs() < 1e-3));
            // iDDPM's last noise is wider than these points lie apart.
            assert!(grid == "iddpm" || samples.chunks_exact(2).all(on_a_point), "{method} {grid}");
        }
    }
    let said = |steps: usize| {
        let args = format!("sample start.npy --method edm-heun --grid karras --steps {steps} --n 5 --out made");
        let mut command = Command::cargo_bin("brenier").unwrap();
        let output = command.current_dir(folder.path()).args(args.split(' ')).assert().success().get_output().clone();
        String::from_utf8(output.stderr).unwrap().contains("second stage magnifies")
    };
    assert_eq!([1, 2, 3, 18].map(said), [false, true, true, false], "from 50 to 0.01 at once, and in 17 steps");
    let law = r#"{"weights": [1], "means": [[1, -2]], "variances": [0.25]}"#;
    std::fs::write(folder.path().join("law.json"), law).unwrap();
    for schedule in ["condot", "cosine", "trigonometric"] {
        for churn in ["", " --churn 5"] {
            let args = format!("law.json --method edm-heun --schedule {schedule} --steps 40 --n 2000{churn}");
            let (record, samples) = sample(folder.path(), &args);
            assert_eq!(record["flags"], serde_json::json!([]));
            for (k, mean) in [1.0, -2.0].into_iter().enumerate() {
                let column: Vec<f64> = samples.iter().skip(k).step_by(2).copied().collect();
                let found = column.iter().sum::<f64>() / 2000.0;
                assert!((found - mean).abs() < 4.0 * 0.5 / 2000.0_f64.sqrt() + 0.02, "{schedule}{churn}: {found}");
                let variance = column.iter().map(|x| (x - found).powi(2)).sum::<f64>() / 2000.0;
                assert!((variance / 0.25 - 1.0).abs() < 0.2, "{schedule}{churn}: {variance}");
            }
        }
    }
}

/// σ′ = F s/(1 + (F − 1) s) is 1 at s = 1 and below 1 elsewhere for every F.
#[test]
fn every_shift_is_taken() {
    let folder = TempDir::new().unwrap();
    for shift in ["0.08", "0.1", "0.18", "0.42", "1", "7", "1e-6", "1e9"] {
        let (_, samples) = sample(folder.path(), &format!("8gaussians --method fm-euler --shift {shift} --steps 10 --n 10"));
        assert!(samples.iter().all(|x| x.is_finite()), "{shift}");
    }
}

/// Before τ* it is descent of V alone: each step of N(0, I) shrinks by 1 − h (Heun: 1 − h + h²/2).
#[test]
fn energy_matching_descends_before_it_warms_up() {
    let folder = TempDir::new().unwrap();
    let start = starts(folder.path(), 20);
    for (method, factor) in [("energy-matching", 0.99f64), ("energy-matching-image", 0.99005)] {
        let (_, samples) =
            sample(folder.path(), &format!("normal:2 --method {method} --steps 50 --start start.npy --precision f64"));
        for (x, start) in samples.iter().zip(&start) {
            assert!((x - factor.powi(50) * start).abs() < 1e-9, "{method}: {x} from {start}");
        }
    }
    let warm = |compat: &str| sample(folder.path(), &format!("normal:2 --method energy-matching --steps 50 --n 20{compat}")).1;
    assert_ne!(warm(""), warm(" --compat gibbs_clock"), "the share of steps passes τ*, the elapsed time does not");
}

/// Langevin settles at σ²/(1 − τ/2σ²).
#[test]
fn langevin_samples_its_law_but_for_its_bias() {
    let folder = TempDir::new().unwrap();
    let (_, samples) = sample(folder.path(), "normal:2 --method langevin --step 0.4 --steps 200 --n 20000");
    let (n, truth) = (samples.len() as f64, 1.0 / (1.0 - 0.2));
    let variance = samples.iter().map(|x| x * x).sum::<f64>() / n;
    assert!((variance - truth).abs() < 3.0 * truth * (2.0 / n).sqrt(), "{variance} for {truth}");
}

/// Every defect changes the result of a method that has it, and is refused by one that has not.
#[test]
fn a_defect_is_reproduced_only_when_it_is_named() {
    let folder = TempDir::new().unwrap();
    let mut noise = vec![0.0f32; 12 * 30 * 2];
    Philox::new(5, Stream::Noise).normals(0, 0, 0, &mut noise);
    let noise: Vec<f64> = noise.into_iter().map(f64::from).collect();
    write_npy(&folder.path().join("noise.npy"), &noise, &[12, 30, 2], Float::F64).unwrap();
    for compat in COMPATS {
        let method = compat.methods().next().unwrap();
        let more = match compat.name {
            // They choose their steps.
            _ if matches!(method, "dopri5" | "adaptive-heun") => "",
            "ddim_prev_step" => " --steps 12 --schedule ddpm --grid linspace",
            "churn_after_model" => " --steps 12 --churn 10 --grid karras",
            "double_shift" => " --steps 12 --shift 3",
            "iddpm_grid_float32" => " --steps 12 --grid iddpm",
            "batch_path_length" => " --steps 12 --length 0.5",
            "unused_draws" => " --steps 12 --churn 10 --churn-between 0.1..10 --grid karras --noise noise.npy",
            _ => " --steps 12",
        };
        let run =
            |compat: &str| sample(folder.path(), &format!("{MIXTURE} --method {method} --n 30 --precision f64{more}{compat}")).1;
        assert_ne!(run(""), run(&format!(" --compat {}", compat.name)), "{}", compat.name);
    }
    let slip = refused("8gaussians --compat ddim_prev", 1);
    assert!(slip.contains("unknown compat \"ddim_prev\"; did you mean \"ddim_prev_step\"? known: batch_error_norm"), "{slip}");
    let other = refused("8gaussians --method fm-heun --compat gibbs_clock", 1);
    assert!(
        other.contains("compat gibbs_clock is a defect of energy-matching; fm-heun does not have it: leave it out"),
        "{other}"
    );
    for (method, compat, flag) in [
        ("fm-heun", "double_shift", "--shift F"),
        ("edm-heun", "iddpm_grid_float32", "--grid iddpm"),
        ("energy-matching", "batch_path_length", "--length L"),
        ("pc-ve", "unused_draws", "--probability-flow"),
    ] {
        let out = tempfile::tempdir().unwrap();
        let mut command = Command::cargo_bin("brenier").unwrap();
        let args = ["sample", "8gaussians", "--method", method, "--compat", compat, "--n", "4", "--steps", "4", "--out"];
        let output = command.args(args).arg(out.path()).assert().success().get_output().clone();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains(&format!("compat {compat} shows only with {flag}: this run is as it is without")), "{said}");
    }
}

/// With --help every defect stands with the methods that have it and the codes it is found in.
#[test]
fn the_help_lists_the_defects_with_their_codes() {
    let output = Command::cargo_bin("brenier").unwrap().args(["sample", "--help"]).assert().success().get_output().clone();
    let help = String::from_utf8(output.stdout).unwrap().split_whitespace().collect::<Vec<_>>().join(" ");
    for defect @ Compat { name, about, peer } in COMPATS {
        let line = format!("- {name} ({}; {peer}): {about}", defect.methods().collect::<Vec<_>>().join(", "));
        assert!(help.contains(&line), "{line}\n{help}");
    }
}

/// Without noise, and with half of the score, the reverse-diffusion predictor of N(0, I) under pc-ve multiplies every start by the
/// same number; the corrector is what draws.
#[test]
fn the_predictor_follows_the_probability_flow_on_request() {
    let folder = TempDir::new().unwrap();
    let start = starts(folder.path(), 20);
    let run = "normal:2 --method pc-ve --start start.npy --precision f64 --steps 20 --snr 1e-14 --probability-flow";
    let (_, samples) = sample(folder.path(), run);
    let factor = samples[0] / start[0];
    assert!(samples.iter().zip(&start).all(|(x, start)| (x - factor * start).abs() < 1e-9), "{factor}");
}

/// Two steps go by σ = 1, the shifted 1/1000 and 0.
#[test]
fn a_shift_moves_the_levels_of_a_flow() {
    let folder = TempDir::new().unwrap();
    let start = starts(folder.path(), 20);
    let (_, samples) = sample(folder.path(), "normal:2 --method fm-euler --steps 2 --shift 3 --start start.npy --precision f64");
    // The velocity at σ is (1 − 2σ)/(σ² + (1 − σ)²) x in t = 1 − σ.
    let slope = |s: f64| (1.0 - 2.0 * s) / (s * s + (1.0 - s) * (1.0 - s));
    let low = 3.0 * 0.001 / (1.0 + 2.0 * 0.001);
    let factor = (1.0 + slope(1.0) * (1.0 - low)) * (1.0 + slope(low) * low);
    for (x, start) in samples.iter().zip(&start) {
        assert!((x - factor * start).abs() < 1e-9, "{x} for {}", factor * start);
    }
    assert!(refused("8gaussians --shift 3", 1).contains("--shift moves the levels of a flow"));
}

/// A particle stops with the step that makes its path long enough, so no path is longer than the length and one step.
#[test]
fn energy_matching_stops_a_particle_at_its_length() {
    let folder = TempDir::new().unwrap();
    let start = starts(folder.path(), 20);
    let run = "normal:2 --method energy-matching --steps 70 --length 0.3 --start start.npy --precision f64";
    let (_, samples) = sample(folder.path(), run);
    for (x, start) in samples.chunks_exact(2).zip(start.chunks_exact(2)) {
        // Straight to the mean: steps of 0.01 |x|, until their sum is 0.3 or 70 of them are made.
        let radius = |x: &[f64]| x.iter().map(|x| x * x).sum::<f64>().sqrt();
        let (mut left, mut path) = (radius(start), 0.0);
        for _ in 0..70 {
            if path < 0.3 {
                path += 0.01 * left;
                left *= 0.99;
            }
        }
        assert!((radius(x) - left).abs() < 1e-9, "{} for {left}", radius(x));
    }
}

/// On data too, and then the record says where and in what precision.
#[test]
fn adaptive_methods_run_on_data_and_say_that_they_ran_in_f64() {
    for method in ["dopri5", "dpm-adaptive"] {
        let folder = TempDir::new().unwrap();
        let (record, _) = sample(folder.path(), &format!("digits --method {method} --tol 1e-2 --n 2"));
        assert_eq!((&record["device"], &record["precision"]), (&"cpu".into(), &"f64".into()), "{method}");
        assert!(record["steps"].is_null(), "{method} chooses its steps");
    }
}

#[test]
fn a_method_that_needs_a_law_refuses_points() {
    assert!(refused("digits --method energy-matching", 1).contains("energy-matching needs the field of a law"));
    assert!(refused("digits --method langevin", 1).contains("langevin needs the score of a law"));
    assert!(refused("8gaussians --method dpm-adaptive --schedule condot", 1).contains("infinite at pure noise"));
    assert!(refused("8gaussians --method pc-ve --schedule ve", 1).contains("a schedule of its own"));
    assert!(refused("8gaussians --method dopri5 --trajectory", 1).contains("keeps no trajectory"));
    assert!(refused("8gaussians --method dopri5 --steps 20", 2).contains("dopri5 chooses its steps"));
    assert!(refused("8gaussians --method pc-ve --grid karras", 2).contains("levels of its own"));
    for flag in ["--tol 0", "--tol nan", "--snr -1", "--step 0", "--churn -1"] {
        assert!(refused(&format!("8gaussians {flag}"), 2).contains(flag.split(' ').next().unwrap()), "{flag}");
    }
}

/// Every flag that only some methods take changes what they do, and the others refuse it.
#[test]
fn a_flag_that_a_method_does_not_take_is_refused() {
    let folder = TempDir::new().unwrap();
    for (flag, takes, other) in [
        ("--eta 0.5", "ddim", "fm-euler"),
        ("--eta 0.5", "dpm-2", "dpmpp-2m"),
        ("--eta 0.5", "dpmpp-2s", "ddpm"),
        ("--churn 5", "edm-heun", "pf-heun"),
        ("--churn 5", "edm-euler", "pc-vp"),
        ("--step 0.05", "langevin", "annealed-langevin"),
        ("--tol 1e-2", "dopri5", "fm-rk4"),
        ("--snr 0.5", "pc-ve", "ddim"),
        ("--probability-flow", "pc-vp", "ddim"),
        ("--length 0.1", "energy-matching", "langevin"),
    ] {
        let plain = sample(folder.path(), &format!("normal:2 --n 20 --method {takes}")).1;
        let with = sample(folder.path(), &format!("normal:2 --n 20 --method {takes} {flag}")).1;
        assert_ne!(plain, with, "{takes} {flag}");
        let said = refused(&format!("normal:2 --n 20 --method {other} {flag}"), 2);
        assert!(said.contains(takes) && said.contains(&format!("{other} does not take it")), "{said}");
    }
}

/// Of a program the density of its own steps: on a normal law those are a scaling, which two samples tell. Of an adaptive method that
/// of the law.
#[test]
fn log_p_is_that_of_each_sample_and_leaves_the_samples_as_they_are() {
    let folder = TempDir::new().unwrap();
    let log_p = || read_array(&folder.path().join("made/log_p.npy"), "log_p").unwrap().values;
    let normal = |x: &[f64], sd: f64| -0.5 * (x[0] * x[0] + x[1] * x[1]) / (sd * sd) - (sd * sd * std::f64::consts::TAU).ln();
    let start = starts(folder.path(), 6);
    let args = "normal:2 --method fm-euler --steps 3 --precision f64 --start start.npy";
    let (_, without) = sample(folder.path(), args);
    assert!(!folder.path().join("made/log_p.npy").exists());
    let (record, samples) = sample(folder.path(), &format!("{args} --log-p"));
    assert_eq!(samples, without);
    let sd = samples[0] / start[0];
    assert!((sd - 1.0).abs() > 0.01, "three Euler steps miss the variance: {sd}");
    for (x, found) in samples.chunks(2).zip(log_p()) {
        assert!((found - normal(x, sd)).abs() < 1e-12, "{found} for {}", normal(x, sd));
    }
    assert!((record["log_p"].as_f64().unwrap() - log_p().iter().sum::<f64>() / 6.0).abs() < 1e-12);
    let (_, samples) =
        sample(folder.path(), "normal:2 --method dopri5 --tol 1e-8 --precision f64 --log-p --start start.npy --particles 2..5");
    for (x, found) in samples.chunks(2).zip(log_p()) {
        assert!((found - normal(x, 1.0)).abs() < 1e-7, "{found} for {}", normal(x, 1.0));
    }
    assert!(samples.len() == 6 && !folder.path().join("made/log_p_error.npy").exists());
}

#[test]
fn log_p_that_is_not_known_is_refused_in_words() {
    for (args, code, words) in [
        ("8gaussians --method ddpm --log-p --n 4", 1, "draws noise"),
        ("digits --method ddim --log-p --n 4", 1, "needs the density of a law"),
        ("digits --method dopri5 --log-p --n 4", 1, "needs the density of a law"),
        ("normal:65 --method ddim --log-p --n 4", 1, "take dopri5"),
        ("8gaussians --method dpm-adaptive --log-p --n 4", 2, "--log-p is for"),
        ("8gaussians --method dopri5 --log-p --compat batch_error_norm --n 4", 2, "leave --compat out"),
    ] {
        let said = refused(args, code);
        assert!(said.contains(words), "{args}: {said}");
    }
}
