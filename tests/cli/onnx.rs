//! Models in ONNX files: the exact fields of a Gaussian, so that what they sample is what the law's own field samples.
//!
//! The tests need the ONNX Runtime (`pip install onnxruntime` into an active virtual environment) and say so where it is missing; with
//! `REQUIRE_ONNX` set they fail instead.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use assert_cmd::Command;
use brenier::field::signature::Clock;
use brenier::field::{Batch, HostField, Inputs, Onnx, Signature};
use brenier::io::{Float, read_array, write_npy};
use brenier::measure::{Cloud, Covariance, Mixture};
use brenier::path::{Prediction, Schedule};
use brenier::random::Stream;
use serde_json::Value;
use tempfile::TempDir;

use super::records::{documented, keys};

/// A folder with the models and the law whose fields they are.
struct Models {
    folder: TempDir,
}

impl Models {
    /// None, with a word, where there is no ONNX Runtime.
    fn new() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        for name in ["beside", "classes", "eps", "fixed", "labels", "nan", "open", "vectors", "velocity", "wide"] {
            fs::copy(data(&format!("{name}.onnx")), folder.path().join(format!("{name}.onnx"))).unwrap();
        }
        let law = r#"{"weights": [1], "means": [[1, -2]], "variances": [0.25]}"#;
        fs::write(folder.path().join("law.json"), law).unwrap();
        let models = Self { folder };
        let (_, words) = models.fails(&["sample", "open.onnx", "--prediction", "eps", "--schedule", "ddpm"]);
        if words.contains("no ONNX Runtime") {
            let required = std::env::var_os("REQUIRE_ONNX").is_some_and(|value| !value.is_empty() && value != "0");
            assert!(!required, "{words}");
            eprintln!("skipped: {words}");
            return None;
        }
        Some(models)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::cargo_bin("brenier").unwrap();
        command.current_dir(self.folder.path()).args(args);
        command
    }

    /// The record of a run that ends well.
    fn record(&self, args: &[&str]) -> Value {
        let output = self.command(args).arg("--json").output().unwrap();
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// The samples of a run that ends well.
    fn samples(&self, args: &[&str]) -> Vec<f64> {
        self.record(&[args, &["--out", "samples"]].concat());
        read_array(&self.path("samples/samples.npy"), "points").unwrap().values
    }

    /// Exit status and words of a run that does not.
    fn fails(&self, args: &[&str]) -> (i32, String) {
        let output = self.command(args).output().unwrap();
        assert!(!output.status.success(), "{args:?} should fail");
        (output.status.code().unwrap(), String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

/// A file of `tests/data/models`.
fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/models").join(name)
}

const EPS: [&str; 4] = ["--prediction", "eps", "--schedule", "ddpm"];
const VELOCITY: [&str; 5] = ["--prediction", "velocity", "--clock-reverse", "--clock-scale", "1000"];

/// Largest distance of a coordinate from another's.
fn apart(x: &[f64], y: &[f64]) -> f64 {
    assert_eq!(x.len(), y.len());
    x.iter().zip(y).map(|(x, y)| (x - y).abs()).fold(0.0, f64::max)
}

#[test]
fn a_model_samples_what_the_law_samples_whose_field_it_is() {
    let Some(models) = Models::new() else { return };
    for (model, flags, run) in [
        ("eps.onnx", &EPS[..], &["--method", "ddim", "--schedule", "ddpm"][..]),
        ("eps.onnx", &EPS[..2], &["--method", "ddpm", "--schedule", "ddpm"]),
        ("eps.onnx", &[], &["--method", "dpmpp-2m", "--schedule", "linear-vp"]),
        ("fixed.onnx", &EPS[..2], &["--method", "ddim", "--schedule", "ddpm"]),
        ("velocity.onnx", &VELOCITY, &["--method", "fm-heun"]),
        ("velocity.onnx", &[], &["--method", "dopri5", "--tol", "1e-4"]),
    ] {
        let adaptive = run.contains(&"dopri5");
        let grid: &[&str] = if adaptive { &[] } else { &["--grid", "trailing", "--steps", "10"] };
        let all = [run, grid, &["--n", "33"]].concat();
        let unique: Vec<&str> = if flags.contains(&"--schedule") { [&flags[..2], &all].concat() } else { [flags, &all].concat() };
        let of_model = models.samples(&[&["sample", model], &unique[..]].concat());
        let of_law = models.samples(&[&["sample", "law.json"], &all[..]].concat());
        let apart = apart(&of_model, &of_law);
        // Between two of a thousand entries a model of integers is asked at the nearer one; else only f32 tells them apart.
        let tolerance = if run.contains(&"linear-vp") { 5e-3 } else { 2e-4 };
        assert!(apart < tolerance, "{model} {run:?}: {apart:e} apart");
    }
}

/// A perceptron, a U-Net with attention and a diffusion transformer, by both exporters, in calls of all points and of one.
#[test]
fn an_exported_network_predicts_what_pytorch_says() {
    let Some(_) = Models::new() else { return };
    let array = |name: &str| read_array(&data("exported.npz"), name).unwrap().values;
    for (name, points, schedule, prediction) in [
        ("perceptron", "perceptron.x", "condot", Prediction::Velocity),
        ("unet", "pictures", "ddpm", Prediction::Noise),
        ("dit", "pictures", "condot", Prediction::Velocity),
    ] {
        let schedule = Schedule::parse(schedule).unwrap();
        let (clock, t): (Clock, fn(f64) -> f64) = match schedule {
            Schedule::Table(_) => (Clock::Index, |entry| 1.0 - (entry + 1.0) / 1000.0),
            _ => (Clock::T, |t| t),
        };
        let (points, expected) = (array(points), array(&format!("{name}.y")));
        for exporter in ["script", "dynamo"] {
            let signature = Signature::new(prediction, schedule.clone(), clock, false, 1.0).unwrap();
            let path = data(&format!("{name}-{exporter}.onnx"));
            let model = Onnx::open(&path, signature, &Inputs::default()).unwrap();
            let one_by_one = model.clone().within(1).unwrap();
            assert_eq!(one_by_one.points_of_a_call(), 1);
            assert!(model.clone().within(1 << 40).unwrap().points_of_a_call() == model.points_of_a_call());
            for (time, expected) in array(&format!("{name}.t")).into_iter().zip(expected.chunks(points.len())) {
                let level = schedule.level(t(time));
                for model in [&model, &one_by_one] {
                    let mut found = vec![0.0; points.len()];
                    model.predict(Batch { level, points: &points, first: 0 }, &mut found).unwrap();
                    let apart = apart(&found, expected);
                    assert!(apart < 1e-5, "{name}, {exporter}, time {time}: {apart:e} from PyTorch");
                }
            }
        }
    }
}

/// Samples of pictures keep their shape, in the file and as starts, and are drawn.
#[test]
fn samples_of_a_model_of_pictures_have_its_shape() {
    let Some(models) = Models::new() else { return };
    fs::copy(data("dit-dynamo.onnx"), models.path("dit.onnx")).unwrap();
    let flags = ["sample", "dit.onnx", "--method", "fm-euler", "--steps", "2", "--n", "5"];
    models.samples(&[&flags[..], &["--prediction", "velocity"]].concat());
    let shape = || read_array(&models.path("samples/samples.npy"), "points").unwrap().shape;
    assert_eq!(shape(), [5, 3, 32, 32]);
    assert!(models.path("samples/samples.png").exists() || cfg!(not(feature = "image")));
    models.samples(&[&flags[..], &["--start", "samples/samples.npy"]].concat());
    assert_eq!(shape(), [5, 3, 32, 32]);
}

/// The bytes of a file with one text in place of another of the same length.
fn put(models: &Models, from: &str, text: &str, other: &str, to: &str) {
    assert_eq!(text.len(), other.len());
    let mut bytes = fs::read(models.path(from)).unwrap();
    let at = bytes.windows(text.len()).position(|window| window == text.as_bytes()).unwrap();
    bytes[at..at + text.len()].copy_from_slice(other.as_bytes());
    fs::write(models.path(to), bytes).unwrap();
}

#[test]
fn external_data_are_read_beside_the_model_and_nowhere_else() {
    let Some(models) = Models::new() else { return };
    let sample = |model: &'static str| [&["sample", model, "--n", "8", "--method", "fm-heun"], &VELOCITY[..]].concat();
    let mean: Vec<u8> = [1f32, -2.0].iter().flat_map(|x| x.to_le_bytes()).collect();
    let (code, words) = models.fails(&sample("beside.onnx"));
    assert!(code == 1 && words.contains("mean.bin"), "{words}");
    fs::write(models.path("mean.bin"), &mean).unwrap();
    assert_eq!(models.samples(&sample("beside.onnx")), models.samples(&sample("velocity.onnx")));

    let inner = models.path("in");
    fs::create_dir(&inner).unwrap();
    fs::write(models.path("n.bin"), &mean).unwrap();
    put(&models, "beside.onnx", "mean.bin", "../n.bin", "in/up.onnx");
    put(&models, "beside.onnx", "mean.bin", "/tmp/bin", "in/absolute.onnx");
    #[cfg(unix)]
    {
        fs::copy(models.path("beside.onnx"), inner.join("link.onnx")).unwrap();
        std::os::unix::fs::symlink("../mean.bin", inner.join("mean.bin")).unwrap();
        let (code, words) = models.fails(&sample("in/link.onnx"));
        assert!(code == 1 && words.contains("cannot open it") && words.contains("escapes"), "{words}");
    }
    for (model, why) in [("in/up.onnx", "escapes"), ("in/absolute.onnx", "Absolute path")] {
        let (code, words) = models.fails(&sample(model));
        assert!(code == 1 && words.contains("cannot open it") && words.contains(why), "{model}: {words}");
    }
}

#[test]
fn what_was_said_of_a_model_is_kept_beside_it_and_checked() {
    let Some(models) = Models::new() else { return };
    let first = models.samples(&[&["sample", "eps.onnx"], &EPS[..], &["--n", "8"]].concat());
    let beside = fs::read_to_string(models.path("eps.toml")).unwrap();
    for line in ["version = 1", "prediction = \"eps\"", "schedule = \"ddpm\"", "check = "] {
        assert!(beside.contains(line), "{line} in {beside}");
    }
    assert_eq!(models.samples(&["sample", "eps.onnx", "--n", "8"]), first);

    // A velocity's own schedule is kept, and one given later is to run on; flags win over the file for one run.
    let velocity =
        |more: &[&str]| models.samples(&[&["sample", "velocity.onnx", "--n", "8", "--method", "fm-heun"], more].concat());
    let own = velocity(&VELOCITY);
    assert!(fs::read_to_string(models.path("velocity.toml")).unwrap().contains("schedule = \"condot\""));
    assert_ne!(velocity(&["--schedule", "trigonometric"]), own);
    assert_ne!(velocity(&["--clock-scale", "900"]), own);
    assert_eq!(velocity(&[]), own);

    fs::write(models.path("velocity.toml"), beside.replace("ddpm", "condot")).unwrap();
    let (code, words) = models.fails(&["sample", "velocity.onnx", "--n", "8"]);
    assert!(code == 1 && words.contains("it is another model"), "{words}");
    // Keys of another version need not be known.
    fs::write(models.path("eps.toml"), "version = 2\nenergy = true\n").unwrap();
    let (code, words) = models.fails(&["sample", "eps.onnx"]);
    assert!(code == 1 && words.contains("version 2"), "{words}");
    fs::write(models.path("eps.toml"), "version = 1\npredicts = \"eps\"\n").unwrap();
    let (code, words) = models.fails(&["sample", "eps.onnx"]);
    assert!(code == 1 && words.contains("predicts"), "{words}");
}

/// The model of three classes samples the law of each, guided by the third the law further along, in batches of any size.
#[test]
fn a_model_is_asked_under_the_condition_of_each_particle() {
    let Some(models) = Models::new() else { return };
    let law = |name: &str, means: [[f64; 2]; 2]| {
        let text = format!("{{\"weights\": [1, 1], \"means\": {means:?}, \"variances\": [0.25, 0.25]}}");
        fs::write(models.path(name), text).unwrap();
    };
    law("classes.json", [[1.0, -2.0], [-1.0, 0.0]]);
    law("further.json", [[2.0, -5.0], [-2.0, -1.0]]); // 2 m_c − m_2
    let lines = |line: fn(usize) -> &'static str| (0..33).map(|i| format!("{}\n", line(i % 2))).collect::<String>();
    fs::write(models.path("of-class.csv"), lines(|class| ["0", "1"][class])).unwrap();
    fs::write(models.path("vector.csv"), lines(|class| ["1,-2,7", "-1,0,7"][class])).unwrap();
    let ambiguous = models.fails(&[&["sample", "classes.onnx", "--condition", "of-class.csv"], &EPS[..]].concat());
    assert!(ambiguous.1.contains("\"entry\" and \"class\" both take one number a point"), "{}", ambiguous.1);
    let described = [&EPS[..], &["--inputs", "condition=class", "--unconditional", "2"]].concat();
    models.samples(&[&["sample", "classes.onnx", "--n", "2"], &described[..]].concat());
    let on_table = |method| ["--method", method, "--schedule", "ddpm", "--grid", "trailing", "--steps", "10"];
    let of_vectors = [&VELOCITY[..], &["--unconditional", "0,1,9"]].concat();
    for (model, described, conditions, run) in [
        ("classes.onnx", &[][..], "of-class.csv", &on_table("ddim")[..]),
        ("classes.onnx", &[], "of-class.csv", &on_table("ddpm")),
        ("vectors.onnx", &of_vectors, "vector.csv", &["--method", "fm-heun", "--steps", "10"]),
        ("vectors.onnx", &[], "vector.csv", &["--method", "dopri5", "--tol", "1e-4"]),
    ] {
        let of_model =
            |more: &[&str]| models.samples(&[&["sample", model, "--condition", conditions], described, run, more].concat());
        let of_law = |law: &str| models.samples(&[&["sample", law, "--condition", "of-class.csv"], run].concat());
        let (found, guided) = (of_model(&[]), of_model(&["--guidance", "2"]));
        for (found, law) in [(&found, "classes.json"), (&guided, "further.json")] {
            let apart = apart(found, &of_law(law));
            assert!(apart < 1e-3, "{model} {run:?}: {apart:e} from {law}");
        }
        assert!(apart(&of_model(&["--particles", "11..20"]), &found[22..40]) < 1e-6, "{model} {run:?}");
    }
    // Without conditions the model is asked under that which stands for none.
    let unconditional = models.samples(&["sample", "classes.onnx", "--n", "4000", "--steps", "10"]);
    let mean = unconditional.iter().step_by(2).sum::<f64>() / 4000.0;
    assert!(mean.abs() < 0.05, "{mean} for the mean 0 of class 2");
    let beside = fs::read_to_string(models.path("vectors.toml")).unwrap();
    let without = beside.replace("unconditional = \"0,1,9\"\n", "");
    assert_ne!(without, beside, "{beside}");
    fs::write(models.path("vectors.toml"), &without).unwrap();
    fs::write(models.path("half.csv"), "0.5\n").unwrap();
    fs::write(models.path("nine.csv"), "9\n").unwrap();
    let sampled = |model: &'static str, more: &[&'static str]| [&["sample", model], more].concat();
    for (args, words) in [
        (sampled("classes.onnx", &["--condition", "half.csv"]), "condition 0 is 0.5, and integers are taken"),
        (sampled("classes.onnx", &["--condition", "vector.csv"]), "conditions of 3 numbers are given, and each particle takes 1"),
        (sampled("classes.onnx", &["--condition", "nine.csv"]), "failed"),
        (sampled("classes.onnx", &["--unconditional", "0.5"]), "condition 0 is 0.5, and integers are taken"),
        (sampled("classes.onnx", &["--unconditional", "none.npy"]), "none.npy: there is no such file"),
        (
            sampled("vectors.onnx", &["--condition", "vector.csv", "--guidance", "2"]),
            "say with --unconditional what stands for none",
        ),
        (sampled("vectors.onnx", &[]), "vectors.onnx is asked without a condition, and takes one"),
        (sampled("eps.onnx", &["--condition", "of-class.csv", EPS[0], EPS[1], EPS[2], EPS[3]]), "it takes no condition"),
    ] {
        let (code, said) = models.fails(&args);
        assert!(code == 1 && said.contains(words), "{args:?}: {said}");
    }
    // It is kept also where it is said later than the rest.
    models.samples(&["sample", "vectors.onnx", "--n", "2", "--unconditional", "0,1,9"]);
    assert_eq!(fs::read_to_string(models.path("vectors.toml")).unwrap(), beside);
}

#[test]
fn a_model_is_compared_with_data() {
    let Some(models) = Models::new() else { return };
    let flags = ["compare", "eps.onnx", "--target", "law.json", "--steps", "50,100", "--n", "512"];
    let record = models.record(&[&flags[..], &EPS].concat());
    assert_eq!(record["model"], "eps.onnx");
    let of_ddim = record["rows"].as_array().unwrap().iter().filter(|row| row["method"] == "ddim");
    let errors: Vec<f64> = of_ddim.map(|row| row["solver_error"].as_f64().unwrap()).collect();
    let order = (errors[0] / errors[1]).log2();
    assert!((order - 1.0).abs() < 0.2, "order {order} of {errors:?}");
    // The model is exact, so its own flow ends in the law, as far as the draws of one run tell.
    let divergence = |key: &str| record[key]["divergence"].as_f64().unwrap();
    assert!(divergence("model_limit") < 2.0 * divergence("noise_floor"), "{}", record["model_limit"]);
}

/// Classes asked for each other make a cloud as good as the right one, and each of them is wrong.
#[test]
fn a_model_is_judged_class_by_class() {
    let Some(models) = Models::new() else { return };
    let means = vec![vec![1.0, -2.0], vec![-1.0, 0.0]];
    let law = Mixture::new(vec![1.0; 2], means, vec![Covariance::Isotropic(0.25); 2]).unwrap();
    let drawn: Vec<Cloud> = (0..).zip(law.laws()).map(|(step, law)| law.sample(200, 7, Stream::Source, step)).collect();
    let points = [drawn[0].points(), drawn[1].points()].concat();
    write_npy(&models.path("data.npy"), &points, &[400, 2], Float::F64).unwrap();
    let labels = |name: &str, [first, second]: [&str; 2]| {
        fs::write(models.path(name), [first.repeat(200), second.repeat(200)].concat()).unwrap();
    };
    labels("right.csv", ["0\n", "1\n"]);
    labels("wrong.csv", ["1\n", "0\n"]);
    let compare = ["compare", "classes.onnx", "--target", "data.npy", "--steps", "20", "--inputs", "condition=class"];
    let compare = |more: &[&str]| models.record(&[&compare[..], &EPS, more].concat());
    let number = |value: &Value| value.as_f64().unwrap();
    for (file, is_right) in [("right.csv", true), ("wrong.csv", false)] {
        let record = compare(&["--condition", file]);
        let ddim = record["rows"].as_array().unwrap().iter().position(|row| row["method"] == "ddim").unwrap();
        let whole = number(&record["rows"][ddim]["divergence"]) / number(&record["noise_floor"]["divergence"]);
        assert!(whole < 3.0, "{file}: {whole} floors");
        let classes = record["classes"].as_array().unwrap();
        assert_eq!(classes.iter().map(|class| class["class"].as_u64().unwrap()).collect::<Vec<_>>(), [0, 1]);
        assert_eq!(classes.iter().map(|class| class["m"].as_u64().unwrap()).sum::<u64>(), 200);
        for class in classes {
            let own = number(&class["rows"][ddim]["divergence"]) / number(&class["noise_floor"]["divergence"]);
            assert_eq!(own < 4.0, is_right, "{file}: {own} floors");
        }
        let mut found = BTreeSet::new();
        keys(&classes[0], "", &mut found);
        assert_eq!(found, documented("compare", "classes"));
    }
    fs::write(models.path("few.csv"), ["2\n".repeat(3), "0\n".repeat(197), "1\n".repeat(200)].concat()).unwrap();
    let guided = compare(&["--condition", "few.csv", "--unconditional", "2", "--guidance", "1.5"]);
    assert!(guided["notes"].to_string().contains("all in one place: classes 2."), "{}", guided["notes"]);
    assert_eq!(guided["classes"].as_array().unwrap().len(), 2);
    let ddim = guided["rows"].as_array().unwrap().iter().find(|row| row["method"] == "ddim").unwrap();
    assert_eq!(ddim["nfe"], 40);
    for (args, code, words) in [
        (&["classes.onnx", "--target", "law.json", "--condition", "right.csv"][..], 1, "and the target is a law; give data"),
        (&["classes.onnx", "--target", "data.npy", "--condition", "three.csv"], 1, "3 conditions for 400 points"),
        (&["8gaussians", "--condition", "right.csv"], 2, "--target"),
    ] {
        fs::write(models.path("three.csv"), "0\n1\n0\n").unwrap();
        let (found, said) = models.fails(&[&["compare"], args].concat());
        assert!(found == code && said.contains(words), "{args:?}: {said}");
    }
}

#[test]
fn what_is_not_a_model_is_refused_in_words() {
    let Some(models) = Models::new() else { return };
    fs::write(models.path("broken.onnx"), "these are not the bytes of a model").unwrap();
    let open = [&["sample", "open.onnx"], &EPS[..]].concat();
    let labels = [&["sample", "labels.onnx"], &EPS[..]].concat();
    let broken = [&["sample", "broken.onnx"], &EPS[..]].concat();
    let nan = [&["sample", "nan.onnx"], &EPS[..]].concat();
    let inputs = [&["sample", "eps.onnx", "--inputs", "x=y"], &EPS[..]].concat();
    let wide = [&["sample", "wide.onnx"], &EPS[..]].concat();
    put(&models, "velocity.onnx", "Sub", "Sup", "unknown.onnx");
    let unknown = [&["sample", "unknown.onnx"], &VELOCITY[..]].concat();
    let index = ["sample", "velocity.onnx", "--prediction", "velocity", "--clock", "index"];
    for (args, code, words) in [
        (&open[..], 1, "the shape of a point is not fixed"),
        (&labels, 1, "\"timestep\" and \"label\" both take one number a point"),
        (&broken, 1, "cannot open it"),
        (&unknown, 1, "Sup"),
        (&wide, 1, "nothing of the shape of its points [-1, 2]"),
        (&nan, 1, "are not finite"),
        (&inputs, 1, "did you mean \"x\"?"),
        (&index, 1, "the clock is the index of a table"),
        (&["sample", "eps.onnx"], 2, "--prediction"),
        (&["sample", "eps.onnx", "--prediction", "eps"], 2, "--schedule"),
        (&["sample", "eps.onnx", "--prediction", "noise"], 2, "eps"),
        (&["sample", "8gaussians", "--prediction", "eps"], 2, "leave them out"),
        (&["compare", "8gaussians", "--schedule", "ddpm"], 2, "leave it out"),
        (&["compare", "eps.onnx", "--prediction", "eps"], 1, "--target"),
        (&["sample", "missing.onnx", "--prediction", "velocity"], 1, "missing.onnx"),
    ] {
        let (found, said) = models.fails(args);
        assert!(found == code && said.contains(words), "{args:?}: {found}, {said}");
    }
}

#[test]
fn a_missing_runtime_is_a_sentence_with_the_remedy() {
    let folder = tempfile::tempdir().unwrap();
    fs::copy(data("eps.onnx"), folder.path().join("eps.onnx")).unwrap();
    let mut command = Command::cargo_bin("brenier").unwrap();
    command.current_dir(folder.path()).env("ORT_DYLIB_PATH", "nowhere/libonnxruntime.so");
    let output = command.args([&["sample", "eps.onnx"], &EPS[..]].concat()).output().unwrap();
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && words.contains("pip install onnxruntime"), "{words}");
}

/// The server of `examples/`, with the session of the file in place of its function.
#[test]
fn the_same_model_in_a_file_and_behind_a_command_gives_equal_samples() {
    let Some(models) = Models::new() else { return };
    let Some(environment) = std::env::var_os("VIRTUAL_ENV") else { return };
    let python = Path::new(&environment).join("bin/python");
    let server = include_str!("../../examples/serve_numpy.py");
    let (before, after) = server.split_once("    return 1 + ").unwrap();
    let after = after.split_once('\n').unwrap().1;
    let run = "    return session.run(None, {\"x\": x, \"entry\": np.full(len(x), round(time))})[0]";
    let before = before.replace(
        "import numpy as np\n",
        "import numpy as np\nimport onnxruntime\n\nsession = onnxruntime.InferenceSession(\"eps.onnx\")\n",
    );
    let before = before.replace("\"velocity\", \"schedule\": \"condot\"", "\"eps\", \"schedule\": \"ddpm\"");
    fs::write(models.path("serve.py"), format!("{before}{run}\n{after}")).unwrap();
    let command = format!("'{}' serve.py", python.display());
    for run in
        [["--method", "ddim", "--steps", "20"], ["--method", "ddpm", "--steps", "20"], ["--method", "dpmpp-2m", "--steps", "9"]]
    {
        let run = [&run[..], &["--n", "70"]].concat();
        let in_file = models.samples(&[&["sample", "eps.onnx"], &EPS[..], &run].concat());
        let served = models.samples(&[&["sample", "--field-command", &command], &run[..]].concat());
        let apart = apart(&in_file, &served);
        assert!(apart < 1e-5, "{run:?}: {apart:e} apart");
    }
}
