//! `train` on the command line: what is learnt, what is kept of an interrupted run, and what is refused.

use std::path::Path;

use assert_cmd::Command;
use brenier::backend::{Device, Precision};
use brenier::field::Field;
use brenier::field::network::Output;
use brenier::io::{Float, read_network, write_npy};
use brenier::path::{Prediction, Schedule};
use serde_json::Value;
use tempfile::TempDir;

fn brenier(folder: &Path, args: &str, code: i32) -> (Value, String) {
    let mut command = Command::cargo_bin("brenier").unwrap();
    let output = command.current_dir(folder).args(args.split(' ')).arg("--json").assert().code(code).get_output().clone();
    (serde_json::from_slice(&output.stdout).unwrap_or_default(), String::from_utf8(output.stderr).unwrap())
}

/// The best velocity between N(0, 1) and N(m, s²), independent, is affine: m + (t s² − (1 − t))(x − tm)/((1 − t)² + t² s²).
#[test]
fn flow_matching_learns_the_velocity_of_a_gaussian() {
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("law.json"), r#"{"weights": [1.0], "means": [[0.5]], "covariances": [[[0.25]]]}"#).unwrap();
    let (record, _) = brenier(folder.path(), "train law.json --steps 1200 --batch 256 --layers 2 --width 32 --rate 3e-3", 0);
    let out = folder.path().join("brenier-out/train");
    let network = read_network(&out.join("model.safetensors")).unwrap();
    let field = Field::Network(network).prepare(&Device::cpu(Precision::F64)).unwrap();
    let (mut squares, mut count) = (0.0, 0.0);
    for t in [0.1, 0.3, 0.5, 0.7, 0.9] {
        let u = 1.0 - t;
        let total: f64 = u * u + t * t * 0.25;
        for z in [-1.5, -0.5, 0.0, 0.5, 1.5] {
            let x = t * 0.5 + z * total.sqrt();
            let exact = 0.5 + (t * 0.25 - u) * (x - t * 0.5) / total;
            let found = field.predict(Prediction::Velocity, Schedule::CondOt.level(t), &[x]).unwrap()[0];
            squares += (found - exact).powi(2);
            count += 1.0;
        }
    }
    // The velocity has a mean square of about 1.
    assert!(squares / count < 4e-3, "{}", squares / count);
    let divergence = record["heldout_divergence"].as_f64().unwrap();
    assert!(divergence < 0.05, "{record}");
    // The loss that remains is that of the best velocity: E Var(u | x_t), (π/2) s between independent normals of widths 1 and s.
    let floor = std::f64::consts::FRAC_PI_2 * 0.5;
    assert!((record["loss"].as_f64().unwrap() / floor - 1.0).abs() < 0.06, "{record}");
    let losses = std::fs::read_to_string(out.join("loss.csv")).unwrap();
    assert!(losses.starts_with("step,loss\n10,") && losses.lines().count() == 121);
}

/// What ε̂ and v of a score network are follows from one another, so both learn the same law.
#[test]
fn score_matching_learns_on_every_schedule_and_prediction() {
    let folder = TempDir::new().unwrap();
    for (schedule, prediction) in [("linear-vp", "v"), ("linear-vp:0.1,12", "eps"), ("ve:0.01,20", "x0")] {
        let args = format!(
            "train normal:1 --method score --schedule {schedule} --prediction {prediction} --steps 400 --batch 256 --layers 2 --width 32 --rate 3e-3 --out {prediction}"
        );
        let (record, _) = brenier(folder.path(), &args, 0);
        let network = read_network(&folder.path().join(prediction).join("model.safetensors")).unwrap();
        assert_eq!(*network.schedule(), Schedule::parse(schedule).unwrap());
        assert!(record["heldout_divergence"].as_f64().unwrap() < 0.1, "{record}");
    }
}

/// The denoiser of N(m, s²) at noise σ is m + s²/(s² + σ²) (x − m): at the levels that Karras et al. train on.
#[test]
fn the_preconditioned_network_learns_the_denoiser_of_a_gaussian() {
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("law.json"), r#"{"weights": [1.0], "means": [[0.5]], "covariances": [[[0.25]]]}"#).unwrap();
    let args = "train law.json --method score --prediction edm --steps 800 --batch 256 --layers 2 --width 32 --rate 3e-3";
    let (record, _) = brenier(folder.path(), args, 0);
    let network = read_network(&folder.path().join("brenier-out/train/model.safetensors")).unwrap();
    assert_eq!(*network.schedule(), Schedule::parse("ve:0.002,80").unwrap());
    let Output::Preconditioned { sigma_data } = network.output() else { panic!("{:?}", network.output()) };
    // The width of 4,096 draws, to three of its standard errors.
    assert!((sigma_data - 0.5).abs() < 3.0 * 0.5 / (2.0 * 4096.0f64).sqrt(), "{sigma_data}");
    for sigma in [0.05, 0.1, 0.3, 1.0, 2.0] {
        let level = network.schedule().level(network.schedule().time(sigma).unwrap());
        for z in [-1.5, 0.0, 1.5] {
            let x = 0.5 + z * (0.25 + sigma * sigma).sqrt();
            let exact = 0.5 + 0.25 / (0.25 + sigma * sigma) * (x - 0.5);
            let found = network.predict(level, &[x]).unwrap()[0];
            // 4 % of the width of the data: a wrong target is off by its size.
            assert!((found - exact).abs() < 0.02, "sigma {sigma}, z {z}: {found} {exact}");
        }
    }
    assert!(record["heldout_divergence"].as_f64().unwrap() < 0.05, "{record}");
}

/// In both phases: a potential whose Langevin law is the target's, and which `sample` takes.
#[test]
fn energy_matching_gives_a_potential_that_samples() {
    let folder = TempDir::new().unwrap();
    let train =
        "train normal:1 --method energy-matching --steps 300 --contrast-steps 30 --batch 128 --layers 2 --width 32 --rate 3e-3";
    let (record, _) = brenier(folder.path(), train, 0);
    assert_eq!((&record["method"], &record["coupling"]), (&"energy-matching".into(), &"minibatch".into()));
    assert!(record["heldout_divergence"].as_f64().unwrap().is_finite(), "{record}");
    let model = folder.path().join("brenier-out/train/model.safetensors");
    let network = read_network(&model).unwrap();
    assert_eq!((network.output(), network.dim()), (Output::Energy, 1));
    for method in ["energy-matching --steps 50", "energy-matching-image --steps 5", "langevin --step 0.01 --steps 5"] {
        let (record, said) = brenier(folder.path(), &format!("sample {} --method {method} --n 50", model.display()), 0);
        assert_eq!(record["d"], 1, "{said}");
    }
    let (_, said) = brenier(folder.path(), &format!("sample {} --method fm-heun --n 50", model.display()), 1);
    assert!(said.contains("a potential is known at the data alone"), "{said}");
}

#[test]
fn the_weights_do_not_depend_on_the_threads_whatever_is_learnt() {
    let folder = TempDir::new().unwrap();
    for method in ["score --prediction edm", "energy-matching --contrast-steps 4"] {
        let train = |threads: usize| {
            let args =
                format!("train moons --steps 12 --batch 300 --layers 2 --width 40 --out o --method {method} --threads {threads}");
            brenier(folder.path(), &args, 0);
            std::fs::read(folder.path().join("o/model.safetensors")).unwrap()
        };
        let one = train(1);
        assert!(one == train(2) && one == train(3), "{method}");
    }
}

#[test]
fn the_weights_do_not_depend_on_the_threads_and_pairs_of_a_plan_lower_the_loss() {
    let folder = TempDir::new().unwrap();
    let train = |more: &str| {
        let args = format!("train moons --steps 60 --batch 128 --layers 2 --width 64 --out o {more}");
        let (record, _) = brenier(folder.path(), &args, 0);
        (std::fs::read(folder.path().join("o/model.safetensors")).unwrap(), record["loss"].as_f64().unwrap())
    };
    let (one, independent) = train("--threads 1");
    assert!(one == train("--threads 3").0);
    assert!(one != train("--seed 1").0);
    let (_, coupled) = train("--coupling minibatch");
    assert!(coupled < 0.6 * independent, "{coupled} {independent}");
}

#[test]
fn data_are_split_and_what_cannot_be_learnt_is_refused_in_words() {
    let folder = TempDir::new().unwrap();
    let points: Vec<f64> = (0..120).map(|i| f64::from(i % 60) * 0.05).collect();
    write_npy(&folder.path().join("y.npy"), &points, &[60, 2], Float::F64).unwrap();
    write_npy(&folder.path().join("one.npy"), &[1.0; 8], &[4, 2], Float::F64).unwrap();
    write_npy(&folder.path().join("far.npy"), &points.iter().map(|x| x * 1e30).collect::<Vec<_>>(), &[60, 2], Float::F64)
        .unwrap();
    std::fs::write(folder.path().join("classes.csv"), "0\n1\n".repeat(30)).unwrap();
    let (record, _) = brenier(folder.path(), "train y.npy --steps 20 --batch 32 --layers 1 --width 8 --out o", 0);
    assert!(record["nn_train"].is_f64() && record["nn_heldout"].is_f64() && record["flags"].is_array());
    for (args, code, words) in [
        ("train one.npy --steps 5", 1, "a single point"),
        ("train y.npy --source normal:3 --steps 5", 1, "dimension 3"),
        ("train far.npy --steps 5", 1, "the loss is not finite at step 1"),
        ("train y.npy --schedule cosine", 2, "--schedule is of --method score"),
        ("train y.npy --method score --coupling minibatch", 2, "--coupling is of --method flow-matching"),
        ("train y.npy --method score --prediction velocity", 2, "predicts eps, x0, v or edm"),
        ("train y.npy --contrast 1", 2, "--contrast is of --method energy-matching"),
        ("train y.npy --method energy-matching --contrast-steps 6 --steps 5", 2, "some of --steps"),
        ("train y.npy --method energy-matching --schedule cosine", 2, "--schedule is of --method score"),
        ("train y.npy --method energy-matching --labels classes.csv --steps 5", 1, "leave conditions out"),
        ("train far.npy --method energy-matching --coupling independent --steps 5", 1, "the loss is not finite at step 1"),
        ("train y.npy --ema 1", 2, "below 1"),
        ("train y.npy --method score --schedule cosine --prediction eps", 1, "train one that predicts v or velocity"),
        ("train y.npy --device cuda", 2, "runs on the processor"),
    ] {
        let (_, said) = brenier(folder.path(), args, code);
        assert!(said.contains(words), "{args}: {said}");
    }
    assert!(folder.path().join("brenier-out/train/model.safetensors").exists(), "the last finite weights are kept");
}
