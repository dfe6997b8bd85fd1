//! The ledger as stacked bars: what the action of each path is spent on.

use super::Figure;
use super::axis::{Axis, Scale};
use super::look::{csv, exact, number};
use super::plot::{Chart, Key};
use crate::experiment::{CompareRecord, Ledger, Mark};

/// A part of the action.
struct Part {
    class: &'static str,
    label: &'static str,
    value: fn(&Ledger) -> f64,
}

const PARTS: [Part; 4] = [
    Part { class: "w2", label: "W₂² (exact)", value: |l| l.w2_squared },
    Part { class: "gap", label: "coupling gap", value: |l| l.coupling_gap },
    Part { class: "bends", label: "bend", value: |l| l.bend },
    Part { class: "clock", label: "clock", value: |l| l.clock },
];

/// Stacked bars of W₂², coupling gap, bend and clock, one a path, with the action marked.
pub(super) fn figure(record: &CompareRecord) -> Option<Figure> {
    let drawable = |l: &&Ledger| PARTS.iter().all(|p| (p.value)(l).is_finite()) && l.action.is_finite();
    let shown: Vec<&Ledger> = record.ledger.iter().filter(drawable).collect();
    let reach = |l: &&Ledger| l.action.max(PARTS.iter().map(|p| (p.value)(l).max(0.0)).sum());
    let longest = Axis::around("", Scale::Linear, shown.iter().map(reach))?;
    let x = Axis::between("action and its parts (units of |x−y|²)", 0.0, 1.3 * longest.max);
    let count = shown.len() as f64;
    let names = shown.iter().rev().map(|l| l.path.clone()).collect();
    let y = Axis { names, ..Axis::between("path", 0.0, count) };
    let mut chart = Chart::new([370.0, 46.0 * count], "What the action is spent on", x, y);
    for (i, ledger) in shown.iter().enumerate() {
        let middle = count - i as f64 - 0.5;
        let mut from = 0.0;
        for Part { class, value, .. } in PARTS {
            let to = from + value(ledger).max(0.0);
            chart.block(class, (from, middle - 0.28), (to, middle + 0.28));
            from = to;
        }
        if let Some(independent) = ledger.action_from_regression.filter(|a| a.is_finite()) {
            chart.marks("hollow", Mark::Down, &[(independent, middle + 0.3)]);
        }
        chart.marks("hollow", Mark::Diamond, &[(ledger.action, middle)]);
        let verdict = if ledger.closes { "" } else { ", does not close" };
        let text = format!("{}{verdict}", number(ledger.action));
        chart.note((reach(ledger), middle), (10.0, 4.5), &text);
    }
    let mut legend: Vec<(&str, Key, &str)> = PARTS.iter().map(|p| (p.class, Key::Block, p.label)).collect();
    legend.push(("hollow", Key::Mark(Mark::Diamond), "action"));
    if shown.iter().any(|l| l.action_from_regression.is_some()) {
        legend.push(("hollow", Key::Mark(Mark::Down), "action from the regression loss"));
    }
    let describe = |l: &&Ledger| {
        let parts: Vec<String> = PARTS.iter().map(|p| format!("{} {}", p.label, number((p.value)(l)))).collect();
        format!("{}: action {} = {}", l.path, number(l.action), parts.join(" + "))
    };
    let told: Vec<String> = shown.iter().map(describe).collect();
    let alt = format!("Stacked bars, one a path. {}.", told.join("; "));
    let reading = "The first three parts are the path, the last is how it is timed. W₂² is the price of the ends: no path is cheaper. \
                   The coupling gap is what the pairing of starts and ends costs beyond the best pairing. Bend is what the curve of \
                   laws costs for not being straight, whatever each particle's line; a geodesic has neither. The clock is what an \
                   uneven speed costs: the same curve at constant speed (--grid arc-length) has none. The diamond is the action \
                   ∫E|v|²dt itself and should stand at the end of its bar.";
    let line = |l: &Ledger| {
        let parts = [l.action, l.w2_squared, l.coupling_gap, l.bend, l.clock, l.length_squared, l.straightness].map(exact);
        let checks = [exact(l.action_from_regression), exact(l.residual), exact(l.standard_error), l.closes.to_string()];
        let rest = [&checks[..], &[l.bend_se, l.clock_se].map(exact)].concat();
        [vec![l.path.clone()], parts.to_vec(), rest].concat()
    };
    let header = "path,action,w2_squared,coupling_gap,bend,clock,length_squared,straightness,action_from_regression,residual,\
                  standard_error,closes,bend_se,clock_se";
    let csv = csv(header, record.ledger.iter().map(line));
    Some(Figure::new("ledger", "The ledger", reading.into(), &[chart.finish(&legend, alt)], 1, csv))
}
