//! `sample` on the command line: the methods that choose their own steps, and the defects that are reproduced on request.

use std::path::Path;

use assert_cmd::Command;
use brenier::io::{Float, read_array, write_npy};
use brenier::random::{Philox, Stream};
use brenier::sampler::{COMPATS, Compat};
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

/// On N(0, I) in d dimensions the corrector's step e = 2 snr² |z|²/|x|² keeps E|x|² when E 1/|x|² = 1/((1 + snr²)(d + 2)), which
/// is where a thousand levels leave it; the standard error of that mean over n particles is √(2/d)/√n of it.
#[test]
fn predictor_corrector_settles_where_its_corrector_does() {
    let folder = TempDir::new().unwrap();
    let (d, n) = (64.0f64, 400.0f64);
    for method in ["pc-ve", "pc-vp", "pc-subvp"] {
        let (record, samples) = sample(folder.path(), &format!("normal:64 --method {method} --steps 1000 --n 400"));
        assert_eq!(record["nfe"], 2000, "a predictor and a corrector a level");
        let inverse = samples.chunks_exact(64).map(|x| 1.0 / x.iter().map(|x| x * x).sum::<f64>()).sum::<f64>() / n;
        let share = inverse * (1.0 + 0.16f64.powi(2)) * (d + 2.0);
        assert!((share - 1.0).abs() < 3.0 * (2.0 / (d * n)).sqrt(), "{method}: {share}");
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
        let method = compat.methods[0];
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
    assert!(
        slip.contains("there is no compat \"ddim_prev\"; did you mean \"ddim_prev_step\"? known: batch_error_norm"),
        "{slip}"
    );
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
    for Compat { name, about, peer, methods } in COMPATS {
        let line = format!("- {name} ({}; {peer}): {about}", methods.join(", "));
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

#[test]
fn a_method_that_needs_a_law_refuses_points() {
    for method in ["dopri5", "dpm-adaptive", "energy-matching"] {
        let said = refused(&format!("digits --method {method}"), 1);
        assert!(said.contains(&format!("{method} needs the field of a law")), "{said}");
    }
    assert!(refused("digits --method langevin", 1).contains("langevin needs the score of a law"));
    assert!(refused("8gaussians --method dopri5 --schedule linear-vp", 1).contains("not finite near t = 1"));
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
