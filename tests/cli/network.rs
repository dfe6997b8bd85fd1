//! Networks through the command line: what `compare MODEL --target DATA` says, and which files are refused with which sentence.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::process::Output;

use assert_cmd::Command;
use safetensors::tensor::{Dtype, TensorView, serialize};
use serde_json::Value;
use tempfile::TempDir;

/// A file in the making: tensors of f64 and metadata.
#[derive(Clone)]
struct Model {
    tensors: Vec<(String, Vec<usize>, Vec<f64>)>,
    metadata: HashMap<String, String>,
}

impl Model {
    /// The exact field of N(0, s² I) in the plane: Karras' preconditioning of a network that is zero.
    fn gaussian(s: f64, schedule: &str) -> Self {
        let tensor = |name: &str, shape: &[usize], value: f64| (name.into(), shape.to_vec(), vec![value; shape.iter().product()]);
        let tensors = vec![
            tensor("0.weight", &[3, 3], 0.5),
            tensor("0.bias", &[3], 0.1),
            tensor("2.weight", &[2, 3], 0.0),
            tensor("2.bias", &[2], 0.0),
        ];
        let sigma_data = s.to_string();
        let metadata = [
            ("brenier", "mlp"),
            ("layers", "0, 2"),
            ("activation", "silu"),
            ("prediction", "x0"),
            ("schedule", schedule),
            ("time", "append"),
            ("clock", "t"),
            ("sigma_data", &sigma_data),
        ];
        Self { tensors, metadata: metadata.map(|(key, value)| (key.to_owned(), value.to_owned())).into() }
    }

    /// The same file with one key changed, or left out.
    fn with(mut self, key: &str, value: Option<&str>) -> Self {
        self.metadata.remove(key);
        self.metadata.extend(value.map(|value| (key.to_owned(), value.to_owned())));
        self
    }

    /// The same file with one tensor replaced, added, or left out.
    fn tensor(mut self, name: &str, tensor: Option<(&[usize], &[f64])>) -> Self {
        self.tensors.retain(|(present, ..)| present != name);
        self.tensors.extend(tensor.map(|(shape, values)| (name.to_owned(), shape.to_vec(), values.to_vec())));
        self
    }

    fn bytes(&self) -> Vec<u8> {
        let bytes: Vec<Vec<u8>> =
            self.tensors.iter().map(|(.., values)| values.iter().flat_map(|x| x.to_le_bytes()).collect()).collect();
        let views = self.tensors.iter().zip(&bytes);
        let views = views.map(|((name, shape, _), bytes)| (name, TensorView::new(Dtype::F64, shape.clone(), bytes).unwrap()));
        serialize(views, (!self.metadata.is_empty()).then(|| self.metadata.clone())).unwrap()
    }
}

fn brenier(folder: &Path, args: &str) -> Output {
    Command::cargo_bin("brenier").unwrap().current_dir(folder).args(args.split_whitespace()).output().unwrap()
}

fn record(folder: &Path, args: &str) -> Value {
    let output = brenier(folder, args);
    assert!(output.status.success(), "brenier {args}\n{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// `brenier ARGS` ends with 1, prints nothing on stdout, and its error is one sentence that holds every one of `words`.
fn refused(folder: &Path, args: &str, words: &[&str]) {
    let output = brenier(folder, args);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "brenier {args}\n{said}");
    assert!(output.stdout.is_empty(), "brenier {args}");
    assert!(said.starts_with("error: ") && said.lines().count() == 1, "brenier {args}\n{said}");
    for word in words {
        assert!(said.contains(word), "brenier {args}: no \"{word}\" in\n{said}");
    }
}

fn law(folder: &Path, variance: f64) {
    let text = format!(r#"{{"weights": [1], "means": [[0, 0]], "variances": [{variance}]}}"#);
    fs::write(folder.join("law.json"), text).unwrap();
}

fn numbers(record: &Value, method: &str, key: &str) -> Vec<f64> {
    let rows = record["rows"].as_array().unwrap().iter().filter(|row| row["method"] == method);
    rows.map(|row| row[key].as_f64().unwrap()).collect()
}

#[test]
fn compare_tells_how_many_steps_an_exact_gaussian_needs() {
    let folder = TempDir::new().unwrap();
    law(folder.path(), 0.25);
    for (schedule, family, stochastic, first, second) in
        [("condot", "flow", None, "fm-euler", "fm-heun"), ("ve:0.002,20", "diffusion", Some("ddpm"), "pf-euler", "pf-heun")]
    {
        fs::write(folder.path().join("model.safetensors"), Model::gaussian(0.5, schedule).bytes()).unwrap();
        let args = "compare model.safetensors --target law.json --n 500 --steps 32,64 --precision f64 --json --out made";
        let record = record(folder.path(), args);
        assert_eq!((&record["model"], &record["target"]), (&"model.safetensors".into(), &"law.json".into()));
        assert!(record["rows"].as_array().unwrap().iter().all(|row| row["family"] == family));
        for (method, order) in [(first, 1.0), (second, 2.0)] {
            let errors = numbers(&record, method, "solver_error");
            let slope = (errors[0] / errors[1]).log2();
            // 32 and 64 steps over ln(10^4) of VE's σ still carry the next term; a lost order would be off by one.
            assert!((slope - order).abs() < 0.2, "{schedule} {method}: order {slope}");
        }
        // The field is exact, so the end is the law but for the solver: twice the floor allows for the draws of one run.
        let floor = record["noise_floor"]["divergence"].as_f64().unwrap();
        let divergence = numbers(&record, second, "divergence");
        assert!(divergence[1] < 2.0 * floor, "{schedule}: {divergence:?} over a floor of {floor}");
        if let Some(method) = stochastic {
            assert_eq!(numbers(&record, method, "nfe"), [32.0, 64.0]);
        }
        let ledger = &record["ledger"][0];
        assert_eq!((&ledger["path"], &ledger["closes"]), (&"model".into(), &true.into()));
        let report = fs::read_to_string(folder.path().join("made/report.html")).unwrap();
        assert!(report.contains("how many steps") && report.contains("model.safetensors"));
    }
}

#[test]
fn a_network_is_sampled_on_its_own_schedule_and_on_others() {
    let folder = TempDir::new().unwrap();
    let fixture = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/networks/velocity.safetensors");
    let model = Model::gaussian(0.5, "condot");
    fs::write(folder.path().join("model.safetensors"), model.bytes()).unwrap();
    for run in ["--method fm-heun", "--method ddim --schedule linear-vp", "--method ddpm --schedule cosine", "--method dpmpp-2m"]
    {
        let out = format!("sample model.safetensors --steps 64 --n 4000 --json --out made {run}");
        assert_eq!(record(folder.path(), &out)["d"], 2);
        let samples = brenier::io::read_array(&folder.path().join("made/samples.npy"), "").unwrap().values;
        let variance = samples.iter().map(|x| x * x).sum::<f64>() / samples.len() as f64;
        // s² = 0.25; three standard errors of 8,000 squares are 0.012, a first-order method adds its own over 64 steps.
        assert!((variance - 0.25).abs() < 0.03, "{run}: {variance}");
    }
    assert_eq!(record(folder.path(), &format!("sample {fixture} --method fm-euler --steps 3 --n 10 --json"))["nfe"], 3);
}

#[test]
fn files_that_are_no_network_are_refused_with_tensor_shape_and_remedy() {
    let folder = TempDir::new().unwrap();
    let good = || Model::gaussian(0.5, "condot");
    let none = Model { metadata: HashMap::new(), ..good() };
    let nan: (&[usize], &[f64]) = (&[2, 3], &[0.0, 0.0, 0.0, 0.0, f64::NAN, 0.0]);
    let check = |y: f64| {
        let y = [y, y];
        good()
            .tensor("check.x", Some((&[1, 2], &[1.0, 1.0])))
            .tensor("check.t", Some((&[1], &[1.0])))
            .tensor("check.y", Some((&[1, 2], &y)))
    };
    let waves = || good().with("time", Some("sinusoidal"));
    let energy = || good().with("prediction", Some("energy")).with("sigma_data", None);
    let cases: [(Model, &[&str]); 36] = [
        (none, &["no \"brenier\"", "export_mlp.py"]),
        (good().with("layers", None), &["no \"layers\""]),
        (good().with("time", None), &["no \"time\""]),
        (good().with("clock", None), &["no \"clock\""]),
        (good().with("clok", Some("t")), &["\"clok\"", "did you mean \"clock\""]),
        (good().with("brenier", Some("unet")), &["\"brenier\" = \"unet\"", "must be mlp"]),
        (good().with("activation", Some("swish")), &["\"activation\" = \"swish\"", "relu, silu, tanh"]),
        (good().with("prediction", Some("eps")), &["\"prediction\" = \"eps\"", "x0", "sigma_data"]),
        (good().with("schedule", Some("condott")), &["schedule", "\"condott\"", "did you mean \"condot\""]),
        (good().with("schedule", Some("ve:1")), &["ve:1", "ve:0.01,50"]),
        (good().with("sigma_data", Some("0")), &["sigma_data is 0", "above zero"]),
        (good().with("clock_scale", Some("nan")), &["\"clock_scale\" = \"nan\"", "a finite number"]),
        (good().with("version", Some("3")), &["\"version\" = \"3\"", "must be 1 or 2", "newer brenier"]),
        (energy(), &["\"schedule\" = \"condot\"", "left out", "at the data alone"]),
        (energy().with("schedule", None), &["\"0.weight\"", "[3, 3]", "[3, 4]"]),
        (energy().with("schedule", None).with("time", Some("none")), &["2 outputs", "an energy is one number"]),
        (waves(), &["no array \"frequencies\""]),
        (good().with("time", Some("fourier")), &["no array \"frequencies\""]),
        (waves().tensor("frequencies", Some((&[1], &[f64::INFINITY]))), &["number 0", "\"frequencies\"", "inf"]),
        (waves().with("time_features", Some("7")), &["\"time_features\" = \"7\"", "an even number"]),
        (waves().with("time_features", Some("4")), &["\"0.weight\"", "[3, 3]", "[3, 6]", "4 features of time"]),
        (waves().with("time_features", Some("2")).with("time_period", Some("0")), &["\"time_period\" = \"0\"", "above zero"]),
        (waves().with("time_features", Some("2")).with("time_shift", Some("1")), &["\"time_shift\" = \"1\"", "below half"]),
        (waves().with("time_features", Some("2")).with("time_order", Some("cos")), &["\"time_order\" = \"cos\"", "alternating"]),
        (waves().with("time_shift", Some("1")), &["\"time_shift\" = \"1\"", "left out", "\"time_features\""]),
        (good().with("time_order", Some("cos-sin")), &["\"time_order\"", "left out", "sinusoidal or fourier"]),
        (good().with("time_features", Some("2")), &["\"time_features\" = \"2\"", "left out", "sinusoidal"]),
        (good().with("time", Some("none")), &["\"0.weight\"", "[3, 3]", "[3, 2]", "check \"layers\" and \"time\""]),
        (good().tensor("2.bias", None), &["no array \"2.bias\"", "0.weight"]),
        (good().tensor("2.bias", Some((&[3], &[0.0; 3]))), &["\"2.bias\"", "[3]", "[2]"]),
        (good().tensor("2.weight", Some((&[2, 4], &[0.0; 8]))), &["\"2.weight\"", "[2, 4]", "[2, 3]", "\"0\" has 3 outputs"]),
        (good().tensor("2.weight", Some((&[6], &[0.0; 6]))), &["\"2.weight\"", "[6]", "[outputs, inputs]"]),
        (good().tensor("2.weight", Some(nan)), &["number 4", "\"2.weight\"", "NaN", "diverged"]),
        (good().tensor("4.bias", Some((&[2], &[0.0; 2]))), &["\"4.bias\"", "no layer", "\"layers\""]),
        (check(0.9), &["check.y", "1.1e-1", "\"activation\""]),
        (check(1.0).tensor("check.x", None), &["no array \"check.x\""]),
    ];
    law(folder.path(), 1.0);
    for (model, words) in cases {
        fs::write(folder.path().join("bad.safetensors"), model.bytes()).unwrap();
        for command in ["sample bad.safetensors --n 10", "compare bad.safetensors --target law.json --n 100"] {
            refused(folder.path(), command, &[&["bad.safetensors"], words].concat());
        }
    }
    fs::write(folder.path().join("cut.safetensors"), &good().bytes()[..500]).unwrap();
    refused(folder.path(), "compare cut.safetensors --target law.json", &["cut.safetensors", "damaged or cut short"]);
    refused(folder.path(), "compare none.safetensors --target law.json", &["none.safetensors", "no such file"]);
    fs::write(folder.path().join("good.safetensors"), check(1.0).bytes()).unwrap(); // x̂₀ = x at σ = 0
    assert_eq!(record(folder.path(), "sample good.safetensors --steps 2 --n 10 --json")["d"], 2);
}

#[test]
fn a_network_in_the_wrong_place_is_refused_with_the_right_one() {
    let folder = TempDir::new().unwrap();
    law(folder.path(), 1.0);
    let save = |name: &str, model: Model| fs::write(folder.path().join(name), model.bytes()).unwrap();
    save("model.safetensors", Model::gaussian(0.5, "condot"));
    save("eps.safetensors", Model::gaussian(0.5, "condot").with("sigma_data", None).with("prediction", Some("eps")));
    save("log.safetensors", Model::gaussian(0.5, "condot").with("clock", Some("log-sigma")));
    save("vp.safetensors", Model::gaussian(0.5, "linear-vp"));
    let cases: [(&str, &[&str]); 8] = [
        ("compare model.safetensors", &["model.safetensors is a network", "--target DATA"]),
        ("compare law.json --target law.json", &["law.json", "not a network", ".safetensors"]),
        ("compare model.safetensors --target digits", &["model.safetensors", "dimension 2", "digits", "64"]),
        ("compare model.safetensors --target law.json --source moons", &["starts from a normal", "leave --source out"]),
        ("transport model.safetensors law.json", &["model.safetensors", "network, not points"]),
        ("sample eps.safetensors", &["Noise", "alpha = 0", "velocity", "ddpm-cosine"]),
        ("sample log.safetensors", &["LogRatio", "infinite", "alpha = 0"]),
        ("sample vp.safetensors --schedule condot", &["not trained at that noise level", "leave --schedule out"]),
    ];
    for (args, words) in cases {
        refused(folder.path(), args, words);
    }
}
