//! Curves: solver error and divergence against evaluations, and the free energy along the diffusion path.

use super::Figure;
use super::axis::{Axis, Scale};
use super::look::{Look, csv, exact, family_title, look, number};
use super::plot::{Chart, Key, Panel};
use crate::experiment::{CompareRecord, Family, FreeEnergy, Mark, Row};

const FRAME: [f64; 2] = [370.0, 240.0];
const ENERGY: &str = "free energy KL(ρ ‖ N(0, I)) (nats)";
const EVALUATIONS: &str = "field evaluations per particle (NFE)";

/// One method's points (NFE, value), in order of NFE.
struct Series<'a> {
    family: Family,
    method: &'a str,
    look: Look,
    points: Vec<(f64, f64)>,
}

/// The methods for which `value` can be drawn on log axes; values that are zero up to rounding cannot.
fn series(rows: &[Row], value: impl Fn(&Row) -> Option<f64>) -> Vec<Series<'_>> {
    // A value that is zero up to rounding would stretch the axis over all the decades down to it.
    let zero = 1e-12 * rows.iter().filter_map(&value).filter(|v| v.is_finite()).fold(0.0, f64::max);
    let mut all: Vec<Series> = Vec::new();
    for row in rows {
        let Some(v) = value(row).filter(|v| v.is_finite() && *v > zero && row.nfe > 0) else { continue };
        let point = (row.nfe as f64, v);
        match all.iter_mut().find(|s| s.method == row.label) {
            Some(known) => known.points.push(point),
            None => all.push(Series { family: row.family, method: &row.label, look: look(&row.label), points: vec![point] }),
        }
    }
    for s in &mut all {
        s.points.sort_by(|p, q| p.0.total_cmp(&q.0));
    }
    all
}

/// One panel a family on the same axes, the other family in grey behind, so that both can be compared.
fn by_family(
    all: &[Series],
    quantity: &str,
    y: &Axis,
    extra: impl Fn(&mut Chart) -> Vec<(&'static str, Key, String)>,
) -> Option<Vec<Panel>> {
    let x = Axis::around(EVALUATIONS, Scale::Log, all.iter().flat_map(|s| &s.points).map(|p| p.0))?;
    let families = [Family::Diffusion, Family::Flow].into_iter().filter(|f| all.iter().any(|s| s.family == *f));
    let panel = |shown: Family| {
        let mut chart = Chart::new(FRAME, family_title(shown), x.clone(), y.clone());
        let extra = extra(&mut chart);
        let (own, other): (Vec<&Series>, Vec<&Series>) = all.iter().partition(|s| s.family == shown);
        for s in &other {
            chart.line("faint thin", &s.points);
        }
        for s in &own {
            chart.line(&s.look.class, &s.points);
            chart.marks(&s.look.class, s.look.mark, &s.points);
        }
        let mut legend: Vec<(&str, Key, &str)> = own.iter().map(|s| (&*s.look.class, Key::Line(s.look.mark), s.method)).collect();
        if !other.is_empty() {
            legend.push(("faint thin", Key::Stroke, "the other family"));
        }
        legend.extend(extra.iter().map(|(class, key, label)| (*class, *key, label.as_str())));
        let runs: Vec<String> = own.iter().map(|s| describe(s)).collect();
        chart.finish(
            &legend,
            format!("{}: {quantity} against {EVALUATIONS}, both axes logarithmic. {}.", shown.name(), runs.join("; ")),
        )
    };
    Some(families.map(panel).collect())
}

/// A series in words: its first and last point.
fn describe(s: &Series) -> String {
    let point = |p: &(f64, f64)| format!("{} at {}", number(p.1), p.0);
    match (s.points.first(), s.points.last()) {
        (Some(first), Some(last)) if s.points.len() > 1 => format!("{} goes from {} to {}", s.method, point(first), point(last)),
        (Some(only), _) => format!("{} is {}", s.method, point(only)),
        _ => s.method.into(),
    }
}

/// A line a row: what it is, and `values` under `heads`.
fn rows_csv(record: &CompareRecord, heads: &str, values: impl Fn(&Row) -> Vec<String>) -> String {
    let line = |r: &Row| {
        let names = vec![r.family.name().into(), r.label.clone(), r.steps.to_string(), r.nfe.to_string()];
        [names, values(r)].concat()
    };
    csv(&format!("family,method,steps,nfe,{heads}"), record.rows.iter().map(line))
}

/// Solver error against evaluations, with the slopes of orders 1 and 2.
pub(super) fn solver_error(record: &CompareRecord) -> Option<Figure> {
    let all = series(&record.rows, |r| r.solver_error);
    let errors = all.iter().flat_map(|s| &s.points).map(|p| p.1);
    let y = Axis::around("RMS solver error (units of x)", Scale::Log, errors)?;
    let orders = |chart: &mut Chart| {
        let [[x0, x1], [y0, y1]] = chart.ranges();
        // From the lower left, where falling errors leave room, half-way up at most.
        let start = (x0 * (x1 / x0).powf(0.06), y0 * (y1 / y0).powf(0.4));
        for order in [1, 2] {
            let run = ((x1 / x0).powf(0.3)).min((start.1 / y0).powf(0.85 / f64::from(order)));
            let end = (start.0 * run, start.1 / run.powi(order));
            chart.line("dashed soft thin", &[start, end]);
            chart.note(end, (4.0, 4.0), &format!("order {order}"));
        }
        Vec::new()
    };
    let panels = by_family(&all, "RMS solver error", &y, orders)?;
    let reading = "Distance of each particle to where the same equation takes it at 1,024 Heun steps: the error of the solver alone, \
                   whatever the field. A method of order p falls along a line of slope −p (dashed). Stochastic methods have no such \
                   end point and are not drawn.";
    let csv = rows_csv(record, "solver_error", |r| vec![exact(r.solver_error)]);
    Some(Figure::new("solver-error", "Solver error against evaluations", reading.into(), &panels, 2, csv))
}

/// Solver error against evaluations on the rows' grid and on the trailing one, where the two are not the same.
pub(super) fn reclocking(record: &CompareRecord) -> Option<Figure> {
    let before = &record.reclocking;
    let all = series(&record.rows, |r| r.solver_error.filter(|_| before.iter().any(|entry| entry.method == r.label)));
    let trailing = |method: &str| -> Vec<(f64, f64)> {
        let own = before.iter().filter(|entry| entry.method == method);
        own.map(|entry| (entry.nfe_trailing as f64, entry.solver_error)).collect()
    };
    let points = || all.iter().flat_map(|s| s.points.iter().copied().chain(trailing(s.method)));
    let x = Axis::around(EVALUATIONS, Scale::Log, points().map(|p| p.0))?;
    let y = Axis::around("RMS solver error (units of x)", Scale::Log, points().map(|p| p.1))?;
    let families = [Family::Diffusion, Family::Flow].into_iter().filter(|f| all.iter().any(|s| s.family == *f));
    let told: Vec<(&str, String)> = record.reclocked().into_iter().map(|(method, ratio)| (method, number(ratio))).collect();
    let panel = |family: Family| {
        let mut chart = Chart::new(FRAME, family_title(family), x.clone(), y.clone());
        let mut legend = Vec::new();
        for s in all.iter().filter(|s| s.family == family) {
            chart.line(&format!("{} dashed thin", s.look.class), &trailing(s.method));
            chart.line(&s.look.class, &s.points);
            chart.marks(&s.look.class, s.look.mark, &s.points);
            legend.push((&*s.look.class, Key::Line(s.look.mark), s.method));
        }
        legend.push(("soft dashed thin", Key::Stroke, "on the trailing grid"));
        let ratios: Vec<String> = told.iter().map(|(method, ratio)| format!("{method} {ratio}")).collect();
        let alt = format!(
            "{}: RMS solver error against {EVALUATIONS} on the {} grid (solid) and the trailing grid (dashed), both axes logarithmic. \
             Evaluations over those on the trailing grid at equal error: {}.",
            family.name(),
            record.grid,
            ratios.join(", ")
        );
        chart.finish(&legend, alt)
    };
    let panels: Vec<Panel> = families.map(panel).collect();
    let reading = format!(
        "The same equation on the {} grid (solid) and in equal steps of time (dashed): a curve further left takes fewer evaluations. \
         Evaluations over those on the trailing grid, the geometric mean of the solver errors that both reach: {}",
        record.grid,
        verdict(&record.reclocked())
    );
    let line = |entry: &crate::experiment::Reclocked| {
        vec![entry.method.clone(), exact(entry.solver_error), entry.nfe_trailing.to_string(), exact(entry.nfe)]
    };
    let csv = csv("method,solver_error,nfe_trailing,nfe", before.iter().map(line));
    Some(Figure::new("reclocking", "Steps before and after re-clocking", reading, &panels, 2, csv))
}

/// Which methods another grid helps, and which not; a twentieth either way is no difference.
fn verdict(ratios: &[(&str, f64)]) -> String {
    let list = |wanted: &dyn Fn(f64) -> bool| {
        let told =
            ratios.iter().filter(|(_, ratio)| wanted(*ratio)).map(|(method, ratio)| format!("{method} {}", number(*ratio)));
        Some(told.collect::<Vec<String>>().join(", ")).filter(|list| !list.is_empty())
    };
    let fewer = list(&|ratio| ratio < 0.95);
    let same = list(&|ratio| (0.95..=1.05).contains(&ratio));
    let more = list(&|ratio| ratio > 1.05);
    let helps = match fewer {
        Some(list) => format!("it takes fewer for {list}."),
        None => "it does not help any method.".into(),
    };
    let others = [(same, "It makes no difference to"), (more, "It takes more for")];
    let told = others.into_iter().filter_map(|(list, words)| Some(format!(" {words} {}.", list?)));
    std::iter::once(helps).chain(told).collect()
}

/// Divergence to the held-out points against evaluations, with the noise floor.
pub(super) fn divergence(record: &CompareRecord) -> Option<Figure> {
    let all = series(&record.rows, |r| r.divergence);
    let floor = Some(record.noise_floor.divergence).filter(|f| f.is_finite() && *f > 0.0);
    let values = all.iter().flat_map(|s| &s.points).map(|p| p.1);
    // Room for the label of the floor below its line.
    let y = Axis::around("Sinkhorn divergence 2S (|x−y|²)", Scale::Log, values.chain(floor).chain(floor.map(|f| f / 2.0)))?;
    let draw_floor = |chart: &mut Chart| {
        let Some(floor) = floor else { return Vec::new() };
        let [[x0, x1], [y0, _]] = chart.ranges();
        chart.block("veil", (x0, y0), (x1, floor));
        chart.line("dashed soft", &[(x0, floor), (x1, floor)]);
        vec![("dashed soft", Key::Stroke, format!("noise floor {}", number(floor)))]
    };
    let panels = by_family(&all, "divergence to the held-out points", &y, draw_floor)?;
    let reading = format!(
        "Debiased Sinkhorn divergence 2S between the samples and the held-out points at ε = {}, in units of |x−y|². The noise floor (dashed) is what two \
         independent clouds of the same law score at these sizes: a curve that has reached it cannot be told from the target, and one \
         far inside the shaded band is too good to be true.",
        number(record.eps_metric)
    );
    let csv = rows_csv(record, "divergence,noise_floor", |r| vec![exact(r.divergence), exact(floor)]);
    Some(Figure::new("divergence", "Divergence against evaluations", reading, &panels, 2, csv))
}

/// Free energy against flow time, with the decay that a log-Sobolev constant of 1 guarantees, and against the length of the way.
pub(super) fn free_energy(record: &CompareRecord) -> Option<Figure> {
    // Estimates within two standard errors of zero say nothing on a log axis.
    let told = |f: f64, error: f64| f.is_finite() && f > 0.0 && f >= 2.0 * error;
    let mut curve: Vec<_> = record.free_energy.iter().filter(|p| p.flow_time.is_finite()).collect();
    curve.sort_by(|p, q| p.flow_time.total_cmp(&q.flow_time));
    let drawn: Vec<_> = curve.iter().copied().filter(|p| told(p.free_energy, p.standard_error)).collect();
    let first = drawn.first()?;
    let bound = |s: f64| first.free_energy * (-2.0 * (s - first.flow_time)).exp();
    let points: Vec<(f64, f64)> = drawn.iter().map(|p| (p.flow_time, p.free_energy)).collect();
    let x = Axis::around("Ornstein–Uhlenbeck time −log α (dimensionless)", Scale::Linear, points.iter().map(|p| p.0))?;
    let y = Axis::around(ENERGY, Scale::Log, points.iter().map(|p| p.1))?;
    let (start, end) = (first.flow_time, x.max);
    let decay: Vec<(f64, f64)> = (0..=100).map(|i| start + (end - start) * f64::from(i) / 100.0).map(|s| (s, bound(s))).collect();
    let mut chart = Chart::new(FRAME, "In time, from data (left) to noise (right)", x, y);
    chart.line("dashed soft", &decay);
    estimates(&mut chart, &drawn, |p| p.flow_time);
    let estimate = ("ddim", Key::Line(Mark::Disc), "estimate ± 2 standard errors");
    let legend = [estimate, ("dashed soft", Key::Stroke, "bound F(s₀) exp(−2(s−s₀))")];
    let last = points.last()?;
    let alt = format!(
        "Free energy along the diffusion path on a log axis: {} nats at flow time {}, {} nats at {}; the dashed bound falls as exp(−2s).",
        number(first.free_energy),
        number(first.flow_time),
        number(last.1),
        number(last.0)
    );
    let in_time = chart.finish(&legend, alt);

    let x = Axis::around("W₂ arc length from the data", Scale::Linear, drawn.iter().map(|p| p.arc_length))?;
    let y = Axis::around(ENERGY, Scale::Linear, points.iter().map(|p| p.1))?;
    let mut chart = Chart::new(FRAME, "Along the arc, from data (left) to noise (right)", x, y);
    estimates(&mut chart, &drawn, |p| p.arc_length);
    let alt = format!(
        "Free energy against the arc length: it falls to {} nats after {}, ever less steeply.",
        number(last.1),
        number(drawn.last()?.arc_length)
    );
    let panels = [in_time, chart.finish(&[estimate], alt)];

    let csv = csv(
        "t,flow_time,arc_length,free_energy,standard_error,bound",
        curve.iter().map(|p| {
            let bound = Some(p.flow_time).filter(|s| *s >= start).map(bound);
            vec![exact(p.t), exact(p.flow_time), exact(p.arc_length), exact(p.free_energy), exact(p.standard_error), exact(bound)]
        }),
    );
    let reading = "Diffusion is the gradient flow of this free energy, so it can only fall from data to noise, and at least as fast as \
                   exp(−2s) from any point on (the log-Sobolev inequality of N(0, I)): the estimates stay under the dashed line. \
                   Sampling climbs the same curve backwards. Against the arc length the clock is gone: the slope there is the steepness \
                   |∇F| in W₂, which is also the speed of the flow. Estimates within two standard errors of zero are left out of the picture.";
    Some(Figure::new("free-energy", "Free energy along the diffusion path", reading.into(), &panels, 2, csv))
}

/// Draws the estimates of F with their errors, each at `x`.
fn estimates(chart: &mut Chart, drawn: &[&FreeEnergy], x: impl Fn(&FreeEnergy) -> f64) {
    let points: Vec<(f64, f64)> = drawn.iter().map(|p| (x(p), p.free_energy)).collect();
    chart.line("ddim", &points);
    let [_, [bottom, top]] = chart.ranges();
    for p in drawn {
        let [low, high] = [-2.0, 2.0].map(|k| p.free_energy + k * p.standard_error);
        chart.line("ddim thin", &[(x(p), low.max(bottom)), (x(p), high.min(top))]);
    }
    chart.cloud("ddim end", &points);
}
