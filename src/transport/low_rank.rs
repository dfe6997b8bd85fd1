//! Low-rank transport: plans that pass through r intermediate points (Scetbon, Cuturi, Peyré 2021).
//!
//! ```text
//! min ⟨P, c⟩    over P = Q diag(1/g) Rᵀ,    Q1 = a, R1 = b, Qᵀ1 = Rᵀ1 = g            c = ½|x−y|²
//! ```
//!
//! Station k takes the cluster Q_·k of the source to the cluster R_·k of the target, mixed. With x̄_k, ȳ_k the means of the two, and
//! both clouds about their own means m_x, m_y, of variances V_x, V_y,
//!
//! ```text
//! ⟨P, c⟩ = ½ (|m_x − m_y|² + V_x + V_y) − Σ_k g_k x̄_k·ȳ_k
//! ```
//!
//! Mirror descent on that and an entropic term (eq. 8, with γε = ½) multiplies powers of the factors by exponentials of the gradients,
//! x_i·ȳ_k, y_j·x̄_k and −x̄_k·ȳ_k up to terms that no plan sees, and projects them back in the sense of KL. So the factors always are
//!
//! ```text
//! Q_ik = a_i softmax_k(σ (x_i·z_k + β_k))    R_jk = b_j softmax_k(σ (y_j·u_k + γ_k))    g = softmax(σ (s − β − γ))        σ = 1/ε
//! z_k ← z_k + ½ (ȳ_k − z_k)                  u_k ← u_k + ½ (x̄_k − u_k)                  s_k ← s_k + ½ (−x̄_k·ȳ_k − s_k)
//! ```
//!
//! with β, γ those of the projection: 2r (d + 1) numbers say what the paper keeps in (n + m) r. σ grows from where all stations are
//! alike, so that they part by themselves, the widest spread first, to where mixing costs nothing more. As long as the cost of a
//! sample of the points falls, that sample says where the stations are; then a larger one does, and in the end all points.
//!
//! Every P is a plan, so the cost is at least ½W₂², and tends to it as r → min(n, m); the problem is not convex, and a stationary
//! point is what is found. One σ serves all stations, so clusters of several scales part badly, or not at all. So where there are few
//! enough points for an optimal plan, one of low rank is also cut from that, and the cheaper of the two is kept; with fewer than four
//! points a station, or many stations, the cut is all that is made. O((n + m)(d + r) r + r³) a step, and O((n + m) d + r²) memory until the
//! plan is written.

mod cut;
mod descent;
mod plan;
mod projection;
mod side;

use crate::measure::Cloud;
use crate::random::{Philox, Stream};
use crate::transport::exact::LARGEST;
use crate::transport::{TransportError, assign};
use crate::watch::{Progress, Watch};
use descent::{Descent, LAST_PROJECTED, MOST_ROUNDS, PROJECTED, Pair};

pub use plan::LowRankPlan;

/// Name of the descent in a checkpoint.
const DESCENT: &str = "descent";

/// The solver and when it stops.
///
/// ```
/// use brenier::measure::Cloud;
/// use brenier::transport::LowRank;
///
/// let (x, y) = (Cloud::new(vec![0.0, 0.1, 5.0, 5.1], 1)?, Cloud::new(vec![1.0, 1.1, 6.0, 6.1], 1)?);
/// let plan = LowRank::new(2).solve(&x, &y)?; // two stations for two clusters, each moved by 1
/// assert!((2.0 * plan.transport_cost - 1.0).abs() < 0.02);
/// # Ok::<(), brenier::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LowRank {
    /// Number of stations r, from 1 to the smaller number of points and at most [`LARGEST`].
    pub rank: usize,
    /// The relative fall of the cost over ten steps at which to stop.
    pub tol: f64,
    /// Most steps.
    pub max_iter: usize,
    /// Seed of the first stations and of the samples.
    pub seed: u32,
}

impl LowRank {
    /// At most 10,000 steps, as long as the cost falls by 10⁻⁴ of itself over ten.
    pub fn new(rank: usize) -> Self {
        Self { rank, tol: 1e-4, max_iter: 10_000, seed: 0 }
    }

    /// Descends from a start of r points of each cloud, paired by an exact assignment. Not converging is a fact of the plan.
    ///
    /// # Errors
    /// [`TransportError`] when the dimensions differ or the rank is out of its range.
    pub fn solve(&self, source: &Cloud, target: &Cloud) -> Result<LowRankPlan, TransportError> {
        self.solve_watched(source, target, Watch::default())
    }

    /// [`LowRank::solve`], with `watch` told before each step of its number and the cost, of the sample in use; what it kept of this
    /// descent is not done again.
    ///
    /// # Errors
    /// As [`LowRank::solve`], and [`TransportError::Stopped`] when the watch says stop.
    pub fn solve_watched(&self, source: &Cloud, target: &Cloud, mut watch: Watch<'_>) -> Result<LowRankPlan, TransportError> {
        if source.dim() != target.dim() {
            return Err(TransportError::Dimensions { source_dim: source.dim(), target_dim: target.dim() });
        }
        let most = source.len().min(target.len()).min(LARGEST);
        if self.rank == 0 || self.rank > most {
            return Err(TransportError::Rank { rank: self.rank, most });
        }
        let (of_cut, stop) = ((self.rank, self.seed), (self.tol, self.max_iter));
        if cut::serves(self.rank, source.len().min(target.len()))
            && let Some(plan) = cut::cut([source, target], of_cut, stop, watch.not_keeping())?
        {
            return Ok(plan);
        }
        // About their means, so that an offset costs no digits.
        let origins = [source.mean(), target.mean()];
        let scale = source.variance().sqrt() * target.variance().sqrt();
        let unit = if scale > 0.0 { 1.0 / scale } else { 0.0 };
        let (mut descent, rounds) = match watch.record::<Descent>(DESCENT) {
            Some(underway) => (underway, 0),
            None => (self.start(source, target, &origins, unit)?, MOST_ROUNDS),
        };
        let sample = |count: usize| Pair::sample([source, target], &origins, count, self.seed);
        let mut points = sample(descent.sample);
        let mut now = descent.project(&points, PROJECTED, rounds)?;
        let mut converged = false;
        while descent.iterations < self.max_iter {
            let cost = points.cost(&now);
            let go_on = watch.tell(Progress::at(descent.iterations, cost));
            if !watch.pass(go_on, |part| part.keep_record(DESCENT, &descent)) {
                return Err(TransportError::Stopped { iterations: descent.iterations });
            }
            let settled = descent.is_settled(cost, self.tol, source.dim());
            converged = settled && points.whole;
            if converged {
                break;
            }
            if settled {
                descent.enlarge_sample();
                points = sample(descent.sample);
                now = descent.project(&points, PROJECTED, MOST_ROUNDS)?;
            }
            now = descent.step(&now, &points)?;
        }
        if !points.whole {
            points = sample(usize::MAX);
        }
        let now = descent.project(&points, LAST_PROJECTED, MOST_ROUNDS)?;
        let plan = LowRankPlan::new(&descent, &points, &now, &origins[1], converged)?;
        let other = if self.rank > 1 { cut::cut([source, target], of_cut, stop, Watch::default())? } else { None };
        Ok(match other {
            // A descent that was cut short has not shown what it finds.
            Some(other) if other.transport_cost < plan.transport_cost => {
                LowRankPlan { iterations: plan.iterations, converged: plan.converged && other.converged, ..other }
            }
            _ => plan,
        })
    }

    /// r points of each cloud, paired.
    fn start(&self, source: &Cloud, target: &Cloud, origins: &[Vec<f64>; 2], unit: f64) -> Result<Descent, TransportError> {
        let first = |cloud: &Cloud, step: u32| {
            cloud.uniform_at(&Philox::new(self.seed, Stream::Split).permutation(cloud.len(), self.rank, step))
        };
        let (from, to) = (first(source, 0), first(target, 1));
        let to = to.uniform_at(&assign(&from, &to)?.partner);
        Ok(Descent::new([from.relative_to(&origins[0]), to.relative_to(&origins[1])], unit, self.rank))
    }
}
