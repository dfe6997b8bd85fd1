//! Points in tables, by the names of their columns, and points that are pictures.

use std::fs;
use std::path::Path;
use std::process::Output;

use assert_cmd::Command;
use brenier::io::{Float, read_array, write_npy};
use serde_json::Value;

fn run(folder: &Path, args: &str) -> Output {
    Command::cargo_bin("brenier").unwrap().current_dir(folder).args(args.split_whitespace()).output().unwrap()
}

fn record(folder: &Path, args: &str) -> Value {
    let output = run(folder, &format!("{args} --json --quiet"));
    assert!(output.status.success(), "{args}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Every one of `all` ends with 1 and the sentence beside it.
fn refused(folder: &Path, all: &[(&str, &str)]) {
    for (args, words) in all {
        let output = run(folder, args);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(1) && said.contains(words), "{args}: {said}");
    }
}

/// `value` without what tells of the clock and of names.
fn numbers(mut value: Value) -> Value {
    match &mut value {
        Value::Object(map) => {
            map.retain(|key, _| !key.ends_with("seconds") && key != "inputs");
            map.values_mut().for_each(|inner| *inner = numbers(inner.take()));
        }
        Value::Array(list) => list.iter_mut().for_each(|inner| *inner = numbers(inner.take())),
        Value::String(text) if text.contains("plain.npy") || text.contains("table.csv") => value = Value::Null,
        _ => {}
    }
    value
}

/// Every command that reads points takes them from the named columns, in the order of the names.
#[test]
fn columns_are_chosen_by_name_in_every_command() {
    let folder = tempfile::tempdir().unwrap();
    let points: Vec<[f64; 2]> = (0..24).map(|i| [f64::from(i * i % 7), f64::from(i) / 4.0]).collect();
    let line = |(i, [x, y]): (usize, &[f64; 2])| format!("{y},species {},{x},{}\n", i % 3, i % 3);
    let lines: String = points.iter().enumerate().map(line).collect();
    fs::write(folder.path().join("table.csv"), format!("width,species,length,class\n{lines}")).unwrap();
    write_npy(&folder.path().join("plain.npy"), &points.concat(), &[24, 2], Float::F64).unwrap();
    for args in [
        "transport FILE normal --n 20 --eps 1",
        "evaluate FILE normal --n 20",
        "evaluate normal FILE --train FILE --n 20",
        "compare FILE --steps 1 --out out",
        "couple normal FILE --pairs 8 --out out",
        "geodesic FILE normal --n 24 --steps 2 --out out",
        "jko normal --target FILE --n 24 --steps 1 --out out",
        "barycenter FILE normal --n 16",
        "sample FILE --start FILE --steps 1 --out out",
        "generate FILE --out out.npy",
    ] {
        let of = |file: &str, more: &str| numbers(record(folder.path(), &format!("{}{more}", args.replace("FILE", file))));
        assert_eq!(of("table.csv", " --columns length,width"), of("plain.npy", ""), "{args}");
    }
    refused(
        folder.path(),
        &[
            ("sample table.csv", "table.csv: column \"species\" holds \"species 0\" in line 2, where numbers are needed"),
            ("sample table.csv", "--columns width,length,class"),
            ("transport normal table.csv --columns length,with", "no column \"with\"; did you mean \"width\"?"),
            ("evaluate table.csv normal --columns species", "column \"species\" holds \"species 0\""),
        ],
    );
    let text = "command = \"generate\"\nname = \"table.csv\"\ncolumns = [\"width\", \"class\"]\n";
    fs::write(folder.path().join("run.toml"), text).unwrap();
    assert_eq!(record(folder.path(), "run run.toml --out two.npy")["d"], 2);
}

#[cfg(feature = "parquet")]
#[test]
fn one_parquet_file_holds_points_weights_and_classes() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["pandas", "lists", "missing"] {
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/data/{name}.parquet"));
        fs::copy(from, folder.path().join(format!("{name}.parquet"))).unwrap();
    }
    // Written again it is the same weighted cloud: the distance is zero.
    record(folder.path(), "generate pandas.parquet --precision f64 --out again.parquet");
    let distance = record(folder.path(), "transport again.parquet pandas.parquet --exact --precision f64");
    assert!(distance["w2_squared"].as_f64().unwrap().abs() < 1e-15 && distance["d"] == 3, "{distance}");
    record(folder.path(), "transport pandas.parquet again.parquet --eps 1 --source-weights pandas.parquet");
    // Points and their classes by the columns of one file; y is even in class 0 and odd in class 1.
    fs::write(folder.path().join("asked.csv"), "0\n1\n1\n").unwrap();
    record(
        folder.path(),
        "sample pandas.parquet --columns x,y --labels pandas.parquet --condition asked.csv --steps 20 --out out",
    );
    let samples = read_array(&folder.path().join("out/samples.npy"), "points").unwrap().values;
    let class: Vec<f64> = samples.chunks(2).map(|point| point[1].round() % 2.0).collect();
    assert_eq!(class, [0.0, 1.0, 1.0], "{samples:?}");
    record(folder.path(), "generate lists.parquet --columns embedding --out lists.npy");
    assert_eq!(read_array(&folder.path().join("lists.npy"), "points").unwrap().shape, [6, 3]);
    refused(
        folder.path(),
        &[
            ("sample lists.parquet", "lists.parquet: column \"text\" holds text, where numbers are needed"),
            ("sample lists.parquet", "--columns embedding"),
            ("sample missing.parquet --columns x", "missing.parquet: row 2 has no value in column \"x\""),
            ("sample pandas.parquet --columns u", "the table has no column \"u\"; did you mean"),
        ],
    );
}

/// Pictures of one size keep their shape, and their samples are drawn side by side.
#[cfg(feature = "image")]
#[test]
fn samples_of_pictures_are_pictures() {
    use brenier::io::{PictureFormat, encode_picture, read_picture};
    use brenier::measure::Picture;

    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("pictures")).unwrap();
    let write = |name: &str, width: usize, colour: [u8; 3]| {
        let picture = Picture { width, height: 2, pixels: vec![colour; 2 * width] };
        fs::write(folder.path().join("pictures").join(name), encode_picture(&picture, PictureFormat::Png).unwrap()).unwrap();
    };
    write("a.png", 3, [255, 0, 0]);
    write("b.png", 3, [0, 0, 255]);
    let shape = |file: &str| read_array(&folder.path().join(file), "points").unwrap().shape;
    record(folder.path(), "sample pictures --n 5 --steps 20 --out out");
    assert_eq!(shape("out/samples.npy"), [5, 3, 2, 3]);
    let grid = read_picture(&folder.path().join("out/samples.png")).unwrap();
    let (wide, high) = (3 * 22 + 2, 2 * 22 + 2); // of one, enlarged 22 times
    assert_eq!((grid.width, grid.height), (3 * wide + 2, 2 * high + 2));
    let samples = read_array(&folder.path().join("out/samples.npy"), "points").unwrap().values;
    for (at, point) in samples.chunks(18).enumerate() {
        let (x, y) = (2 + at % 3 * wide, 2 + at / 3 * high);
        let colour = if point[0] > 0.0 { [255, 0, 0] } else { [0, 0, 255] };
        assert_eq!(grid.pixels[y * grid.width + x], colour, "picture {at}");
    }
    // They are read again, as points and as starts.
    record(folder.path(), "sample out/samples.npy --start out/samples.npy --steps 2 --out again");
    assert_eq!(shape("again/samples.npy"), [5, 3, 2, 3]);
    record(folder.path(), "sample 8gaussians --n 5 --steps 2 --out out");
    assert!(!folder.path().join("out/samples.png").exists(), "no picture of an earlier run is left");
    write("c.png", 4, [0; 3]);
    let sizes = "c.png is of [4, 2] pixels and a.png of [3, 2]; points have one dimension: scale or crop the pictures";
    refused(folder.path(), &[("sample pictures", sizes)]);
}
