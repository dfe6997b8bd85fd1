//! Low-rank transport: plans that pass through r way-stations (Scetbon, Cuturi, Peyré 2021).
//!
//! ```text
//! min ⟨P, c⟩    over P = Q diag(1/g) Rᵀ,    Q1 = a, R1 = b, Qᵀ1 = Rᵀ1 = g            c = ½|x−y|²
//! ```
//!
//! Station k takes the cluster Q_·k of the source to the cluster R_·k of the target, mixed. With x̄_k, ȳ_k and v_k, w_k the means
//! and variances of the two, cost and gradients are those of points against means, so no n × m matrix is needed:
//!
//! ```text
//! ⟨P, c⟩ = ½ Σ_k g_k (|x̄_k − ȳ_k|² + v_k + w_k)
//! ∂/∂Q_ik = ½ (|x_i − ȳ_k|² + w_k)      ∂/∂R_jk = ½ (|y_j − x̄_k|² + v_k)      ∂/∂g_k = −½ (|x̄_k − ȳ_k|² + v_k + w_k)
//! ```
//!
//! Mirror descent (eq. 8) multiplies the factors by the exponentials of the gradients and projects back onto the constraints in
//! the sense of KL, by alternating scalings. Every P is a plan, so the cost is at least ½W₂², and tends to it as r → min(n, m);
//! the problem is not convex, and a stationary point is what is found. O((n + m) r d) a step, O((n + m) r) memory.

use rayon::prelude::*;

use crate::io::Part;
use crate::measure::Cloud;
use crate::random::{Philox, Stream};
use crate::transport::exact::LARGEST;
use crate::transport::{TransportError, assign};

/// The first descent step over the inverse range of the gradients; the paper's choice.
const STEP: f64 = 10.0;
/// The same for the first factors, which say which stations are near a point.
const FIRST: f64 = 100.0;
/// Scalings of one projection at most, and the L1 error of both column sums at which it ends.
const SCALINGS: usize = 50;
const PROJECTED: f64 = 1e-4;
/// The same for the last one, before what is left is rounded away.
const LAST_SCALINGS: usize = 3_000;
const LAST_PROJECTED: f64 = 1e-8;
/// Rows of one partial sum: sums do not depend on the number of threads.
const CHUNK: usize = 1024;
/// A share of mass below this is a station that no mass passes.
const LEAST: f64 = 1e-280;

/// Called before each step with its number and the cost; `false` stops the solver.
pub type Progress<'a> = &'a (dyn Fn(usize, f64) -> bool + Sync);

/// The solver and when it stops.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LowRank {
    /// Number of stations r, from 1 to the smaller number of points and at most [`LARGEST`].
    pub rank: usize,
    /// The relative fall of the cost over ten steps at which to stop.
    pub tol: f64,
    /// Most steps.
    pub max_iter: usize,
    /// Seed of the first stations.
    pub seed: u32,
}

/// A plan P = Q diag(1/g) Rᵀ.
#[derive(Clone, Debug, PartialEq)]
pub struct LowRankPlan {
    /// Q, n × r row-major; Q1 = a.
    pub q: Vec<f64>,
    /// R, m × r row-major; R1 = b.
    pub r: Vec<f64>,
    /// g, of length r, adding up to one.
    pub g: Vec<f64>,
    /// ⟨P, c⟩ ≥ ½W₂².
    pub transport_cost: f64,
    /// Σ_k |(Rᵀ1)_k − g_k|, which bounds the L1 errors of both marginals of P: rounding only, for the last step makes R exact.
    pub marginal_error: f64,
    /// Steps made.
    pub iterations: usize,
    /// Whether the cost stopped falling.
    pub converged: bool,
    /// The barycentric map Σ_k Q_ik ȳ_k / a_i, n × d row-major.
    pub map: Vec<f64>,
}

impl LowRank {
    /// Descends from a start of r points of each cloud, paired by an exact assignment. Not converging is a fact of the plan.
    ///
    /// # Errors
    /// [`TransportError`] when the dimensions differ, the rank is out of its range, or `progress` says stop.
    pub fn solve(&self, source: &Cloud, target: &Cloud, progress: Option<Progress<'_>>) -> Result<LowRankPlan, TransportError> {
        self.run(source, target, progress, None)
    }

    /// As [`LowRank::solve`], but that what `kept` has of this descent is not done again, bit for bit as if there had been no stop.
    /// The state is saved there when that is due, and kept when `progress` says stop.
    ///
    /// # Errors
    /// As [`LowRank::solve`].
    pub fn resume(
        &self,
        source: &Cloud,
        target: &Cloud,
        progress: Option<Progress<'_>>,
        kept: Part<'_>,
    ) -> Result<LowRankPlan, TransportError> {
        self.run(source, target, progress, Some(kept))
    }

    fn run(
        &self,
        source: &Cloud,
        target: &Cloud,
        progress: Option<Progress<'_>>,
        mut kept: Option<Part<'_>>,
    ) -> Result<LowRankPlan, TransportError> {
        if source.dim() != target.dim() {
            return Err(TransportError::Dimensions { source_dim: source.dim(), target_dim: target.dim() });
        }
        let most = source.len().min(target.len()).min(LARGEST);
        if self.rank == 0 || self.rank > most {
            return Err(TransportError::Rank { rank: self.rank, most });
        }
        // Relative to one origin, so that an offset of both clouds costs no digits.
        let origin = source.mean();
        let first = |cloud: &Cloud, step: u32| {
            cloud.uniform_at(&Philox::new(self.seed, Stream::Split).permutation(cloud.len(), self.rank, step))
        };
        let (from, to) = (first(source, 0), first(target, 1));
        let partner = assign(&from, &to)?.partner;
        let paired = to.uniform_at(&partner);
        let mut g = vec![1.0 / self.rank as f64; self.rank];
        let mut x = Side::new(source, &origin, &from);
        let mut y = Side::new(target, &origin, &paired);
        let mut descent = Descent { cost: f64::INFINITY, step: STEP, iterations: 0, earlier: f64::INFINITY };
        match kept.as_ref().and_then(Descent::kept) {
            Some((underway, factors)) => {
                descent = underway;
                [x.factor, y.factor, g] = factors;
            }
            None => project(&mut x, &mut y, &mut g, SCALINGS, PROJECTED),
        }
        let Descent { mut cost, mut step, mut iterations, mut earlier } = descent;
        let mut converged = false;
        while iterations < self.max_iter && !converged {
            let (clusters, images) = (x.clusters(), y.clusters());
            let now = mean_cost(&clusters, &images, &g);
            let go_on = progress.is_none_or(|progress| progress(iterations, now));
            if let Some(part) = &mut kept {
                let state = Descent { cost, step, iterations, earlier };
                part.pass(go_on, |part| state.keep([&x.factor, &y.factor, &g], part));
            }
            if !go_on {
                return Err(TransportError::Stopped { iterations });
            }
            // A step that overshot is followed by shorter ones.
            if now > cost {
                step *= 0.5;
            }
            cost = now;
            if iterations % 10 == 0 {
                converged = earlier - cost <= self.tol * cost;
                earlier = cost;
            }
            let range = x.gradient(&images).max(y.gradient(&clusters));
            if range == 0.0 {
                converged = true;
            }
            if converged {
                break;
            }
            let rate = step / range;
            x.descend(rate);
            y.descend(rate);
            let gains: Vec<f64> = (0..self.rank).map(|k| rate * pair_cost(&clusters, &images, k)).collect();
            let largest = gains.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            g.iter_mut().zip(&gains).for_each(|(g, gain)| *g *= (gain - largest).exp());
            let total: f64 = g.iter().sum();
            g.iter_mut().for_each(|g| *g = (*g / total).max(LEAST));
            project(&mut x, &mut y, &mut g, SCALINGS, PROJECTED);
            iterations += 1;
        }
        project(&mut x, &mut y, &mut g, LAST_SCALINGS, LAST_PROJECTED);
        let g = x.column_sums();
        y.round_onto(&g);
        let error = l1(&y.column_sums(), &g);
        let (clusters, images) = (x.clusters(), y.clusters());
        let map = x.map(&images, &origin);
        let transport_cost = mean_cost(&clusters, &images, &g);
        Ok(LowRankPlan { q: x.factor, r: y.factor, g, transport_cost, marginal_error: error, iterations, converged, map })
    }
}

/// A descent between two steps, beside its factors.
struct Descent {
    cost: f64,
    step: f64,
    iterations: usize,
    /// The cost ten steps ago.
    earlier: f64,
}

impl Descent {
    /// Keeps the state with Q, R and g.
    fn keep(&self, factors: [&Vec<f64>; 3], part: &mut Part<'_>) {
        part.keep_array("descent", vec![self.cost, self.step, self.iterations as f64, self.earlier]);
        for (name, factor) in FACTORS.into_iter().zip(factors) {
            part.keep_array(name, factor.clone());
        }
    }

    /// The state that was kept.
    fn kept(part: &Part<'_>) -> Option<(Self, [Vec<f64>; 3])> {
        let &[cost, step, iterations, earlier] = part.array("descent")? else { return None };
        let [q, r, g] = FACTORS.map(|name| part.array(name));
        Some((Self { cost, step, iterations: iterations as usize, earlier }, [q?.to_vec(), r?.to_vec(), g?.to_vec()]))
    }
}

/// Names of Q, R and g in a checkpoint.
const FACTORS: [&str; 3] = ["q", "r", "g"];

/// What the stations see of one side.
struct Clusters {
    /// r × d.
    means: Vec<f64>,
    variances: Vec<f64>,
}

/// One side: its points, its factor, and the gradient with respect to it.
struct Side {
    d: usize,
    rank: usize,
    points: Vec<f64>,
    mass: Vec<f64>,
    /// n × r.
    factor: Vec<f64>,
    /// n × r.
    gradient: Vec<f64>,
}

impl Side {
    /// Each point begins at the stations around it, softly.
    fn new(cloud: &Cloud, origin: &[f64], stations: &Cloud) -> Self {
        let (d, rank, n) = (cloud.dim(), stations.len(), cloud.len());
        let mass = (0..n).map(|i| cloud.weight(i)).collect();
        let (factor, gradient) = (vec![1.0; n * rank], vec![0.0; n * rank]);
        let mut side = Self { d, rank, points: cloud.relative_to(origin), mass, factor, gradient };
        let range = side.gradient(&Clusters { means: stations.relative_to(origin), variances: vec![0.0; rank] });
        if range > 0.0 {
            side.descend(FIRST / range);
        }
        side
    }

    /// ½(|x_i − ȳ_k|² + w_k), less the least of each row, which no projection sees; returns the largest.
    fn gradient(&mut self, other: &Clusters) -> f64 {
        let (d, rank) = (self.d, self.rank);
        let row = |(gradient, x): (&mut [f64], &[f64])| {
            for ((value, mean), variance) in gradient.iter_mut().zip(other.means.chunks_exact(d)).zip(&other.variances) {
                *value = 0.5 * (x.iter().zip(mean).map(|(x, y)| (x - y).powi(2)).sum::<f64>() + variance);
            }
            let least = gradient.iter().copied().fold(f64::INFINITY, f64::min);
            gradient.iter_mut().for_each(|value| *value -= least);
            gradient.iter().copied().fold(0.0, f64::max)
        };
        self.gradient.par_chunks_exact_mut(rank).zip(self.points.par_chunks_exact(d)).map(row).reduce(|| 0.0, f64::max)
    }

    /// The factor times exp(−rate · gradient).
    fn descend(&mut self, rate: f64) {
        let factors = self.factor.par_iter_mut().zip(&self.gradient);
        factors.for_each(|(factor, gradient)| *factor *= (-rate * gradient).exp());
    }

    /// Scales the rows to the masses.
    fn scale_rows(&mut self) {
        self.factor.par_chunks_exact_mut(self.rank).zip(&self.mass).for_each(|(row, mass)| {
            let total: f64 = row.iter().sum();
            row.iter_mut().for_each(|q| *q *= mass / total);
        });
    }

    fn scale_columns(&mut self, by: &[f64]) {
        self.factor.par_chunks_exact_mut(self.rank).for_each(|row| row.iter_mut().zip(by).for_each(|(q, by)| *q *= by));
    }

    /// Rows onto the masses and columns onto `g`, exactly: columns are cut down to g, and what the rows then lack is spread over
    /// what the columns lack (Altschuler, Weed, Rigollet 2017, algorithm 2).
    fn round_onto(&mut self, g: &[f64]) {
        self.scale_rows();
        let cut: Vec<f64> = self.column_sums().iter().zip(g).map(|(sum, g)| (g / sum.max(LEAST)).min(1.0)).collect();
        self.scale_columns(&cut);
        let lacking: Vec<f64> = self.column_sums().iter().zip(g).map(|(sum, g)| (g - sum).max(0.0)).collect();
        let total: f64 = lacking.iter().sum();
        if total > 0.0 {
            self.factor.par_chunks_exact_mut(self.rank).zip(&self.mass).for_each(|(row, mass)| {
                let share = (mass - row.iter().sum::<f64>()).max(0.0) / total;
                row.iter_mut().zip(&lacking).for_each(|(r, lacking)| *r += share * lacking);
            });
        }
    }

    /// Σ_i Q_ik v_i for vectors v_i of length p that `value` writes, r × p.
    fn sums(&self, p: usize, value: impl Fn(&[f64], &mut [f64]) + Sync) -> Vec<f64> {
        let (d, rank) = (self.d, self.rank);
        let chunk = |(factor, points): (&[f64], &[f64])| {
            let (mut sums, mut v) = (vec![0.0; rank * p], vec![0.0; p]);
            for (row, x) in factor.chunks_exact(rank).zip(points.chunks_exact(d)) {
                value(x, &mut v);
                for (sums, q) in sums.chunks_exact_mut(p).zip(row) {
                    sums.iter_mut().zip(&v).for_each(|(sum, v)| *sum += q * v);
                }
            }
            sums
        };
        let parts: Vec<Vec<f64>> =
            self.factor.par_chunks(CHUNK * rank).zip(self.points.par_chunks(CHUNK * d)).map(chunk).collect();
        let mut total = vec![0.0; rank * p];
        parts.iter().for_each(|part| total.iter_mut().zip(part).for_each(|(sum, part)| *sum += part));
        total
    }

    fn column_sums(&self) -> Vec<f64> {
        self.sums(1, |_, v| v[0] = 1.0)
    }

    fn clusters(&self) -> Clusters {
        let d = self.d;
        let sums = self.sums(d + 2, |x, v| {
            v[..d].copy_from_slice(x);
            v[d] = x.iter().map(|x| x * x).sum();
            v[d + 1] = 1.0;
        });
        let means = sums.chunks_exact(d + 2).flat_map(|s| s[..d].iter().map(move |sum| sum / s[d + 1].max(LEAST))).collect();
        let variance = |s: &[f64]| {
            let mass = s[d + 1].max(LEAST);
            (s[d] / mass - s[..d].iter().map(|sum| (sum / mass).powi(2)).sum::<f64>()).max(0.0)
        };
        Clusters { means, variances: sums.chunks_exact(d + 2).map(variance).collect() }
    }

    /// Σ_k Q_ik ȳ_k / Σ_k Q_ik, in the input coordinates; a point without mass keeps the stations it is nearest to.
    fn map(&self, images: &Clusters, origin: &[f64]) -> Vec<f64> {
        let row = |row: &[f64]| {
            let total: f64 = row.iter().sum();
            let mut image = origin.to_vec();
            for (q, mean) in row.iter().zip(images.means.chunks_exact(self.d)) {
                image.iter_mut().zip(mean).for_each(|(t, y)| *t += q / total * y);
            }
            image
        };
        self.factor.par_chunks_exact(self.rank).flat_map_iter(row).collect()
    }
}

/// ½(|x̄_k − ȳ_k|² + v_k + w_k).
fn pair_cost(x: &Clusters, y: &Clusters, k: usize) -> f64 {
    let d = x.means.len() / x.variances.len();
    let squared: f64 = x.means[k * d..][..d].iter().zip(&y.means[k * d..][..d]).map(|(x, y)| (x - y).powi(2)).sum();
    0.5 * (squared + x.variances[k] + y.variances[k])
}

fn mean_cost(x: &Clusters, y: &Clusters, g: &[f64]) -> f64 {
    g.iter().enumerate().map(|(k, g)| g * pair_cost(x, y, k)).sum()
}

fn l1(sums: &[f64], g: &[f64]) -> f64 {
    sums.iter().zip(g).map(|(sum, g)| (sum - g).abs()).sum()
}

/// The KL projection of (Q, R, g) onto the constraints: rows onto a and b, then columns onto a common g, whose best value is the
/// geometric mean of g and both column sums. Both sets are affine, so alternating between them converges to it. Ends with the
/// rows.
fn project(x: &mut Side, y: &mut Side, g: &mut [f64], scalings: usize, tol: f64) {
    for _ in 0..scalings {
        x.scale_rows();
        y.scale_rows();
        let (p, q) = (x.column_sums(), y.column_sums());
        if l1(&p, g) + l1(&q, g) <= tol {
            return;
        }
        g.iter_mut().zip(&p).zip(&q).for_each(|((g, p), q)| *g = (*g * p * q).cbrt().max(LEAST));
        x.scale_columns(&g.iter().zip(&p).map(|(g, p)| g / p.max(LEAST)).collect::<Vec<f64>>());
        y.scale_columns(&g.iter().zip(&q).map(|(g, q)| g / q.max(LEAST)).collect::<Vec<f64>>());
    }
    x.scale_rows();
    y.scale_rows();
}
