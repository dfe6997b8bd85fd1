//! The ledger of a deterministic path Z_t, run for a time T: what its action is spent on.
//!
//! ```text
//! action ∫E|v|² dt = W₂² + coupling gap + bend + clock              ℓ = ∫√E|v|² dt, the length of the path
//!
//! coupling gap = E|Z₁ − Z₀|² − W₂² ≥ 0      (the best pairing of the same ends)
//! bend         = ℓ²/T − E|Z₁ − Z₀|² ≥ 0     (Minkowski's inequality, where T ≤ 1)
//! clock        = action − ℓ²/T ≥ 0          (Cauchy–Schwarz)
//! ```
//!
//! The clock does not belong to the path: at constant speed √E|v|² the same curve costs ℓ²/T. Bend is that of the curve of laws
//! in W₂, whose speed is √E|v|² where v is a gradient, and not that of each particle's line. It is zero only if all particles go
//! straight *and* share one clock; in one dimension no particle can leave its line, and yet a law that first shrinks and then
//! spreads bends. A path that stops at T < 1 has less time to get there, and its bend includes E|Z₁ − Z₀|² (1/T − 1) for that.
//!
//! Between N(0, a²) and N(0, b²) on a line Z_t = (s_t/a) Z₀ with s² = α²b² + σ²a², so E|v|² = ṡ², E|Z₁ − Z₀|² = W₂² = (b − a)²,
//! and
//!
//! ```text
//! α = t, σ = 1 − t (independent pairs):    action a² + b² − (π/2) ab,   ℓ = a + b − 2ab/√(a² + b²)    (s first falls to ab/√(a² + b²))
//! α = sin(πt/2), σ = cos(πt/2), a = 1:     action (π²/8)(b − 1)²,       ℓ = |b − 1|    (s is monotone: bend 0, clock (π²/8 − 1)(b − 1)²)
//! ```

use crate::backend::Device;
use crate::error::Error;
use crate::experiment::record::Ledger;
use crate::experiment::walk::Steps;
use crate::field::{Field, FieldError};
use crate::measure::{Cloud, Measure};
use crate::metric::{MetricError, paired_cost};
use crate::path::{Level, Schedule};
use crate::random::Stream;
use crate::vector::{mean, mean_with_error, squared_distance};

/// A path from `start` to `end`, with every step of each particle.
pub struct Path<'a> {
    /// Name of the path.
    pub name: &'a str,
    /// Where the particles start.
    pub start: &'a Cloud,
    /// Where they end, row by row.
    pub end: &'a Cloud,
    /// Their steps.
    pub steps: &'a Steps,
}

/// An estimate with its standard error.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// The estimate.
    pub value: f64,
    /// Its standard error.
    pub standard_error: f64,
}

/// The ledger of at most 1,024 particles of `path`, a seeded choice, all of its parts of the same ones. With an independent
/// estimate of the action the residual says whether the two agree; without one it is zero by algebra, and only the parts are
/// news.
///
/// # Errors
/// [`Error`] when the points cannot be compared, or the steps are not those of every particle.
pub fn ledger(path: &Path<'_>, regression: Option<Estimate>, seed: u32) -> Result<Ledger, Error> {
    let (particles, steps) = (path.start.len(), path.steps);
    if steps.squares.len() != particles * steps.widths.len() {
        return Err(MetricError::Unpaired { start: particles, end: steps.squares.len() / steps.widths.len().max(1) }.into());
    }
    let paired = paired_cost(path.start, path.end, seed)?;
    let rows = &paired.rows;
    let own: Vec<f64> = rows.iter().map(|&i| squared_distance(path.start.row(i), path.end.row(i))).collect();
    let moves = Moves::new(steps, particles, rows);
    let (action, error) = mean_with_error(&moves.actions);
    let length_squared = moves.length_squared(None);
    let (coupling_gap, bend, clock) = (
        difference(paired.own_cost, paired.w2_squared),
        difference(length_squared, paired.own_cost),
        difference(action, length_squared),
    );
    let without = |i: usize| {
        let length_squared = moves.length_squared(Some(i));
        [length_squared - mean_without(&own, i), mean_without(&moves.actions, i) - length_squared]
    };
    let [bend_se, clock_se] = jackknife(rows.len(), without).map(|error| if error <= ROUNDING * action { 0.0 } else { error });
    let straightness = bend + clock;
    let sum = paired.w2_squared + coupling_gap + straightness;
    let (residual, standard_error) = match regression {
        None => (action - sum, 0.0),
        Some(estimate) => (estimate.value - sum, estimate.standard_error.hypot(error)),
    };
    Ok(Ledger {
        path: path.name.into(),
        action,
        w2_squared: paired.w2_squared,
        coupling_gap,
        bend,
        clock,
        length_squared,
        straightness,
        action_from_regression: regression.map(|estimate| estimate.value),
        residual,
        standard_error,
        closes: residual.abs() <= 3.0 * standard_error + 1e-9 * action.abs(),
        bend_se,
        clock_se,
    })
}

/// Share of a number that sums over particles and steps may lose to rounding.
const ROUNDING: f64 = 1e-12;

/// `more` − `less`; 0 where they differ by rounding alone.
fn difference(more: f64, less: f64) -> f64 {
    let difference = more - less;
    if difference.abs() <= ROUNDING * more.abs() { 0.0 } else { difference }
}

/// The steps of the particles that the ledger looks at.
struct Moves<'a> {
    steps: &'a Steps,
    rows: &'a [usize],
    /// Particles of `steps`.
    particles: usize,
    /// Σ over the particles of |Δx|², for each step.
    totals: Vec<f64>,
    /// Σ_k |Δx_k|²/Δt_k of each particle.
    actions: Vec<f64>,
}

impl<'a> Moves<'a> {
    fn new(steps: &'a Steps, particles: usize, rows: &'a [usize]) -> Self {
        let (mut totals, mut actions) = (Vec::new(), vec![0.0; rows.len()]);
        for (squares, width) in steps.squares.chunks_exact(particles).zip(&steps.widths) {
            totals.push(rows.iter().map(|&row| squares[row]).sum());
            actions.iter_mut().zip(rows).for_each(|(action, &row)| *action += squares[row] / width);
        }
        Self { steps, rows, particles, totals, actions }
    }

    /// ℓ²/T of the particles, one of them left out.
    fn length_squared(&self, without: Option<usize>) -> f64 {
        let particles = (self.rows.len() - usize::from(without.is_some())) as f64;
        let of_one = |k: usize| without.map_or(0.0, |i| self.steps.squares[k * self.particles + self.rows[i]]);
        let length: f64 =
            self.totals.iter().enumerate().map(|(k, total)| ((total - of_one(k)).max(0.0) / particles).sqrt()).sum();
        length * length / self.steps.widths.iter().sum::<f64>()
    }
}

/// The mean of `values` without the one at `i`.
fn mean_without(values: &[f64], i: usize) -> f64 {
    let n = values.len() as f64;
    (mean(values) * n - values[i]) / (n - 1.0)
}

/// Standard errors of estimates from `n` independent particles: √((n−1)/n Σ_i (θ₋ᵢ − θ̄)²) with θ₋ᵢ the estimate without particle
/// i (Tukey 1958); 0 for one particle.
fn jackknife<const K: usize>(n: usize, without: impl Fn(usize) -> [f64; K]) -> [f64; K] {
    if n < 2 {
        return [0.0; K];
    }
    let all: Vec<[f64; K]> = (0..n).map(without).collect();
    std::array::from_fn(|k| {
        let values: Vec<f64> = all.iter().map(|estimates| estimates[k]).collect();
        // The standard error of a mean is √(Σ(θ − θ̄)²/n(n−1)).
        (n as f64 - 1.0) * mean_with_error(&values).1
    })
}

/// The ends of a path of independent pairs.
#[derive(Clone, Copy, Debug)]
pub struct Ends<'a> {
    /// The law of the data.
    pub data: &'a Measure,
    /// That of the noise.
    pub noise: &'a Measure,
}

/// Levels of the quadrature in time, and samples at each.
const LEVELS: usize = 128;
const SAMPLES: usize = 128;
/// First Philox step of these draws.
const STEP: u32 = 1 << 20;

/// The action up to time `end` from the regression that defines the field: with u = α̇ data + σ̇ noise and v = E[u | x_t],
/// E|u|² − E|u − v|² = E[2 u·v − |v|²], over fresh pairs (data, noise) of the independent coupling.
///
/// # Errors
/// [`FieldError`] when the field cannot be evaluated.
pub fn action_from_regression(
    field: &Field,
    ends: Ends<'_>,
    schedule: &Schedule,
    end: f64,
    seed: u32,
    device: &Device,
) -> Result<Estimate, FieldError> {
    let field = field.prepare(device)?;
    let d = field.dim();
    let (mut value, mut variance) = (0.0, 0.0);
    for k in 0..LEVELS {
        let level @ Level { alpha, sigma, alpha_dot, sigma_dot, .. } = schedule.level((k as f64 + 0.5) / LEVELS as f64 * end);
        let draw = |measure: &Measure, which| measure.sample(SAMPLES, seed, Stream::Metric, STEP + 2 * k as u32 + which);
        let (data, noise) = (draw(ends.data, 0), draw(ends.noise, 1));
        let mixed = |a: f64, b: f64| -> Vec<f64> {
            data.points().iter().zip(noise.points()).map(|(data, noise)| a * data + b * noise).collect()
        };
        let (x, u) = (mixed(alpha, sigma), mixed(alpha_dot, sigma_dot));
        let v = field.evaluate(level, (alpha_dot, sigma_dot), &x)?;
        let terms: Vec<f64> = u
            .chunks_exact(d)
            .zip(v.chunks_exact(d))
            .map(|(u, v)| u.iter().zip(v).map(|(u, v)| 2.0 * u * v - v * v).sum())
            .collect();
        let width = end / LEVELS as f64;
        let (mean, error) = mean_with_error(&terms);
        value += width * mean;
        variance += (width * error).powi(2);
    }
    Ok(Estimate { value, standard_error: variance.sqrt() })
}
