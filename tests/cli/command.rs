//! Models that a program serves: the exact fields of a Gaussian, so that what they sample is what the law's own field samples; and
//! servers with every fault that one may have.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Output, Stdio};
use std::time::{Duration, Instant};

use assert_cmd::Command;
use brenier::io::read_array;
use serde_json::Value;
use tempfile::TempDir;

/// A folder with the server and the law whose field it serves.
struct Place {
    folder: TempDir,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let server = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/servers/gaussian.py");
        fs::copy(server, folder.path().join("gaussian.py")).unwrap();
        let law = r#"{"weights": [1], "means": [[1, -2]], "variances": [0.25]}"#;
        fs::write(folder.path().join("law.json"), law).unwrap();
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::cargo_bin("brenier").unwrap();
        command.current_dir(self.folder.path()).args(args);
        command
    }

    fn output(&self, args: &[&str]) -> Output {
        let output = self.command(args).output().unwrap();
        self.nothing_is_left(args);
        output
    }

    /// The server has ended, and the file that it shared has no name.
    fn nothing_is_left(&self, args: &[&str]) {
        if let Ok(pid) = fs::read_to_string(self.path("pid")) {
            assert!(!is_alive(pid.trim()), "{args:?} left the server behind");
        }
        if let Ok(shared) = fs::read_to_string(self.path("shared")) {
            assert!(!Path::new(&shared).exists(), "{args:?} left {shared} behind");
        }
    }

    /// The record of a run that ends well.
    fn record(&self, args: &[&str]) -> Value {
        let output = self.output(&[args, &["--json"]].concat());
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
        let output = self.output(args);
        assert!(!output.status.success(), "{args:?} should fail");
        (output.status.code().unwrap(), String::from_utf8_lossy(&output.stderr).into_owned())
    }

    /// A run in the background.
    fn start(&self, args: &[&str]) -> Child {
        let mut command = std::process::Command::new(assert_cmd::cargo::cargo_bin("brenier"));
        command.current_dir(self.folder.path()).args(args).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Waits until the server has taken the file.
    fn wait_for_server(&self) -> String {
        let begun = Instant::now();
        while !self.path("shared").exists() && begun.elapsed() < Duration::from_secs(20) {
            std::thread::sleep(Duration::from_millis(5));
        }
        std::thread::sleep(Duration::from_millis(100));
        fs::read_to_string(self.path("pid")).unwrap()
    }
}

/// Whether the process `pid` runs.
fn is_alive(pid: &str) -> bool {
    let state = fs::read_to_string(format!("/proc/{pid}/stat"));
    state.is_ok_and(|state| !state.contains(") Z "))
}

/// Sends `signal` to the process `pid`.
fn send(signal: &str, pid: &str) {
    assert!(std::process::Command::new("kill").args([signal, pid]).status().unwrap().success());
}

/// The command line that has `kind` served.
fn served(kind: &str) -> [String; 2] {
    ["--field-command".into(), format!("python3 gaussian.py {kind}")]
}

/// Largest distance of a coordinate from another's.
fn apart(x: &[f64], y: &[f64]) -> f64 {
    assert_eq!(x.len(), y.len());
    x.iter().zip(y).map(|(x, y)| (x - y).abs()).fold(0.0, f64::max)
}

#[test]
fn a_served_model_samples_what_the_law_samples_whose_field_it_is() {
    let place = Place::new();
    let velocity = "velocity prediction='\"velocity\"' schedule=null clock-reverse=true";
    let in_single = "eps precision='\"f32\"'";
    for (kind, run, tolerance) in [
        ("eps", &["--method", "ddim", "--schedule", "ddpm"][..], 1e-9),
        ("eps", &["--method", "ddpm", "--schedule", "ddpm"], 1e-9),
        ("eps batch=7", &["--method", "dpmpp-2m", "--schedule", "linear-vp"], 1e-9),
        (in_single, &["--method", "ddim", "--schedule", "ddpm"], 1e-4),
        (velocity, &["--method", "fm-heun", "--schedule", "condot"], 1e-9),
    ] {
        let run = [run, &["--grid", "trailing", "--steps", "10", "--n", "33", "--precision", "f64"]].concat();
        let [flag, command] = served(kind);
        let of_model = place.samples(&[&["sample", &flag, &command], &run[..]].concat());
        let of_law = place.samples(&[&["sample", "law.json"], &run[..]].concat());
        let apart = apart(&of_model, &of_law);
        assert!(apart < tolerance, "{kind} {run:?}: {apart:e} apart");
    }
}

/// V = |x − m|²/2s² has the score of the law, which its Langevin methods descend.
#[test]
fn an_energy_is_a_field_at_the_data() {
    let place = Place::new();
    let [flag, command] = served("energy prediction='\"energy\"' schedule=null");
    for run in
        [&["--method", "langevin", "--step", "0.02", "--steps", "40"][..], &["--method", "energy-matching", "--steps", "9"]]
    {
        let run = [run, &["--n", "33", "--precision", "f64"]].concat();
        let of_model = place.samples(&[&["sample", &flag, &command], &run[..]].concat());
        let of_law = place.samples(&[&["sample", "law.json"], &run[..]].concat());
        let apart = apart(&of_model, &of_law);
        // The law's field has noise of variance 1e-12, for which its data stand.
        assert!(apart < 1e-8, "{run:?}: {apart:e} apart");
    }
    let (code, words) = place.fails(&["sample", &flag, &command, "--method", "ddim"]);
    assert!(code == 1 && words.contains("known at the data alone"), "{words}");
}

/// Of class c the law has its mean at m + c u, so guidance from class 0 to 1 with weight W has it at m + W u.
#[test]
fn each_particle_is_asked_under_its_condition_and_guided_by_it() {
    let place = Place::new();
    let law = |name: &str, means: &str| {
        let ones = vec!["1"; means.matches("],").count() + 1].join(",");
        let variances = ones.replace('1', "0.25");
        let text = format!("{{\"weights\": [{ones}], \"means\": [{means}], \"variances\": [{variances}]}}");
        fs::write(place.path(name), text).unwrap();
    };
    law("classes.json", "[1, -2], [3, -2], [5, -2]");
    law("guided.json", "[7, -2]");
    let classes: Vec<String> = (0..33).map(|i| (i % 3).to_string()).collect();
    fs::write(place.path("classes.csv"), classes.join("\n")).unwrap();
    fs::write(place.path("ones.csv"), vec!["1"; 33].join("\n")).unwrap();
    let [flag, command] = served("eps condition=1 batch=10 unconditional='\"0\"'");
    let run =
        ["--method", "ddpm", "--schedule", "ddpm", "--steps", "10", "--grid", "trailing", "--n", "33", "--precision", "f64"];
    for (of_model, of_law) in [
        (&["--condition", "classes.csv"][..], &["classes.json", "--condition", "classes.csv"][..]),
        (&["--condition", "ones.csv", "--guidance", "3"], &["guided.json"]),
        (&[], &["law.json"]),
    ] {
        let from_model = place.samples(&[&["sample", &flag, &command], of_model, &run[..]].concat());
        let from_law = place.samples(&[&["sample"], of_law, &run[..]].concat());
        let apart = apart(&from_model, &from_law);
        assert!(apart < 1e-9, "{of_model:?}: {apart:e} apart");
    }
    let [_, without] = served("eps");
    let [_, of_two] = served("eps condition=2");
    for (command, args, words) in [
        (&without, &["--condition", "ones.csv"][..], "it takes no condition"),
        (&of_two, &["--condition", "ones.csv"], "conditions of 1 numbers are given, and each particle takes 2"),
        (&of_two, &[], "--unconditional"),
    ] {
        let (code, said) = place.fails(&[&["sample", &flag, command], args].concat());
        assert!(code == 1 && said.contains(words), "{args:?}: {code}, {said}");
    }
}

#[test]
fn a_served_model_is_compared_with_data() {
    let place = Place::new();
    let [flag, command] = served("eps");
    let record = place.record(&["compare", &flag, &command, "--target", "law.json", "--steps", "5,10", "--n", "128"]);
    assert_eq!(record["model"], command.as_str());
    assert!(record["rows"].as_array().unwrap().iter().any(|row| row["method"] == "ddim"));
    let (code, words) = place.fails(&["compare", &flag, &command]);
    assert!(code == 1 && words.contains("--target"), "{words}");
}

#[test]
fn a_server_at_fault_is_a_sentence() {
    let place = Place::new();
    for (kind, words) in [
        ("dies-at-once", "it ended (exit status: 1) where its greeting was due; its last words:\n  there are no weights"),
        ("dies", "ValueError: the device is gone"),
        ("fails", "a convolution of one channel met three"),
        ("refuses", "the weights are those of another network"),
        ("prints", "it wrote \"loading the weights\" where its greeting was due: that is not JSON"),
        ("chats", "it wrote \"step 3\" where its answer to call 3"),
        ("endless", "it wrote \"....."),
        ("misshapen", "its predictions have shape [33, 1] and the points [33, 2]"),
        ("nan", "of call 1 at time 999 the prediction for point 5 is not finite"),
        ("idle", "of call 3 at time 959 the prediction for point 0 is not finite, or was not written"),
        ("answers-once", "it answered call 1 when it was asked call 2"),
        ("resizes", "it changed the size of the shared file"),
        ("eps brenier=2", "it speaks version 2 of the protocol, and this program version 1"),
        ("eps predicts=1", "unknown field `predicts`"),
        ("eps shape=[]", "it takes points of shape []"),
        ("eps shape=[2,0]", "it takes points of shape [2, 0]"),
        ("eps batch=0", "at most 0 in a call"),
        ("eps condition=0", "with a condition of 0 numbers"),
        ("eps condition=300000000", "with a condition of 300000000 numbers"),
        ("eps prediction='\"noise\"'", "there is no prediction \"noise\""),
    ] {
        let [flag, command] = served(kind);
        let (code, said) = place.fails(&["sample", &flag, &command, "--n", "33"]);
        assert!(code == 1 && said.contains(words), "{kind}: {code}, {said}");
    }
    for kind in ["hangs", "never-greets"] {
        let [flag, command] = served(kind);
        let (code, said) = place.fails(&["sample", &flag, &command, "--n", "33", "--field-timeout", "0.7"]);
        assert!(code == 1 && said.contains("did not come within 0.7 s"), "{kind}: {code}, {said}");
        assert!(kind != "hangs" || said.contains("last words:\n  waiting for the other ranks"), "{said}");
    }
    // One that is not at fault, but does not end with its input.
    let [flag, command] = served("lingers");
    place.record(&["sample", &flag, &command, "--n", "33", "--steps", "2"]);
}

#[test]
fn what_names_no_server_is_refused_in_words() {
    let place = Place::new();
    let [flag, command] = served("eps prediction=null schedule=null");
    for (args, code, words) in [
        (&["sample", &flag, "no-such-program --x"][..], 1, "no-such-program --x: it cannot be started"),
        (&["sample", &flag, "python3 'serve.py"], 2, "a quote is not closed"),
        (&["sample", &flag, " "], 2, "it names no program"),
        (&["sample", &flag, &command], 2, "--prediction"),
        (&["sample", &flag, &command, "--prediction", "eps"], 2, "--schedule"),
        (&["sample", "8gaussians", &flag, &command], 2, "cannot be used with"),
        (&["sample"], 2, "<FIELD>"),
        (&["sample", "8gaussians", "--field-timeout", "3"], 2, "leave them out"),
        (&["sample", &flag, &command, "--field-timeout", "0"], 2, "above zero"),
        (&["sample", &flag, &command, "--inputs", "x=y"], 2, "cannot be used with"),
    ] {
        let (found, said) = place.fails(args);
        assert!(found == code && said.contains(words), "{args:?}: {found}, {said}");
    }
}

/// A file that came from elsewhere starts no program unless the command line says so, and what lies beside a model never does.
#[test]
fn a_file_starts_a_program_only_where_that_is_allowed() {
    let place = Place::new();
    let [_, command] = served("eps");
    let run = format!("command = \"sample\"\nfield-command = \"{command}\"\nsteps = 2\nn = 3\n");
    fs::write(place.path("run.toml"), &run).unwrap();
    let of_experiment =
        "version = 1\ntitle = \"t\"\nstatement = \"s\"\nexact = \"e\"\napproximate = \"a\"\n[[run]]\nname = \"one\"\n";
    let expect = "[[expect]]\nvalue = \"one.n\"\nlow = 3\nhigh = 3\n";
    fs::write(place.path("experiment.toml"), format!("{of_experiment}{run}{expect}")).unwrap();
    for file in ["run.toml", "experiment.toml"] {
        let (code, words) = place.fails(&["run", file]);
        assert!(code == 2 && words.contains("--allow-command") && words.contains("gaussian.py"), "{file}: {words}");
        assert!(!place.path("pid").exists(), "{file} started a program");
    }
    for file in ["run.toml", "experiment.toml"] {
        place.record(&["run", file, "--allow-command"]);
        fs::remove_file(place.path("pid")).unwrap();
    }
    fs::write(place.path("run.toml"), format!("{run}allow-command = true\n")).unwrap();
    let (code, words) = place.fails(&["run", "run.toml"]);
    assert!(code == 2 && !place.path("pid").exists(), "{words}");

    if cfg!(feature = "onnx") {
        fs::write(place.path("model.onnx"), "").unwrap();
        fs::write(place.path("model.toml"), format!("version = 1\nfield-command = \"{command}\"\n")).unwrap();
        let (code, words) = place.fails(&["sample", "model.onnx"]);
        assert!(code == 1 && words.contains("field-command") && !place.path("pid").exists(), "{words}");
    }
}

#[test]
fn an_interrupt_completes_the_step_and_the_run_is_resumed_to_the_bit() {
    let place = Place::new();
    let [flag, command] = served("slow");
    let run = ["sample", &flag, &command, "--method", "ddpm", "--n", "5", "--steps", "30"];
    let whole = place.samples(&run);
    fs::remove_file(place.path("shared")).unwrap();
    let begun = [&run[..], &["--out", "begun"]].concat();
    let child = place.start(&begun);
    place.wait_for_server();
    send("-INT", &child.id().to_string());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", String::from_utf8_lossy(&output.stderr));
    place.nothing_is_left(&begun);
    assert!(place.path("begun/checkpoint.safetensors").exists());
    place.record(&[&begun[..], &["--resume"]].concat());
    assert_eq!(read_array(&place.path("begun/samples.npy"), "points").unwrap().values, whole);
}

/// Whatever ends the program, a server that hangs ends with it.
#[test]
fn a_server_that_hangs_does_not_outlive_the_run() {
    for signals in [&["-INT", "-INT"][..], &["-KILL"]] {
        let place = Place::new();
        let [flag, command] = served("hangs");
        let args = ["sample", &flag, &command, "--n", "5"];
        let mut child = place.start(&args);
        let server = place.wait_for_server();
        for signal in signals {
            send(signal, &child.id().to_string());
            std::thread::sleep(Duration::from_millis(200));
        }
        child.wait().unwrap();
        let begun = Instant::now();
        while is_alive(&server) && begun.elapsed() < Duration::from_secs(2) {
            std::thread::sleep(Duration::from_millis(5));
        }
        place.nothing_is_left(&args);
    }
}

/// On condot the flow ends in N(0, I); the density of N(m, I/4) at its mean is −log(2π/4).
#[test]
fn the_log_likelihood_under_a_served_model_is_that_under_its_law() {
    let place = Place::new();
    fs::write(place.path("data.csv"), "1,-2\n1.5,-2\n").unwrap();
    let [flag, command] = served("velocity prediction='\"velocity\"' schedule=null clock-reverse=true");
    let record = place.record(&["evaluate", &flag, &command, "--log-likelihood", "data.csv"]);
    let exact = -(std::f64::consts::TAU / 4.0).ln() - 0.25;
    let found = record["log_likelihood"].as_f64().unwrap();
    assert!((found - exact).abs() < 1e-5, "{found} for {exact}");
    assert_eq!(record["divergence"], "differences");
    let (code, words) = place.fails(&["evaluate", &flag, &command]);
    assert!(code == 2 && words.contains("--log-likelihood DATA"), "{words}");
}
