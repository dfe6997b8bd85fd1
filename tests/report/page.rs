//! The page and its files as text.

use brenier::experiment::entrants::Way;
use brenier::experiment::{ENTRANTS, Entrant, Ledger};
use brenier::measure::Cloud;
use brenier::report::{Report, ReportError, draw};

use crate::fixture::{digits, law};

fn both() -> [(Report, brenier::experiment::Comparison); 2] {
    let (law, digits) = (law(), digits());
    [(draw(&law, None).unwrap(), law), (draw(&digits, Some((8, 8))).unwrap(), digits)]
}

#[test]
fn every_figure_is_in_the_page_and_every_picture_has_a_title_and_an_alternative_text() {
    for (report, comparison) in both() {
        let names: Vec<&str> = report.figures.iter().map(|f| f.name).collect();
        let energy = if comparison.record.law { &["free-energy"][..] } else { &[] };
        let clock = if comparison.record.reclocking.is_empty() { &[][..] } else { &["reclocking"] };
        let steps = if comparison.record.found.is_empty() { &[][..] } else { &["steps"] };
        let others = &["divergence", "trajectories", "ledger"][..];
        assert_eq!(names, [&["solver-error"], clock, steps, others, energy, &["samples"]].concat());
        for figure in &report.figures {
            assert!(report.html.contains(&format!("<figure id=\"{}\">", figure.name)));
            assert!(!figure.title.is_empty() && !figure.alt.is_empty() && !figure.reading.is_empty());
            assert!(figure.svg.contains("prefers-color-scheme:dark") && figure.svg.starts_with("<svg xmlns="));
        }
        for picture in report.html.split("<svg").skip(1) {
            assert!(picture.contains("role=\"img\" aria-label=\"") && picture.contains("<title>") && picture.contains("<desc>"));
        }
    }
}

#[test]
fn nothing_is_fetched_from_anywhere() {
    for (report, _) in both() {
        let citation = "<a href=\"https://arxiv.org/abs/2606.24157\">";
        assert!(report.html.contains(citation));
        let page = report.html.replace(citation, "");
        for word in ["http:", "https:", "src=", "url(", "@import", "<script", "<link rel=\"stylesheet", "<use", "<image"] {
            assert!(!page.contains(word), "the page contains {word}");
        }
        for figure in &report.figures {
            let file = figure.svg.replace("xmlns=\"http://www.w3.org/2000/svg\"", "");
            assert!(!file.contains("http") && !file.contains("url("), "{} refers to something outside", figure.name);
        }
    }
}

#[test]
fn a_number_that_is_not_finite_is_shown_as_a_dash() {
    for (report, _) in both() {
        let pictures = report.figures.iter().flat_map(|f| [&f.svg, &f.csv]);
        for text in pictures.chain([&report.html, &report.rows_csv]) {
            let text = text.replace("infinite", "");
            assert!(
                !text.contains("NaN") && !text.contains("inf,") && !text.contains(">inf<"),
                "a number that is none is written out"
            );
        }
        assert!(report.html.contains("<td>–</td>"));
    }
}

#[test]
fn rows_csv_holds_the_record() {
    let comparison = law();
    let report = draw(&comparison, None).unwrap();
    let mut reader = csv::Reader::from_reader(report.rows_csv.as_bytes());
    let heads = reader.headers().unwrap().clone();
    let lines: Vec<csv::StringRecord> = reader.records().map(|line| line.unwrap()).collect();
    assert_eq!(lines.len(), comparison.record.rows.len());
    for (line, row) in lines.iter().zip(&comparison.record.rows) {
        let serde_json::Value::Object(wanted) = serde_json::to_value(row).unwrap() else { panic!("a row is an object") };
        assert_eq!(heads.len(), wanted.len(), "a column for every key of run.json");
        for (head, text) in heads.iter().zip(line) {
            let told = match &wanted[head] {
                serde_json::Value::Null => String::new(),
                serde_json::Value::Number(n) if n.is_f64() => n.as_f64().map(|v| v.to_string()).unwrap(),
                serde_json::Value::Array(flags) => flags.iter().map(|f| f.as_str().unwrap()).collect::<Vec<_>>().join(";"),
                serde_json::Value::String(name) => name.clone(),
                other => other.to_string(),
            };
            assert_eq!(text, told, "{head} of {} at {} steps", row.method, row.steps);
        }
    }
}

#[test]
fn figures_carry_the_numbers_of_the_record() {
    let comparison = law();
    let report = draw(&comparison, None).unwrap();
    let file = |name: &str| &report.figures.iter().find(|f| f.name == name).unwrap().csv;
    let floor = format!(",{}", comparison.record.noise_floor.divergence);
    for row in &comparison.record.rows {
        for (name, value, rest) in [("solver-error", row.solver_error, ""), ("divergence", row.divergence, &floor)] {
            let value = value.map(|v| v.to_string()).unwrap_or_default();
            let tail = format!(",{},{},{},{value}{rest}\n", row.label, row.steps, row.nfe);
            assert!(file(name).contains(&tail), "{name}: {tail}");
        }
    }
    for Ledger { path, action, w2_squared, coupling_gap, bend, clock, .. } in &comparison.record.ledger {
        assert!(file("ledger").contains(&format!("{path},{action},{w2_squared},{coupling_gap},{bend},{clock},")));
    }
    for entry in &comparison.record.reclocking {
        let needed = entry.nfe.map(|nfe| nfe.to_string()).unwrap_or_default();
        let line = format!("{},{},{},{needed}\n", entry.method, entry.solver_error, entry.nfe_trailing);
        assert!(file("reclocking").contains(&line), "{line}");
    }
    for found in &comparison.record.found {
        let grids = found.grids.iter().map(|grid| (grid.grid.as_str(), &grid.times, grid.solver_error));
        for (grid, times, error) in grids.chain([("found", &found.times, found.solver_error)]) {
            for (k, t) in times.iter().enumerate() {
                assert!(file("steps").contains(&format!("{},{grid},{error},{k},{t}\n", found.method)));
            }
        }
    }
    let end = comparison.trajectories[1].states[40].row(23);
    assert!(file("trajectories").contains(&format!("flow,ot-heun,23,40,{},{}\n", end[0], end[1])));
}

/// The sentence says what the ratios say: of the fixture's, diffusion takes three quarters and flow one and a half times as many.
#[test]
fn the_report_says_where_another_clock_does_not_help() {
    let mut comparison = law();
    let reading = |comparison: &brenier::experiment::Comparison| {
        let report = draw(comparison, None).unwrap();
        report.figures.iter().find(|f| f.name == "reclocking").unwrap().reading.clone()
    };
    let mixed = reading(&comparison);
    assert!(mixed.contains("it takes fewer for ddim 0.7") && mixed.contains("It takes more for fm-euler 1.33"), "{mixed}");
    comparison.record.reclocking.retain(|entry| entry.method.starts_with("fm"));
    assert!(reading(&comparison).contains("it does not help any method. It takes more for fm-euler 1.33"));
}

#[test]
fn a_flagged_row_is_never_called_best() {
    for (report, comparison) in both() {
        let body = report.html.split("<section id=\"rows\">").nth(1).unwrap().split("<tbody>").nth(1).unwrap();
        let lines: Vec<&str> = body.split("<tr").skip(1).collect();
        assert_eq!(lines.len(), comparison.record.rows.len());
        assert!(body.contains("class=\"best\""));
        for (line, row) in lines.iter().zip(&comparison.record.rows) {
            assert!(
                row.flags.is_empty() || !line.contains("class=\"best\""),
                "{} has the best numbers but is flagged",
                row.method
            );
        }
    }
}

#[test]
fn a_record_without_pictures_still_makes_a_page() {
    let mut bare = law();
    bare.record.rows.clear();
    bare.samples.clear();
    bare.record.found.clear();
    bare.record.ledger.clear();
    bare.record.free_energy.clear();
    bare.trajectories.clear();
    bare.record.target = "<b>&\"x\".npy".into();
    let report = draw(&bare, None).unwrap();
    assert!(report.figures.is_empty());
    assert!(report.html.contains("&lt;b&gt;") && !report.html.contains("<b>&"));
}

#[test]
fn points_of_a_line_are_drawn_too() {
    let mut line = law();
    let flat = |c: &Cloud| Cloud::new(c.rows().map(|x| x[0]).collect(), 1).unwrap();
    line.samples = line.samples.iter().map(flat).collect();
    line.heldout = flat(&line.heldout);
    line.trajectories.iter_mut().for_each(|t| t.states = t.states.iter().map(flat).collect());
    let report = draw(&line, None).unwrap();
    assert_eq!(report.figures.len(), 8);
    assert!(report.html.contains("time of a path"));
}

#[test]
fn clouds_that_do_not_fit_are_refused_with_the_numbers() {
    let mut short = law();
    short.samples.pop();
    assert!(matches!(draw(&short, None), Err(ReportError::SampleCount { rows: 79, samples: 78 })));
    let wrong = draw(&digits(), Some((8, 9))).unwrap_err();
    assert_eq!(wrong.to_string(), "points of dimension 64 are not images of 8 × 9; give a height and width whose product is 64");
}

/// Methods of a family are told apart by their marks where colours do not, and each runs a method that the table has.
#[test]
fn every_entrant_has_its_own_mark_and_a_method() {
    for (i, entrant) in ENTRANTS.iter().enumerate() {
        let same = |other: &Entrant| other.family == entrant.family && other.mark == entrant.mark || other.name == entrant.name;
        assert!(!ENTRANTS[..i].iter().any(same), "{}", entrant.name);
        assert!(!matches!(entrant.way, Way::Method(name) if brenier::sampler::named(name).is_err()), "{}", entrant.name);
        assert_eq!(Entrant::of_label(&entrant.label(Some(0.05))).map(|(of, _)| of.name), Some(entrant.name));
    }
}
