//! Runs that are interrupted and resumed: the same bits as if nothing had happened.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use brenier::random::{Philox, Stream};
use serde_json::Value;
use tempfile::TempDir;

const INTERRUPTS: u32 = 10;

fn start(folder: &Path, args: &str) -> Child {
    let mut command = Command::new(assert_cmd::cargo::cargo_bin("brenier"));
    command.current_dir(folder).args(args.split(' ')).args(["--out", "made"]);
    command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

/// The exit code and what was said.
fn end(mut child: Child) -> (Option<i32>, String) {
    let said = std::io::read_to_string(child.stderr.take().unwrap()).unwrap();
    (child.wait().as_ref().ok().and_then(ExitStatus::code), said)
}

/// All results, without what may differ between two equal runs: the flag --resume and times.
fn results(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let keep = |mut value: Value| {
        for key in ["seconds", "wall_seconds"] {
            value.as_object_mut().unwrap().remove(key);
        }
        for row in value.get_mut("rows").and_then(Value::as_array_mut).into_iter().flatten() {
            row.as_object_mut().unwrap().remove("seconds");
        }
        value
    };
    let files = ["", "samples"].map(|sub| fs::read_dir(folder.join("made").join(sub)));
    let paths = files.into_iter().flatten().flatten().map(|entry| entry.unwrap().path());
    let wanted =
        paths.filter(|path| path.extension().is_some_and(|ending| ["npy", "npz", "json"].iter().any(|kind| ending == *kind)));
    let read = |path: std::path::PathBuf| {
        let bytes = fs::read(&path).unwrap();
        let json = path.extension().is_some_and(|ending| ending == "json");
        let bytes = if json { keep(serde_json::from_slice(&bytes).unwrap()).to_string().into_bytes() } else { bytes };
        (path.file_name().unwrap().to_string_lossy().into_owned(), bytes)
    };
    wanted.map(read).collect()
}

/// Interrupts a run at ten random moments, resuming it each time, and lets the last one end. A moment comes within a third of the
/// time of the whole run, so that several hit, however fast the machine is.
fn check(args: &str) {
    let whole = TempDir::new().unwrap();
    let begun = Instant::now();
    let (code, said) = end(start(whole.path(), args));
    assert_eq!(code, Some(0), "{said}");
    let longest = (begun.elapsed() / 3).min(Duration::from_millis(800));
    let folder = TempDir::new().unwrap();
    let checkpoint = folder.path().join("made/checkpoint.safetensors");
    let moments = Philox::new(std::process::id(), Stream::Source);
    let again = |folder: &TempDir| {
        let resume = if checkpoint.exists() { " --resume" } else { "" };
        start(folder.path(), &format!("{args}{resume}"))
    };
    let mut stopped = 0;
    for interrupt in 0..INTERRUPTS {
        let child = again(&folder);
        std::thread::sleep(longest.mul_f64(moments.uniform(interrupt, 0, 0)));
        let id = child.id().to_string();
        assert!(Command::new("kill").args(["-INT", &id]).status().unwrap().success());
        match end(child) {
            (Some(130), _) => stopped += 1,
            (None, _) => {} // before the program could listen
            (Some(0), _) if stopped > 0 => break,
            // It was done before it was hit: once more from the start.
            (Some(0), _) => fs::remove_dir_all(folder.path().join("made")).unwrap(),
            (code, said) => panic!("{code:?}: {said}"),
        }
    }
    assert!(stopped > 0, "no interrupt hit {args}");
    if !folder.path().join("made/run.json").exists() {
        let (code, said) = end(again(&folder));
        assert_eq!(code, Some(0), "{said}");
    }
    assert_eq!(results(folder.path()).keys().collect::<Vec<_>>(), results(whole.path()).keys().collect::<Vec<_>>());
    for (name, bytes) in results(folder.path()) {
        assert!(bytes == results(whole.path())[&name], "{args}: {name} differs");
    }
    assert!(!checkpoint.exists(), "a run that is complete needs no checkpoint");
}

#[test]
fn a_multistep_run_on_data_with_its_trajectory_is_resumed_to_the_bit() {
    check("sample digits --method dpmpp-2m --n 1000 --steps 400 --trajectory");
}

#[test]
fn a_stochastic_run_on_a_law_is_resumed_to_the_bit() {
    check("sample 8gaussians --method ddpm --grid arc-length --n 200000 --steps 2000");
}

#[test]
fn the_sinkhorn_flow_is_resumed_to_the_bit() {
    check("jko normal --target moons --n 600 --steps 30");
}

#[test]
fn the_semi_unbalanced_scheme_is_resumed_to_the_bit() {
    check("jko normal --target moons --scheme semi-unbalanced --n 800 --steps 40");
}

#[test]
fn the_blob_is_resumed_to_the_bit() {
    check("jko normal --target 8gaussians --scheme blob --n 1000 --steps 60");
}

#[test]
fn langevin_is_resumed_to_the_bit_in_both_of_its_passes() {
    check("jko normal --target 8gaussians --n 1000000 --steps 25");
}

#[test]
fn a_comparison_is_resumed_to_the_bit() {
    check("compare moons --n 300 --steps 2,5,10 --grid arc-length --find-steps 3");
}

#[test]
fn particles_with_steps_by_their_own_error_are_resumed_to_the_bit() {
    check("sample 8gaussians --method dopri5 --n 60000");
    check("sample 8gaussians --method dpm-adaptive --tol 1e-3 --n 60000");
}

#[test]
fn a_batch_with_steps_by_one_error_is_resumed_to_the_bit() {
    check("sample 8gaussians --method dopri5 --tol 1e-9 --n 10000 --compat batch_error_norm");
    check("sample 8gaussians --method dpm-adaptive --tol 1e-6 --n 10000 --compat batch_error_norm");
}

#[test]
fn predictor_and_corrector_are_resumed_to_the_bit() {
    check("sample 8gaussians --method pc-vp --n 20000 --steps 300");
}

#[test]
fn energy_matching_is_resumed_to_the_bit() {
    check("sample 8gaussians --method energy-matching --n 20000 --steps 400 --length 20");
    check("sample 8gaussians --method energy-matching-image --n 20000 --steps 200");
}

#[test]
fn an_accelerated_plan_in_many_dimensions_and_its_self_terms_are_resumed_to_the_bit() {
    check("transport normal:64 digits --n 1800 --blur 1.5 --tol 1e-7 --debias");
}

#[test]
fn a_plain_plan_is_resumed_to_the_bit() {
    check("transport moons 8gaussians --n 1000 --plain --tol 0 --max-iter 400");
}

#[test]
fn a_plan_with_free_marginals_is_resumed_to_the_bit() {
    check("transport normal:8 normal:8 --n 3000 --reach 2 --blur 0.7 --tol 1e-9");
}

#[test]
fn a_plan_over_all_scales_and_its_self_terms_are_resumed_to_the_bit() {
    check("transport moons 8gaussians --n 30000 --blur 0.02 --tol 1e-5 --debias");
}

#[test]
fn the_bridge_and_its_plan_are_resumed_to_the_bit() {
    check("geodesic moons 8gaussians --n 1000 --eps 0.01 --bridge --steps 400");
}

#[test]
fn the_flow_of_new_points_is_resumed_to_the_bit() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("new.npy");
    let mut command = Command::new(assert_cmd::cargo::cargo_bin("brenier"));
    assert!(command.args(["generate", "moons", "--quiet", "--n", "2000", "--out"]).arg(&file).status().unwrap().success());
    let args = format!("geodesic moons 8gaussians --n 1000 --eps 0.01 --steps 200 --points {}", file.display());
    check(&args);
}

#[test]
fn pairs_from_a_plan_are_resumed_to_the_bit() {
    check("couple normal digits --n 1800 --eps 2 --tol 1e-6 --pairs 200000");
}

#[test]
fn a_semidiscrete_potential_is_resumed_to_the_bit() {
    check("couple normal digits --semidiscrete --tol 0.01 --max-iter 250 --pairs 5000");
}

#[test]
fn pairs_batch_by_batch_are_resumed_to_the_bit() {
    check("couple normal digits --n 1800 --batch 256 --pairs 40000");
}

#[test]
fn training_is_resumed_to_the_bit() {
    check("train digits --coupling minibatch --steps 200 --batch 256 --layers 2 --width 128");
}

#[test]
fn log_densities_are_resumed_to_the_bit() {
    check("sample 8gaussians --method fm-heun --steps 100 --n 4000 --log-p");
    check("sample 8gaussians --method dopri5 --tol 1e-6 --n 3000 --log-p");
}

#[test]
fn a_plan_of_low_rank_is_resumed_to_the_bit() {
    check("transport normal:8 normal:8 --n 20000 --rank 20");
}

#[test]
fn a_barycenter_is_resumed_to_the_bit_with_exact_plans_and_with_entropic_ones() {
    check("barycenter moons circles --n 700");
    check("barycenter moons circles pinwheel --n 600 --eps 0.02 --steps 30");
}

#[test]
fn an_evaluation_against_a_law_and_against_a_set_is_resumed_to_the_bit() {
    check("evaluate normal:8 normal:8 --n 4000");
    check("evaluate normal digits");
}

#[test]
fn what_is_no_checkpoint_of_the_run_is_refused() {
    let folder = TempDir::new().unwrap();
    let refused = |args: &str, code: i32, words: &str| {
        let (ended, said) = end(start(folder.path(), args));
        assert!(ended == Some(code) && said.contains(words), "{args}: {ended:?}\n{said}");
    };
    const LONG: &str = "sample 8gaussians --n 1000000 --steps 100000";
    refused(&format!("{LONG} --resume"), 1, "there is no checkpoint to resume; leave --resume out");
    let child = start(folder.path(), LONG);
    std::thread::sleep(Duration::from_secs(1));
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let (code, said) = end(child);
    assert_eq!(code, Some(130), "{said}");
    assert!(said.contains("the same command line with --resume goes on from there"), "{said}");
    refused(&format!("{LONG} --seed 1 --resume"), 1, "another run: seed is 0 there and 1 here");
    refused("jko normal --target moons --resume", 1, "another run: command is \"sample\" there and \"jko\" here");
    refused("selftest --resume", 2, "it keeps no checkpoint");
    let path = folder.path().join("made/checkpoint.safetensors");
    let bytes = fs::read(&path).unwrap();
    let version = env!("CARGO_PKG_VERSION").as_bytes();
    let mut of_other = bytes.clone();
    of_other[bytes.windows(version.len()).position(|at| at == version).unwrap()] = b'9';
    fs::write(&path, of_other).unwrap();
    refused(&format!("{LONG} --resume"), 1, "another run: version is");
    fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    refused(&format!("{LONG} --resume"), 1, "damaged or cut short");
}
