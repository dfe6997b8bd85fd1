//! What pages have in common: head, style, figures and foot, around what a page's own template says.

use minijinja::{Environment, Value, context};

use super::plot::STYLE;
use super::{Figure, ReportError};

/// Style of a page around its figures, in light and dark.
const PAGE_STYLE: &str = include_str!("page.css");

/// The page of the template `page`, which extends `base.html`, with `figures` in their order and its own `values`.
pub(super) fn render(page: &str, figures: &[Figure], values: Value) -> Result<String, ReportError> {
    let mut environment = Environment::new();
    environment.add_template("base.html", include_str!("base.html"))?;
    environment.add_template("facts.html", include_str!("facts.html"))?;
    environment.add_template("panels.html", include_str!("panels.html"))?;
    environment.add_template("page.html", page)?;
    let figures: Vec<Value> = figures
        .iter()
        .map(|f| context! { name => f.name, title => &f.title, reading => &f.reading, panels => &f.panels, width => f.panel_width })
        .collect();
    let (style, version) = (format!("{PAGE_STYLE}{STYLE}"), env!("CARGO_PKG_VERSION"));
    Ok(environment.get_template("page.html")?.render(context! { figures, style, version, ..values })?)
}
