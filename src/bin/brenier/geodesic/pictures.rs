//! `brenier geodesic A.png B.png --as colour|density`: the geodesic between two pictures, as a film.

use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use brenier::backend::Device;
use brenier::checkpoint::Checkpoint;
use brenier::geodesic::{DensityBridge, Displacement};
use brenier::io::{PictureFormat, encode_picture, on_canvas, read_picture};
use brenier::measure::{Cloud, Picture};
use brenier::report::film::Film;
use brenier::transport::solved::Kind;
use brenier::transport::{Outcome, Plan, Problem};
use brenier::watch::{Progress, Residual, Watch};
use clap::ValueEnum;
use serde::Serialize;

use super::{Geodesic, UNCONVERGED};
use crate::output::{Summary, count, number, seconds};
use crate::session::Session;
use crate::{Failure, flags, input, memory, progress, signal};

/// Blur between colours: about the least difference that is seen in Oklab.
const COLOUR_BLUR: f64 = 0.02;
/// Blur between densities, in pixels.
const DENSITY_BLUR: f64 = 1.5;
/// Pixels of the side that densities are drawn on.
const CANVAS: u32 = 96;

/// What a picture is taken for.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum PictureKind {
    /// The colours are moved, the pixels stay: A takes on the colours of B
    Colour,
    /// The ink is moved: A turns into B
    Density,
}

#[derive(Serialize)]
struct Record<'a> {
    source: &'a str,
    target: &'a str,
    r#as: PictureKind,
    /// Pixels of A that are moved.
    pixels: usize,
    /// Weighted points of the two clouds that the plan couples.
    n: usize,
    m: usize,
    d: usize,
    eps: f64,
    eps_origin: String,
    iterations: usize,
    converged: bool,
    marginal_error: f64,
    steps: u32,
    /// 2⟨P, c⟩ of the plan.
    w2_squared: f64,
    w2_squared_kind: Kind,
}

/// The frames of a film and how they are stored.
struct Frames {
    pixels: usize,
    pictures: Vec<Picture>,
    format: PictureFormat,
    reading: String,
    alt: String,
    width: usize,
}

/// Refuses pictures of which nothing says what they are taken for.
pub fn refuse_unasked(ends: &input::Ends) -> Result<(), Failure> {
    match [&ends.source, &ends.target].map(|end| PictureFormat::of(Path::new(end))) {
        [Some(_), Some(_)] => {
            let why = "pictures have colours and ink; say which is moved with --as colour or --as density";
            Err(flags::bad_usage(why))
        }
        _ => Ok(()),
    }
}

/// Makes the film.
pub fn run(
    geodesic: &Geodesic,
    kind: PictureKind,
    session: &Session,
    device: &Device,
    checkpoint: &mut Checkpoint,
) -> Result<ExitCode, Failure> {
    if kind == PictureKind::Colour && geodesic.canvas.is_some() {
        return Err(flags::bad_usage("--canvas is for --as density; colours stay on the pixels of their picture: leave it out"));
    }
    let side = geodesic.canvas.unwrap_or(CANVAS) as usize;
    let (mut a, mut b) = (read_picture(Path::new(&geodesic.ends.source))?, read_picture(Path::new(&geodesic.ends.target))?);
    let frame = if kind == PictureKind::Colour { a.pixels.len() } else { side.pow(2) };
    memory::require("a film of that many frames", (u64::from(geodesic.steps) + 1) * frame as u64)?;
    let folder = session.folder(Some(super::FOLDER))?;
    let begun = Instant::now();
    let ((x, places), y, default) = match kind {
        PictureKind::Colour => (a.palette()?, b.palette()?.0, COLOUR_BLUR),
        PictureKind::Density => {
            (a, b) = (on_canvas(&a, side), on_canvas(&b, side));
            let [x, y] = [(&a, &geodesic.ends.source), (&b, &geodesic.ends.target)].map(|(picture, name)| inked(picture, name));
            ((x?, Vec::new()), y?, DENSITY_BLUR / side as f64)
        }
    };
    let given = geodesic.plan.given_eps()?;
    let eps = given.unwrap_or(default * default);
    let problem = Problem::new(&x, &y, eps)?;
    let spinner = progress::spinner(session, "transport");
    let tell = |now: Progress<'_>| {
        let Some(Residual { iteration, eps, error }) = now.residual else { return !signal::interrupted() };
        spinner.set_message(format!("eps {}   iteration {iteration}   marginal error {error:.1e}", number(eps)));
        !signal::interrupted()
    };
    let outcome =
        geodesic.plan.solver().solve_watched(&problem, None, device, Watch::telling(&tell).keeping(checkpoint.part("plan")))?;
    spinner.set_message("frames");
    let frames = match kind {
        PictureKind::Colour => recolour(geodesic, (&a, &places), &x, &outcome)?,
        PictureKind::Density => morph(geodesic, (&a, &b), &problem, &outcome, device)?,
    };
    let taken = begun.elapsed().as_secs_f64();

    let record = Record {
        source: &geodesic.ends.source,
        target: &geodesic.ends.target,
        r#as: kind,
        pixels: frames.pixels,
        n: x.len(),
        m: y.len(),
        d: x.dim(),
        eps: outcome.eps,
        eps_origin: given.map_or(format!("blur {default:.2e} squared, what is hardly seen"), |eps| geodesic.plan.origin(eps)),
        iterations: outcome.iterations,
        converged: outcome.converged,
        marginal_error: outcome.marginal_error,
        steps: geodesic.steps,
        w2_squared: 2.0 * outcome.transport_cost,
        w2_squared_kind: Kind::Entropic,
    };
    let stamped = session.stamped("geodesic", record, device, taken).flagged(Vec::new());
    let record = &stamped.own;
    let points = if kind == PictureKind::Colour { "colours" } else { "inked pixels" };
    if let Some(folder) = &folder {
        folder.clear(&["path.npy", "geodesic.html"])?;
        folder.clear_numbered("frame-", &["png", "jpg"])?;
        let mut addresses = Vec::new();
        for (k, picture) in frames.pictures.iter().enumerate() {
            let bytes = encode_picture(picture, frames.format)?;
            folder.bytes(&format!("frame-{k:05}.{}", frames.format.ending()), &bytes)?;
            addresses.push(address(&bytes, frames.format));
        }
        let end = |name: &str, picture: &Picture| -> Result<(String, String), Failure> {
            Ok((name.to_owned(), address(&encode_picture(picture, frames.format)?, frames.format)))
        };
        let film = Film {
            title: format!("{} to {}", file_name(&geodesic.ends.source), file_name(&geodesic.ends.target)),
            reading: frames.reading,
            alt: frames.alt,
            facts: vec![
                ("W₂², entropic", number(record.w2_squared)),
                ("ε", number(record.eps)),
                (points, format!("{} to {}", count(record.n), count(record.m))),
                ("pixels moved", count(record.pixels)),
                ("iterations", count(record.iterations)),
                ("time", seconds(taken)),
            ],
            frames: addresses,
            ends: vec![
                end(&format!("A: {}", file_name(&geodesic.ends.source)), &a)?,
                end(&format!("B: {}", file_name(&geodesic.ends.target)), &b)?,
            ],
            width: frames.width,
        };
        folder.text("geodesic.html", &film.html()?)?;
    }
    spinner.finish_and_clear();
    let mut summary = Summary::new(format!("geodesic {} to {}", geodesic.ends.source, geodesic.ends.target));
    summary.line(points, format!("{} to {}", count(record.n), count(record.m)), format!("in dimension {}", record.d));
    summary.line("pixels moved", count(record.pixels), "");
    summary.line("W2²", number(record.w2_squared), "entropic");
    summary.line("eps", number(record.eps), &*record.eps_origin);
    summary.line(
        "marginal error",
        format!("{:.1e}", record.marginal_error),
        if record.converged { "converged" } else { "not converged" },
    );
    summary.line("frames", count(frames.pictures.len()), "geodesic.html plays them");
    stamped.time(&mut summary);
    let unconverged = (!record.converged).then_some(UNCONVERGED);
    session.finish_solve(&stamped, folder.as_ref(), &summary.text(), unconverged)
}

/// The ink of the picture called `name`.
fn inked(picture: &Picture, name: &str) -> Result<Cloud, Failure> {
    picture.density().map_err(|_| {
        format!(
            "{name}: it has no ink, for all of it is as light as its border; take one that has, or move colours with --as colour"
        )
        .into()
    })
}

/// Every pixel's colour on its way to the mean of its partners.
fn recolour(geodesic: &Geodesic, (a, places): (&Picture, &[u32]), x: &Cloud, outcome: &Outcome) -> Result<Frames, Failure> {
    let line = Displacement::new(x, outcome.map())?;
    Ok(Frames {
        pixels: a.pixels.len(),
        pictures: times(geodesic).map(|t| a.recoloured(&line.at(t), places)).collect(),
        format: PictureFormat::Jpeg,
        reading: "The pixels of A stay where they are; their colours, a cloud in the colour space Oklab, move along the geodesic of W₂ \
                  to the colours of B. Every pixel of both pictures is a point of the plan, equal colours being one point of so much \
                  more weight; each colour goes to the mean of its partners, which are about as near together as the least \
                  difference that is seen."
            .into(),
        alt: format!("{} with its colours moved towards those of {}", file_name(&geodesic.ends.source), file_name(&geodesic.ends.target)),
        width: 640,
    })
}

/// The ink of A on its way to B.
fn morph(
    geodesic: &Geodesic,
    (a, b): (&Picture, &Picture),
    problem: &Problem,
    outcome: &Outcome,
    device: &Device,
) -> Result<Frames, Failure> {
    let bridge = DensityBridge::new(Plan::new(problem, &outcome.potentials)?, a.width, device)?;
    let [ink_a, ink_b] = [a, b].map(|picture| picture.ink().iter().sum::<f64>());
    let frame = |t: f64| {
        let ink = (1.0 - t) * ink_a + t * ink_b;
        let amount: Vec<f64> = bridge.at(t).into_iter().map(|mass| mass * ink).collect();
        Picture::of_ink(&amount, a.width, a.has_light_ground())
    };
    Ok(Frames {
        pixels: problem.source().len(),
        pictures: times(geodesic).map(frame).collect(),
        format: PictureFormat::Png,
        reading:
            "The ink of A moves along the geodesic of W₂ to the ink of B: each pixel's share goes to its partners under the \
                  entropic plan on straight lines, spread by the Brownian bridge of variance εt(1−t)."
                .into(),
        alt: format!("The ink of {} on its way to {}", file_name(&geodesic.ends.source), file_name(&geodesic.ends.target)),
        width: 480,
    })
}

fn times(geodesic: &Geodesic) -> impl Iterator<Item = f64> + use<> {
    let steps = geodesic.steps;
    (0..=steps).map(move |k| f64::from(k) / f64::from(steps))
}

fn address(bytes: &[u8], format: PictureFormat) -> String {
    format!("data:{};base64,{}", format.mime(), STANDARD.encode(bytes))
}

fn file_name(path: &str) -> String {
    Path::new(path).file_name().map_or_else(|| path.to_owned(), |name| name.to_string_lossy().into_owned())
}
