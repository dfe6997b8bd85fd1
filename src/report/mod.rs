//! Pictures of a finished comparison, descent or training: one self-contained page, its figures as SVG and CSV, and the rows as CSV.
//!
//! Everything is drawn in memory; nothing is written and nothing is fetched. A number that is missing or not finite is shown as "–".

mod axis;
mod curves;
mod descent;
pub mod film;
mod frame;
mod images;
mod ledger;
mod look;
mod page;
mod plane;
mod plot;
mod scatter;
mod steps;
mod table;
mod training;

use crate::error::Error;
use crate::experiment::Comparison;
pub use descent::draw_descent;
use plot::{Panel, sheet};
pub use training::{Training, draw_training};

/// Why a report cannot be drawn.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReportError {
    /// A row has no cloud, or a cloud no row.
    #[error("{rows} rows but {samples} clouds of samples; give one cloud a row, in the same order")]
    SampleCount {
        /// Rows of the record.
        rows: usize,
        /// Clouds of samples.
        samples: usize,
    },
    /// The points are not images of the stated shape.
    #[error("points of dimension {dim} are not images of {height} × {width}; give a height and width whose product is {dim}")]
    ImageShape {
        /// Dimension of the points.
        dim: usize,
        /// Height given.
        height: usize,
        /// Width given.
        width: usize,
    },
    /// The page's template failed.
    #[error("the page could not be laid out")]
    Page(#[from] minijinja::Error),
}

impl From<ReportError> for Error {
    fn from(error: ReportError) -> Self {
        Self::Report(Box::new(error))
    }
}

/// One figure: a picture and the numbers it shows.
#[derive(Clone, Debug, PartialEq)]
pub struct Figure {
    /// Name of its files: `figures/NAME.svg` and `figures/NAME.csv`.
    pub name: &'static str,
    /// Title in words.
    pub title: String,
    /// What the picture shows, for those who cannot see it.
    pub alt: String,
    /// A complete SVG file, light and dark.
    pub svg: String,
    /// The numbers drawn, with a header.
    pub csv: String,
    /// How to read it: one paragraph of the page.
    pub reading: String,
    /// The picture's panels as inline SVG elements, which the page wraps to its width.
    panels: Vec<String>,
    /// Greatest width of a panel on the page, in pixels.
    panel_width: f64,
}

impl Figure {
    /// The figure of `panels`, in rows of `columns` in its own file.
    fn new(name: &'static str, title: &str, reading: String, panels: &[Panel], columns: usize, csv: String) -> Self {
        let alt: Vec<&str> = panels.iter().map(|p| p.alt.as_str()).collect();
        let alt = alt.join(" ");
        Self {
            name,
            title: title.into(),
            svg: sheet(title, &alt, panels, columns),
            alt,
            csv,
            reading,
            panels: panels.iter().map(Panel::svg).collect(),
            panel_width: panels.iter().map(|p| p.width).fold(0.0, f64::max),
        }
    }
}

/// A whole report in memory.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// The page, complete in itself.
    pub html: String,
    /// The rows or steps of the record, with a header.
    pub rows_csv: String,
    /// The figures of the page, in its order; a figure with nothing to show is left out.
    pub figures: Vec<Figure>,
}

/// Draws `comparison`; with `image` = (height, width) its points are grey images, row-major, larger numbers more ink.
///
/// # Errors
/// [`ReportError`] when clouds and rows differ in number, `image` does not fit the dimension, or the template fails.
pub fn draw(comparison: &Comparison, image: Option<(usize, usize)>) -> Result<Report, ReportError> {
    let (rows, samples) = (comparison.record.rows.len(), comparison.samples.len());
    if rows != samples {
        return Err(ReportError::SampleCount { rows, samples });
    }
    let dim = comparison.heldout.dim();
    if let Some((height, width)) = image.filter(|(h, w)| h * w != dim) {
        return Err(ReportError::ImageShape { dim, height, width });
    }
    let record = &comparison.record;
    let samples = match image {
        Some(shape) => images::figure(comparison, shape),
        None => scatter::samples(comparison),
    };
    let figures = [
        curves::solver_error(record),
        curves::reclocking(record),
        steps::figure(record),
        curves::divergence(record),
        scatter::trajectories(comparison),
        ledger::figure(record),
        curves::free_energy(record),
        samples,
    ];
    let figures: Vec<Figure> = figures.into_iter().flatten().collect();
    Ok(Report { html: page::html(record, &figures)?, rows_csv: table::rows_csv(&record.rows), figures })
}
