//! `brenier schedule`: a table of a schedule in two sets of terms.

use std::path::Path;

use assert_cmd::Command;
use serde_json::Value;

fn brenier(args: &[&str]) -> std::process::Output {
    Command::cargo_bin("brenier")
        .unwrap()
        .current_dir(Path::new(env!("CARGO_TARGET_TMPDIR")))
        .arg("schedule")
        .args(args)
        .output()
        .unwrap()
}

fn record(args: &[&str]) -> Value {
    let output = brenier(&[args, &["--json"]].concat());
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn levels(record: &Value) -> impl Iterator<Item = [f64; 8]> + '_ {
    let keys = ["t", "alpha", "sigma", "log_snr", "f", "g", "eta", "epsilon"];
    record["levels"].as_array().unwrap().iter().map(move |row| keys.map(|key| row[key].as_f64().unwrap_or(f64::NAN)))
}

/// The Ornstein–Uhlenbeck process from its SDE, and back from its α and σ.
#[test]
fn a_diffusion_and_its_levels_are_converted_both_ways() {
    let of_diffusion = record(&["--f", "-1/2", "--g", "1", "--eta", "0.5", "--steps", "4"]);
    assert_eq!((&of_diffusion["command"], &of_diffusion["schedule"]), (&"schedule".into(), &Value::Null));
    for [t, alpha, sigma, log_snr, f, g, eta, epsilon] in levels(&of_diffusion) {
        let s = 1.0 - t;
        assert!((alpha - (-0.5 * s).exp()).abs() < 1e-12 && (sigma * sigma - (1.0 - (-s).exp())).abs() < 1e-12);
        assert!(s == 0.0 || (log_snr - 2.0 * (alpha / sigma).ln()).abs() < 1e-12);
        assert_eq!([f, g, eta, epsilon], [-0.5, 1.0, 0.5, 0.5]);
    }
    let of_levels = record(&["--alpha", "exp(-s/2)", "--sigma", "sqrt(1 - exp(-s))", "--epsilon", "0.25", "--steps", "4"]);
    for [_, _, _, _, f, g, eta, epsilon] in levels(&of_levels) {
        assert!((f + 0.5).abs() < 1e-9 && (g - 1.0).abs() < 1e-9 && (eta - 0.25).abs() < 1e-9 && epsilon == 0.25);
    }
}

/// On a variance-preserving schedule f = −β/2 and g² = β, also at the data; a number that is not finite is null and flagged.
#[test]
fn a_named_schedule_is_printed_with_its_diffusion() {
    let linear = record(&["linear-vp", "--steps", "2"]);
    for ([_, _, _, _, f, g, eta, epsilon], beta) in levels(&linear).zip([20.0, 10.05, 0.1]) {
        assert!((f + 0.5 * beta).abs() < 1e-12 && (g * g - beta).abs() < 1e-12 && eta == 1.0 && epsilon == g);
    }
    let straight = record(&["condot"]);
    assert!(straight["levels"][0]["f"].is_null() && straight["flags"] == serde_json::json!(["not_finite"]));
    assert_eq!(record(&["ve", "--grid", "karras", "--steps", "3"])["levels"].as_array().unwrap().len(), 4);
    let text = String::from_utf8(brenier(&["ddpm", "--steps", "1000"]).stdout).unwrap();
    assert!(text.contains("lambda") && (50..100).contains(&text.lines().count()), "{text}");
}

#[test]
fn what_makes_no_schedule_is_refused_in_words() {
    for (args, code, words) in [
        (&["linaer-vp"][..], 1, &["\"linear-vp\"", "did you mean"][..]),
        (&[], 2, &["SCHEDULE", "--alpha", "--f"]),
        (&["--f", "-1/2"], 2, &["--g"]),
        (&["cosine", "--f", "1", "--g", "1"], 2, &["cannot be used"]),
        (&["--f", "-u/2", "--g", "1"], 2, &["nothing called \"u\"", "did you mean"]),
        (&["--f", "sqr(s)", "--g", "1"], 2, &["\"sqr\"", "did you mean \"sqrt\""]),
        (&["--f", "(s", "--g", "1"], 2, &["is not a formula"]),
        (&["--alpha", "t", "--sigma", "exp(-t**2) - exp(-1)"], 2, &["write -(x**2)"]),
        (&["--f", &format!("1{}", "+1".repeat(50_000)), "--g", "1"], 2, &["is too long"]),
        (&["--f", "log(s)", "--g", "1"], 1, &["f is -inf at s = 0"]),
        (&["--f", "'x'", "--g", "1"], 1, &["not a number"]),
        (&["--alpha", "t - 1/2", "--sigma", "1"], 1, &["alpha = -0.5", "not negative"]),
        (&["--alpha", "1 - t", "--sigma", "t"], 1, &["sigma/alpha rises from t = 0 to t = 0.1"]),
        (&["cosine", "--eta", "-1"], 1, &["must not be negative"]),
        (&["cosine", "--eta", "1", "--epsilon", "1"], 2, &["--epsilon"]),
        (&["cosine", "--grid", "karras"], 1, &["pure noise"]),
        (&["cosine", "--steps", "0"], 2, &["--steps"]),
    ] {
        let output = brenier(args);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{args:?}: {said}");
        assert!(said.starts_with("error: ") && words.iter().all(|word| said.contains(word)), "{args:?}: {said}");
    }
}
