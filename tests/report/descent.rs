//! The page of a descent.

use brenier::backend::{Device, Precision};
use brenier::experiment::{Descend, DescentRecord};
use brenier::gradient_flow::{Options, named};
use brenier::measure::named as measure;
use brenier::report::{Report, draw_descent};
use brenier::watch::Watch;

/// A short descent from `source` to `target` by `scheme`, and its report.
pub fn descent(scheme: &str, [source, target]: [&str; 2], steps: usize) -> (DescentRecord, Report) {
    let (from, to) = (measure(source, None).unwrap(), measure(target, None).unwrap());
    let descend = Descend { scheme: Some(named(scheme).unwrap()), options: Options::default(), steps, n: Some(300), seed: 0 };
    let (record, _) = descend.run(&from, &to, &Device::cpu(Precision::F64), Watch::default()).unwrap();
    let report = draw_descent(&record, [source, target]).unwrap();
    (record, report)
}

#[test]
fn the_page_of_a_descent_shows_free_energy_and_certificate_of_every_step() {
    for (scheme, ends) in [
        ("langevin", ["normal", "8gaussians"]),
        ("ddim", ["normal", "8gaussians"]),
        ("explicit-score", ["normal", "8gaussians"]),
        ("semi-unbalanced", ["normal", "moons"]),
    ] {
        let (record, report) = descent(scheme, ends, 4);
        let names: Vec<&str> = report.figures.iter().map(|figure| figure.name).collect();
        assert_eq!(names, ["free-energy", "certificate"], "{scheme}");
        assert!(report.html.contains("<b>exact</b>") && report.html.contains(scheme));
        for figure in &report.figures {
            assert!(report.html.contains(&format!("<figure id=\"{}\">", figure.name)) && !figure.alt.is_empty());
            assert!(figure.svg.starts_with("<svg xmlns=") && figure.csv.lines().count() == 6, "{scheme}: {}", figure.csv);
        }
        assert_eq!(report.rows_csv.lines().count(), 6);
        assert!(!report.html.contains("NaN") && !report.rows_csv.contains("NaN") && !report.rows_csv.contains("inf"), "{scheme}");
        // What a step has no residual for is said.
        let reasons = record.steps.iter().filter_map(|account| account.reason.as_deref());
        reasons.for_each(|why| assert!(report.html.contains(why), "{scheme}: {why}"));
    }
}
