//! `transport` between Gaussian laws: what is printed in closed form, by formulas of one axis, and beside what draws of them say.

use std::path::Path;

use assert_cmd::Command;
use serde_json::Value;

fn transport(folder: &Path, args: &str, code: i32) -> (Value, String) {
    let mut command = Command::cargo_bin("brenier").unwrap();
    let output = command.current_dir(folder).arg("transport").args(args.split(' ')).arg("--json").assert().code(code);
    let output = output.get_output();
    let said = String::from_utf8(output.stderr.clone()).unwrap();
    (serde_json::from_slice(&output.stdout).unwrap_or(Value::Null), said)
}

/// A mixture of one component, N(mean, deviation² I) on R^d, and one without mass.
fn write_law(folder: &Path, d: usize, mean: f64, deviation: f64) {
    let law = format!(
        r#"{{"weights": [1, 0], "means": [{:?}, {:?}], "variances": [{}, 9]}}"#,
        vec![mean; d],
        vec![0.0; d],
        deviation * deviation
    );
    std::fs::write(folder.join("law.json"), law).unwrap();
}

fn number(record: &Value, key: &str) -> f64 {
    record.pointer(key).and_then(Value::as_f64).unwrap_or_else(|| panic!("{key} in {record}"))
}

/// OT_ε of N(0, s²) to N(m, t²) on the line (Janati, Muzellec, Peyré, Cuturi 2020): with D = √(4s²t² + ε²), half of
/// m² + s² + t² − D + ε(1 − log 2ε) + ε log(D + ε).
fn regularised(m: f64, s: f64, t: f64, eps: f64) -> f64 {
    let root = (4.0 * s * s * t * t + eps * eps).sqrt();
    0.5 * (m * m + s * s + t * t - root + eps * (1.0 - (2.0 * eps).ln()) + eps * (root + eps).ln())
}

#[test]
fn the_closed_form_adds_up_over_the_axes_and_draws_of_the_laws_agree() {
    let folder = tempfile::tempdir().unwrap();
    let (mean, deviation, eps) = (0.5, 1.5, 0.8);
    for d in [1, 2, 8] {
        write_law(folder.path(), d, mean, deviation);
        let alone = transport(folder.path(), &format!("normal:{d} law.json --eps {eps} --closed-form"), 0).0;
        let w2 = d as f64 * (mean * mean + (deviation - 1.0) * (deviation - 1.0));
        let axis = |s, t, m| d as f64 * regularised(m, s, t, eps);
        let ot = axis(1.0, deviation, mean);
        let divergence = ot - 0.5 * axis(1.0, 1.0, 0.0) - 0.5 * axis(deviation, deviation, 0.0);
        for (key, expected) in [
            ("/closed_form/w2_squared", w2),
            ("/w2_squared", w2),
            ("/closed_form/regularised_cost", ot),
            ("/dual", ot),
            ("/divergence", divergence),
        ] {
            assert!((number(&alone, key) - expected).abs() < 1e-12 * d as f64, "{key}, d = {d}: {alone}");
        }
        assert!(alone["w2_squared_kind"] == "closed_form" && alone["n"].is_null() && alone["closed_form"]["mass"].is_null());
        let drawn = transport(folder.path(), &format!("normal:{d} law.json --eps {eps} --debias --n 4000"), 0).0;
        assert_eq!(drawn["closed_form"], alone["closed_form"]);
        // The moments of 4,000 draws: costs of about d vary by a few times √(d/4000).
        let noise = 8.0 * (d as f64 / 4000.0).sqrt();
        assert!((number(&drawn, "/regularised_cost") - ot).abs() < noise, "d = {d}: {drawn}");
        // Draws in many dimensions are far apart by themselves: their divergence has a floor above this noise.
        assert!(d == 8 || (number(&drawn, "/divergence") - divergence).abs() < noise, "d = {d}: {drawn}");
    }
}

#[test]
fn free_marginals_have_a_closed_form_that_draws_agree_with() {
    let folder = tempfile::tempdir().unwrap();
    for d in [1, 2, 8] {
        write_law(folder.path(), d, 1.0, 0.7);
        let ends = format!("normal:{d} law.json --eps 0.6");
        let drawn = transport(folder.path(), &format!("{ends} --reach 1.5 --n 4000"), 0).0;
        let noise = 8.0 * (d as f64 / 4000.0).sqrt();
        let (mass, cost) = (number(&drawn, "/closed_form/mass"), number(&drawn, "/closed_form/regularised_cost"));
        assert!(mass < 1.0 && (number(&drawn, "/mass") - mass).abs() < noise, "d = {d}: {drawn}");
        assert!((number(&drawn, "/regularised_cost") - cost).abs() < noise, "d = {d}: {drawn}");
        // A reach far beyond the clouds holds the marginals, but for a correction of the order of the potentials squared over ρ.
        let held = number(&transport(folder.path(), &format!("{ends} --closed-form"), 0).0, "/regularised_cost");
        let far = number(&transport(folder.path(), &format!("{ends} --reach 300 --closed-form"), 0).0, "/regularised_cost");
        assert!((far - held).abs() < 4.0 * (1.0 + held).powi(2) / 300f64.powi(2), "d = {d}: {far} for {held}");
    }
}

#[test]
fn laws_on_a_line_are_exact_and_others_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    write_law(folder.path(), 1, 2.0, 3.0);
    let line = transport(folder.path(), "normal:1 law.json --closed-form", 0).0;
    // W₂² = 2² + (3−1)².
    assert!((number(&line, "/w2_squared") - 8.0).abs() < 1e-13 && (number(&line, "/dual") - 4.0).abs() < 1e-13);
    assert_eq!(line["eps"], 0.0);
    for (args, code, words) in [
        ("normal 8gaussians --closed-form", 1, "Gaussian laws at both ends"),
        ("moons normal --closed-form", 1, "Gaussian laws at both ends"),
        ("normal normal --reach-source 1 --closed-form", 1, "the same reach"),
        ("normal normal --closed-form --exact", 2, "--exact"),
        ("normal normal --closed-form --n 5", 2, "--n"),
    ] {
        let (_, said) = transport(folder.path(), args, code);
        assert!(said.contains(words), "{args}: {said}");
    }
    let other = transport(folder.path(), "normal 8gaussians --n 50", 0).0;
    assert!(other.get("closed_form").is_none());
}
