//! The page of a training: how the loss fell, what the network makes, and how near that is to what it was trained on.

use minijinja::context;

use super::axis::{Axis, Scale};
use super::images::{Shown, of_each};
use super::look::{csv, exact, flag, number};
use super::plane::Plane;
use super::plot::{Chart, Key, Panel};
use super::{Figure, Report, ReportError, frame};
use crate::experiment::Mark;
use crate::measure::Cloud;
use crate::metric::Flag;

const FRAME: [f64; 2] = [370.0, 240.0];
/// Points of the loss curve, and of a cloud, that are drawn.
const CURVE: usize = 400;
const DRAWN: usize = 1000;

/// A finished training.
#[derive(Clone, Copy, Debug)]
pub struct Training<'a> {
    /// What was trained on.
    pub target: &'a str,
    /// Names and values of what the page begins with.
    pub facts: &'a [(&'static str, String)],
    /// The loss at every step.
    pub losses: &'a [f64],
    /// The least that it could be, where that is known.
    pub loss_floor: Option<f64>,
    /// Steps and held-out divergences of the looks.
    pub looks: &'a [(usize, f64)],
    /// What the network makes.
    pub samples: &'a Cloud,
    /// Points that it has not seen.
    pub heldout: &'a Cloud,
    /// The points trained on, with the distances of the samples and of the held-out points from the nearest of them.
    pub near: Option<(&'a Cloud, &'a [f64], &'a [f64])>,
    /// Height and width, where the points are grey images.
    pub image: Option<(usize, usize)>,
    /// What to keep in mind.
    pub flags: &'a [Flag],
}

/// Draws a finished training.
///
/// # Errors
/// [`ReportError`] when the template fails.
pub fn draw_training(training: &Training<'_>) -> Result<Report, ReportError> {
    let pictures = training.image.zip(training.near).map(|(shape, (train, ..))| {
        let own = Shown { title: "the network's samples".into(), method: "network", steps: 0, cloud: training.samples };
        of_each(&[Shown::heldout(training.heldout), own], "the network", train, shape)
    });
    let figures: Vec<Figure> = [loss(training), clouds(training), memory(training), pictures].into_iter().flatten().collect();
    let lines = training.looks.iter().map(|(step, divergence)| vec![step.to_string(), exact(*divergence)]);
    let values = context! {
        target => training.target,
        facts => training.facts.to_vec(),
        flags => training.flags.iter().map(|f| flag(*f)).collect::<Vec<_>>(),
    };
    let html = frame::render(include_str!("training.html"), &figures, values)?;
    Ok(Report { html, rows_csv: csv("step,divergence", lines), figures })
}

/// Means of the losses over parts of equal length, at the ends of these.
fn curve(losses: &[f64]) -> Vec<(f64, f64)> {
    let length = losses.len().div_ceil(CURVE).max(1);
    let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len() as f64;
    losses.chunks(length).enumerate().map(|(k, part)| ((k * length + part.len()) as f64, mean(part))).collect()
}

/// The loss against the steps, and the divergence of the looks.
fn loss(training: &Training<'_>) -> Option<Figure> {
    let points = curve(training.losses);
    let steps = Axis::around("step", Scale::Linear, points.iter().map(|p| p.0).chain([0.0]))?;
    let floor = training.loss_floor.filter(|floor| floor.is_finite());
    let y = Axis::around("loss", Scale::Log, points.iter().map(|p| p.1).chain(floor.filter(|floor| *floor > 0.0)))?;
    let mut chart = Chart::new(FRAME, "Loss", steps.clone(), y);
    let [[left, right], _] = chart.ranges();
    let mut legend = vec![("ddim", Key::Stroke, "mean loss")];
    if let Some(floor) = floor {
        chart.line("dashed soft", &[(left, floor), (right, floor)]);
        legend.push(("dashed soft", Key::Stroke, "the best field's"));
    }
    chart.line("ddim", &points);
    let last = points.last().map(|p| p.1);
    let against = floor.map_or(String::new(), |floor| format!(", where the best field's is {}", number(floor)));
    let mut panels = vec![chart.finish(&legend, format!("The loss falls to {}{against}.", number(last)))];
    panels.extend(looks(training, steps));
    let reading = "The mean of |F − y|², in units of what the network predicts, squared. It does not fall to 0: pairs that cross leave what no \
                   field can predict. The dashed line is the loss of the exact field of what was trained on; of points that is the field which \
                   has learnt them by heart, so a network that generalises stays above it.";
    let rows = points.iter().map(|(step, loss)| vec![exact(*step), exact(*loss)]);
    Some(Figure::new("loss", "Loss", reading.into(), &panels, 2, csv("step,loss", rows)))
}

/// The held-out divergence while the network was trained.
fn looks(training: &Training<'_>, steps: Axis) -> Option<Panel> {
    let seen = training.looks.iter().filter(|(_, value)| value.is_finite());
    let points: Vec<(f64, f64)> = seen.map(|(step, value)| (*step as f64, *value)).collect();
    let scale = if points.iter().all(|p| p.1 > 0.0) { Scale::Log } else { Scale::Linear };
    let y = Axis::around("divergence to held-out points", scale, points.iter().map(|p| p.1))?;
    let mut chart = Chart::new(FRAME, "Held-out divergence", steps, y);
    chart.line("fm-heun", &points);
    chart.marks("fm-heun", Mark::Diamond, &points);
    let best = points.iter().copied().min_by(|a, b| a.1.total_cmp(&b.1))?;
    let in_words = format!("The divergence to held-out points is least at step {}: {}.", best.0, number(best.1));
    Some(chart.finish(&[("fm-heun", Key::Line(Mark::Diamond), "samples to held-out points")], in_words))
}

/// The samples over the held-out points.
fn clouds(training: &Training<'_>) -> Option<Figure> {
    let plane = Plane::of(training.heldout);
    let behind = plane.scatter(training.heldout, DRAWN);
    let [x, y] = plane.frame(&behind);
    let panel = |title: &str, class: &str, cloud: &Cloud| {
        let points = plane.scatter(cloud, DRAWN);
        let mut chart = Chart::new([300.0, 300.0], title, x.clone(), y.clone());
        chart.cloud("faint", &behind);
        chart.cloud(class, &points);
        let legend = [(class, Key::Mark(Mark::Disc), title), ("faint", Key::Mark(Mark::Disc), "held-out points")];
        chart.finish(&legend, format!("{title}: {} points over the held-out ones.", points.len()))
    };
    let mut panels = vec![panel("samples", "fm-heun small", training.samples)];
    panels.extend(training.near.map(|(train, ..)| panel("points trained on", "ddim small", train)));
    let lines = plane.scatter(training.samples, DRAWN).into_iter().map(|(a, b)| vec![exact(a), exact(b)]);
    let reading = "What the network makes, and what it was trained on, over points that it has not seen. Beyond two dimensions the plane is that \
                   of the first two principal axes of the held-out points.";
    Some(Figure::new("clouds", "Samples", reading.into(), &panels, 2, csv("axis_1,axis_2", lines)))
}

/// Distances to the points trained on, as distribution functions.
fn memory(training: &Training<'_>) -> Option<Figure> {
    let (_, samples, heldout) = training.near?;
    let sorted = |values: &[f64]| {
        let mut values: Vec<f64> = values.iter().copied().filter(|v| v.is_finite()).collect();
        values.sort_by(f64::total_cmp);
        values
    };
    let (samples, heldout) = (sorted(samples), sorted(heldout));
    let shares = |values: &[f64]| -> Vec<(f64, f64)> {
        let (n, stride) = (values.len(), values.len().div_ceil(CURVE).max(1));
        let at = (0..n).filter(|k| k % stride == 0 || k + 1 == n);
        at.map(|k| (values[k], (k as f64 + 0.5) / n as f64)).collect()
    };
    let (of_samples, of_heldout) = (shares(&samples), shares(&heldout));
    let x =
        Axis::around("distance to the nearest (units of x)", Scale::Linear, of_samples.iter().chain(&of_heldout).map(|p| p.0))?;
    let mut chart = Chart::new(FRAME, "Distance to the points trained on", x, Axis::between("share of the points", 0.0, 1.0));
    chart.line("dashed soft", &of_heldout);
    chart.line("fm-heun", &of_samples);
    let legend = [("fm-heun", Key::Stroke, "samples"), ("dashed soft", Key::Stroke, "held-out points")];
    let median = |values: &[f64]| values.get(values.len() / 2).copied();
    let in_words = format!(
        "The median sample lies {} from its nearest training point, the median held-out point {}.",
        number(median(&samples)),
        number(median(&heldout))
    );
    let reading = "How far each sample lies from the nearest point that was trained on, beside the same of points that were not. Curves that agree \
                   are those of a network that has generalised; samples to the left of the held-out points repeat what was learnt by heart; to the \
                   right of them they have not yet come to where the data are.";
    let row = |name: &'static str| move |(distance, share): &(f64, f64)| vec![name.to_owned(), exact(*distance), exact(*share)];
    let lines = of_samples.iter().map(row("samples")).chain(of_heldout.iter().map(row("held-out")));
    let csv = csv("points,distance,share", lines);
    Some(Figure::new(
        "nearest",
        "What was generalised and what memorised",
        reading.into(),
        &[chart.finish(&legend, in_words)],
        1,
        csv,
    ))
}
