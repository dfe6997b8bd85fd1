//! The page: the record's facts, the figures and the table, through the template.

use minijinja::context;
use minijinja::value::Serde;

use super::look::{flag, number};
use super::scatter::row_title;
use super::table::{answers, table};
use super::{Figure, ReportError, frame};
use crate::experiment::CompareRecord;

/// One line of the ledger's table: path, action, W₂², gap, bend and clock ± standard error, residual ± standard error, verdict.
fn ledger(record: &CompareRecord) -> Vec<[String; 8]> {
    let with_error = |value: f64, error: f64| format!("{} ± {}", number(value), number(error));
    let line = |l: &crate::experiment::Ledger| {
        let [action, w2, gap] = [l.action, l.w2_squared, l.coupling_gap].map(number);
        let (bend, clock) = (with_error(l.bend, l.bend_se), with_error(l.clock, l.clock_se));
        let verdict = if l.closes { "closes" } else { "does not close" };
        [l.path.clone(), action, w2, gap, bend, clock, with_error(l.residual, l.standard_error), verdict.into()]
    };
    record.ledger.iter().map(line).collect()
}

/// One line a class: its number, particles, held-out points, divergence and floor, W₂² and floor, variance ratio, in row `at`.
fn classes(record: &CompareRecord, at: usize) -> Vec<[String; 8]> {
    let line = |class: &crate::experiment::ClassRecord| {
        let (row, floor) = (&class.rows[at], &class.noise_floor);
        let [n, m, class] = [class.n.to_string(), class.m.to_string(), class.class.to_string()];
        let measured = [row.divergence, floor.divergence, row.w2_squared_exact, floor.w2_squared_exact, row.variance_ratio];
        let [divergence, of_draws, w2, w2_of_draws, variance] = measured.map(number);
        [class, n, m, divergence, of_draws, w2, w2_of_draws, variance]
    };
    record.classes.iter().map(line).collect()
}

/// The page of `record` with `figures` in their order.
pub(super) fn html(record: &CompareRecord, figures: &[Figure]) -> Result<String, ReportError> {
    let count = |n: usize| n.to_string();
    let field = match &record.model {
        Some(_) => "the network's".into(),
        None => if record.law { "the law's own" } else { "of the training half" }.into(),
    };
    let facts = [
        ("target", record.target.clone()),
        ("source", record.source.clone()),
        ("particles n", count(record.n)),
        ("held-out points m", count(record.m)),
        ("dimension d", count(record.d)),
        ("seed", record.seed.to_string()),
        ("device", format!("{}, {}", record.device, record.precision)),
        ("field", field),
        ("grid", record.grid.clone()),
        ("noise floor, divergence", number(record.noise_floor.divergence)),
        ("noise floor, W₂² exact", number(record.noise_floor.w2_squared_exact)),
        ("ε of the metric", number(record.eps_metric)),
        ("wall time", format!("{} s", number(record.wall_seconds))),
    ];
    let limit = record.model_limit.map(|limit| ("network in 1,024 Heun steps, divergence", number(limit.divergence)));
    let eps_transport = record.eps_transport.map(|eps| ("ε of ot-* and displacement", number(eps)));
    let values = context! {
        target => &record.target,
        source => record.model.as_ref().unwrap_or(&record.source),
        model => &record.model,
        title => if record.model.is_some() { "how many steps" } else { "diffusion and flow with one ruler" },
        reached => if record.model_limit.is_some_and(|limit| limit.divergence > record.noise_floor.divergence) {
            "what the network reaches in 1,024 Heun steps"
        } else {
            "the noise floor"
        },
        facts => facts.into_iter().chain(limit).chain(eps_transport).collect::<Vec<_>>(),
        notes => &record.notes,
        flags => record.flags.iter().map(|f| flag(*f)).collect::<Vec<_>>(),
        answers => answers(record),
        ledger => ledger(record),
        classes => record.telling().map(|at| classes(record, at)),
        telling => record.telling().map(|at| row_title(&record.rows[at].label, record.rows[at].steps)),
        table => Serde(table(record)),
    };
    frame::render(include_str!("page.html"), figures, values)
}
