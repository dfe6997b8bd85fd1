//! Grids of images: samples of every method, and under each its nearest training point.

use std::fmt::Write;

use super::Figure;
use super::look::{csv, exact, number};
use super::plot::{Panel, escape};
use super::scatter::{common_rows, row_title};
use crate::experiment::Comparison;
use crate::measure::Cloud;

/// Samples shown of each method.
const SHOWN: usize = 8;
/// Steps at which they are shown.
const STEPS: usize = 20;
/// Side of an image and distance from one to the next, in pixels.
const SIDE: f64 = 40.0;
const PITCH: f64 = 45.0;
/// Grey levels; each is one path.
const LEVELS: usize = 16;

/// One panel a method, and one of held-out points to compare with.
pub(super) fn figure(comparison: &Comparison, shape: (usize, usize)) -> Option<Figure> {
    let rows = &comparison.record.rows;
    let methods = common_rows(&comparison.record, STEPS).into_iter().map(|i| {
        let (method, steps) = (rows[i].label.as_str(), rows[i].steps);
        Shown { title: row_title(method, steps), method, steps, cloud: &comparison.samples[i] }
    });
    let shown: Vec<Shown<'_>> = std::iter::once(Shown::heldout(&comparison.heldout)).chain(methods).collect();
    let what = format!("each method at {STEPS} steps (or the nearest count there is)");
    (shown.len() > 1).then(|| of_each(&shown, &what, &comparison.train, shape))
}

/// A cloud of which some points are shown.
pub(super) struct Shown<'a> {
    pub title: String,
    pub method: &'a str,
    pub steps: usize,
    pub cloud: &'a Cloud,
}

impl<'a> Shown<'a> {
    /// The points to compare with.
    pub fn heldout(cloud: &'a Cloud) -> Self {
        Self { title: "held-out points, for comparison".into(), method: "held-out", steps: 0, cloud }
    }
}

/// A panel for each of `shown`, the samples of `what`.
pub(super) fn of_each(shown: &[Shown<'_>], what: &str, train: &Cloud, shape: (usize, usize)) -> Figure {
    let bounds = |(low, high): (f64, f64), x: &f64| (x.min(low), x.max(high));
    let range = train.points().iter().fold((f64::MAX, f64::MIN), bounds);
    let grey = Grey { height: shape.0, width: shape.1, range };
    let (mut panels, mut lines) = (Vec::new(), Vec::new());
    for Shown { title, method, steps, cloud } in shown {
        let pairs: Vec<(&[f64], usize, f64)> = cloud
            .rows()
            .take(SHOWN)
            .map(|x| {
                let (at, distance) = nearest(x, train);
                (x, at, distance)
            })
            .collect();
        panels.push(panel(title, &pairs, train, grey));
        let line = |(i, (_, at, distance)): (usize, &(&[f64], usize, f64))| {
            vec![(*method).into(), steps.to_string(), i.to_string(), at.to_string(), exact(*distance)]
        };
        lines.extend(pairs.iter().enumerate().map(line));
    }
    let reading = format!(
        "The first {SHOWN} samples of {what}, and under each the training point nearest to it. A good sample resembles its neighbour no more than a \
         held-out point does; where both rows are the same, the method has memorised."
    );
    let csv = csv("method,steps,sample,nearest_train,distance", lines);
    Figure::new("samples", "Samples and their nearest training points", reading, &panels, 2, csv)
}

/// Index of the point of `cloud` nearest to `x`, and its distance.
fn nearest(x: &[f64], cloud: &Cloud) -> (usize, f64) {
    let distance = |y: &[f64]| x.iter().zip(y).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt();
    let all = cloud.rows().map(distance).enumerate();
    all.min_by(|a, b| a.1.total_cmp(&b.1)).unwrap_or((0, f64::INFINITY))
}

/// How pixels are drawn.
#[derive(Clone, Copy)]
struct Grey {
    height: usize,
    width: usize,
    /// The least pixel and the largest.
    range: (f64, f64),
}

/// Samples above, their neighbours below.
fn panel(title: &str, pairs: &[(&[f64], usize, f64)], train: &Cloud, grey: Grey) -> Panel {
    const LEFT: f64 = 62.0;
    const TOP: f64 = 28.0;
    let mut body = format!("<text class=\"name\" x=\"12\" y=\"17\">{}</text>", escape(title));
    for (name, y) in [("sample", TOP), ("nearest", TOP + PITCH)] {
        let _ = write!(body, "<text class=\"soft\" x=\"{}\" y=\"{}\" text-anchor=\"end\">{name}</text>", LEFT - 7.0, y + 24.0);
    }
    for (i, (sample, at, _)) in pairs.iter().enumerate() {
        let x = LEFT + PITCH * i as f64;
        image(&mut body, sample, (x, TOP), grey);
        image(&mut body, train.row(*at), (x, TOP + PITCH), grey);
    }
    let mut distances: Vec<f64> = pairs.iter().map(|p| p.2).collect();
    distances.sort_by(f64::total_cmp);
    let median = distances.get(distances.len() / 2).copied();
    let alt = format!(
        "{title}: {} images, and under each the nearest training point; median distance {} between the two.",
        pairs.len(),
        number(median)
    );
    let (width, height) = (LEFT + PITCH * SHOWN as f64 + 4.0, TOP + 2.0 * PITCH + 10.0);
    Panel { width, height, title: title.into(), alt, body }
}

/// One image at (x, y): runs of equal grey in each row, one path a level. Nothing is drawn for the lowest level.
fn image(body: &mut String, pixels: &[f64], (x, y): (f64, f64), grey: Grey) {
    let Grey { height, width, range: (low, high) } = grey;
    let scale = SIDE / height.max(width) as f64;
    let level = |v: f64| ((v - low) / (high - low) * (LEVELS - 1) as f64).round().clamp(0.0, (LEVELS - 1) as f64) as usize;
    let mut paths = vec![String::new(); LEVELS];
    for (row, line) in pixels.chunks(width).enumerate() {
        let mut column = 0;
        for run in line.chunk_by(|a, b| level(*a) == level(*b)) {
            let n = run.len();
            let _ = write!(paths[level(run[0])], "M{column} {row}h{n}v1h-{n}z");
            column += n;
        }
    }
    let _ = write!(body, "<rect class=\"tile\" x=\"{x}\" y=\"{y}\" width=\"{SIDE}\" height=\"{SIDE}\"/>");
    let _ = write!(body, "<g class=\"ink\" transform=\"translate({x} {y}) scale({scale})\">");
    for (level, path) in paths.iter().enumerate().skip(1).filter(|(_, path)| !path.is_empty()) {
        let _ = write!(body, "<path fill-opacity=\"{:.2}\" d=\"{path}\"/>", level as f64 / (LEVELS - 1) as f64);
    }
    body.push_str("</g>");
}
