//! The page of a descent: free energy, and the certificate of each step.

use minijinja::context;

use super::axis::{Axis, Scale};
use super::look::{csv, exact, flag, number};
use super::plot::{Chart, Key, Panel};
use super::{Figure, Report, ReportError, frame};
use crate::experiment::{DescentRecord, Mark};
use crate::gradient_flow::Account;

const FRAME: [f64; 2] = [370.0, 240.0];
const STEP: &str = "step k";
const ARC: &str = "arc length Σ W₂";
/// Rows of the page's table; all of them are in steps.csv.
const ROWS: usize = 200;

/// A number of an account that a curve or a column shows.
type Number = fn(&Account) -> Option<f64>;

/// Key, head and number of each column.
const COLUMNS: [(&str, &str, Number); 12] = [
    ("tau", "τ", |a| a.tau),
    ("free_energy", "free energy", |a| a.free_energy),
    ("standard_error", "standard error", |a| a.standard_error),
    ("free_energy_bound", "bound", |a| a.free_energy_bound),
    ("w2_squared_step", "W₂² of the step", |a| a.w2_squared_step),
    ("energy_inequality", "energy inequality", |a| a.energy_inequality),
    ("dissipation", "dissipation", |a| a.dissipation),
    ("dissipation_error", "its error", |a| a.dissipation_error),
    ("free_energy_rate", "gain of F over τ", |a| a.free_energy_rate),
    ("jko_residual", "JKO residual", |a| a.jko_residual),
    ("jko_residual_floor", "its floor", |a| a.jko_residual_floor),
    ("effective_neighbours", "neighbours", |a| a.effective_neighbours),
];

/// Draws `record`, the descent from the first of `ends` to the second.
///
/// # Errors
/// [`ReportError`] when the template fails.
pub fn draw_descent(record: &DescentRecord, ends: [&str; 2]) -> Result<Report, ReportError> {
    let figures: Vec<Figure> = [free_energy(record), certificate(record)].into_iter().flatten().collect();
    let steps = &record.steps;
    let line = |account: &Account| -> Vec<String> {
        let numbers = COLUMNS.iter().map(|(.., of)| exact(of(account)));
        [account.k.to_string()].into_iter().chain(numbers).chain([account.reason.clone().unwrap_or_default()]).collect()
    };
    let heads: Vec<&str> = COLUMNS.iter().map(|(key, ..)| *key).collect();
    let rows_csv = csv(&format!("k,{},reason", heads.join(",")), steps.iter().map(line));
    Ok(Report { html: html(record, ends, &figures)?, rows_csv, figures })
}

fn html(record: &DescentRecord, [source, target]: [&str; 2], figures: &[Figure]) -> Result<String, ReportError> {
    let facts = [
        ("scheme", record.scheme.to_owned()),
        ("particles n", record.n.to_string()),
        ("held-out points m", record.m.to_string()),
        ("dimension d", record.d.to_string()),
        ("steps", (record.steps.len() - 1).to_string()),
        ("τ", record.tau.map_or("of each step".into(), number)),
        ("ε", number(record.eps)),
        ("divergence to held-out points", number(record.heldout_divergence)),
        ("noise floor, divergence", number(record.noise_floor.divergence)),
        ("variance ratio", number(record.variance_ratio)),
    ];
    let shown = |column: &&(&str, &str, Number)| record.steps.iter().any(|account| (column.2)(account).is_some());
    let columns: Vec<_> = COLUMNS.iter().filter(shown).collect();
    let stride = record.steps.len().div_ceil(ROWS);
    let rows = record.steps.iter().filter(|account| account.k.is_multiple_of(stride) || account.k + 1 == record.steps.len());
    let cells = |account: &Account| -> Vec<String> {
        let numbers = columns.iter().map(|(.., of)| number(of(account)));
        [account.k.to_string()].into_iter().chain(numbers).collect()
    };
    let mut reasons: Vec<String> = record.steps.iter().filter_map(|account| account.reason.clone()).collect();
    reasons.sort_unstable();
    reasons.dedup();
    let values = context! {
        source,
        target,
        facts,
        exact => record.certificate.exact,
        approximate => record.certificate.approximate,
        halted => &record.halted,
        reasons,
        flags => record.flags.iter().map(|f| flag(*f)).collect::<Vec<_>>(),
        heads => columns.iter().map(|(_, head, _)| *head).collect::<Vec<_>>(),
        rows => rows.map(cells).collect::<Vec<_>>(),
    };
    frame::render(include_str!("descent.html"), figures, values)
}

/// The points (k, number) of the states that have a finite one.
fn points(steps: &[Account], of: Number) -> Vec<(f64, f64)> {
    let point = |account: &Account| Some((account.k as f64, of(account).filter(|v| v.is_finite())?));
    steps.iter().filter_map(point).collect()
}

/// The axis of the steps.
fn of_steps(record: &DescentRecord) -> Option<Axis> {
    Axis::around(STEP, Scale::Linear, record.steps.iter().map(|account| account.k as f64))
}

/// A curve with marks where they are few enough to be told apart.
fn curve(chart: &mut Chart, class: &str, mark: Mark, points: &[(f64, f64)]) {
    chart.line(class, points);
    if points.len() <= 50 {
        chart.marks(class, mark, points);
    }
}

/// First and last of `points` in words.
fn ends(what: &str, points: &[(f64, f64)]) -> String {
    match (points.first(), points.last()) {
        (Some(first), Some(last)) => {
            format!("{what} goes from {} at step {} to {} at step {}.", number(first.1), first.0, number(last.1), last.0)
        }
        _ => format!("{what} is not known."),
    }
}

/// F against the steps and against the way that the curve of laws has gone.
fn free_energy(record: &DescentRecord) -> Option<Figure> {
    let lengths = arc_lengths(&record.steps);
    let panels: Vec<Panel> = [of_each_step(record)?].into_iter().chain(along_the_arc(record, &lengths)).collect();
    let reading = "F of the functional that each step moves along: a step of its gradient flow lowers it, and a step that takes noise away runs \
                   that flow backwards and raises it. Where F is convex with a known constant λ, the dashed line is \
                   an upper bound on what remains of it, or backwards a lower bound on what it has grown to. Against the arc length \
                   ΣW₂ of the steps, which does not depend on τ, the slope of F is the steepness |∇F| of the way in W₂; where W₂ of a \
                   step is bounded and not known, so is the arc.";
    let line = |(a, length): (&Account, &Option<f64>)| {
        let numbers = [*length, a.free_energy, a.standard_error, a.free_energy_bound];
        [a.k.to_string()].into_iter().chain(numbers.map(exact)).collect()
    };
    let csv = csv("k,arc_length,free_energy,standard_error,free_energy_bound", record.steps.iter().zip(&lengths).map(line));
    Some(Figure::new("free-energy", "Free energy along the way", reading.into(), &panels, 2, csv))
}

/// Σ_{j<k} W₂ of step j, for each state k; none from the first step on whose W₂ is not known.
fn arc_lengths(steps: &[Account]) -> Vec<Option<f64>> {
    let after = |length: &mut Option<f64>, account: &Account| {
        let here = *length;
        *length = here.zip(account.w2_squared_step).map(|(length, w2_squared)| length + w2_squared.sqrt());
        Some(here)
    };
    steps.iter().scan(Some(0.0), after).collect()
}

/// F against the arc length.
fn along_the_arc(record: &DescentRecord, lengths: &[Option<f64>]) -> Option<Panel> {
    let point = |(a, length): (&Account, &Option<f64>)| Some(((*length)?, a.free_energy.filter(|f| f.is_finite())?));
    let way: Vec<(f64, f64)> = record.steps.iter().zip(lengths).filter_map(point).collect();
    let (first, last) = (way.first()?, way.get(1..)?.last()?);
    let y = Axis::around("free energy F", Scale::Linear, way.iter().map(|p| p.1))?;
    let mut chart = Chart::new(FRAME, "Free energy along the arc", Axis::around(ARC, Scale::Linear, way.iter().map(|p| p.0))?, y);
    curve(&mut chart, "ddim", Mark::Disc, &way);
    let in_words = format!("Free energy goes from {} to {} along an arc of {}.", number(first.1), number(last.1), number(last.0));
    Some(chart.finish(&[("ddim", Key::Line(Mark::Disc), "F")], in_words))
}

/// F against the steps, with its standard error and what λ-convexity makes of it.
fn of_each_step(record: &DescentRecord) -> Option<Panel> {
    let (energy, bound) = (points(&record.steps, |a| a.free_energy), points(&record.steps, |a| a.free_energy_bound));
    let bounded = record.steps.iter().filter_map(|a| Some((a.k as f64, a.free_energy?, a.standard_error?)));
    let values = || energy.iter().chain(&bound).map(|p| p.1);
    // What is not above zero by chance alone does not stand in the way of the decades.
    let told = |a: &Account| a.free_energy.is_none_or(|energy| energy > 0.0 || energy > -4.0 * a.standard_error.unwrap_or(0.0));
    let scale = if record.steps.iter().all(told) && values().any(|v| v > 0.0) { Scale::Log } else { Scale::Linear };
    // A bound far below, of the way backwards, would leave the curve no room.
    let y = Axis::around("free energy F", scale, energy.iter().map(|p| p.1))?;
    let mut chart = Chart::new(FRAME, "Free energy", of_steps(record)?, y);
    let mut legend = Vec::new();
    if bound.len() > 1 {
        chart.line("dashed soft", &bound);
        legend.push(("dashed soft", Key::Stroke, "bound by convexity"));
    }
    let [_, [bottom, top]] = chart.ranges();
    let mut erring = false;
    for (k, energy, error) in bounded {
        erring = true;
        chart.line("ddim thin", &[(k, (energy - 2.0 * error).max(bottom)), (k, (energy + 2.0 * error).min(top))]);
    }
    curve(&mut chart, "ddim", Mark::Disc, &energy);
    legend.insert(0, ("ddim", Key::Line(Mark::Disc), if erring { "F ± 2 standard errors" } else { "F" }));
    Some(chart.finish(&legend, ends("Free energy", &energy)))
}

/// Residual, dissipation and energy inequality of each step.
fn certificate(record: &DescentRecord) -> Option<Figure> {
    let panels: Vec<Panel> = [residual(record), dissipation(record), inequality(record)].into_iter().flatten().collect();
    if panels.is_empty() {
        return None;
    }
    let reading = "JKO residual: how far a step is from the minimiser of F + W₂²/2τ, ‖(x′ − x)/τ + ∇(δF/δρ′)(x′)‖, with the ends exchanged \
                   for a step backwards; 0 is the JKO step itself, and what falls with τ is a step of the flow up to its own order. Below \
                   the floor it cannot be told from the error of the estimated score. Dissipation: along the flow F changes at the rate \
                   of the Fisher information, so the gain of F over τ lies between its values at both ends of a step. Energy \
                   inequality: what a step gains of F beyond its cost W₂²/2τ; not negative for a step of the flow.";
    let columns: [Number; 5] =
        [|a| a.jko_residual, |a| a.jko_residual_floor, |a| a.dissipation, |a| a.free_energy_rate, |a| a.energy_inequality];
    let line = |a: &Account| [a.k.to_string()].into_iter().chain(columns.iter().map(|of| exact(of(a)))).collect();
    let csv =
        csv("k,jko_residual,jko_residual_floor,dissipation,free_energy_rate,energy_inequality", record.steps.iter().map(line));
    Some(Figure::new("certificate", "The certificate of each step", reading.into(), &panels, 2, csv))
}

fn residual(record: &DescentRecord) -> Option<Panel> {
    let (residual, floor) = (points(&record.steps, |a| a.jko_residual), points(&record.steps, |a| a.jko_residual_floor));
    let values = || residual.iter().chain(&floor).map(|p| p.1);
    let largest = values().fold(0.0, f64::max);
    // Zero but for rounding: decades of it say nothing.
    let scale = if values().all(|v| v > 1e-9 * largest) && largest > 1e-9 { Scale::Log } else { Scale::Linear };
    let y = Axis::around("R (units of x per unit time)", scale, values())?;
    let mut chart = Chart::new(FRAME, "JKO residual", of_steps(record)?, y);
    let mut legend = vec![("fm-heun", Key::Line(Mark::Diamond), "residual R")];
    if !floor.is_empty() {
        chart.line("dashed soft", &floor);
        legend.push(("dashed soft", Key::Stroke, "floor of the estimate"));
    }
    curve(&mut chart, "fm-heun", Mark::Diamond, &residual);
    Some(chart.finish(&legend, ends("The JKO residual", &residual)))
}

fn dissipation(record: &DescentRecord) -> Option<Panel> {
    let (fisher, rate) = (points(&record.steps, |a| a.dissipation), points(&record.steps, |a| a.free_energy_rate));
    let values = || fisher.iter().chain(&rate).map(|p| p.1);
    let scale = if fisher.iter().all(|p| p.1 > 0.0) && !fisher.is_empty() { Scale::Log } else { Scale::Linear };
    let y = Axis::around("F per unit time", scale, values())?;
    let mut chart = Chart::new(FRAME, "Dissipation", of_steps(record)?, y);
    curve(&mut chart, "pf-euler", Mark::Square, &fisher);
    // The rate is that of a whole step.
    let middles: Vec<(f64, f64)> = rate.iter().map(|(k, rate)| (k + 0.5, *rate)).collect();
    curve(&mut chart, "fm-euler", Mark::Up, &middles);
    let mut legend = Vec::new();
    if !fisher.is_empty() {
        legend.push(("pf-euler", Key::Line(Mark::Square), "Fisher information"));
    }
    if !rate.is_empty() {
        legend.push(("fm-euler", Key::Line(Mark::Up), "gain of F over τ"));
    }
    Some(chart.finish(&legend, ends("Dissipation", &fisher)))
}

fn inequality(record: &DescentRecord) -> Option<Panel> {
    let margin = points(&record.steps, |a| a.energy_inequality);
    let y =
        Axis::around("gain of F − cost", Scale::Linear, margin.iter().map(|p| p.1).chain((!margin.is_empty()).then_some(0.0)))?;
    let mut chart = Chart::new(FRAME, "Energy inequality", of_steps(record)?, y);
    let [[left, right], _] = chart.ranges();
    chart.line("dashed soft", &[(left, 0.0), (right, 0.0)]);
    curve(&mut chart, "pf-heun", Mark::Disc, &margin);
    let legend = [("pf-heun", Key::Line(Mark::Disc), "gain − cost"), ("dashed soft", Key::Stroke, "0")];
    Some(chart.finish(&legend, ends("The energy inequality", &margin)))
}
