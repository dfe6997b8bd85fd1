//! `geodesic` on the command line: its length is the distance, its speed constant, its files what they should be.

use std::path::Path;

use assert_cmd::Command;
use brenier::io::read_array;
use brenier::measure::Cloud;
use brenier::transport::assign;
use serde_json::Value;

fn geodesic(out: &Path, args: &[&str]) -> Value {
    let mut command = Command::cargo_bin("brenier").unwrap();
    let output = command.arg("geodesic").args(args).args(["--json", "--out"]).arg(out).assert().success().get_output().clone();
    serde_json::from_slice(&output.stdout).unwrap()
}

fn number(record: &Value, key: &str) -> f64 {
    record[key].as_f64().unwrap_or_else(|| panic!("{key} in {record}"))
}

fn states(out: &Path) -> Vec<Cloud> {
    let path = read_array(&out.join("path.npy"), "path").unwrap();
    let [_, n, d] = path.shape[..] else { panic!("{:?}", path.shape) };
    path.values.chunks_exact(n * d).map(|state| Cloud::new(state.to_vec(), d).unwrap()).collect()
}

#[test]
fn the_squared_length_of_the_geodesic_is_the_squared_distance() {
    let out = tempfile::tempdir().unwrap();
    let args = ["moons", "8gaussians", "--steps", "10"];
    let record = geodesic(out.path(), &args);
    let w2 = number(&record, "w2_squared");
    assert!((number(&record, "length").powi(2) - w2).abs() < 1e-3 * w2);
    assert!((number(&record, "action") - w2).abs() < 1e-12 * w2);
    assert!(number(&record, "endpoint_divergence").is_finite());
    assert_eq!(record["steps"], 10);
    assert_eq!(states(out.path()).len(), 11);
}

/// On a line the map is the plan unless points are split; where they are, W₂² is said to be that of the map.
#[test]
fn the_distance_on_a_line_is_exact_only_where_no_point_is_split() {
    let out = tempfile::tempdir().unwrap();
    for (name, points) in [("two", "0\n1\n"), ("other", "3\n5\n"), ("three", "0\n1\n2\n")] {
        std::fs::write(out.path().join(name).with_extension("csv"), points).unwrap();
    }
    let at = |name: &str| out.path().join(name).with_extension("csv").to_str().unwrap().to_string();
    let whole = geodesic(out.path(), &[&at("two"), &at("other")]);
    assert_eq!((whole["w2_squared_kind"].as_str(), number(&whole, "w2_squared")), (Some("exact"), 12.5));
    let split = geodesic(out.path(), &[&at("two"), &at("three")]);
    // Of 0 a third goes to 0 and a sixth to 1, of 1 a sixth to 1 and a third to 2: the map moves them by 1/3 and 2/3.
    assert_eq!(split["w2_squared_kind"], "map");
    assert!((number(&split, "w2_squared") - 5.0 / 18.0).abs() < 1e-12);
}

/// The reported W₂² is that of the two ends, and every state lies on the way: W₂(ρ_s, ρ_t) = |t − s| W₂, by exact assignment.
#[test]
fn rows_of_the_path_are_at_constant_speed() {
    let out = tempfile::tempdir().unwrap();
    let record = geodesic(out.path(), &["moons", "8gaussians", "--steps", "4", "--n", "512", "--precision", "f64"]);
    let (states, w2) = (states(out.path()), number(&record, "w2_squared").sqrt());
    for (s, from) in states.iter().enumerate() {
        for (t, to) in states.iter().enumerate().skip(s + 1) {
            let exact = assign(from, to).unwrap().w2_squared.sqrt();
            assert!((exact - w2 * (t - s) as f64 / 4.0).abs() < 1e-6 * w2, "{s} to {t}: {exact} of {w2}");
        }
    }
}

/// Points that the plan already knows take its own paths; a smaller ε brings the ends nearer to the target.
#[test]
fn the_flow_of_new_points_follows_the_plan() {
    let (out, new) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let common = ["moons", "8gaussians", "--eps", "0.02", "--steps", "20", "--n", "1024"];
    let straight = geodesic(out.path(), &common);
    let points = new.path().join("new.npy");
    let start = &states(out.path())[0];
    brenier::io::write_npy(&points, start.points(), &[start.len(), 2], brenier::io::Float::F64).unwrap();
    let flow =
        |method| geodesic(new.path(), &[&common[..], &["--points", points.to_str().unwrap(), "--method", method]].concat());
    for method in ["euler", "heun"] {
        let flow = flow(method);
        // The drift of the bridge is that of the map but for a bias of the order of ε/W₂².
        let (action, truth) = (number(&flow, "action"), number(&straight, "action"));
        assert!((action - truth).abs() < 0.05 * truth, "{method}: {action} for {truth}");
        assert!(number(&flow, "length").powi(2) <= number(&flow, "action") * (1.0 + 1e-9), "Jensen's inequality");
    }
    let blurred = geodesic(out.path(), &["moons", "8gaussians", "--eps", "2", "--n", "1024"]);
    assert!(number(&blurred, "endpoint_divergence") > number(&straight, "endpoint_divergence"));
    let pairs = geodesic(out.path(), &["moons", "8gaussians", "--eps", "0.2", "--n", "1024", "--pairs"]);
    // Partners are points of the target: their variance does not shrink.
    assert!((number(&pairs, "variance_ratio") - 1.0).abs() < 0.1, "{pairs}");
}
