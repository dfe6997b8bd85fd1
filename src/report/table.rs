//! The table of rows: numbers, the best of each column, flags in words, and the fewest evaluations that reach the floor.

use serde::Serialize;

use super::look::{csv, exact, flag, look, number};
use super::scatter::row_title;
use crate::experiment::columns::{COLUMNS, Column};
use crate::experiment::{CompareRecord, Family, Flag, Row};

/// The table as the page shows it.
#[derive(Serialize)]
pub(super) struct Table {
    heads: Vec<&'static str>,
    lines: Vec<Line>,
    /// Whether any cell is the best of its column.
    any_best: bool,
    /// Name and meaning of each flag that occurs.
    flags: Vec<(&'static str, &'static str)>,
}

#[derive(Serialize)]
struct Line {
    family: &'static str,
    method: String,
    class: String,
    steps: usize,
    nfe: usize,
    /// Text, and whether it is the best of its column.
    cells: Vec<(String, bool)>,
    flags: Vec<&'static str>,
    /// Whether another method begins here.
    first: bool,
}

/// The rows of `record` for the page. A flagged row is never the best.
pub(super) fn table(record: &CompareRecord) -> Table {
    let rows = &record.rows;
    let best = COLUMNS.each_ref().map(|column| best(rows, column));
    let line = |(i, row): (usize, &Row)| Line {
        family: row.family.name(),
        method: row.label.clone(),
        class: look(&row.label).class,
        steps: row.steps,
        nfe: row.nfe,
        cells: COLUMNS.iter().zip(best).map(|(c, best)| (number((c.value)(row)), best == Some(i))).collect(),
        flags: row.flags.iter().map(|f| flag(*f).0).collect(),
        first: i == 0 || rows[i - 1].label != row.label,
    };
    let mut seen: Vec<Flag> = rows.iter().flat_map(|r| &r.flags).chain(&record.flags).copied().collect();
    seen.sort();
    seen.dedup();
    Table {
        heads: COLUMNS.iter().map(|c| c.head).collect(),
        lines: rows.iter().enumerate().map(line).collect(),
        any_best: best.iter().any(Option::is_some),
        flags: seen.into_iter().map(flag).collect(),
    }
}

/// The row with the best finite number of `column` among those without a flag.
fn best(rows: &[Row], column: &Column) -> Option<usize> {
    let badness = column.badness?;
    let candidates = rows.iter().enumerate().filter(|(_, r)| r.flags.is_empty());
    let numbers = candidates.filter_map(|(i, r)| (column.value)(r).filter(|v| v.is_finite()).map(|v| (i, badness(v))));
    numbers.min_by(|a, b| a.1.total_cmp(&b.1)).map(|(i, _)| i)
}

/// For each family the row that is enough: the answer to "how many steps?".
pub(super) fn answers(record: &CompareRecord) -> Vec<(&'static str, String)> {
    let answer = |wanted: Family| {
        record.rows.iter().find(|row| row.family == wanted)?; // a family left out has no answer
        let told = record.enough(wanted).map(|row| format!("{} NFE ({})", row.nfe, row_title(&row.label, row.steps)));
        Some((wanted.name(), told.unwrap_or_else(|| "none".into())))
    };
    [Family::Diffusion, Family::Flow].into_iter().filter_map(answer).collect()
}

/// The rows as CSV, under the names of `run.json`; flags are separated by semicolons.
pub(super) fn rows_csv(rows: &[Row]) -> String {
    let header: Vec<&str> =
        ["family", "method", "eps_relative", "steps", "nfe"].into_iter().chain(COLUMNS.iter().map(|c| c.key)).collect();
    let line = |r: &Row| {
        let names = [r.family.name().into(), r.method.clone(), exact(r.eps_relative), r.steps.to_string(), r.nfe.to_string()];
        let flags: Vec<&str> = r.flags.iter().map(|f| flag(*f).0).collect();
        let numbers = COLUMNS.iter().map(|c| exact((c.value)(r)));
        names.into_iter().chain(numbers).chain([flags.join(";")]).collect()
    };
    csv(&format!("{},flags", header.join(",")), rows.iter().map(line))
}
