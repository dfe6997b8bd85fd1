//! `jko` on the command line: the main runs do what they promise, and bad input is refused.

use std::path::Path;

use assert_cmd::Command;
use brenier::io::{Float, read_array, read_measure, write_cloud};
use brenier::measure::{Cloud, Measure, Mixture};
use serde_json::Value;

const MIXTURE: &str = "tests/golden/mixture_g2.json";

fn jko(out: &Path, args: &[&str]) -> Value {
    let mut command = Command::cargo_bin("brenier").unwrap();
    let output = command.arg("jko").args(args).args(["--json", "--out"]).arg(out).assert().success().get_output().clone();
    serde_json::from_slice(&output.stdout).unwrap()
}

fn refused(args: &[&str]) -> String {
    let out = tempfile::tempdir().unwrap();
    let mut command = Command::cargo_bin("brenier").unwrap();
    let output = command.arg("jko").args(args).arg("--out").arg(out.path()).assert().code(1).get_output().clone();
    String::from_utf8(output.stderr).unwrap()
}

fn steps(record: &Value, key: &str) -> Vec<Option<f64>> {
    record["steps"].as_array().unwrap().iter().map(|step| step[key].as_f64()).collect::<Vec<_>>()
}

fn falls(free_energy: &[Option<f64>]) -> bool {
    free_energy.windows(2).all(|pair| pair[1].unwrap() < pair[0].unwrap())
}

fn law() -> Mixture {
    match read_measure(MIXTURE, None, None).unwrap() {
        Measure::Law(law) => law,
        other => panic!("{other:?}"),
    }
}

fn particles(out: &Path) -> Cloud {
    let array = read_array(&out.join("particles.npy"), "points").unwrap();
    Cloud::new(array.values, array.shape[1]).unwrap()
}

#[test]
fn the_sinkhorn_flow_to_digits_falls_at_every_step_and_ends_within_twice_the_noise_floor() {
    let out = tempfile::tempdir().unwrap();
    let record = jko(out.path(), &["normal:64", "--target", "digits"]);
    assert_eq!(record["scheme"], "sinkhorn-flow");
    let free_energy = steps(&record, "free_energy");
    assert_eq!(free_energy.len(), 21);
    assert!(falls(&free_energy), "{free_energy:?}");
    let inequality = steps(&record, "energy_inequality");
    assert!(inequality[..20].iter().all(|value| value.unwrap() >= 0.0), "{inequality:?}");
    let (divergence, floor) =
        (record["heldout_divergence"].as_f64().unwrap(), record["noise_floor"]["divergence"].as_f64().unwrap());
    assert!(divergence < 2.0 * floor, "{divergence} against {floor}");
    assert_eq!(particles(out.path()).dim(), 64);
}

/// Mean and variance along the eigenvectors of each mode, of the particles nearest to it, against the law's own variances times
/// `factor` (of the predicted bias): local schemes do not move mass between modes, so the weights are not compared.
fn check_moments(cloud: &Cloud, factor: impl Fn(f64) -> f64) {
    let law = law();
    let nearest = |x: &[f64]| {
        let distance = |k: usize| {
            let component = &law.components()[k];
            (0..2).map(|axis| along(x, &component.mean, component, axis).powi(2) / component.covariance.value(axis)).sum::<f64>()
        };
        (0..law.components().len()).min_by(|&a, &b| distance(a).total_cmp(&distance(b))).unwrap()
    };
    let owner: Vec<usize> = cloud.rows().map(nearest).collect();
    for (k, component) in law.components().iter().enumerate() {
        let own: Vec<&[f64]> = cloud.rows().zip(&owner).filter(|(_, owner)| **owner == k).map(|(x, _)| x).collect();
        let n = own.len() as f64;
        assert!(n > 30.0, "mode {k} has {n} particles");
        for axis in 0..2 {
            let z: Vec<f64> = own.iter().map(|x| along(x, &component.mean, component, axis)).collect();
            let mean = z.iter().sum::<f64>() / n;
            let variance = z.iter().map(|z| (z - mean).powi(2)).sum::<f64>() / (n - 1.0);
            let truth = factor(component.covariance.value(axis));
            // Three standard errors, and 2 % for what the neighbouring modes take and give.
            assert!(mean.abs() < 3.0 * (truth / n).sqrt() + 0.02 * truth.sqrt(), "mode {k}, axis {axis}: mean {mean}");
            let slack = 3.0 * truth * (2.0 / n).sqrt() + 0.02 * truth;
            assert!((variance - truth).abs() < slack, "mode {k}, axis {axis}: variance {variance} for {truth} ± {slack}");
        }
    }
}

/// The coordinate of x − μ along the component's eigenvector `axis`.
fn along(x: &[f64], mean: &[f64], component: &brenier::measure::Component, axis: usize) -> f64 {
    (0..2).map(|row| component.covariance.vector(row, axis, 2) * (x[row] - mean[row])).sum()
}

#[test]
fn langevin_reaches_the_moments_of_every_mode_but_for_its_predicted_bias() {
    let out = tempfile::tempdir().unwrap();
    let record = jko(out.path(), &["normal", "--target", MIXTURE, "--scheme", "langevin", "--steps", "200"]);
    let tau = record["tau"].as_f64().unwrap();
    let bias = record["predicted_bias"].as_f64().unwrap();
    assert!((bias - 0.05 / 0.95).abs() < 1e-9, "tau is a tenth of the least variance: {bias}");
    check_moments(&particles(out.path()), |variance| variance / (1.0 - tau / (2.0 * variance)));
    let free_energy = steps(&record, "free_energy");
    assert!(free_energy[0].unwrap() > free_energy[200].unwrap() + 1.0);
    assert!(steps(&record, "effective_neighbours")[200].unwrap() > 10.0);
}

/// Mean and covariance of all particles against the law's own, every variance of a mode times `factor` (of the predicted bias). The
/// weights of the modes count: three modes are 18 nats of barrier and more from the fourth, which no local scheme crosses, so the
/// particles must start with them.
fn check_whole(cloud: &Cloud, factor: impl Fn(f64) -> f64) {
    let law = law();
    let of =
        |part: &dyn Fn(&brenier::measure::Component) -> f64| law.components().iter().map(|c| c.weight * part(c)).sum::<f64>();
    let n = cloud.len() as f64;
    let mean = [0, 1].map(|i| of(&|c| c.mean[i]));
    let within = |c: &brenier::measure::Component, i: usize, j: usize| {
        let along = |a: usize| factor(c.covariance.value(a)) * c.covariance.vector(i, a, 2) * c.covariance.vector(j, a, 2);
        along(0) + along(1)
    };
    for i in 0..2 {
        let sample: Vec<f64> = cloud.rows().map(|x| x[i] - mean[i]).collect();
        let variance = of(&|c| within(c, i, i) + (c.mean[i] - mean[i]).powi(2));
        let off = sample.iter().sum::<f64>() / n;
        assert!(off.abs() < 3.0 * (variance / n).sqrt(), "mean {i} is off by {off}");
        for j in 0..=i {
            let products: Vec<f64> = cloud.rows().map(|x| (x[i] - mean[i]) * (x[j] - mean[j])).collect();
            let (found, truth) =
                (products.iter().sum::<f64>() / n, of(&|c| within(c, i, j) + (c.mean[i] - mean[i]) * (c.mean[j] - mean[j])));
            let spread = products.iter().map(|p| (p - found).powi(2)).sum::<f64>() / n;
            assert!((found - truth).abs() < 3.0 * (spread / n).sqrt(), "covariance {i}{j}: {found} for {truth}");
        }
    }
}

#[test]
fn langevin_keeps_the_moments_of_its_target_but_for_its_predicted_bias() {
    let out = tempfile::tempdir().unwrap();
    let record = jko(out.path(), &[MIXTURE, "--target", MIXTURE, "--scheme", "langevin", "--steps", "200"]);
    let tau = record["tau"].as_f64().unwrap();
    check_whole(&particles(out.path()), |variance| variance / (1.0 - tau / (2.0 * variance)));
}

/// From N(0, I), with noise of the size of the whole law at first.
#[test]
fn annealed_langevin_reaches_the_moments_of_its_target_mode_weights_included() {
    let out = tempfile::tempdir().unwrap();
    let args = ["normal", "--target", MIXTURE, "--scheme", "langevin", "--anneal", "4", "--steps", "1000"];
    let tau = jko(out.path(), &args)["tau"].as_f64().unwrap();
    check_whole(&particles(out.path()), |variance| variance / (1.0 - tau / (2.0 * variance)));
}

#[test]
fn the_blob_keeps_the_moments_of_its_target_but_for_its_predicted_bias() {
    let out = tempfile::tempdir().unwrap();
    let record = jko(out.path(), &[MIXTURE, "--target", MIXTURE, "--scheme", "blob", "--steps", "40", "--n", "2048"]);
    let eps = record["eps"].as_f64().unwrap();
    check_whole(&particles(out.path()), |variance| {
        variance * (1.0 + brenier::gradient_flow::Blob::predicted_bias(eps, variance))
    });
    assert!(falls(&steps(&record, "free_energy")));
}

/// From N(0, I), as for Langevin; the flow has no noise, so what is left are the shares that the modes had when they parted.
#[test]
fn the_annealed_blob_reaches_the_moments_of_its_target_mode_weights_included() {
    let out = tempfile::tempdir().unwrap();
    let args = ["normal", "--target", MIXTURE, "--scheme", "blob", "--anneal", "4", "--steps", "400", "--n", "1024"];
    let eps = jko(out.path(), &args)["eps"].as_f64().unwrap();
    check_whole(&particles(out.path()), |variance| {
        variance * (1.0 + brenier::gradient_flow::Blob::predicted_bias(eps, variance))
    });
}

#[test]
fn the_blob_descends_its_own_energy_and_pays_for_every_step() {
    let out = tempfile::tempdir().unwrap();
    let record = jko(out.path(), &["normal", "--target", MIXTURE, "--scheme", "blob", "--steps", "60", "--n", "2048"]);
    assert!(falls(&steps(&record, "free_energy")));
    let inequality = steps(&record, "energy_inequality");
    assert!(inequality[..60].iter().all(|value| value.unwrap() >= -1e-6), "{inequality:?}");
    assert!(steps(&record, "effective_neighbours")[60].unwrap() > 5.0);
}

#[test]
fn the_semi_unbalanced_scheme_writes_weights_and_its_bias() {
    let out = tempfile::tempdir().unwrap();
    let record = jko(out.path(), &["normal", "--target", "moons", "--scheme", "semi-unbalanced", "--steps", "5", "--n", "1000"]);
    let weights = read_array(&out.path().join("weights.npy"), "weights").unwrap();
    assert_eq!(weights.shape, [1000]);
    assert!((weights.values.iter().sum::<f64>() - 1.0).abs() < 1e-9);
    let (free_energy, inequality) = (steps(&record, "free_energy"), steps(&record, "energy_inequality"));
    assert_eq!((free_energy[0], inequality[0]), (None, None));
    assert!(falls(&free_energy[1..]));
    assert!(inequality[1..5].iter().all(|value| value.unwrap() > -1e-4), "{inequality:?}");
    // −(ε/2)/(τ + ε) at ε = τ/10.
    assert!((record["predicted_bias"].as_f64().unwrap() + 0.05 / 1.1).abs() < 1e-9);
}

#[test]
fn bad_input_is_answered_with_the_remedy() {
    assert!(refused(&["normal", "--target", "moons", "--tau", "0"]).contains("a finite tau above zero"));
    let blurred = refused(&["normal", "--target", "moons", "--scheme", "semi-unbalanced", "--tau", "0.1", "--eps", "0.2"]);
    assert!(blurred.contains("eps = 0.2 is not below tau = 0.1"), "{blurred}");
    assert!(refused(&["normal", "--target", "moons", "--scheme", "langevin"]).contains("use sinkhorn-flow"));
    assert!(refused(&["normal", "--target", "normal:8", "--scheme", "blob"]).contains("at most 5"));
    assert!(
        refused(&["normal", "--target", "moons", "--anneal", "4"])
            .contains("sinkhorn-flow does not take anneal, which is for langevin and blob")
    );
    let asked = |args: &str| refused(&args.split(' ').collect::<Vec<_>>());
    for scheme in ["implicit", "energy-matching", "blob"] {
        assert!(asked(&format!("normal --target moons --scheme {scheme}")).contains("needs the potential of a law"), "{scheme}");
    }
    assert!(asked("normal --target moons --scheme forward").contains("give --target normal"));
    assert!(asked("moons --target 8gaussians --scheme ddim").contains("its source is normal"));
    assert!(asked("normal --target moons --scheme ddim --eps 1").contains("leave --eps out, or give --scheme"));
    assert!(asked("normal --target moons --scheme ncsn --tau 1").contains("ncsn does not take tau"));
    assert!(asked("normal --target moons --scheme ddpm --schedule condot").contains("such as linear-vp"));
    assert!(asked("normal --target moons --scheme ddpm --schedule cosine --tau 1").contains("give one of them"));
    assert!(asked("normal --target moons --scheme ddpm --schedule cosin").contains("did you mean \"cosine\"?"));
    for scheme in ["implicit", "forward", "ddim", "ddpm", "explicit-score", "energy-matching"] {
        let target = if scheme == "forward" { "normal" } else { MIXTURE };
        assert!(
            asked(&format!("normal --target {target} --scheme {scheme} --tau 0")).contains("a finite tau above zero"),
            "{scheme}"
        );
    }
    for tau in ["-1", "nan", "inf"] {
        assert!(refused(&["normal", "--target", MIXTURE, "--tau", tau]).contains("a finite tau above zero"), "{tau}");
    }
}

/// The samplers on the command line: F rises along them, forward noise lowers it, and --explain says what is exact.
#[test]
fn samplers_and_noise_are_schemes_of_the_same_loop() {
    let out = tempfile::tempdir().unwrap();
    for (scheme, ends) in [
        ("forward", ["8gaussians", "normal"]),
        ("ddim", ["normal", "8gaussians"]),
        ("ddpm", ["normal", "moons"]),
        ("explicit-score", ["normal", "8gaussians"]),
    ] {
        let args =
            [ends[0], "--target", ends[1], "--scheme", scheme, "--steps", "40", "--n", "1000", "--tau", "0.1", "--explain"];
        let record = jko(out.path(), &args);
        assert_eq!(record["scheme"], scheme);
        assert!(record["certificate"]["exact"].as_str().unwrap().contains("law"), "{}", record["certificate"]);
        let (energy, residual) = (steps(&record, "free_energy"), steps(&record, "jko_residual"));
        let sign = if scheme == "forward" { -1.0 } else { 1.0 };
        // Where the law is next to N(0, I) both are differences of means over particles.
        let told = |pair: &&[Option<f64>]| pair.iter().all(|energy| energy.is_some_and(|energy| energy > 0.05));
        let pairs: Vec<&[Option<f64>]> = energy.windows(2).filter(told).collect();
        assert!(pairs.len() > 2, "{scheme}: {energy:?}");
        assert!(pairs.iter().all(|pair| sign * (pair[1].unwrap() - pair[0].unwrap()) > 0.0), "{scheme}: {energy:?}");
        let largest = residual.iter().flatten().fold(0.0f64, |a, b| a.max(*b));
        assert!(if scheme == "explicit-score" { largest < 1e-3 } else { largest > 1e-3 }, "{scheme}: {largest}");
        for file in ["report.html", "steps.csv", "particles.npy", "figures/certificate.svg"] {
            assert!(out.path().join(file).is_file(), "{scheme} writes {file}");
        }
    }
}

/// At time 0.2 the data are not yet noise.
#[test]
fn a_chain_that_begins_short_of_noise_says_so() {
    let out = tempfile::tempdir().unwrap();
    let args = ["normal", "--target", "8gaussians", "--scheme", "ddim", "--tau", "0.01", "--n", "100"];
    assert_eq!(jko(out.path(), &args)["flags"], serde_json::json!(["short_of_noise"]));
    assert_eq!(jko(out.path(), &args[..5])["flags"], serde_json::json!([]));
}

/// e^{−V} of a mixture with a direction of no or negative variance has no integral.
#[test]
fn a_potential_that_is_not_integrable_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("flat.json");
    for variance in ["0.0", "-1.0"] {
        let law = format!(r#"{{"weights": [1.0], "means": [[0.0, 0.0]], "covariances": [[[1.0, 0.0], [0.0, {variance}]]]}}"#);
        std::fs::write(&file, law).unwrap();
        for scheme in ["langevin", "blob"] {
            let said = refused(&["normal", "--target", file.to_str().unwrap(), "--scheme", scheme]);
            assert!(said.contains("flat.json") && said.contains("not symmetric positive definite"), "{said}");
        }
    }
}

/// The step and the particle are named, and the particles are those before that step, none farther than ten radii.
#[test]
fn a_runaway_particle_ends_the_run_at_its_last_good_state() {
    let out = tempfile::tempdir().unwrap();
    let args = ["jko", "normal", "--target", MIXTURE, "--scheme", "langevin", "--tau", "5", "--steps", "50", "--json", "--out"];
    let mut command = Command::cargo_bin("brenier").unwrap();
    let output = command.args(args).arg(out.path()).assert().code(1).get_output().clone();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("ran away in step") && said.contains("use a smaller tau. The last good state is kept"), "{said}");
    let record: Value = serde_json::from_slice(&output.stdout).unwrap();
    let halted = record["halted"].as_str().unwrap();
    let step = record["steps"].as_array().unwrap().len() - 1;
    assert!(halted.starts_with("particle ") && halted.contains(&format!("in step {step}:")), "{halted}");
    let cloud = particles(out.path());
    assert_eq!(cloud.len(), 4096);
    assert!(cloud.radius() < 100.0, "{}", cloud.radius());
}

/// A step of length zero, nearly, moves nothing: the particles are the points of the file, in their order and under their weights.
#[test]
fn the_points_of_a_file_start_in_their_order() {
    let folder = tempfile::tempdir().unwrap();
    let n = 30;
    let x: Vec<f64> = (0..2 * n).map(|k| (7.0 * k as f64).sin()).collect();
    let target = folder.path().join("t.npy");
    brenier::io::write_npy(&target, &(0..120).map(|k| (3.0 * f64::from(k)).cos()).collect::<Vec<_>>(), &[60, 2], Float::F64)
        .unwrap();
    let (plain, weighted) = (folder.path().join("x.npy"), folder.path().join("w.npz"));
    let cloud = Cloud::new(x.clone(), 2).unwrap();
    let shares: Vec<f64> = (0..n).map(|i| if i == 4 { 0.0 } else { 1.0 + i as f64 }).collect();
    write_cloud(&plain, &cloud, Float::F64).unwrap();
    let of_shares = cloud.clone().with_weights(shares).unwrap();
    write_cloud(&weighted, &of_shares, Float::F64).unwrap();
    let run = |source: &Path, more: &[&str]| {
        let out = folder.path().join("out");
        let args = [source.to_str().unwrap(), "--steps", "1", "--precision", "f64"];
        jko(&out, &[&args, more].concat());
        let (found, weights) = (particles(&out), out.join("weights.npy"));
        (found, weights.exists().then(|| read_array(&weights, "weights").unwrap().values))
    };
    let to_points = ["--target", target.to_str().unwrap(), "--tau", "1e-12", "--eps", "0.1"];
    let close = |found: &[f64], expected: &[f64]| {
        found.len() == expected.len() && found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-4)
    };
    assert!(close(run(&plain, &to_points).0.points(), &x));
    assert!(close(run(&plain, &[&to_points[..], &["--n", "30"]].concat()).0.points(), &x));
    let (found, weights) = run(&weighted, &to_points);
    assert!(close(found.points(), &x) && close(&weights.unwrap(), of_shares.weights().unwrap()));

    // Fewer are some of them, more are all of them, and where weights are not kept each is there as often as it weighs.
    let rows = |found: &Cloud| -> Vec<usize> {
        found.rows().map(|row| (0..n).find(|&i| close(row, cloud.row(i))).expect("a point of the file")).collect()
    };
    let few = rows(&run(&plain, &[&to_points[..], &["--n", "12"]].concat()).0);
    assert!(few.len() == 12 && few.windows(2).all(|pair| pair[0] < pair[1]), "{few:?}");
    let many = rows(&run(&plain, &[&to_points[..], &["--n", "90"]].concat()).0);
    assert_eq!(many, (0..90).map(|i| i / 3).collect::<Vec<usize>>());
    let law = ["--target", "8gaussians", "--scheme", "langevin", "--tau", "1e-12", "--n", "4000"];
    let (found, weights) = run(&weighted, &law);
    let drawn = rows(&found);
    assert!(weights.is_none() && drawn.windows(2).all(|pair| pair[0] <= pair[1]));
    for i in 0..n {
        let times = drawn.iter().filter(|&&row| row == i).count() as f64;
        assert!((times - 4000.0 * of_shares.weight(i)).abs() <= 2.0, "{i}: {times}");
    }
}
