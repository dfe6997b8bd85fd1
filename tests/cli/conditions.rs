//! Conditions and guidance on the command line.

use std::fs;
use std::path::Path;

use assert_cmd::Command;
use brenier::io::read_array;
use serde_json::Value;
use tempfile::TempDir;

/// A folder with classes, a law of three and labelled data.
fn folder() -> TempDir {
    let folder = TempDir::new().unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    let classes: String = (0..30).map(|i| format!("{}\n", i % 3)).collect();
    write("classes.csv", &format!("class\n{classes}"));
    write("law.json", r#"{"weights": [1, 2, 3], "means": [[1, -2], [-1, 0], [0, 1]], "variances": [0.25, 0.25, 0.25]}"#);
    write("x.csv", "x,y\n0,0\n5,0\n0,5\n5,5\n");
    write("labels.csv", "0\n1\n2\n1\n");
    write("vectors.csv", "1,2\n3,4\n");
    write("half.csv", "0\n0.5\n");
    write("seven.csv", "0\n7\n");
    folder
}

fn command(folder: &Path, args: &str) -> Command {
    let mut command = Command::cargo_bin("brenier").unwrap();
    command.current_dir(folder).args(args.split_whitespace());
    command
}

/// The samples of `sample ARGS`, and the evaluations that they took.
fn samples(folder: &Path, args: &str) -> (Vec<f64>, u64) {
    let output = command(folder, &format!("sample {args} --json --out samples")).output().unwrap();
    assert!(output.status.success(), "{args}: {}", String::from_utf8_lossy(&output.stderr));
    let record: Value = serde_json::from_slice(&output.stdout).unwrap();
    (read_array(&folder.join("samples/samples.npy"), "points").unwrap().values, record["nfe"].as_u64().unwrap())
}

#[test]
fn particles_take_the_conditions_of_their_rows_whatever_the_range() {
    let folder = folder();
    for args in
        ["--method ddpm --steps 5", "--method ddim --steps 5 --grid arc-length", "--method dopri5", "--method pc-vp --steps 20"]
    {
        for guidance in ["", " --guidance 2 --guidance-interval 0.2..0.9"] {
            let run =
                |range: &str| samples(folder.path(), &format!("law.json --condition classes.csv {args}{guidance}{range}")).0;
            let whole = run("");
            assert_eq!(whole.len(), 60, "as many particles as conditions");
            assert_eq!(run(" --particles 10..20"), whole[20..40], "{args}{guidance}");
        }
    }
}

#[test]
fn guided_samples_take_two_evaluations_where_guidance_acts() {
    let folder = folder();
    let run = |more: &str| samples(folder.path(), &format!("law.json --condition classes.csv --method fm-heun --steps 10{more}"));
    let (plain, once) = run("");
    assert_eq!(once, 20);
    assert_eq!(run(" --guidance 1"), (plain.clone(), 20));
    let (guided, twice) = run(" --guidance 2.5");
    assert_eq!(twice, 40);
    // Heun steps from t = 0.1 k ask at both of their ends.
    assert_eq!(run(" --guidance 2.5 --guidance-interval 0.45..0.75").1, 26);
    // W = 0 is the law of all classes, at one evaluation.
    let (all, evaluations) = samples(folder.path(), "law.json --method fm-heun --steps 10 --n 30 --precision f64");
    assert_eq!(evaluations, 20);
    let (none, evaluations) = run(" --guidance 0 --precision f64");
    assert_eq!(evaluations, 20);
    assert!(none.iter().zip(&all).all(|(x, y)| (x - y).abs() < 1e-9));
    assert_ne!(guided, plain);
}

#[test]
fn a_class_of_data_ends_among_its_points() {
    let folder = folder();
    let (points, _) = samples(folder.path(), "x.csv --labels labels.csv --condition classes.csv --steps 20");
    for (i, x) in points.chunks_exact(2).enumerate() {
        let own = [0.0, 5.0, 0.0][i % 3];
        assert!((x[0] - own).abs() < 1e-3, "{x:?} is not of class {}", i % 3);
        assert!(i % 3 != 2 || (x[1] - 5.0).abs() < 1e-3, "{x:?} is not the point of class 2");
    }
}

#[test]
fn conditions_that_cannot_be_met_are_refused_in_words() {
    let folder = folder();
    for (args, code, words) in [
        ("law.json --condition classes.csv --n 31", 1, "classes.csv: 30 conditions for 31 particles"),
        ("law.json --condition seven.csv", 1, "law.json: condition 1 is the class 7; the classes are 0, 1, 2"),
        ("law.json --condition half.csv", 1, "condition 1 is the class 0.5"),
        ("law.json --condition vectors.csv", 1, "conditions of 2 numbers are given, and each particle takes 1"),
        ("law.json --condition none.csv", 1, "none.csv: there is no such file"),
        ("x.csv --condition classes.csv", 1, "x.csv has no classes to condition on; give those of its points with --labels"),
        ("x.csv --condition classes.csv --labels half.csv", 1, "half.csv: label 1 is 0.5"),
        ("x.csv --condition classes.csv --labels seven.csv", 1, "2 classes for 4 points"),
        ("x.csv --condition seven.csv --labels labels.csv", 1, "condition 1 is the class 7; the classes are 0, 1, 2"),
        ("law.json --condition classes.csv --labels labels.csv", 2, "leave --labels out"),
        ("moons --condition classes.csv", 1, "moons has no classes to condition on"),
        ("law.json --guidance 3", 2, "--condition"),
        ("law.json --condition classes.csv --guidance nan", 2, "a finite number is needed"),
        ("law.json --condition classes.csv --guidance-interval 0.1..0.5", 2, "--guidance"),
        ("law.json --condition classes.csv --guidance 3 --guidance-interval 0.5..0.5", 2, "two numbers from 0 to 1"),
        ("law.json --condition classes.csv --guidance 3 --guidance-interval 0.5..1.5", 2, "two numbers from 0 to 1"),
        ("law.json --condition classes.csv --unconditional 0", 2, "leave them out"),
    ] {
        let output = command(folder.path(), &format!("sample {args}")).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(code) && said.contains(words), "{args}: {said}");
    }
}
