//! docs/records.md lists the keys and files that the commands print and write, all of them and no other; and what a record says of the
//! arrays beside it is so: every key is computed again from them, or is in a list of those that they do not determine.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use assert_cmd::Command;
use brenier::backend::{Device, Precision};
use brenier::io::{Float, read_array, read_measure, write_npy};
use brenier::measure::{Cloud, Measure};
use brenier::metric::{Estimator, Ruler, energy_distance, median_distance, mmd_squared, w2_size};
use brenier::random::{Philox, Stream};
use brenier::transport::ExactPlan;
use serde_json::{Value, json};

const PAGE: &str = include_str!("../../docs/records.md");

/// The names in the first column of the tables headed `head` under `## section`.
pub fn documented(section: &str, head: &str) -> BTreeSet<String> {
    let text = PAGE.split("\n## ").find(|part| part.lines().next() == Some(section)).unwrap();
    let tables = text.split("\n\n").filter(|block| block.starts_with(&format!("| {head} |")));
    let cells = tables.flat_map(|table| table.lines().skip(2)).map(|row| row.split('|').nth(1).unwrap());
    cells.flat_map(|cell| cell.split('`').skip(1).step_by(2)).map(str::to_owned).collect()
}

/// The keys of `value`, those of objects inside with a dot.
pub fn keys(value: &Value, prefix: &str, found: &mut BTreeSet<String>) {
    for (key, value) in value.as_object().unwrap() {
        let inner = value.as_array().and_then(|list| list.first()).unwrap_or(value);
        match inner {
            Value::Object(_) if key != "inputs" => keys(inner, &format!("{prefix}{key}."), found),
            _ => drop(found.insert(format!("{prefix}{key}"))),
        }
    }
}

fn run(folder: &Path, args: &str) -> (BTreeSet<String>, BTreeSet<String>) {
    let out = tempfile::tempdir_in(folder).unwrap();
    let mut command = Command::cargo_bin("brenier").unwrap();
    let output = command.current_dir(folder).args(args.split(' ')).args(["--json", "--quiet", "--out"]).arg(out.path());
    let output = output.assert().success().get_output().clone();
    let (mut found, name) = (BTreeSet::new(), |entry: std::io::Result<fs::DirEntry>| entry.unwrap().file_name());
    keys(&serde_json::from_slice(&output.stdout).unwrap(), "", &mut found);
    let files = fs::read_dir(out.path()).unwrap().map(|entry| name(entry).into_string().unwrap());
    // Of numbered files the first stands for all.
    (found, files.filter(|file| !file.bytes().any(|b| (b'1'..=b'9').contains(&b))).collect())
}

/// Runs `all` of a command: together they print and write what the page says, which is in any of them or in every one.
fn agree(section: &str, folder: &Path, all: &[&str], lacks: &[&str]) {
    let common = |head: &str| -> BTreeSet<String> {
        documented("Common", head).into_iter().filter(|name| !lacks.contains(&name.as_str())).collect()
    };
    let (mut keys, mut files) = (BTreeSet::new(), BTreeSet::new());
    for args in all {
        let (printed, written) = run(folder, args);
        let missing = common("key").difference(&printed).cloned().collect::<Vec<_>>();
        assert!(missing.is_empty(), "{args} does not print {missing:?}");
        keys.extend(printed);
        files.extend(written);
    }
    let page = |head: &str| documented(section, head).union(&common(head)).cloned().collect::<BTreeSet<String>>();
    assert_eq!(keys, page("key"), "keys of {section}");
    assert_eq!(files, page("file"), "files of {section}");
}

#[test]
fn transport_prints_and_writes_what_the_page_says() {
    let folder = tempfile::tempdir().unwrap();
    let points: Vec<f64> = (0..40).map(f64::from).collect();
    for (name, points, shape) in
        [("x.npy", &points, &[20, 2][..]), ("y.npy", &points, &[20, 2]), ("c.npy", &[1.0; 20].to_vec(), &[20])]
    {
        write_npy(&folder.path().join(name), points, shape, Float::F64).unwrap();
    }
    let runs = [
        "transport moons circles --n 60 --debias --sliced 5 --top-k 3",
        "transport moons circles --n 60 --reach-source 1 --reach-target 2 --storage f16",
        "transport moons circles --n 60 --exact",
        "transport moons circles --n 60 --rank 3",
        "transport normal normal --n 60",
        "transport normal normal --closed-form",
        "transport x.npy y.npy --push c.npy --pull c.npy --transition --source-labels c.npy --target-labels c.npy",
        "transport x.npy y.npy --source-labels c.npy",
    ];
    agree("transport", folder.path(), &runs, &[]);
}

#[test]
fn couple_prints_and_writes_what_the_page_says() {
    let folder = tempfile::tempdir().unwrap();
    let points: Vec<f64> = (0..60).map(f64::from).collect();
    write_npy(&folder.path().join("y.npy"), &points, &[60, 1], Float::F64).unwrap();
    write_npy(&folder.path().join("c.npy"), &points.iter().map(|c| c % 3.0).collect::<Vec<_>>(), &[60], Float::F64).unwrap();
    let runs = [
        "couple normal digits --n 60 --eps 5",
        "couple moons circles --n 60 --batch 30 --format safetensors",
        "couple normal:1 y.npy --n 60 --labels c.npy",
        "couple normal:1 y.npy --n 60 --conditions c.npy",
        "couple normal:1 y.npy --n 60 --reach 100",
        "couple normal:1 y.npy --n 60 --rank 3",
        "couple normal y.npy --semidiscrete --project pca:1 --tol 0.5",
    ];
    agree("couple", folder.path(), &runs, &[]);
}

#[test]
fn train_prints_and_writes_what_the_page_says() {
    let folder = tempfile::tempdir().unwrap();
    let points: Vec<f64> = (0..60).map(f64::from).collect();
    write_npy(&folder.path().join("y.npy"), &points, &[60, 1], Float::F64).unwrap();
    let small = "train y.npy --steps 40 --batch 16 --layers 1 --width 8";
    let mut couple = Command::cargo_bin("brenier").unwrap();
    couple.current_dir(folder.path()).args("couple normal:1 y.npy --n 60 --out pairs".split(' ')).assert().success();
    agree("train", folder.path(), &[small, &format!("{small} --patience 20"), &format!("{small} --pairs pairs")], &[]);
}

#[test]
fn geodesic_prints_and_writes_what_the_page_says() {
    let folder = tempfile::tempdir().unwrap();
    agree(
        "geodesic",
        folder.path(),
        &["geodesic moons circles --n 60 --reach 1", "geodesic moons circles --n 60 --rank 3 --top-k 2"],
        &[],
    );
}

#[test]
fn evaluate_prints_and_writes_what_the_page_says() {
    let folder = tempfile::tempdir().unwrap();
    let philox = Philox::new(0, Stream::Source);
    for (k, (name, d)) in [("x.npy", 2), ("y.npy", 2), ("of-x.npy", 3), ("of-y.npy", 3)].into_iter().enumerate() {
        let numbers: Vec<f64> = (0..30 * d).map(|i| philox.uniform(i as u32, k as u32, 0)).collect();
        write_npy(&folder.path().join(name), &numbers, &[30, d], Float::F64).unwrap();
    }
    let runs =
        ["evaluate 8gaussians 8gaussians --n 40", "evaluate x.npy y.npy --train x.npy --features of-x.npy of-y.npy of-x.npy"];
    let mut page = documented("evaluate", "key");
    page.remove("features");
    let mut found = BTreeSet::new();
    runs.iter().for_each(|args| found.extend(run(folder.path(), args).0));
    let found: BTreeSet<String> = found.iter().map(|key| key.strip_prefix("features.").unwrap_or(key).to_owned()).collect();
    let common: BTreeSet<String> = documented("Common", "key").into_iter().chain(["a", "b"].map(str::to_owned)).collect();
    assert!(page.is_subset(&found), "{:?}", page.difference(&found));
    let rest: Vec<_> = found.difference(&page).filter(|key| !common.contains(*key)).collect();
    assert!(rest.is_empty(), "{rest:?}");
}

#[test]
fn a_log_likelihood_prints_and_writes_what_the_page_says() {
    let folder = tempfile::tempdir().unwrap();
    let runs = [
        "evaluate 8gaussians --log-likelihood 8gaussians --n 20",
        "evaluate 8gaussians --log-likelihood moons --n 20 --probes 2 --tol 1e-3",
    ];
    agree("evaluate --log-likelihood", folder.path(), &runs, &["source", "target"]);
}

#[cfg(feature = "image")]
#[test]
fn geodesic_between_pictures_prints_and_writes_what_the_page_says() {
    let folder = tempfile::tempdir().unwrap();
    for (name, ground) in [("a.png", 255), ("b.png", 0)] {
        let pixels = (0..64u8).map(|k| [ground; 3].map(|c: u8| if k % 9 == 0 { 128 } else { c })).collect();
        let picture = brenier::measure::Picture { width: 8, height: 8, pixels };
        let bytes = brenier::io::encode_picture(&picture, brenier::io::PictureFormat::Png).unwrap();
        fs::write(folder.path().join(name), bytes).unwrap();
    }
    let runs = ["colour", "density --canvas 8"].map(|kind| format!("geodesic a.png b.png --steps 1 --as {kind}"));
    agree("geodesic --as", folder.path(), &runs.each_ref().map(String::as_str), &[]);
}

#[test]
fn barycenter_prints_and_writes_what_the_page_says() {
    let folder = tempfile::tempdir().unwrap();
    agree("barycenter", folder.path(), &["barycenter moons circles --n 40 --steps 3"], &["source", "target"]);
}

#[test]
fn the_lists_of_compare_have_the_keys_that_the_page_says() {
    let folder = tempfile::tempdir().unwrap();
    let args = "compare 8gaussians --n 60 --steps 2,4 --grid arc-length --find-steps 2 --json --quiet --out c";
    let mut command = Command::cargo_bin("brenier").unwrap();
    let output = command.current_dir(folder.path()).args(args.split(' ')).assert().success().get_output().clone();
    let record: Value = serde_json::from_slice(&output.stdout).unwrap();
    for list in ["ledger", "reclocking", "found", "free_energy"] {
        let mut found = BTreeSet::new();
        keys(&record[list][0], "", &mut found);
        assert_eq!(found, documented("compare", list), "{list}");
    }
    assert_eq!(record["grid"], "arc-length");
}

#[test]
fn sample_prints_and_writes_what_the_page_says() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("times.txt"), "0\n0.3\n1\n").unwrap();
    write_npy(&folder.path().join("pictures.npy"), &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0], &[2, 1, 2, 2], Float::F32).unwrap();
    let runs = [
        "sample moons --n 60 --steps 2 --trajectory --pairs",
        "sample pictures.npy --n 3 --steps 2",
        "sample normal --n 60 --times times.txt",
        "sample normal --n 60 --method dopri5 --log-p",
    ];
    agree("sample", folder.path(), &runs, &["source", "target"]);
}

#[test]
fn jko_prints_and_writes_what_the_page_says() {
    let folder = tempfile::tempdir().unwrap();
    let runs = [
        "jko normal --target 8gaussians --n 200 --steps 2 --explain",
        "jko normal --target 8gaussians --n 60 --steps 2 --scheme blob",
        "jko normal --target moons --n 60 --steps 2 --scheme semi-unbalanced",
        "jko normal --target moons --n 60 --steps 2 --scheme ddpm --schedule linear-vp",
    ];
    agree("jko", folder.path(), &runs, &[]);
}

#[test]
fn schedule_prints_what_the_page_says() {
    let folder = tempfile::tempdir().unwrap();
    let lacks = ["source", "target", "d", "seconds", "device", "precision", "seed"];
    agree("schedule", folder.path(), &["schedule cosine", "schedule --f -s --g 1"], &lacks);
}

#[test]
fn sample_explains_what_the_page_says() {
    let folder = tempfile::tempdir().unwrap();
    let (printed, _) = run(folder.path(), "sample 8gaussians --n 10 --steps 2 --explain");
    let explained: BTreeSet<String> = printed.into_iter().filter(|key| key.starts_with("explain")).collect();
    assert_eq!(explained, documented("sample --explain", "key"));
}

#[test]
fn an_experiment_prints_what_the_page_says() {
    let folder = tempfile::tempdir().unwrap();
    let expect = "[[expect]]\nvalue = \"a.d.x\"\nhigh = 1\n";
    let text = "version = 1\ntitle = \"\"\nstatement = \"\"\nexact = \"\"\napproximate = \"\"\n[[run]]\nname = \"a\"\ncommand = \"schedule\"\nschedule = \"condot\"\n";
    fs::write(folder.path().join("e.toml"), format!("{text}{expect}")).unwrap();
    let mut command = Command::cargo_bin("brenier").unwrap();
    let output =
        command.current_dir(folder.path()).args(["run", "e.toml", "--json", "--quiet"]).assert().code(1).get_output().clone();
    let mut record: Value = serde_json::from_slice(&output.stdout).unwrap();
    record["runs"] = Value::Null;
    let mut printed = BTreeSet::new();
    keys(&record, "", &mut printed);
    let mut page = documented("run", "key");
    page.extend(["command", "version", "inputs", "wall_seconds"].map(str::to_owned));
    assert_eq!(printed, page);
}

/// A finished run: its record, its folder, and which of its keys are accounted for.
struct Run {
    record: Value,
    out: std::path::PathBuf,
    settled: BTreeSet<String>,
}

/// What no array determines: times, the machine, and the command line.
const OF_THE_RUN: [&str; 4] = ["seconds", "wall_seconds", "device", "inputs"];

impl Run {
    /// `brenier ARGS --out OUT` in `folder`. The keys of every record that do not need its arrays are checked here.
    fn of(folder: &Path, args: &str) -> Self {
        let out = folder.join("out");
        if out.is_dir() {
            fs::remove_dir_all(&out).unwrap();
        }
        let mut command = Command::cargo_bin("brenier").unwrap();
        let output = command.current_dir(folder).args(args.split(' ')).args(["--seed", "3", "--json", "--quiet", "--out", "out"]);
        let record: Value = serde_json::from_slice(&output.assert().success().get_output().stdout).unwrap();
        let written: Value = serde_json::from_str(&fs::read_to_string(out.join("run.json")).unwrap()).unwrap();
        assert_eq!(record, written, "{args}: run.json is what is printed");
        let mut run = Self { record, out, settled: OF_THE_RUN.map(str::to_owned).into() };
        run.is("command", json!(args.split(' ').next()));
        run.is("version", json!(env!("CARGO_PKG_VERSION")));
        run.is("seed", json!(3));
        // Of an evaluation `precision` is a share of samples.
        let arithmetic = if args.starts_with("evaluate") { "arithmetic" } else { "precision" };
        run.is(arithmetic, json!(if args.contains("f64") { "f64" } else { "f32" }));
        let [seconds, wall] = ["seconds", "wall_seconds"].map(|key| run.record[key].as_f64());
        assert!(seconds.is_none_or(|seconds| seconds >= 0.0 && seconds <= wall.unwrap()), "{args}");
        // Where eps came from: null where there is none.
        let origin = run.record["eps_origin"].as_str().map(|origin| origin == "given");
        assert!(origin.is_none_or(|given| given == args.contains("--eps")), "{args}: {}", run.record["eps_origin"]);
        run.settled.insert("eps_origin".into());
        run
    }

    /// The key has exactly this value.
    #[track_caller]
    fn is(&mut self, key: &str, value: Value) {
        assert_eq!(self.record[key], value, "{key}");
        self.settled.insert(key.into());
    }

    /// The key has this value, up to a share of it, or to as much where it is less than one thousandth.
    #[track_caller]
    fn near(&mut self, key: &str, value: f64, share: f64) {
        let found = self.record.pointer(&format!("/{}", key.replace('.', "/"))).and_then(Value::as_f64).unwrap();
        assert!((found - value).abs() <= share * value.abs().max(1e-3), "{key} is {found} for {value}");
        self.settled.insert(key.into());
    }

    /// Keys that the arrays do not determine, and `why`.
    fn undetermined(&mut self, keys: &str, why: &str) {
        assert!(!why.is_empty());
        self.settled.extend(keys.split(' ').map(str::to_owned));
    }

    fn number(&self, key: &str) -> f64 {
        self.record[key].as_f64().unwrap_or_else(|| panic!("{key} in {}", self.record))
    }

    fn array(&self, file: &str, name: &str) -> brenier::io::Array {
        read_array(&self.out.join(file), name).unwrap()
    }

    fn cloud(&self, file: &str) -> Cloud {
        let array = self.array(file, "points");
        Cloud::new(array.values, array.shape[1]).unwrap()
    }

    /// Nothing in the record is left.
    #[track_caller]
    fn settle(self) {
        let keys = self.record.as_object().unwrap().keys();
        let left: Vec<&String> = keys.filter(|key| !self.settled.contains(*key)).collect();
        assert!(left.is_empty(), "not computed again: {left:?}");
    }
}

fn square(x: &[f64], y: &[f64]) -> f64 {
    x.iter().zip(y).map(|(x, y)| (x - y).powi(2)).sum()
}

fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let n = values.len() as f64;
    values.sum::<f64>() / n
}

/// OT_ε of two clouds in units of c = ½|x−y|², by plain Sinkhorn iterations in double precision.
fn ot(x: &Cloud, y: &Cloud, eps: f64) -> f64 {
    let soft_min = |z: &[f64], cloud: &Cloud, h: &[f64]| {
        let terms: Vec<f64> =
            cloud.rows().enumerate().map(|(j, row)| cloud.weight(j).ln() + (h[j] - 0.5 * square(z, row)) / eps).collect();
        let most = terms.iter().copied().fold(f64::MIN, f64::max);
        -eps * (most + terms.iter().map(|t| (t - most).exp()).sum::<f64>().ln())
    };
    let (mut f, mut g) = (vec![0.0; x.len()], vec![0.0; y.len()]);
    for _ in 0..2000 {
        f = x.rows().map(|row| soft_min(row, y, &g)).collect();
        let next: Vec<f64> = y.rows().map(|row| soft_min(row, x, &f)).collect();
        let moved = g.iter().zip(&next).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        g = next;
        if moved < 1e-12 {
            break;
        }
    }
    (0..x.len()).map(|i| x.weight(i) * f[i]).sum::<f64>() + (0..y.len()).map(|j| y.weight(j) * g[j]).sum::<f64>()
}

fn divergence(x: &Cloud, y: &Cloud, eps: f64) -> f64 {
    ot(x, y, eps) - 0.5 * (ot(x, x, eps) + ot(y, y, eps))
}

/// A folder with x.npy and y.npy, of `n` and `m` points of the plane, and both clouds.
fn clouds(n: usize, m: usize) -> (tempfile::TempDir, Cloud, Cloud) {
    let folder = tempfile::tempdir().unwrap();
    let [x, y] = [("x", n, 0.0), ("y", m, 1.0)].map(|(name, n, offset)| {
        let mut z = vec![0f32; 2 * n];
        Philox::new(11, Stream::Source).normals(0, n as u32, 0, &mut z);
        let points: Vec<f64> = z.into_iter().map(|z| f64::from(z) + offset).collect();
        write_npy(&folder.path().join(format!("{name}.npy")), &points, &[n, 2], Float::F64).unwrap();
        Cloud::new(points, 2).unwrap()
    });
    (folder, x, y)
}

#[test]
fn the_record_of_an_entropic_plan_is_that_of_its_potentials() {
    let (folder, x, y) = clouds(40, 30);
    let mut run = Run::of(folder.path(), "transport x.npy y.npy --eps 0.3 --tol 1e-10 --precision f64 --debias");
    let (f, g) = (run.array("f.npy", "f").values, run.array("g.npy", "g").values);
    let (n, m, eps) = (x.len(), y.len(), 0.3);
    let c = |i: usize, j: usize| 0.5 * square(x.row(i), y.row(j));
    let p = |i: usize, j: usize| ((f[i] + g[j] - c(i, j)) / eps).exp() / (n * m) as f64;
    let pairs = || (0..n).flat_map(|i| (0..m).map(move |j| (i, j)));
    let of = |term: &dyn Fn(usize, usize) -> f64| pairs().map(|(i, j)| term(i, j)).sum::<f64>();
    let cost = of(&|i, j| p(i, j) * c(i, j));
    let kl = of(&|i, j| p(i, j) * (p(i, j) * (n * m) as f64).ln());
    let dual = mean(f.iter().copied()) + mean(g.iter().copied());
    for (key, value) in
        [("source", json!("x.npy")), ("target", json!("y.npy")), ("n", json!(n)), ("m", json!(m)), ("d", json!(2))]
    {
        run.is(key, value);
    }
    run.is("eps", json!(eps));
    run.is("converged", json!(true));
    run.is("cost", json!("half-sq-euclidean"));
    run.is("w2_squared_kind", json!("debiased"));
    run.is("flags", json!([]));
    run.near("transport_cost", cost, 1e-9);
    run.near("dual", dual, 1e-9);
    run.near("regularised_cost", cost + eps * kl, 1e-9);
    run.near("gap", cost + eps * kl - dual, 1e-5);
    run.near("entropy", -of(&|i, j| p(i, j) * p(i, j).ln()), 1e-9);
    run.near("mass", of(&p), 1e-9);
    let s = divergence(&x, &y, eps);
    run.near("divergence", s, 1e-7);
    run.near("w2_squared", 2.0 * s, 1e-7);
    let rows: f64 = (0..n).map(|i| ((0..m).map(|j| p(i, j)).sum::<f64>() - 1.0 / n as f64).abs()).sum();
    let columns: f64 = (0..m).map(|j| ((0..n).map(|i| p(i, j)).sum::<f64>() - 1.0 / m as f64).abs()).sum();
    assert!(rows.max(columns) < 1e-9 && run.number("marginal_error") <= 1e-10);
    for (i, image) in run.array("map.npy", "map").values.chunks_exact(2).enumerate() {
        let total: f64 = (0..m).map(|j| p(i, j)).sum();
        let expected = [0, 1].map(|k| (0..m).map(|j| p(i, j) * y.row(j)[k]).sum::<f64>() / total);
        assert!(square(image, &expected) < 1e-16, "map of {i}");
    }
    run.undetermined("marginal_error iterations residuals verdict skipped_mass_bound", "how the solver came there");
    run.settle();
}

#[test]
fn the_record_of_an_exact_plan_is_that_of_its_entries() {
    let (folder, x, y) = clouds(24, 36);
    let mut run = Run::of(folder.path(), "transport x.npy y.npy --exact --precision f64");
    let [row, column, mass] = ["row", "column", "mass"].map(|name| run.array("plan.npz", name).values);
    let entries = || row.iter().zip(&column).zip(&mass).map(|((&i, &j), &p)| (i as usize, j as usize, p));
    let cost: f64 = entries().map(|(i, j, p)| 0.5 * p * square(x.row(i), y.row(j))).sum();
    let (f, g) = (run.array("f.npy", "f").values, run.array("g.npy", "g").values);
    for (i, j, _) in entries() {
        assert!((f[i] + g[j] - 0.5 * square(x.row(i), y.row(j))).abs() < 1e-9, "potentials are tight where mass goes");
    }
    for (key, value) in
        [("source", json!("x.npy")), ("target", json!("y.npy")), ("n", json!(24)), ("m", json!(36)), ("d", json!(2))]
    {
        run.is(key, value);
    }
    for (key, value) in
        [("eps", json!(0.0)), ("converged", json!(true)), ("w2_squared_kind", json!("exact")), ("flags", json!([]))]
    {
        run.is(key, value);
    }
    run.is("cost", json!("half-sq-euclidean"));
    run.near("transport_cost", cost, 1e-12);
    run.near("regularised_cost", cost, 1e-12);
    run.near("w2_squared", 2.0 * cost, 1e-12);
    run.near("dual", mean(f.iter().copied()) + mean(g.iter().copied()), 1e-9);
    let excess = (0..24).map(|i| (entries().filter(|entry| entry.0 == i).map(|entry| entry.2).sum::<f64>() - 1.0 / 24.0).abs());
    run.near("marginal_error", excess.sum::<f64>(), 1e-12);
    run.undetermined("iterations", "the simplex does not count them");
    run.settle();
}

/// Many plans of few points each: what the record says is of all pairs, and of the whole clouds.
#[test]
fn the_record_of_pairs_is_that_of_all_pairs() {
    let (folder, x, y) = clouds(300, 200);
    for (source, batch) in [("x.npy", 1), ("x.npy", 4), ("x.npy", 16), ("normal", 4), ("normal", 16)] {
        let args = format!("couple {source} y.npy --batch {batch} --pairs 1600 --shard 900 --precision f64");
        let mut run = Run::of(folder.path(), &args);
        let all = |name: &str| [0, 1].map(|k| run.array(&format!("pairs-0000{k}.npz"), name).values).concat();
        let (from, to, x0, x1) = (all("source_index"), all("target_index"), all("x0"), all("x1"));
        assert_eq!(run.array("pairs-00000.npz", "x0").shape, [900, 2]);
        let pairs = || x0.chunks_exact(2).zip(x1.chunks_exact(2));
        for (j, x1) in to.iter().zip(x1.chunks_exact(2)) {
            assert_eq!(x1, y.row(*j as usize));
        }
        // Every point drawn of a law is in one pair, since there are as many pairs as points in every plan.
        let whole = if source == "normal" { Cloud::new(x0.clone(), 2).unwrap() } else { x.clone() };
        if source != "normal" {
            from.iter().zip(x0.chunks_exact(2)).for_each(|(i, x0)| assert_eq!(x0, x.row(*i as usize)));
        }
        let independent = mean(whole.rows().map(|x| mean(y.rows().map(|y| square(x, y)))));
        let cost = pairs().map(|(x, y)| square(x, y)).sum::<f64>() / 1600.0;
        let mut uses = vec![0; 200];
        to.iter().for_each(|j| uses[*j as usize] += 1);
        for (key, value) in [
            ("source", json!(source)),
            ("target", json!("y.npy")),
            ("n", json!(batch)),
            ("m", json!(batch)),
            ("d", json!(2)),
            ("pairs", json!(1600)),
            ("shards", json!(2)),
            ("shard_rows", json!(900)),
            ("batch", json!(batch)),
            ("batches", json!(1600 / batch)),
            ("without_replacement", json!(false)),
            ("targets_used", json!(uses.iter().filter(|uses| **uses > 0).count())),
            ("most_uses", json!(uses.iter().max())),
            ("converged", json!(true)),
            ("flags", json!([])),
        ] {
            run.is(key, value);
        }
        run.near("pair_cost", cost, 1e-12);
        run.near("independent_cost", independent, 1e-9);
        run.near("cost_ratio", cost / independent, 1e-9);
        run.near("conditional_variance_independent", y.variance(), 1e-9);
        // Batches of one are independent pairs; larger ones are the better, the larger they are.
        let ratio = run.number("cost_ratio");
        if batch == 1 {
            assert!((ratio - 1.0).abs() < 0.06, "{ratio}")
        } else {
            assert!(ratio < 0.85, "{ratio}")
        }
        let (floor, other) = (run.number("cfm_loss_floor"), run.number("cfm_loss_floor_independent"));
        if batch == 1 {
            assert!((floor / other - 1.0).abs() < 0.15)
        } else {
            assert!(floor < 0.9 * other, "{floor} {other}")
        }
        assert!((0.0..=run.number("conditional_variance_independent")).contains(&run.number("conditional_variance")));
        run.undetermined("eps", "a share of a mean over pairs drawn by the seed");
        run.undetermined("iterations marginal_error", "how the solver came there");
        run.undetermined("entropy renormalised_entropy conditional_variance", "the plans are not written");
        let floors = "cfm_loss_floor cfm_loss_floor_se cfm_loss_floor_independent neighbour_distance";
        run.undetermined(floors, "an estimate by nearest neighbours");
        run.settle();
    }
}

#[test]
fn the_record_of_a_geodesic_is_that_of_its_path() {
    let (folder, x, y) = clouds(40, 30);
    let mut run = Run::of(folder.path(), "geodesic x.npy y.npy --steps 4 --precision f64");
    let path = run.array("path.npy", "path");
    assert_eq!(path.shape, [5, 40, 2]);
    let states: Vec<&[f64]> = path.values.chunks_exact(80).collect();
    assert_eq!(states[0], x.points());
    let rms: Vec<f64> = states.windows(2).map(|pair| (square(pair[0], pair[1]) / 40.0).sqrt()).collect();
    let (length, end) = (rms.iter().sum::<f64>(), Cloud::new(states[4].to_vec(), 2).unwrap());
    for (key, value) in
        [("source", json!("x.npy")), ("target", json!("y.npy")), ("n", json!(40)), ("m", json!(30)), ("d", json!(2))]
    {
        run.is(key, value);
    }
    run.is("steps", json!(4));
    run.is("w2_squared_kind", json!("map"));
    run.is("converged", json!(true));
    run.is("flags", json!([]));
    run.near("w2_squared", square(states[0], states[4]) / 40.0, 1e-12);
    run.near("action", 4.0 * rms.iter().map(|step| step * step).sum::<f64>(), 1e-12);
    run.near("length", length, 1e-12);
    run.near("speed_deviation", rms.iter().map(|step| (4.0 * step / length - 1.0).abs()).fold(0.0, f64::max), 1e-9);
    run.near("variance_ratio", end.variance() / y.variance(), 1e-9);
    let device = Device::cpu(Precision::F64);
    let ruler = Ruler::new(&y, 3, &device).unwrap();
    run.near("endpoint_divergence", ruler.divergence(&end, &device).unwrap(), 1e-9);
    assert!((ruler.divergence(&end, &device).unwrap() - 2.0 * divergence(&end, &y, ruler.eps())).abs() < 1e-3);
    run.undetermined("eps", "a share of a mean over pairs drawn by the seed");
    run.settle();
}

#[test]
fn the_record_of_an_evaluation_is_that_of_its_clouds() {
    let (folder, x, y) = clouds(48, 48);
    let mut run = Run::of(folder.path(), "evaluate x.npy y.npy --precision f64");
    for (key, value) in [("a", json!("x.npy")), ("b", json!("y.npy")), ("n", json!(48)), ("m", json!(48)), ("d", json!(2))] {
        run.is(key, value);
    }
    run.is("w2_size", json!(w2_size(&x, &y)));
    run.near("w2_squared_exact", ExactPlan::new(&x, &y).unwrap().w2_squared.unwrap(), 1e-9);
    run.near("variance_ratio", x.variance() / y.variance(), 1e-9);
    run.near("mean_distance", square(&x.mean(), &y.mean()).sqrt(), 1e-9);
    run.near("divergence", 2.0 * divergence(&x, &y, run.number("eps")), 1e-3);
    let mut nearest: Vec<f64> = x.rows().map(|x| y.rows().map(|y| square(x, y)).fold(f64::MAX, f64::min).sqrt()).collect();
    nearest.sort_by(f64::total_cmp);
    let found = run.number("nn_a_to_b");
    assert!((nearest[23]..=nearest[24]).contains(&found), "{found}");
    run.undetermined("nn_a_to_b", "the median of an even number lies between two, as is checked above");
    run.undetermined("eps", "a share of a mean over pairs drawn by the seed");
    run.undetermined("noise_floor flags memorised_share", "of splits by the seed, and what follows from them");
    let f64s = Device::cpu(Precision::F64);
    run.near("energy_distance", energy_distance(&x, &y, Estimator::Unbiased, &f64s).unwrap(), 1e-9);
    run.near("mmd_squared", mmd_squared(&x, &y, run.number("mmd_bandwidth"), Estimator::Unbiased, &f64s).unwrap(), 1e-9);
    run.is("permutations", json!(499));
    run.is("sliced_directions", json!(128));
    run.undetermined("mmd_bandwidth sliced_w2_squared sliced_standard_error", "of pairs and directions drawn by the seed");
    for key in ["precision", "recall", "density", "coverage", "energy_distance", "mmd_squared", "memorised_share"] {
        run.undetermined(&format!("{key}_interval {key}_p"), "of half-samples and relabellings by the seed");
    }
    run.undetermined("divergence_interval", "of potentials that are not written");
    run.is("k", json!(5));
    let radii = |cloud: &Cloud| -> Vec<f64> {
        let of = |x: &[f64]| {
            let mut all: Vec<f64> = cloud.rows().map(|y| square(x, y)).collect();
            all.sort_by(f64::total_cmp);
            all[5] // the point itself is the first
        };
        cloud.rows().map(of).collect()
    };
    let share = |found: &mut dyn Iterator<Item = bool>| found.map(|found| f64::from(u8::from(found))).sum::<f64>() / 48.0;
    let (of_x, of_y) = (radii(&x), radii(&y));
    let balls = |x: &[f64]| y.rows().zip(&of_y).filter(|(y, radius)| square(x, y) <= **radius).count();
    run.near("precision", share(&mut x.rows().map(|x| balls(x) > 0)), 1e-12);
    run.near("recall", share(&mut y.rows().map(|y| x.rows().zip(&of_x).any(|(x, radius)| square(x, y) <= *radius))), 1e-12);
    run.near("density", x.rows().map(balls).sum::<usize>() as f64 / (5.0 * 48.0), 1e-12);
    run.near("coverage", share(&mut y.rows().zip(&of_y).map(|(y, radius)| x.rows().any(|x| square(x, y) <= *radius))), 1e-12);
    run.settle();
}

#[test]
fn the_record_of_samples_is_that_of_their_file() {
    let folder = tempfile::tempdir().unwrap();
    let mut run = Run::of(folder.path(), "sample 8gaussians --method pf-heun --schedule cosine --n 20 --steps 5 --trajectory");
    let samples = run.array("samples.npy", "samples");
    assert_eq!(samples.shape, [20, 2]);
    let trajectory = run.array("trajectory.npy", "trajectory");
    assert_eq!((trajectory.shape, &trajectory.values[200..]), (vec![6, 20, 2], &samples.values[..]));
    for (key, value) in [("field", json!("8gaussians")), ("method", json!("pf-heun")), ("n", json!(20)), ("d", json!(2))] {
        run.is(key, value);
    }
    run.is("steps", json!(5));
    run.is("grid", json!("trailing"));
    run.is("flags", json!([]));
    run.undetermined("nfe", "evaluations leave no array; tests/maths/orders.rs counts them");
    run.settle();
}

#[test]
fn the_record_of_a_barycenter_is_that_of_its_points() {
    let (folder, x, y) = clouds(30, 30);
    let mut run = Run::of(folder.path(), "barycenter x.npy y.npy --n 30 --steps 40 --precision f64");
    let points = run.cloud("points.npy");
    let w2 = |cloud: &Cloud| ExactPlan::new(&points, cloud).unwrap().w2_squared.unwrap();
    let objective: Vec<f64> = run.record["objective"].as_array().unwrap().iter().map(|value| value.as_f64().unwrap()).collect();
    assert!(objective.windows(2).all(|pair| pair[1] <= pair[0] * (1.0 + 1e-12)), "{objective:?}");
    assert!((0.5 * (w2(&x) + w2(&y)) / objective.last().unwrap() - 1.0).abs() < 1e-6, "it has arrived");
    run.is("clouds", json!(["x.npy", "y.npy"]));
    run.is("n", json!(points.len()));
    run.is("d", json!(2));
    run.is("eps", json!(0.0));
    run.is("steps", json!(objective.len()));
    run.is("converged", json!(true));
    assert!(run.number("moved") <= 1e-6 * points.radius());
    run.undetermined("objective moved", "of states on the way that are not written; their bounds are checked above");
    run.settle();
}

/// Of a descent to points: its accounts add up, and its last state is that of the file.
#[test]
fn the_record_of_a_descent_is_that_of_its_particles() {
    let (folder, _, y) = clouds(40, 60);
    let device = Device::cpu(Precision::F64);
    let (train, heldout) = y.halves(3).unwrap();
    let ruler = Ruler::new(&heldout, 3, &device).unwrap();
    for scheme in ["sinkhorn-flow", "semi-unbalanced"] {
        let args = format!("jko x.npy --target y.npy --scheme {scheme} --eps 0.1 --tau 0.6 --steps 4 --precision f64");
        let mut run = Run::of(folder.path(), &args);
        let mut state = run.cloud("particles.npy");
        let free_energy = if scheme == "sinkhorn-flow" {
            divergence(&state, &train, 0.1)
        } else {
            let weights = run.array("weights.npy", "weights").values;
            let n = weights.len() as f64;
            state = state.with_weights(weights.clone()).unwrap();
            assert_eq!(state.points(), train.points());
            weights.iter().map(|w| w * (w * n).ln()).sum()
        };
        let steps = run.record["steps"].as_array().unwrap().clone();
        assert_eq!(steps.len(), 5, "{scheme}");
        let of = |k: usize, key: &str| steps[k][key].as_f64();
        assert!((of(4, "free_energy").unwrap() - free_energy).abs() < 1e-3 * free_energy.max(0.01), "{scheme}: {free_energy}");
        for (k, step) in steps.iter().enumerate() {
            assert_eq!(step["k"], k);
            let last = k == 4 || scheme == "semi-unbalanced" && k == 0;
            assert_eq!(of(k, "energy_inequality").is_none(), last, "{scheme} {k}");
            if let (Some(squared), Some(inequality)) = (of(k, "w2_squared_step"), of(k, "energy_inequality")) {
                let gain = of(k, "free_energy").unwrap() - of(k + 1, "free_energy").unwrap();
                assert!((gain - squared / 1.2 - inequality).abs() < 1e-9, "{scheme} {k}");
            }
        }
        for (key, value) in [
            ("source", json!("x.npy")),
            ("target", json!("y.npy")),
            ("scheme", json!(scheme)),
            ("tau", json!(0.6)),
            ("eps", json!(0.1)),
            ("n", json!(state.len())),
            ("m", json!(heldout.len())),
            ("d", json!(2)),
            ("halted", json!(null)),
            ("predicted_bias", if scheme == "sinkhorn-flow" { json!(null) } else { json!(-0.05 / 0.7) }),
        ] {
            run.is(key, value);
        }
        run.near("variance_ratio", state.variance() / heldout.variance(), 1e-9);
        run.near("heldout_divergence", ruler.divergence(&state, &device).unwrap(), 1e-9);
        run.undetermined("steps", "states on the way are not written; how the accounts add up is checked above");
        run.undetermined("noise_floor flags", "of splits by the seed, and what follows from them");
        run.settle();
    }
}

/// An annealed descent keeps account of every state, however large the noise is beside the law.
#[test]
fn the_record_of_an_annealed_descent_has_every_step() {
    let folder = tempfile::tempdir().unwrap();
    let law = r#"{"weights": [0.5, 0.5], "means": [[-5, 0], [5, 0]], "variances": [0.1, 0.1]}"#;
    fs::write(folder.path().join("two.json"), law).unwrap();
    // The blob's substeps are too many where the noise is a thousand times the law's deviation.
    for (scheme, noises) in [("langevin", &[4, 30, 1000][..]), ("blob", &[4, 30])] {
        for noise in noises {
            let run = Run::of(
                folder.path(),
                &format!("jko normal --target two.json --scheme {scheme} --n 60 --steps 10 --anneal {noise}"),
            );
            let steps = run.record["steps"].as_array().unwrap();
            assert!(run.record["halted"].is_null() && steps.len() == 11, "{scheme} {noise}: {} steps", steps.len());
            assert!(steps.iter().enumerate().all(|(k, step)| step["k"] == k));
        }
    }
}

/// The rows of a comparison, from the samples of each and the halves of the data.
#[test]
fn the_rows_of_a_comparison_are_those_of_its_samples() {
    let (folder, _, y) = clouds(1, 80);
    let mut run = Run::of(folder.path(), "compare y.npy --steps 1,3 --precision f64");
    let device = Device::cpu(Precision::F64);
    let (train, heldout) = y.halves(3).unwrap();
    let ruler = Ruler::new(&heldout, 3, &device).unwrap();
    let rows = run.record["rows"].as_array().unwrap().clone();
    assert_eq!(rows.len(), 9 * 2 + 2);
    for row in &rows {
        let blurred = if row["eps_relative"] == 0.05 { "-0.05" } else { "" };
        let name = format!("{}{blurred}-{}", row["method"].as_str().unwrap(), row["steps"]);
        let samples = run.cloud(&format!("samples/{name}.npy"));
        let near = |key: &str, value: f64| {
            let found = row[key].as_f64().unwrap();
            assert!((found - value).abs() <= 1e-9 * value.abs().max(1e-3), "{key} of {name} is {found} for {value}");
        };
        assert_eq!(samples.len(), 40);
        near("variance_ratio", samples.variance() / heldout.variance());
        near("w2_squared_exact", ExactPlan::new(&samples, &heldout).unwrap().w2_squared.unwrap());
        near("divergence", ruler.divergence(&samples, &device).unwrap());
        near("nn_train", median_distance(&samples, &train, &device).unwrap());
        near("nn_heldout", median_distance(&heldout, &train, &device).unwrap());
    }
    for (key, value) in
        [("target", json!("y.npy")), ("source", json!("normal")), ("n", json!(40)), ("m", json!(40)), ("d", json!(2))]
    {
        run.is(key, value);
    }
    run.is("law", json!(false));
    run.near("eps_metric", ruler.eps(), 1e-12);
    run.undetermined("rows", "what samples determine of them is checked above");
    run.undetermined("eps_transport", "a share of a mean over pairs drawn by the seed");
    run.undetermined("noise_floor flags notes ledger free_energy", "of splits by the seed and of paths that are not written");
    run.is("grid", json!("trailing"));
    run.is("reclocking", json!([]));
    run.is("found", json!([]));
    run.undetermined("model model_limit", "there is no network");
    run.settle();
}

/// What `generate` writes is the measure it was given, and its record says so.
#[test]
fn a_converted_file_is_the_same_measure() {
    let folder = tempfile::tempdir().unwrap();
    let points = Cloud::new(vec![0.0, 1.0, 5.0, -2.0], 2).unwrap().with_weights(vec![3.0, 1.0]).unwrap();
    brenier::io::write_cloud(&folder.path().join("a.npz"), &points, Float::F64).unwrap();
    let generate = |out: &str, more: &str, code: i32| {
        let args = format!("generate a.npz --out {out} --precision f64 --json {more}");
        let mut command = Command::cargo_bin("brenier").unwrap();
        command.current_dir(folder.path()).args(args.split_whitespace()).assert().code(code).get_output().clone()
    };
    for out in ["b.npz", "b.safetensors", "b.parquet"] {
        let record: Value = serde_json::from_slice(&generate(out, "", 0).stdout).unwrap();
        assert_eq!(
            (&record["n"], &record["d"], &record["file"], &record["name"]),
            (&json!(2), &json!(2), &json!(out), &json!("a.npz"))
        );
        assert_eq!(read_measure(folder.path().join(out).to_str().unwrap(), None, None).unwrap(), Measure::Finite(points.clone()));
    }
    for out in ["b.npy", "b.csv"] {
        let said = String::from_utf8(generate(out, "", 1).stderr).unwrap();
        assert!(said.contains("the points have weights") && said.contains(out) && !folder.path().join(out).exists(), "{said}");
        generate(out, "--n 100", 0); // drawn by their weights, they need none
    }
}
