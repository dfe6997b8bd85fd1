//! Exact optimal transport between two weighted clouds: the linear programme itself, by network simplex.
//!
//! ```text
//! ½W₂² = min Σ P_ij c_ij    over P ≥ 0, P1 = a, Pᵀ1 = b
//!      = max Σ a_i f_i + Σ b_j g_j    over f_i + g_j ≤ c_ij            c = ½|x−y|²
//! ```
//!
//! A basis is a spanning tree of the bipartite graph; a pivot brings in a pair with c_ij < f_i + g_j and takes out one of the
//! cycle that closes (Ahuja, Magnanti, Orlin 1993, chapter 11). Strongly feasible trees (Cunningham 1976) cannot cycle, and masses
//! are whole numbers of units, so no tolerance decides what is zero. Three things make it fast: potentials of a coarser problem
//! of the same kind to start from, pivots among a short list of pairs a point (Gottschlich, Schuhmacher 2014), and a pass over all
//! pairs only to add those that the list lacks, which at the end is the proof of optimality.
//!
//! One point at 10⁷ brings terms of 10¹⁴ into potentials that differ by 1 where it matters. So costs and potentials have twice the
//! digits of f64, a reduced cost counts as zero by the rounding of its own three terms, and f64 is left what it can decide alone.
//! What then remains open is summed up: with u_i lowered until no pair is worth more than it costs, the dual value is the plan's
//! less a gap, which is printed. A plan is proved when that gap is at most 10⁻⁹ of its cost.
//!
//! O((n + m) d) memory up to dimension 8, and nm numbers above.

mod costs;
mod simplex;
mod start;
mod tree;
mod twice;

use crate::measure::Cloud;
use crate::transport::{Potentials, TransportError};
use crate::vector::squared_distance;
use costs::Costs;
pub(crate) use costs::Ground;

/// The most points a side may have, unless the other has one.
pub const LARGEST: usize = 5_000;

/// Costs above this are refused: potentials add up many of them.
const LARGEST_COST: f64 = 1e300;
/// Units of mass in a weighted cloud. Their rounding, 2⁻⁶⁰ of the whole, is below that of the weights.
const UNITS: i64 = 1 << 60;
/// Entries under this share of both their points are roundings of the weights.
pub(super) const NEGLIGIBLE: f64 = 1e-14;
/// The relative gap at which a plan counts as proved optimal.
pub const PROVED: f64 = 1e-9;

/// One entry P_ij > 0 of a plan.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PlanEntry {
    /// Row i of the source.
    pub source: usize,
    /// Row j of the target.
    pub target: usize,
    /// Mass moved from x_i to y_j; all add up to one.
    pub mass: f64,
}

/// An optimal plan, and the potentials that prove it.
///
/// ```
/// use brenier::measure::Cloud;
/// use brenier::transport::ExactPlan;
///
/// let (x, y) = (Cloud::new(vec![0.0, 0.0, 1.0, 0.0], 2)?, Cloud::new(vec![1.0, 1.0, 0.0, 1.0], 2)?);
/// let plan = ExactPlan::new(&x, &y)?;
/// assert!(plan.is_proved() && plan.w2_squared == 1.0);
/// assert_eq!(plan.map, [0.0, 1.0, 1.0, 1.0]);
/// # Ok::<(), brenier::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct ExactPlan {
    /// The entries, at most n + m − 1, in order of the source and then of the target.
    pub entries: Vec<PlanEntry>,
    /// f and g with f_i + g_j ≤ c_ij, and equality on the entries of the plan, up to rounding; Σ_j b_j g_j = 0.
    pub potentials: Potentials,
    /// W₂² = Σ P_ij |x_i − y_j|².
    pub w2_squared: f64,
    /// A lower bound of ½W₂², in units of c: Σ a_i f_i + Σ b_j g_j of potentials that are feasible beyond rounding.
    pub dual: f64,
    /// The barycentric map Σ_j P_ij y_j / a_i, n × d row-major; a point without mass goes to the j of least c_ij − g_j.
    pub map: Vec<f64>,
}

impl ExactPlan {
    /// The optimal plan from `source` to `target`, of at most [`LARGEST`] points each, or of any number against one.
    ///
    /// # Errors
    /// [`TransportError`] when the dimensions differ, a cloud has too many points, or a squared distance overflows.
    pub fn new(source: &Cloud, target: &Cloud) -> Result<Self, TransportError> {
        let optimum = solve(source, target, Ground::HalfSquare)?;
        let squared = |entry: &PlanEntry| squared_distance(source.row(entry.source), target.row(entry.target));
        let w2_squared: f64 = optimum.entries.iter().map(|entry| entry.mass * squared(entry)).sum();
        // No cost is negative. Where mass moves f + g = c, so the dual is the plan's cost less what f has to give way.
        let dual = (0.5 * w2_squared - optimum.gap).max(0.0);
        let map = barycentric(source, target, &optimum);
        Ok(Self { entries: optimum.entries, potentials: optimum.potentials, w2_squared, dual, map })
    }

    /// Whether the dual proves that no plan costs less by more than [`PROVED`] of this one.
    pub fn is_proved(&self) -> bool {
        0.5 * self.w2_squared - self.dual <= PROVED * self.dual
    }
}

/// An optimal plan for any ground cost, with Σ_j b_j g_j = 0.
pub(crate) struct Optimum {
    pub entries: Vec<PlanEntry>,
    pub potentials: Potentials,
    /// No plan costs less by more, in units of the cost.
    pub gap: f64,
}

/// Solves the linear programme of `ground`.
pub(crate) fn solve(source: &Cloud, target: &Cloud, ground: Ground) -> Result<Optimum, TransportError> {
    if source.dim() != target.dim() {
        return Err(TransportError::Dimensions { source_dim: source.dim(), target_dim: target.dim() });
    }
    let (n, m, d) = (source.len(), target.len(), source.dim());
    if n.max(m) > LARGEST && n.min(m) > 1 {
        return Err(TransportError::TooMany { n: n.max(m), limit: LARGEST });
    }
    let (a, b) = units(source, target);
    let support = |mass: &[i64]| (0..mass.len()).filter(|&i| mass[i] > 0).collect::<Vec<usize>>();
    let (rows, columns) = (support(&a), support(&b));
    let gather = |cloud: &Cloud, chosen: &[usize]| chosen.iter().flat_map(|&i| cloud.row(i)).copied().collect();
    let costs = Costs::new(gather(source, &rows), gather(target, &columns), d, ground);
    if costs.bound().is_nan() || costs.bound() > LARGEST_COST {
        return Err(TransportError::Overflow);
    }
    let pick = |mass: &[i64], chosen: &[usize]| chosen.iter().map(|&i| mass[i]).collect::<Vec<i64>>();
    let basis = simplex::solve(&costs, &pick(&a, &rows), &pick(&b, &columns));

    let total = a.iter().map(|&units| units as f64).sum::<f64>();
    let flows = basis.flows.iter().map(|&(i, j, flow)| (rows[i], columns[j], flow));
    let kept = flows.filter(|&(i, j, flow)| flow as f64 > NEGLIGIBLE * a[i].min(b[j]) as f64);
    let mut entries: Vec<PlanEntry> =
        kept.map(|(i, j, flow)| PlanEntry { source: i, target: j, mass: flow as f64 / total }).collect();
    entries.sort_unstable_by_key(|entry| (entry.source, entry.target));

    let gap = rows.iter().zip(&basis.excess).map(|(&i, excess)| a[i] as f64 / total * excess).sum();

    // Points without mass get the largest potentials that the others allow: the c-transform.
    let [u, v] = [&basis.u, &basis.v].map(|potential| potential.iter().map(|p| p.high).collect::<Vec<f64>>());
    let x = source.points().to_vec();
    let f = if rows.len() == n { u } else { Costs::new(x.clone(), gather(target, &columns), d, ground).row_transform(&v) };
    let g = if columns.len() == m { v } else { Costs::new(x, target.points().to_vec(), d, ground).column_transform(&f) };
    Ok(Optimum { entries, potentials: gauged(Potentials { f, g }, target), gap })
}

/// The potentials with Σ_j b_j g_j = 0.
fn gauged(potentials: Potentials, target: &Cloud) -> Potentials {
    let Potentials { mut f, mut g } = potentials;
    let gauge = dot(target, &g);
    f.iter_mut().for_each(|f| *f += gauge);
    g.iter_mut().for_each(|g| *g -= gauge);
    Potentials { f, g }
}

/// c = ½|x̃ − ỹ|² + Δ·x̃ − Δ·ỹ + ½|Δ|² for points relative to origins that lie Δ apart; and the gauge Σ_j b_j g_j = 0.
pub(super) fn in_input_coordinates(
    centred: Potentials,
    (x, y): (&[f64], &[f64]),
    origins: (&[f64], &[f64]),
    target: &Cloud,
) -> Potentials {
    let gap: Vec<f64> = origins.0.iter().zip(origins.1).map(|(p, q)| p - q).collect();
    let along = |point: &[f64]| gap.iter().zip(point).map(|(g, p)| g * p).sum::<f64>();
    let quarter = 0.25 * gap.iter().map(|g| g * g).sum::<f64>();
    let shifted = |potential: Vec<f64>, points: &[f64], sign: f64| -> Vec<f64> {
        potential.iter().zip(points.chunks_exact(gap.len())).map(|(f, p)| f + sign * along(p) + quarter).collect()
    };
    gauged(Potentials { f: shifted(centred.f, x, 1.0), g: shifted(centred.g, y, -1.0) }, target)
}

/// Σ a_i f_i.
fn dot(cloud: &Cloud, potential: &[f64]) -> f64 {
    potential.iter().enumerate().map(|(i, f)| cloud.weight(i) * f).sum()
}

/// Σ_j P_ij y_j / Σ_j P_ij.
fn barycentric(source: &Cloud, target: &Cloud, optimum: &Optimum) -> Vec<f64> {
    let d = source.dim();
    let (mut map, mut mass) = (vec![0.0; source.len() * d], vec![0.0; source.len()]);
    for entry in &optimum.entries {
        mass[entry.source] += entry.mass;
        let image = &mut map[entry.source * d..][..d];
        image.iter_mut().zip(target.row(entry.target)).for_each(|(t, y)| *t += entry.mass * y);
    }
    for (i, image) in map.chunks_exact_mut(d).enumerate() {
        if mass[i] > 0.0 {
            image.iter_mut().for_each(|t| *t /= mass[i]);
        } else {
            let slack = |j: usize| 0.5 * squared_distance(source.row(i), target.row(j)) - optimum.potentials.g[j];
            let partner = (0..target.len()).min_by(|&j, &k| slack(j).total_cmp(&slack(k))).unwrap_or(0);
            image.copy_from_slice(target.row(partner));
        }
    }
    map
}

/// The masses of both clouds in whole units of the same total.
pub(super) fn units(source: &Cloud, target: &Cloud) -> (Vec<i64>, Vec<i64>) {
    let uniform = |cloud: &Cloud| cloud.weights().is_none_or(|w| w.iter().all(|x| *x == w[0]));
    let (n, m) = (source.len(), target.len());
    if uniform(source) && uniform(target) {
        let common = gcd(n, m);
        return (vec![(m / common) as i64; n], vec![(n / common) as i64; m]);
    }
    (apportioned(source), apportioned(target))
}

/// The masses in units of 2⁻⁶⁰: what the weights' own sum lacks is shared by weight, and the last few units go to the largest.
fn apportioned(cloud: &Cloud) -> Vec<i64> {
    let share = |whole: i64, i: usize| (cloud.weight(i) * whole as f64).round() as i64;
    let mut mass: Vec<i64> = (0..cloud.len()).map(|i| share(UNITS, i)).collect();
    let lacking = UNITS - mass.iter().sum::<i64>();
    mass.iter_mut().enumerate().for_each(|(i, mass)| *mass += share(lacking, i));
    let rest = UNITS - mass.iter().sum::<i64>();
    if let Some(largest) = mass.iter_mut().max() {
        *largest += rest;
    }
    mass
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}
