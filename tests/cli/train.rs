//! `train` on the command line: what is learnt, what is kept of an interrupted run, and what is refused.

use std::path::Path;

use assert_cmd::Command;
use brenier::backend::{Device, Precision};
use brenier::field::Field;
use brenier::field::network::Output;
use brenier::io::{Float, read_array, read_network, write_npy};
use brenier::measure::named;
use brenier::path::{Prediction, Schedule};
use brenier::random::{Philox, Stream};
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
    // 4,096 pairs: the square of one has a standard deviation of about twice its mean.
    assert!((record["loss_floor"].as_f64().unwrap() / floor - 1.0).abs() < 0.1, "{record}");
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

/// From N(0, 1) to N(3/2, 1/4) the first phase learns a slope that carries the particles to the data at time 1, and on beyond them; the
/// second keeps them there, in a well as wide as the data.
#[test]
fn energy_matching_gives_a_potential_that_holds_what_it_carries() {
    let folder = TempDir::new().unwrap();
    let place = folder.path();
    std::fs::write(place.join("law.json"), r#"{"weights": [1.0], "means": [[1.5]], "covariances": [[[0.25]]]}"#).unwrap();
    let moments = |steps: u32| {
        let sample = format!("sample o/model.safetensors --method energy-matching --steps {steps} --n 2000 --out s");
        assert_eq!(brenier(place, &sample, 0).0["d"], 1);
        let x = read_array(&place.join("s/samples.npy"), "points").unwrap().values;
        let mean = x.iter().sum::<f64>() / 2000.0;
        (mean, (x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 2000.0).sqrt())
    };
    let train = "train law.json --method energy-matching --batch 128 --layers 2 --width 32 --rate 3e-3 --out o";
    brenier(place, &format!("{train} --steps 500 --contrast-steps 0"), 0);
    let ((there, _), (beyond, _)) = (moments(100), moments(1000));
    assert!((there - 1.5).abs() < 0.2 && beyond > 4.0, "{there} {beyond}");
    let (record, _) = brenier(place, &format!("{train} --steps 600 --contrast-steps 300"), 0);
    assert_eq!((&record["method"], &record["coupling"]), (&"energy-matching".into(), &"minibatch".into()));
    // Held to a third of the way that the slope alone would take them; the flow's loss pulls on, where source and data overlap.
    let (held, width) = moments(1000);
    assert!((held - 1.5).abs() < 0.8 && (0.35..0.65).contains(&width), "{held} {width}");
    let network = read_network(&place.join("o/model.safetensors")).unwrap();
    assert_eq!((network.output(), network.dim()), (Output::Energy, 1));
    for method in ["energy-matching-image --steps 5", "langevin --step 0.01 --steps 5"] {
        brenier(place, &format!("sample o/model.safetensors --method {method} --n 50"), 0);
    }
    let (_, said) = brenier(place, "sample o/model.safetensors --method fm-heun --n 50", 1);
    assert!(said.contains("do not determine the step at alpha = 0"), "{said}");
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
    let points: Vec<f64> = named("moons", None).unwrap().sample(600, 5, Stream::Metric, 0).points().to_vec();
    write_npy(&folder.path().join("moons.npy"), &points, &[600, 2], Float::F64).unwrap();
    let args = "train moons.npy --steps 60 --batch 128 --layers 2 --width 64 --coupling semidiscrete --out o";
    let cells = brenier(folder.path(), args, 0).0["loss"].as_f64().unwrap();
    assert!(cells < 0.6 * independent, "{cells} {independent}");
}

#[test]
fn data_are_split_and_what_cannot_be_learnt_is_refused_in_words() {
    let folder = TempDir::new().unwrap();
    let points: Vec<f64> = (0..120).map(|i| f64::from(i % 60) * 0.05).collect();
    write_npy(&folder.path().join("y.npy"), &points, &[60, 2], Float::F64).unwrap();
    write_npy(&folder.path().join("three.npy"), &[0.0, 1.0, 0.0], &[3], Float::F64).unwrap();
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
        ("train y.npy --labels three.npy --steps 5", 1, "3 labels or conditions for 60 target points"),
        ("train y.npy --conditions one.npy --labels three.npy", 2, "cannot be used with"),
        ("train moons --labels three.npy --steps 5", 2, "this one is a law"),
        ("train y.npy --pairs o --steps 5", 1, "no pairs-00000.npz"),
        ("train y.npy --pairs o --coupling minibatch", 2, "cannot be used with"),
        ("train y.npy --coupling sinkhorn --coupling-size 8 --batch 32 --steps 5", 1, "give --coupling-size 32 or more"),
        ("train y.npy --conditions y.npy --coupling minibatch --steps 5", 1, "write pairs with couple --conditions"),
        ("train moons --coupling semidiscrete --steps 5", 2, "the target is a law"),
        ("train y.npy --source y.npy --coupling semidiscrete --steps 5", 2, "the source is a file of points"),
        ("train y.npy --labels classes.csv --coupling semidiscrete --steps 5", 1, "write pairs with couple --conditions"),
        ("train y.npy --coupling-size 64 --steps 5", 2, "--coupling-size is of --coupling sinkhorn"),
        ("train y.npy --coupling-eps 0.1 --steps 5", 2, "--coupling-eps is of --coupling minibatch or sinkhorn"),
        ("train y.npy --method reflow --steps 5", 2, "name it with --model FILE"),
        ("train y.npy --method reflow --model o/model.safetensors --layers 2 --steps 5", 2, "leave --layers and --width out"),
        ("train y.npy --model o/model.safetensors --steps 5", 2, "--model is of --method reflow"),
        ("sample o/model.safetensors --condition three.npy --out s", 1, "it takes no condition"),
        ("train y.npy --method score --schedule cosine --prediction eps", 1, "train one that predicts v or velocity"),
        ("train y.npy --device cuda", 2, "runs on the processor"),
    ] {
        let (_, said) = brenier(folder.path(), args, code);
        assert!(said.contains(words), "{args}: {said}");
    }
    assert!(folder.path().join("brenier-out/train/model.safetensors").exists(), "the last finite weights are kept");
}

/// Numbers of N(0, 1).
fn normals(count: usize) -> Vec<f64> {
    named("normal", Some(1)).unwrap().sample(count, 9, Stream::Metric, 0).points().to_vec()
}

/// Points of two classes in one dimension: N(-2, 1/16) and N(2, 1/16), three of the second to each of the first.
fn two_classes(folder: &Path) -> Vec<f64> {
    let classes: Vec<f64> = (0..2000).map(|i| f64::from(u8::from(i % 4 > 0))).collect();
    let points: Vec<f64> = classes.iter().zip(normals(2000)).map(|(class, z)| 4.0 * class - 2.0 + 0.25 * z).collect();
    write_npy(&folder.join("y.npy"), &points, &[2000, 1], Float::F64).unwrap();
    write_npy(&folder.join("c.npy"), &classes, &[2000], Float::F64).unwrap();
    classes
}

/// The mean of the samples of a network in 20 Heun steps, under a class or under none.
fn mean_of_samples(folder: &Path, model: &str, class: Option<f64>) -> f64 {
    let given = class.map_or(String::new(), |class| {
        write_npy(&folder.join("one-class.npy"), &vec![class; 500], &[500], Float::F64).unwrap();
        " --condition one-class.npy".into()
    });
    brenier(folder, &format!("sample {model}/model.safetensors --method fm-heun --steps 20 --n 500 --out s{given}"), 0);
    let samples = read_array(&folder.join("s/samples.npy"), "points").unwrap().values;
    samples.iter().sum::<f64>() / samples.len() as f64
}

/// A class leads to its own mean, no class to that of all, -2/4 + 2·3/4; so do pairs of a plan within the classes and stored ones.
#[test]
fn a_network_learns_each_class_and_all_of_them_from_any_pairs() {
    let folder = TempDir::new().unwrap();
    let place = folder.path();
    two_classes(place);
    brenier(place, "couple normal y.npy --labels c.npy --pairs 8000 --eps 0.1 --out pairs", 0);
    let small = "--steps 600 --batch 256 --layers 2 --width 32 --rate 4e-3 --withhold 0.3";
    for pairs in [
        "--labels c.npy",
        "--labels c.npy --coupling sinkhorn --coupling-size 1024",
        "--pairs pairs",
        "--pairs pairs --labels c.npy",
    ] {
        let (record, _) = brenier(place, &format!("train y.npy {pairs} {small} --out o"), 0);
        let [none, first, second] = [None, Some(0.0), Some(1.0)].map(|class| mean_of_samples(place, "o", class));
        assert!((first + 2.0).abs() < 0.15 && (second - 2.0).abs() < 0.15, "{pairs}: {first} {second}");
        assert!((none - 1.0).abs() < 0.3, "{pairs}: {none}");
        assert!(record["heldout_divergence"].as_f64().unwrap() < 0.05, "{pairs}: {record}");
    }
    let (_, said) = brenier(place, "sample o/model.safetensors --condition one-class.npy --guidance 2 --method ddim --out g", 0);
    assert!(!said.contains("error"), "{said}");
    write_npy(&place.join("other.npy"), &normals(2000), &[2000, 1], Float::F64).unwrap();
    let (_, said) = brenier(place, "train other.npy --pairs pairs --steps 5", 1);
    assert!(said.contains("is not point") && said.contains("give the target that the pairs were made of"), "{said}");
    write_npy(&place.join("seven.npy"), &[7.0], &[1], Float::F64).unwrap();
    let (_, said) = brenier(place, "sample o/model.safetensors --condition seven.npy --out g", 1);
    assert!(said.contains("is the class 7; the classes are 0, 1"), "{said}");
}

/// Conditions that are numbers: data at their condition, which samples follow.
#[test]
fn a_network_learns_conditions_that_are_numbers() {
    let folder = TempDir::new().unwrap();
    let place = folder.path();
    let philox = Philox::new(3, Stream::Metric);
    let conditions: Vec<f64> = (0..2000).map(|i| 4.0 * philox.uniform(i, 0, 0) - 2.0).collect();
    let points: Vec<f64> = conditions.iter().zip(normals(2000)).map(|(c, z)| c + 0.1 * z).collect();
    write_npy(&place.join("y.npy"), &points, &[2000, 1], Float::F64).unwrap();
    write_npy(&place.join("c.npy"), &conditions, &[2000, 1], Float::F64).unwrap();
    brenier(place, "couple normal y.npy --conditions c.npy --pairs 8000 --eps 0.05 --out pairs", 0);
    let small = "--steps 900 --batch 256 --layers 2 --width 32 --rate 4e-3";
    for pairs in ["--conditions c.npy", "--pairs pairs"] {
        brenier(place, &format!("train y.npy {pairs} {small} --out o"), 0);
        brenier(place, "sample o/model.safetensors --condition c.npy --method fm-heun --steps 10 --out s", 0);
        let samples = read_array(&place.join("s/samples.npy"), "points").unwrap().values;
        let off: f64 = samples.iter().zip(&conditions).map(|(x, c)| (x - c).powi(2)).sum::<f64>() / 2000.0;
        assert!(off < 0.06, "{pairs}: {off}");
    }
}

/// Pairs of a model's own paths make straighter ones: one Euler step of the second network does what took the first several.
#[test]
fn reflow_straightens_the_paths() {
    let folder = TempDir::new().unwrap();
    let place = folder.path();
    brenier(place, "train 8gaussians --steps 1500 --batch 256 --layers 2 --width 64 --rate 3e-3 --out first", 0);
    let reflow = "train 8gaussians --method reflow --model first/model.safetensors --steps 800 --batch 256 --n 8192";
    brenier(place, &format!("{reflow} --out second"), 0);
    brenier(place, "sample first/model.safetensors --method fm-heun --steps 50 --n 8192 --pairs --out ends", 0);
    brenier(place, "train 8gaussians --pairs ends --steps 800 --batch 256 --layers 2 --width 64 --rate 3e-3 --out third", 0);
    let divergence = |model: &str| {
        brenier(place, &format!("sample {model}/model.safetensors --method fm-euler --steps 2 --n 2000 --out s"), 0);
        brenier(place, "evaluate s/samples.npy 8gaussians --n 2000", 0).0["divergence"].as_f64().unwrap()
    };
    let [first, second, third] = ["first", "second", "third"].map(divergence);
    assert!(second < 0.5 * first && third < 0.5 * first, "{first} {second} {third}");
}

/// Few points and many steps: the network that is kept is that of the least divergence, and training ends when it has passed.
#[test]
fn training_ends_when_the_divergence_to_unseen_points_no_longer_falls() {
    let folder = TempDir::new().unwrap();
    let place = folder.path();
    write_npy(&place.join("y.npy"), &normals(120), &[60, 2], Float::F64).unwrap();
    let (record, _) =
        brenier(place, "train y.npy --steps 1000 --batch 64 --layers 2 --width 64 --rate 1e-2 --patience 3 --out o", 0);
    let looks = std::fs::read_to_string(place.join("o/looks.csv")).unwrap();
    let looks: Vec<(f64, f64)> = looks
        .lines()
        .skip(1)
        .map(|line| line.split_once(',').map(|(step, value)| (step.parse().unwrap(), value.parse().unwrap())).unwrap())
        .collect();
    let best = looks.iter().copied().min_by(|a, b| a.1.total_cmp(&b.1)).unwrap();
    assert_eq!(record["kept_step"].as_f64().unwrap(), best.0);
    let since = looks.iter().position(|look| *look == best).unwrap();
    assert!(looks.len() == since + 4 || looks.len() == 20, "{looks:?}");
    assert_eq!(record["steps"].as_f64().unwrap(), looks[looks.len() - 1].0);
    let page = std::fs::read_to_string(place.join("o/report.html")).unwrap();
    assert!(page.contains("What was generalised and what memorised") && page.contains("Held-out divergence"));
}
