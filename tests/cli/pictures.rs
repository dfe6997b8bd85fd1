//! `geodesic` between pictures: colours arrive at those of the other picture, ink at its shape, and the page is complete in itself.

use std::path::Path;

use assert_cmd::Command;
use brenier::io::{PictureFormat, encode_picture, read_picture};
use brenier::measure::{Cloud, Picture};
use serde_json::Value;

fn geodesic(out: &Path, args: &[&str]) -> Value {
    let mut command = Command::cargo_bin("brenier").unwrap();
    let output = command.arg("geodesic").args(args).args(["--json", "--out"]).arg(out).assert().success().get_output().clone();
    serde_json::from_slice(&output.stdout).unwrap()
}

fn write(path: &Path, picture: &Picture) -> String {
    std::fs::write(path, encode_picture(picture, PictureFormat::Png).unwrap()).unwrap();
    path.to_str().unwrap().to_owned()
}

fn mean(picture: &Picture) -> Vec<f64> {
    Cloud::new(picture.colours(), 3).unwrap().mean()
}

#[test]
fn the_colours_of_one_photograph_become_those_of_the_other() {
    let out = tempfile::tempdir().unwrap();
    let record = geodesic(out.path(), &["data/coffee.jpg", "data/rocket.jpg", "--as", "colour", "--steps", "2"]);
    assert_eq!(record["pixels"], 512 * 512);
    assert_eq!(record["converged"], true);
    let at = |k: usize| read_picture(&out.path().join(format!("frame-{k:05}.jpg"))).unwrap();
    let (source, target) =
        (read_picture(Path::new("data/coffee.jpg")).unwrap(), read_picture(Path::new("data/rocket.jpg")).unwrap());
    // JPEG and bytes cost a little; the colours are 0.3 apart.
    for (found, expected) in [(mean(&at(0)), mean(&source)), (mean(&at(2)), mean(&target))] {
        found.iter().zip(&expected).for_each(|(f, e)| assert!((f - e).abs() < 0.01, "{found:?} for {expected:?}"));
    }
    let page = std::fs::read_to_string(out.path().join("geodesic.html")).unwrap();
    assert!(!page.contains("http:") && !page.contains("https:"), "the page fetches nothing");
    // The first frame also stands in the page before the script runs.
    assert_eq!(page.matches("data:image/jpeg;base64,").count(), 3 + 2 + 1);
}

/// Two discs: at t = 0 the first exactly, at t = 1 the second, half way a disc between them.
#[test]
fn the_ink_of_a_disc_moves_to_another() {
    let (room, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let side = 32;
    let disc = |x: f64, y: f64| {
        let inside = |at: usize| ((at % side) as f64 - x).powi(2) + ((at / side) as f64 - y).powi(2) < 25.0;
        let pixels = (0..side * side).map(|at| if inside(at) { [0; 3] } else { [255; 3] }).collect();
        Picture { width: side, height: side, pixels }
    };
    let (a, b) = (disc(8.0, 9.0), disc(22.0, 21.0));
    let paths = (write(&room.path().join("a.png"), &a), write(&room.path().join("b.png"), &b));
    geodesic(out.path(), &[&paths.0, &paths.1, "--as", "density", "--canvas", "32", "--steps", "2"]);
    let at = |k: usize| read_picture(&out.path().join(format!("frame-{k:05}.png"))).unwrap();
    assert_eq!(at(0), a);
    for (k, centre) in [(1, [15.0, 15.0]), (2, [22.0, 21.0])] {
        let picture = at(k);
        let middle = picture.density().unwrap().mean().iter().map(|x| side as f64 * x - 0.5).collect::<Vec<_>>();
        middle.iter().zip(centre).for_each(|(m, c)| assert!((m - c).abs() < 0.1, "{middle:?} at {k}"));
    }
}

#[test]
fn what_makes_no_film_is_refused() {
    let two = "data/coffee.jpg data/rocket.jpg";
    for (args, code, words) in [
        (
            "Cargo.toml data/rocket.jpg --as colour".to_owned(),
            1,
            ["Cargo.toml: this is not a picture", "pictures are .png and .jpg files"],
        ),
        (
            "data/rocket.jpg tests/data/numpy.npz --as colour".to_owned(),
            1,
            ["numpy.npz: this is not a picture", ".png and .jpg files"],
        ),
        (two.to_owned(), 2, ["--as colour", "--as density"]),
        (format!("{two} --as density --n 5"), 2, ["--as", "--n"]),
        (format!("{two} --as colour --canvas 50"), 2, ["--canvas", "--as density"]),
    ] {
        let mut command = Command::cargo_bin("brenier").unwrap();
        let output = command.arg("geodesic").args(args.split(' ')).assert().code(code).get_output().clone();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(words.iter().all(|word| said.contains(word)), "{args}: {said}");
    }
}
