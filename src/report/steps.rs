//! The best steps that were found, beside the named grids: where their levels lie, and what they are off by.

use super::Figure;
use super::axis::Axis;
use super::look::{csv, exact, look, number};
use super::plot::{Chart, Key, Panel};
use crate::experiment::{CompareRecord, Found, Mark};

/// A line a grid: its levels along the time of the schedule, what was found first and the named grids from the best on.
pub(super) fn figure(record: &CompareRecord) -> Option<Figure> {
    let steps = record.found.first()?.steps();
    let panels: Vec<Panel> = record.found.iter().map(panel).collect();
    let reading = format!(
        "Each line is a grid of {steps} steps from noise (t = 0) to data (t = 1), with the RMS solver error that the method makes on it, as in \
         the rows. The best times are found by dynamic programming over one fine reference run and by coordinate descent from there and from \
         each named grid, on draws of their own; the errors are those of the comparison's particles, on which nothing was fitted."
    );
    let lines = record.found.iter().flat_map(|found| {
        let own = ("found", &found.times, found.solver_error);
        let named = found.grids.iter().map(|grid| (grid.grid.as_str(), &grid.times, grid.solver_error));
        std::iter::once(own).chain(named).flat_map(move |(grid, times, error)| {
            let level =
                move |(k, t): (usize, &f64)| vec![found.method.clone(), grid.into(), exact(error), k.to_string(), exact(*t)];
            times.iter().enumerate().map(level)
        })
    });
    let csv = csv("method,grid,solver_error,level,t", lines);
    Some(Figure::new("steps", &format!("The best {steps} steps"), reading, &panels, 2, csv))
}

fn panel(found: &Found) -> Panel {
    let mut grids: Vec<(&str, &[f64], f64)> =
        found.grids.iter().map(|grid| (grid.grid.as_str(), grid.times.as_slice(), grid.solver_error)).collect();
    grids.sort_by(|a, b| a.2.total_cmp(&b.2));
    grids.insert(0, ("found", &found.times, found.solver_error));
    let count = grids.len() as f64;
    let names = grids.iter().rev().map(|(name, _, error)| format!("{name} {}", number(*error))).collect();
    let x = Axis::between("time t, 0 at noise and 1 at data", -0.02, 1.02);
    let y = Axis { names, ..Axis::between("grid", 0.0, count) };
    let mut chart = Chart::new([300.0, 30.0 * count], &found.method, x, y);
    let look = look(&found.method);
    for (i, (_, times, _)) in grids.iter().enumerate() {
        let points: Vec<(f64, f64)> = times.iter().map(|t| (*t, count - i as f64 - 0.5)).collect();
        let class = if i == 0 { look.class.as_str() } else { "faint" };
        chart.line(&format!("{class} thin"), &points);
        chart.marks(class, if i == 0 { look.mark } else { Mark::Disc }, &points);
    }
    let told: Vec<String> = grids.iter().map(|(name, _, error)| format!("{name} {}", number(*error))).collect();
    let legend = [(look.class.as_str(), Key::Line(look.mark), "found"), ("faint", Key::Line(Mark::Disc), "named grids")];
    chart.finish(&legend, format!("{}: the levels of each grid along t. RMS solver errors: {}.", found.method, told.join(", ")))
}
