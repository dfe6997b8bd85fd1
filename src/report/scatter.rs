//! Clouds in the plane: both families' trajectories side by side, and each method's samples over the held-out points.

use super::Figure;
use super::axis::Axis;
use super::look::{csv, exact, family_title, look, number};
use super::plane::Plane;
use super::plot::{Chart, Key, Panel};
use crate::experiment::{CompareRecord, Comparison, Mark, Trajectory};

/// Points of a cloud that are drawn; more would only blacken the picture.
const DRAWN: usize = 1000;
/// Steps at which samples are drawn.
const STEPS: usize = 5;

/// The states of one particle in the plane.
type Path = Vec<(f64, f64)>;

/// Paths of a few particles, one panel a family, on the same axes.
pub(super) fn trajectories(comparison: &Comparison) -> Option<Figure> {
    let plane = Plane::of(&comparison.heldout);
    let behind = plane.scatter(&comparison.heldout, DRAWN);
    let paths: Vec<(&Trajectory, Vec<Path>)> =
        comparison.trajectories.iter().map(|t| (t, paths(&plane, t))).filter(|(_, paths)| !paths.is_empty()).collect();
    if paths.is_empty() {
        return None;
    }
    let all: Vec<(f64, f64)> = paths.iter().flat_map(|(_, p)| p.iter().flatten()).chain(&behind).copied().collect();
    let [x, y] = plane.frame(&all);
    let panel = |(trajectory, paths): &(&Trajectory, Vec<Path>)| {
        let mut chart = Chart::new([370.0, 370.0], family_title(trajectory.family), x.clone(), y.clone());
        let class = look(&trajectory.method).class;
        chart.cloud("faint", &behind);
        for path in paths {
            chart.line(&format!("{class} thin"), path);
        }
        let starts: Path = paths.iter().filter_map(|p| p.first()).copied().collect();
        let ends: Path = paths.iter().filter_map(|p| p.last()).copied().collect();
        chart.cloud("start", &starts);
        chart.cloud(&format!("{class} end"), &ends);
        let legend = [
            (&*class, Key::Stroke, trajectory.method.as_str()),
            ("start", Key::Mark(Mark::Disc), "start"),
            (&*class, Key::Mark(Mark::Disc), "end"),
            ("faint", Key::Mark(Mark::Disc), "held-out"),
        ];
        let (count, states) = (paths.len(), trajectory.states.len());
        let kind = trajectory.family.name();
        let alt = format!(
            "{kind}: paths of {count} particles of {} through {states} states, over the held-out points.",
            trajectory.method
        );
        chart.finish(&legend, alt)
    };
    let panels: Vec<Panel> = paths.iter().map(panel).collect();
    let line = |t: &Trajectory, particle: usize, state: usize, (x, y): &(f64, f64)| {
        vec![t.family.name().into(), t.method.clone(), particle.to_string(), state.to_string(), exact(*x), exact(*y)]
    };
    let lines = paths.iter().flat_map(|(t, paths)| {
        paths.iter().enumerate().flat_map(move |(i, path)| path.iter().enumerate().map(move |(k, p)| line(t, i, k, p)))
    });
    let axes = if comparison.heldout.dim() > 2 {
        "The plane is that of the first two principal axes of the held-out points; the percentage is each axis's share of their variance."
    } else {
        "The points are drawn in their own coordinates."
    };
    let reading = format!(
        "The same ends, different paths: diffusion runs the gradient flow of KL backwards along curves, flow follows a velocity between \
         fixed ends, and with the optimal coupling that is the geodesic, in straight lines. {axes} Both panels have the same axes."
    );
    let csv = csv("family,method,particle,state,axis_1,axis_2", lines);
    Some(Figure::new("trajectories", "Trajectories", reading, &panels, 2, csv))
}

/// The states of `trajectory` particle by particle.
fn paths(plane: &Plane, trajectory: &Trajectory) -> Vec<Path> {
    let particles = trajectory.states.iter().map(|s| s.len()).min().unwrap_or(0);
    let last = trajectory.states.len().max(2) - 1;
    let states = || trajectory.states.iter().enumerate();
    (0..particles).map(|i| states().map(|(k, s)| plane.project(s.row(i), k as f64 / last as f64)).collect()).collect()
}

/// One row a method: the one whose step count is nearest to `steps`.
pub(super) fn common_rows(record: &CompareRecord, steps: usize) -> Vec<usize> {
    let rows = &record.rows;
    let first = |i: &usize| rows[..*i].iter().all(|r| r.label != rows[*i].label);
    let nearest = |i: usize| {
        let same = (0..rows.len()).filter(|j| rows[*j].label == rows[i].label);
        same.min_by_key(|j| rows[*j].steps.abs_diff(steps))
    };
    (0..rows.len()).filter(first).filter_map(nearest).collect()
}

/// `method, N steps`.
pub(super) fn row_title(method: &str, steps: usize) -> String {
    format!("{method}, {steps} step{}", if steps == 1 { "" } else { "s" })
}

/// Final samples of every method over the held-out points.
pub(super) fn samples(comparison: &Comparison) -> Option<Figure> {
    let plane = Plane::of(&comparison.heldout);
    let behind = plane.scatter(&comparison.heldout, DRAWN);
    let [x, y] = plane.frame(&behind).map(wider);
    // Small frames have no room for the share of variance.
    let [x, y] = match comparison.heldout.dim() {
        1 | 2 => [x, y],
        _ => [Axis { label: "axis 1 (units of x)".into(), ..x }, Axis { label: "axis 2 (units of x)".into(), ..y }],
    };
    let (mut panels, mut lines) = (Vec::new(), Vec::new());
    for i in common_rows(&comparison.record, STEPS) {
        let row = &comparison.record.rows[i];
        let look = look(&row.label);
        let points = plane.scatter(&comparison.samples[i], DRAWN);
        let mut chart = Chart::new([150.0, 150.0], &row_title(&row.label, row.steps), x.clone(), y.clone());
        let outside = points.iter().filter(|p| !chart.holds(**p)).count();
        chart.cloud("faint small", &behind);
        chart.cloud(&format!("{} small", look.class), &points);
        let alt = format!(
            "{} samples of {} after {} steps over the held-out points; divergence {}; {outside} lie outside the frame.",
            points.len(),
            row.label,
            row.steps,
            number(row.divergence)
        );
        panels.push(chart.finish(&[], alt));
        lines.extend(points.iter().map(|(x, y)| vec![row.label.clone(), row.steps.to_string(), exact(*x), exact(*y)]));
    }
    if panels.is_empty() {
        return None;
    }
    let reading = format!(
        "At most {DRAWN} final samples of each method (coloured) over held-out points (grey), at {STEPS} steps or the nearest count there is: few enough that methods differ. Look \
         for mass between the modes, for modes with too few or too many points, and for clouds that have shrunk."
    );
    let csv = csv("method,steps,axis_1,axis_2", lines);
    Some(Figure::new("samples", "Samples over the held-out points", reading, &panels, 4, csv))
}

/// A tenth wider on both sides, so that samples beyond the held-out points show.
fn wider(axis: Axis) -> Axis {
    let margin = 0.1 * (axis.max - axis.min);
    if axis.label.starts_with("fraction") { axis } else { Axis { min: axis.min - margin, max: axis.max + margin, ..axis } }
}
