//! What is refused, with which sentence and exit code, and what an interrupted run leaves behind: nothing half done.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use assert_cmd::Command;
use serde_json::Value;
use tempfile::TempDir;

fn brenier(folder: &Path, args: &str) -> Output {
    Command::cargo_bin("brenier").unwrap().current_dir(folder).args(args.split_whitespace()).output().unwrap()
}

/// `brenier ARGS` ends with `code`, prints nothing on stdout, and its error holds every one of `words`.
fn refused(folder: &Path, args: &str, code: i32, words: &[&str]) {
    let output = brenier(folder, args);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "brenier {args}\n{said}");
    assert!(output.stdout.is_empty(), "brenier {args}");
    assert!(said.starts_with("error: "), "brenier {args}\n{said}");
    for word in words {
        assert!(said.contains(word), "brenier {args}: no \"{word}\" in\n{said}");
    }
}

/// A .npy file of `rows`.
fn npy(path: PathBuf, rows: &[[f64; 2]]) {
    let flat: Vec<f64> = rows.concat();
    brenier::io::write_npy(&path, &flat, &[rows.len(), 2], brenier::io::Float::F64).unwrap();
}

/// A folder with the good clouds x.npy and y.npy, not equal.
fn folder() -> TempDir {
    let folder = TempDir::new().unwrap();
    npy(folder.path().join("x.npy"), &[[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]);
    npy(folder.path().join("y.npy"), &[[2.0, 2.0], [3.0, 2.0], [2.0, 4.0]]);
    folder
}

/// The names of the files in `folder` and below.
fn files(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<String> = entries
        .flat_map(|path| if path.is_dir() { files(&path) } else { vec![path.file_name().unwrap().to_str().unwrap().into()] })
        .collect();
    found.sort();
    found
}

#[test]
fn a_coordinate_that_is_not_finite_is_named_by_file_row_and_value() {
    let folder = folder();
    npy(folder.path().join("nan.npy"), &[[0.0, 0.0], [0.0, f64::NAN]]);
    npy(folder.path().join("inf.npy"), &[[0.0, 0.0], [1.0, 2.0], [f64::INFINITY, 0.0]]);
    fs::write(folder.path().join("nan.csv"), "x,y\n1,2\n3,nan\n").unwrap();
    refused(folder.path(), "transport nan.npy y.npy", 1, &["nan.npy", "row 1, column 1", "NaN", "remove or repair"]);
    refused(folder.path(), "transport x.npy inf.npy", 1, &["inf.npy", "row 2, column 0", "inf"]);
    refused(folder.path(), "sample nan.csv", 1, &["nan.csv", "line 3", "nan"]);
    refused(folder.path(), "sample 8gaussians --start inf.npy", 1, &["inf.npy", "row 2"]);
    refused(folder.path(), "evaluate nan.npy y.npy", 1, &["nan.npy", "row 1"]);
    refused(folder.path(), "compare nan.npy", 1, &["nan.npy", "row 1"]);
}

#[test]
fn an_empty_cloud_is_refused() {
    let folder = folder();
    npy(folder.path().join("none.npy"), &[]);
    fs::write(folder.path().join("zero.npy"), "").unwrap();
    refused(folder.path(), "transport none.npy y.npy", 1, &["none.npy", "empty", "at least one point"]);
    refused(folder.path(), "transport x.npy zero.npy", 1, &["zero.npy", "0 bytes"]);
}

#[test]
fn clouds_of_different_dimensions_are_refused() {
    let folder = folder();
    for command in ["transport", "evaluate"] {
        refused(folder.path(), &format!("{command} x.npy digits"), 1, &["dimension", "2", "64"]);
    }
    refused(folder.path(), "compare x.npy --source digits", 1, &["dimension", "2", "64"]);
    refused(folder.path(), "sample digits --start x.npy", 1, &["x.npy", "n x 64"]);
}

#[test]
fn weights_must_fit_and_have_mass() {
    let folder = folder();
    for (file, text) in [("negative.csv", "w\n1\n-2\n1\n"), ("nothing.csv", "0\n0\n0\n"), ("short.csv", "1\n1\n")] {
        fs::write(folder.path().join(file), text).unwrap();
    }
    let run = |file: &str| format!("transport x.npy y.npy --source-weights {file}");
    refused(folder.path(), &run("negative.csv"), 1, &["negative.csv", "weight 1 is -2"]);
    refused(folder.path(), &run("nothing.csv"), 1, &["nothing.csv", "zero", "at least one must be positive"]);
    refused(folder.path(), &run("short.csv"), 1, &["short.csv", "2 weights for 3 points"]);
    refused(folder.path(), "transport moons y.npy --source-weights short.csv", 1, &["moons", "no weights"]);
}

#[test]
fn eps_must_be_positive() {
    let folder = folder();
    for eps in ["0", "-1", "nan", "inf"] {
        refused(folder.path(), &format!("transport x.npy y.npy --eps {eps}"), 1, &["eps = ", "above zero"]);
        refused(folder.path(), &format!("transport x.npy y.npy --blur {eps}"), 1, &["blur = ", "above zero"]);
    }
    refused(folder.path(), "transport x.npy y.npy --eps 1 --blur 1", 2, &["--eps", "--blur"]);
}

#[test]
fn an_eps_that_single_precision_cannot_hold_is_refused_with_one_that_it_can() {
    let folder = folder();
    let run = "transport 8gaussians moons --n 100 --eps 1e-6";
    let output = brenier(folder.path(), run);
    let said = String::from_utf8(output.stderr).unwrap();
    refused(folder.path(), run, 1, &["eps = 1e-6", "too small", "f32", "--precision f64"]);
    // A radius of sixty digits is told by its power of ten.
    fs::write(folder.path().join("far.csv"), "1e30,0\n-1e30,0\n").unwrap();
    refused(folder.path(), "transport far.csv far.csv --eps 1e-6", 1, &["too small", "is 1.000e60, so"]);
    let offered = said.split("use --eps ").nth(1).unwrap().split(' ').next().unwrap();
    for (run, code) in [
        (format!("transport 8gaussians moons --n 100 --max-iter 1 --eps {offered}"), 0),
        ("transport 8gaussians moons --n 100 --max-iter 1 --eps 1e-6 --precision f64".into(), 0),
        ("transport 8gaussians moons --n 100 --max-iter 1 --eps 1e-20 --precision f64".into(), 1),
    ] {
        assert_eq!(brenier(folder.path(), &run).status.code(), Some(code), "{run}");
    }
}

#[test]
fn values_outside_their_domain_are_bad_usage() {
    let folder = folder();
    let of_transport = ["--tol -1", "--tol nan", "--n 0", "--seed -1", "--seed 4294967296", "--threads 0", "--max-iter x"];
    for flag in of_transport {
        refused(folder.path(), &format!("transport moons 8gaussians {flag}"), 2, &[flag.split(' ').next().unwrap()]);
    }
    for flag in ["--eta 1.5", "--eta -0.1", "--steps 0", "--n 0", "--particles 5..5", "--particles 7", "--method no", "--grid no"]
    {
        refused(folder.path(), &format!("sample 8gaussians {flag}"), 2, &[flag.split(' ').next().unwrap()]);
    }
    refused(folder.path(), "compare 8gaussians --steps 5,0", 2, &["--steps"]);
    refused(folder.path(), "compare 8gaussians --grid karras", 2, &["--grid", "trailing, balanced or arc-length"]);
    refused(folder.path(), "transport moons", 2, &["<TARGET>"]);
    for (plan, ends, others) in [
        ("--exact", "moons 8gaussians", &["--eps 1", "--tol 1e-3", "--max-iter 5", "--convention ott", "--plain"][..]),
        ("--rank 5", "moons 8gaussians", &["--exact", "--tol 1e-3", "--convention ott", "--storage f16"]),
        ("--closed-form", "normal normal", &["--storage f16", "--tol 1e-3"]),
    ] {
        for &flag in others {
            let names = [plan, flag].map(|words| words.split(' ').next().unwrap());
            refused(folder.path(), &format!("transport {ends} {plan} {flag}"), 2, &names);
        }
    }
    refused(folder.path(), "transport moons 8gaussians --top-k 3", 2, &["--top-k", "--out"]);
    refused(folder.path(), "selftest --resume", 2, &["resume", "no checkpoint"]);
    refused(folder.path(), "transport moons 8gaussians --resume", 2, &["checkpoint", "--out"]);
    refused(folder.path(), "sample 8gaussians --n 10 --particles 5..20", 1, &["5..20", "10", "--n"]);
}

#[test]
fn a_schedule_outside_its_domain_is_refused() {
    let folder = folder();
    let cases: [(&str, &[&str]); 8] = [
        ("--schedule ve:5,1", &["sigma_max is 1", "sigma_min < sigma_max"]),
        ("--schedule linear-vp:-1,20", &["beta_min is -1", "positive"]),
        ("--schedule ve:1", &["ve:1", "ve:0.01,50"]),
        ("--schedule consine", &["\"consine\"", "did you mean \"cosine\""]),
        ("--schedule ddpm --steps 1001", &["1001 steps", "at most 1000"]),
        ("--grid leading", &["Leading", "table"]),
        ("--schedule condot --grid karras", &["Karras", "pure noise"]),
        ("--schedule cosine --grid geometric", &["Geometric", "pure noise"]),
    ];
    for (flags, words) in cases {
        refused(folder.path(), &format!("sample 8gaussians {flags}"), 1, words);
    }
}

#[test]
fn a_device_that_is_not_there_is_refused_and_never_replaced() {
    let folder = folder();
    for device in ["cuda:99", "cuda:98"] {
        for command in ["transport x.npy y.npy", "evaluate x.npy y.npy", "sample 8gaussians", "compare 8gaussians"] {
            refused(folder.path(), &format!("{command} --device {device}"), 1, &[device, "not there", "--device cpu"]);
        }
    }
    // Where CUDA cannot be used at all, the refusal says why, as `devices` does: without kernels, how to get them.
    let devices = brenier(folder.path(), "devices --json");
    let record: Value = serde_json::from_slice(&devices.stdout).unwrap();
    if let Some(why) = record["cuda"].as_str() {
        refused(folder.path(), "transport x.npy y.npy --device cuda", 1, &["\"cuda\" is not there", why, "--device cpu"]);
        if record["kernels"].as_array().unwrap().is_empty() {
            assert!(why.contains("pip install nvidia-cuda-nvrtc-cu12") || why.contains("no NVIDIA driver"), "{why}");
        }
    }
    refused(folder.path(), "sample 8gaussians --device cuda --precision f64", 1, &["f32 alone", "--device cpu"]);
    for device in ["gpu", "cuda:x", "cuda1"] {
        let name = format!("\"{device}\"");
        refused(folder.path(), &format!("transport x.npy y.npy --device {device}"), 2, &[&name, "auto and cpu"]);
    }
}

#[test]
fn a_file_that_is_not_what_its_name_says_is_refused() {
    let folder = folder();
    fs::copy(folder.path().join("x.npy"), folder.path().join("x.csv")).unwrap();
    fs::write(folder.path().join("text.npy"), "1,2\n3,4\n").unwrap();
    fs::write(folder.path().join("x.txt"), "1 2").unwrap();
    let whole = fs::read(folder.path().join("x.npy")).unwrap();
    fs::write(folder.path().join("cut.npy"), &whole[..whole.len() - 8]).unwrap();
    refused(folder.path(), "transport x.csv y.npy", 1, &["x.csv", "not a .csv file", ".npy"]);
    refused(folder.path(), "transport text.npy y.npy", 1, &["text.npy", "not a .npy file"]);
    refused(folder.path(), "transport x.txt y.npy", 1, &["x.txt", "ending", ".npy"]);
    refused(folder.path(), "transport cut.npy y.npy", 1, &["cut.npy", "cut short", "48 bytes"]);
    refused(folder.path(), "transport missing.npy y.npy", 1, &["missing.npy", "no such file"]);
    refused(folder.path(), "transport mons y.npy", 1, &["\"mons\"", "did you mean moons"]);
}

#[test]
fn a_file_of_flags_with_an_unknown_key_is_refused_with_the_nearest_known_one() {
    let folder = folder();
    let run = |text: &str, code: i32, words: &[&str]| {
        fs::write(folder.path().join("run.toml"), text).unwrap();
        refused(folder.path(), "run run.toml", code, words);
    };
    let ends = "source = \"x.npy\"\ntarget = \"y.npy\"\n";
    run(&format!("command = \"transport\"\n{ends}maxiter = 3\n"), 2, &["run.toml", "\"maxiter\"", "did you mean \"max_iter\""]);
    run("command = \"transprt\"\n", 2, &["run.toml", "\"transprt\"", "did you mean \"transport\""]);
    run(ends, 2, &["run.toml", "needs command"]);
    run("command = \"run\"\nfile = \"run.toml\"\n", 2, &["run.toml", "no command \"run\""]);
    run(&format!("command = \"transport\"\n{ends}debias = 3\n"), 2, &["run.toml", "\"debias\" is true or false"]);
    run(&format!("command = \"transport\"\n{ends}eps = true\n"), 2, &["run.toml", "\"eps\" needs a value"]);
    run(&format!("command = \"transport\"\n{ends}eps = -1\n"), 1, &["eps = -1"]);
    run("command = \n", 1, &["run.toml", "not TOML"]);
    refused(folder.path(), "run missing.toml", 1, &["missing.toml", "no such file"]);
    run(&format!("command = \"transport\"\n{ends}eps = [1, 2]\n"), 2, &["run.toml", "\"eps\" takes one value, not a list"]);
    run(&format!("command = \"transport\"\n{ends}eps = {{ a = 1 }}\n"), 2, &["run.toml", "\"eps\" must be a number"]);
}

#[test]
fn more_points_than_memory_holds_are_refused_before_any_work() {
    let folder = folder();
    refused(folder.path(), "generate normal:100000 --n 4000000000 --out x.npy", 1, &["bytes", "free", "fewer points"]);
    refused(folder.path(), "sample normal:100000 --n 4000000000", 1, &["bytes", "free", "fewer points"]);
}

#[test]
fn an_output_that_cannot_be_is_refused_before_any_work() {
    let folder = folder();
    refused(folder.path(), "generate moons --n 4000000 --out m.txt", 1, &["m.txt", ".npy"]);
    refused(folder.path(), "sample 8gaussians --out x.npy", 1, &["x.npy", "cannot be made"]);
    assert_eq!(files(folder.path()), ["x.npy", "y.npy"]);
}

/// Where nothing may be written, it is said before work of hours, not after it.
#[cfg(target_os = "linux")]
#[test]
fn a_folder_that_takes_no_file_is_refused_before_any_work() {
    let folder = folder();
    for args in [
        "sample 8gaussians --n 1000000 --steps 1000000 --out /proc",
        "jko normal --target 8gaussians --n 1000000 --steps 100000 --out /proc",
        "transport moons moons --n 100000 --eps 1e-3 --tol 0 --max-iter 1000000 --out /proc",
        "compare digits --steps 100000 --out /proc",
    ] {
        refused(folder.path(), args, 1, &["/proc", "no file can be written in"]);
    }
    refused(folder.path(), "generate normal:10 --n 50000000 --out /proc/x.npy", 1, &["/proc/x.npy", "was not written"]);
}

#[cfg(unix)]
#[test]
fn a_pipe_is_refused_and_not_waited_for() {
    let folder = folder();
    for name in ["p.npy", "p.csv", "p.json", "p.toml", "p.png", "p.safetensors"] {
        assert!(std::process::Command::new("mkfifo").arg(folder.path().join(name)).status().unwrap().success());
    }
    let pipe = ["a pipe or a device"];
    for args in [
        "transport p.npy y.npy",
        "transport x.npy p.csv",
        "transport x.npy y.npy --source-weights p.csv",
        "sample p.json",
        "sample 8gaussians --start p.npy",
        "compare p.safetensors --target x.npy",
        "run p.toml",
        "transport /dev/stdin y.npy",
    ] {
        refused(folder.path(), args, 1, &pipe);
    }
    #[cfg(feature = "image")]
    refused(folder.path(), "geodesic p.png p.png --as colour", 1, &pipe);
}

/// A limit on the memory of the process, as batch systems set it: less work, or a sentence.
#[cfg(target_os = "linux")]
#[test]
fn a_limit_on_memory_ends_in_a_sentence() {
    let bin = assert_cmd::cargo::cargo_bin("brenier");
    let folder = folder();
    for (megabytes, args, codes, words) in [
        (400, "generate normal:100 --n 1000000 --out g.npy", &[1][..], "bytes"),
        (300, "transport normal:3 normal:3 --n 1000000 --max-iter 1", &[1], "bytes"),
        (300, "transport x.npy y.npy --top-k 3 --out t --threads 4000", &[0], "the system allows"),
        (120, "transport x.npy y.npy --threads 2", &[0], ""),
    ] {
        let script = format!("ulimit -v {}; exec {} {args}", megabytes * 1024, bin.display());
        let output = Command::new("sh").current_dir(folder.path()).args(["-c", &script]).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(
            output.status.code().is_some_and(|code| codes.contains(&code)),
            "{args} under {megabytes} MiB: {:?}\n{said}",
            output.status
        );
        assert!(said.contains(words), "{args}\n{said}");
    }
    // An allocation that nothing asked about before: the message's own memory is the stack.
    let line = format!("command = \"{}\"", "x".repeat(60 << 20));
    fs::write(folder.path().join("long.toml"), line).unwrap();
    let script = format!("ulimit -v 110000; exec {} run long.toml", bin.display());
    let output = Command::new("sh").current_dir(folder.path()).args(["-c", &script]).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(1) && said.contains("the system gave no memory for"), "{:?}\n{said}", output.status);
}

/// A remedy names flags of the command that failed, and those that were given.
#[test]
fn a_remedy_is_one_of_the_command_that_failed() {
    let folder = folder();
    npy(folder.path().join("two.npy"), &[[1.0, 2.0], [3.0, 4.0]]);
    let spread = |scale: f64| (0..100).map(|k| [scale * f64::from(k).sin(), scale * f64::from(3 * k).cos()]).collect::<Vec<_>>();
    npy(folder.path().join("tiny.npy"), &spread(1e-6));
    npy(folder.path().join("good.npy"), &spread(1.0));
    npy(folder.path().join("runaway.npy"), &[spread(1.0), vec![[1e7, 0.0]]].concat());
    let say = |args: &str, words: &[&str], never: &[&str]| {
        let output = brenier(folder.path(), args);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "brenier {args}\n{said}");
        words.iter().for_each(|word| assert!(said.contains(word), "brenier {args}: no \"{word}\" in\n{said}"));
        never.iter().for_each(|word| assert!(!said.contains(word), "brenier {args}: \"{word}\" in\n{said}"));
    };
    say("transport good.npy y.npy --eps 1e-9", &["use --eps ", "or --precision f64"], &["--blur"]);
    say("transport good.npy y.npy --blur 1e-6", &["use --blur ", "or --precision f64"], &["--eps"]);
    say("geodesic good.npy y.npy --eps 1e-9 --out g", &["use --eps "], &[]);
    say("couple good.npy y.npy --blur 1e-6 --out c", &["use --blur "], &[]);
    say("transport good.npy y.npy --eps 1e-20 --precision f64", &["use --eps "], &["--precision f64 (cpu)"]);
    say("evaluate runaway.npy good.npy", &["evaluate takes eps from the spread", "far from all others"], &["--eps", "--blur"]);
    say("compare tiny.npy --steps 1 --out c", &["compare takes eps from the spread"], &["--eps", "--blur"]);
    fs::write(folder.path().join("one.csv"), "1,2\n1,2\n").unwrap();
    say("evaluate x.npy one.csv", &["lie in one place", "transport A B --eps E"], &[]);
    say("jko normal --target two.npy --out j", &["half of the target judges"], &["eps = ", "--eps", "transport"]);
    say("jko normal --target two.npy --scheme semi-unbalanced --out j", &["half of the target judges"], &["tau = "]);
    say("jko normal --target moons --anneal 2 --out j", &["--anneal", "--scheme langevin or blob"], &[]);
}

#[test]
fn an_offset_of_both_clouds_does_not_change_the_distance() {
    let folder = TempDir::new().unwrap();
    for (name, shape, seed) in [("x", "moons", 1), ("y", "8gaussians", 2)] {
        let law = brenier::measure::named(shape, None).unwrap();
        let cloud = law.sample(500, seed, brenier::random::Stream::Source, 0);
        for (file, offset) in [("near", 0.0), ("far", 1e4)] {
            let points: Vec<f64> = cloud.points().iter().map(|x| x + offset).collect();
            let path = folder.path().join(format!("{name}-{file}.npy"));
            brenier::io::write_npy(&path, &points, &[500, 2], brenier::io::Float::F64).unwrap();
        }
    }
    for flags in ["", "--debias", "--exact", "--eps 0.01 --precision f64"] {
        let [near, far] = ["near", "far"].map(|file| {
            let output = brenier(folder.path(), &format!("transport x-{file}.npy y-{file}.npy --json {flags}"));
            let record: Value = serde_json::from_slice(&output.stdout).unwrap();
            record["w2_squared"].as_f64().unwrap()
        });
        assert!((far - near).abs() < 1e-6 * near, "{flags}: {near} {far}");
    }
}

#[cfg(unix)]
#[test]
fn a_limit_on_the_size_of_files_leaves_nothing_behind() {
    let bin = assert_cmd::cargo::cargo_bin("brenier");
    for args in ["generate normal --n 100000 --out made/x.npy", "transport moons 8gaussians --n 2000 --out made"] {
        let folder = TempDir::new().unwrap();
        let script = format!("ulimit -f 1; exec {} {args}", bin.display());
        let output = Command::new("sh").current_dir(folder.path()).args(["-c", &script]).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("was not written") && said.contains("too large"), "{said}");
        assert!(files(folder.path()).is_empty(), "{:?}", files(folder.path()));
    }
}

#[cfg(unix)]
#[test]
fn an_interrupt_in_mid_run_leaves_nothing_half_done_and_a_checkpoint() {
    use std::process::Stdio;
    use std::time::Duration;

    let checkpoint = ["checkpoint.safetensors"].as_slice();
    for (args, left) in [
        ("transport moons 8gaussians --n 20000 --eps 0.001 --tol 1e-9 --out made", checkpoint),
        ("sample digits --n 50000 --steps 1000 --out made", checkpoint),
        ("sample 8gaussians --n 1000000 --steps 100000 --out made", checkpoint),
        ("compare digits --out made", checkpoint),
        ("jko normal --target 8gaussians --n 1000000 --steps 100000 --out made", checkpoint),
    ] {
        let folder = TempDir::new().unwrap();
        let mut child = std::process::Command::new(assert_cmd::cargo::cargo_bin("brenier"))
            .current_dir(folder.path())
            .args(args.split(' '))
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_secs(2)); // none of these runs ends sooner
        let killed = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
        assert!(killed.success());
        let said = std::io::read_to_string(child.stderr.take().unwrap()).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(130), "brenier {args}\n{said}");
        assert!(said.contains("interrupted"), "{said}");
        assert_eq!(files(folder.path()), left, "brenier {args}");
    }
}

#[cfg(unix)]
#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let bin = assert_cmd::cargo::cargo_bin("brenier");
    for args in ["completions bash", "devices --json", "--help"] {
        let script = format!("{} {args} | true", bin.display());
        let output = Command::new("sh").args(["-c", &script]).output().unwrap();
        assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn a_log_likelihood_is_of_points_of_the_space_of_a_model_or_law() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |args: &str, code: i32, said: &str| {
        let mut command = assert_cmd::Command::cargo_bin("brenier").unwrap();
        let output = command.current_dir(folder.path()).args(args.split(' ')).output().unwrap();
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(code) && words.contains(said), "{args}: {words}");
    };
    refused("evaluate digits --log-likelihood digits", 1, "digits has no density");
    refused("evaluate 8gaussians --log-likelihood digits", 1, "has dimension 64 and the model 2");
    refused("evaluate 8gaussians moons --log-likelihood moons", 2, "cannot be used with");
    refused("evaluate 8gaussians", 2, "--log-likelihood");
    refused("evaluate 8gaussians moons --tol 1e-3", 2, "--log-likelihood");
    refused("evaluate 8gaussians moons --prediction eps", 2, "leave them out");
    refused("evaluate 8gaussians --log-likelihood moons --tol -1", 2, "--tol");
    fs::write(folder.path().join("c.csv"), "0\n1\n").unwrap();
    refused("evaluate 8gaussians --log-likelihood moons --n 3 --condition c.csv", 1, "2 conditions for 3 points");
    refused("evaluate moons moons --condition c.csv", 2, "belong to --log-likelihood");
}

#[test]
fn what_cannot_be_judged_is_refused_in_words() {
    let folder = folder();
    npy(folder.path().join("one.npy"), &[[0.0, 1.0]]);
    npy(folder.path().join("six.npy"), &[[0.0, 1.0], [1.0, 0.0], [2.0, 3.0], [4.0, 1.0], [0.5, 2.0], [3.0, 0.2]]);
    npy(folder.path().join("nan.npy"), &[[0.0, f64::NAN]; 6]);
    fs::write(folder.path().join("line.csv"), "0\n1\n2\n3\n4\n5\n").unwrap();
    fs::write(folder.path().join("same.csv"), "1,2\n1,2\n1,2\n").unwrap();
    let refused = |args: &str, code: i32, words: &[&str]| refused(folder.path(), args, code, words);
    // One point is at a distance from others, and has neither neighbours nor pairs.
    let mut command = Command::cargo_bin("brenier").unwrap();
    let output = command.current_dir(folder.path()).args(["evaluate", "one.npy", "six.npy", "--json"]).assert().success();
    let record: serde_json::Value = serde_json::from_slice(&output.get_output().stdout).unwrap();
    assert!(record["divergence"].is_f64() && record.get("energy_distance").is_none(), "{record}");
    refused("evaluate six.npy six.npy --k 6", 1, &["6 points with mass", "neighbour 6 needs 7", "fewer neighbours"]);
    refused("evaluate six.npy six.npy --k 0", 2, &["--k"]);
    refused("evaluate six.npy six.npy --train same.csv", 1, &["training points lie in one place"]);
    refused("evaluate six.npy six.npy --features one.npy six.npy", 1, &["features of A have 1 rows and A has 6 points"]);
    refused("evaluate six.npy six.npy --features six.npy one.npy", 1, &["features of B have 1 rows and B has 6 points"]);
    refused("evaluate six.npy six.npy --features six.npy line.csv", 1, &["dimensions 2 and 1"]);
    refused("evaluate six.npy six.npy --features six.npy nan.npy", 1, &["nan.npy", "row 0, column 1"]);
    refused("evaluate six.npy six.npy --features six.npy", 2, &["--features"]);
    refused("evaluate six.npy six.npy --features six.npy moons", 1, &["--features moons is a law"]);
    refused("evaluate moons six.npy --features six.npy six.npy", 1, &["A is a law and has no rows"]);
    refused("evaluate six.npy six.npy --features six.npy six.npy six.npy", 2, &["give that with --train"]);
    let train = "evaluate six.npy six.npy --train six.npy --features six.npy six.npy one.npy";
    refused(train, 1, &["features of the training set have 1 rows"]);
    refused("evaluate 8gaussians --log-likelihood moons --k 2", 2, &["cannot be used with"]);
}
