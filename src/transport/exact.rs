//! Exact optimal transport between two weighted clouds: the linear programme itself, by network simplex.
//!
//! ```text
//! min Σ P_ij c_ij    over P ≥ 0, P1 = a, Pᵀ1 = b
//!     = max Σ a_i f_i + Σ b_j g_j    over f_i + g_j ≤ c_ij            ½W₂² where c = ½|x−y|²
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
//! less a gap, which is printed. A plan is proved when that gap is at most 10⁻⁹ of its cost, or, where
//! costs of both signs cancel, of what it pays beyond the least cost of each source.
//!
//! ½|x−y|² and |x−y| are computed from the points: O((n + m) d) memory up to dimension 8, and nm numbers above. Any other costs are a
//! matrix of f64, which is solved as it stands.

mod costs;
mod simplex;
mod start;
mod tree;
mod twice;

use rayon::prelude::*;

use crate::backend::Cost;
use crate::measure::Cloud;
use crate::transport::{GroundCost, LabelCost, Potentials, TransportError};
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
/// assert!(plan.is_proved() && plan.w2_squared == Some(1.0));
/// assert_eq!(plan.map, Some(vec![0.0, 1.0, 1.0, 1.0]));
///
/// let plan = ExactPlan::of_costs(&[0.5, 0.5], &[0.25, 0.75], &[1.0, 2.0, -1.0, 0.5])?; // the costs of each pair, row by row
/// assert!(plan.is_proved() && plan.transport_cost == 0.875);
/// # Ok::<(), brenier::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct ExactPlan {
    /// The entries, at most n + m − 1, in order of the source and then of the target.
    pub entries: Vec<PlanEntry>,
    /// f and g with f_i + g_j ≤ c_ij, and equality on the entries of the plan, up to rounding; Σ_j b_j g_j = 0.
    pub potentials: Potentials,
    /// ⟨P, c⟩ = Σ P_ij c_ij.
    pub transport_cost: f64,
    /// W₂² = Σ P_ij |x_i − y_j|², where c = ½|x−y|².
    pub w2_squared: Option<f64>,
    /// A lower bound of the least ⟨P, c⟩: Σ a_i f_i + Σ b_j g_j of potentials that are feasible beyond rounding.
    pub dual: f64,
    /// The barycentric map Σ_j P_ij y_j / a_i, n × d row-major; a point without mass goes to the j of least c_ij − g_j. None of a
    /// matrix of costs, which knows no points.
    pub map: Option<Vec<f64>>,
    proved: bool,
}

impl ExactPlan {
    /// The optimal plan from `source` to `target` under ½|x−y|², of at most [`LARGEST`] points each, or of any number against one.
    ///
    /// # Errors
    /// [`TransportError`] when the dimensions differ, a cloud has too many points, or a squared distance overflows.
    pub fn new(source: &Cloud, target: &Cloud) -> Result<Self, TransportError> {
        Self::under(source, target, &GroundCost::Known(Cost::HalfSquaredEuclidean), None)
    }

    /// The optimal plan under another cost of the points, which may be negative, and with costs of `classes` added to it.
    ///
    /// ½|x−y|² and |x−y| are known to twice the digits of f64. Other costs, and these with classes, are stored as n × m numbers of f64, and
    /// what is proved optimal is the plan of the stored numbers, as in [`ExactPlan::of_costs`].
    ///
    /// # Errors
    /// As [`ExactPlan::new`]; [`TransportError::Power`], [`TransportError::Cost`] of a cost that is not finite, and
    /// [`TransportError::Labels`] of classes that do not fit.
    pub fn under(source: &Cloud, target: &Cloud, cost: &GroundCost, classes: Option<&LabelCost>) -> Result<Self, TransportError> {
        check_sizes(source, target)?;
        if let Some(classes) = classes {
            classes.check(source.len(), target.len())?;
        }
        let of_classes = |i: usize, j: usize| classes.map_or(0.0, |classes| classes.between(i, j));
        let between = |i: usize, j: usize| cost.between(source.row(i), target.row(j)) + of_classes(i, j);
        let costs = match (cost, classes) {
            (GroundCost::Known(Cost::HalfSquaredEuclidean), None) => of_points(source, target, Ground::HalfSquare),
            (GroundCost::Known(Cost::Euclidean), None) => of_points(source, target, Ground::Distance),
            (GroundCost::Known(Cost::Lp(p)), _) if !(*p >= 1.0 && p.is_finite()) => return Err(TransportError::Power { p: *p }),
            _ => {
                let m = target.len();
                let mut stored = vec![0.0; source.len() * m];
                stored
                    .par_chunks_exact_mut(m)
                    .enumerate()
                    .for_each(|(i, row)| row.iter_mut().enumerate().for_each(|(j, cost)| *cost = between(i, j)));
                finite(&stored, m)?;
                Costs::given(stored.into(), m)
            }
        };
        let optimum = optimum([source, target], &costs)?;
        let map = Some(barycentric([source, target], &costs, &optimum));
        let plan = Self::of([source, target], &costs, optimum, between);
        let w2_squared = (cost.is_half_squared() && classes.is_none()).then_some(2.0 * plan.transport_cost);
        Ok(Self { w2_squared, map, ..plan })
    }

    /// The optimal plan between masses `a` and `b`, which are divided by their sums, for `costs` c_ij, n × m row-major, of either sign.
    ///
    /// The numbers are taken as they are: a proof is one for the matrix of f64, up to [`PROVED`] of Σ P_ij |c_ij| or of what any plan has
    /// to pay beyond each source's least cost. Costs that were rounded to f64 before, by 10⁻¹⁶ of the largest of their terms, have an
    /// optimum that may be off by as much.
    ///
    /// # Errors
    /// [`TransportError`] when there are not n m costs or one is not finite, a side has more than [`LARGEST`] points and the other more
    /// than one, or masses make no measure.
    pub fn of_costs(a: &[f64], b: &[f64], costs: &[f64]) -> Result<Self, TransportError> {
        let (n, m) = (a.len(), b.len());
        // Points that stand for the masses alone.
        let masses = |weights: &[f64]| Cloud::new(vec![0.0; weights.len()], 1)?.with_weights(weights.to_vec());
        let ends = [&masses(a)?, &masses(b)?];
        check_sizes(ends[0], ends[1])?;
        if costs.len() != n * m {
            return Err(TransportError::Values { what: "costs", len: costs.len(), rows: n, p: m });
        }
        finite(costs, m)?;
        let given = Costs::given(costs.into(), m);
        Ok(Self::of(ends, &given, optimum(ends, &given)?, |i, j| costs[i * m + j]))
    }

    /// What an optimum is worth.
    fn of([source, target]: [&Cloud; 2], costs: &Costs<'_>, optimum: Optimum, between: impl Fn(usize, usize) -> f64) -> Self {
        let Optimum { entries, potentials, gap } = optimum;
        let sum = |of: fn(f64) -> f64| entries.iter().map(|e| e.mass * of(between(e.source, e.target))).sum::<f64>();
        let (transport_cost, size) = (sum(|cost| cost), sum(f64::abs));
        // Where mass moves f + g = c, so the dual is the plan's cost less what f has to give way.
        let mut dual = transport_cost - gap;
        let mut proved = gap <= PROVED * size;
        if !proved {
            // No plan costs less than each source's cheapest partners.
            let least = costs.row_transform(&vec![0.0; target.len()]);
            let least = dot(source, &least).min(transport_cost);
            dual = dual.max(least);
            proved = transport_cost - dual <= PROVED * size.max(transport_cost - least);
        }
        Self { entries, potentials, transport_cost, w2_squared: None, dual, map: None, proved }
    }

    /// Whether the dual proves that no plan costs less by more than [`PROVED`] of Σ P_ij |c_ij|, or of what this plan pays beyond each
    /// source's least cost.
    pub fn is_proved(&self) -> bool {
        self.proved
    }
}

/// An optimal plan, with Σ_j b_j g_j = 0.
pub(crate) struct Optimum {
    pub entries: Vec<PlanEntry>,
    pub potentials: Potentials,
    /// No plan costs less by more, in units of the cost.
    pub gap: f64,
}

/// Solves the linear programme of `ground`.
pub(crate) fn solve(source: &Cloud, target: &Cloud, ground: Ground) -> Result<Optimum, TransportError> {
    check_sizes(source, target)?;
    optimum([source, target], &of_points(source, target, ground))
}

fn of_points(source: &Cloud, target: &Cloud, ground: Ground) -> Costs<'static> {
    Costs::new(source.points().to_vec(), target.points().to_vec(), source.dim(), ground)
}

fn check_sizes(source: &Cloud, target: &Cloud) -> Result<(), TransportError> {
    let (n, m) = (source.len(), target.len());
    if source.dim() != target.dim() {
        return Err(TransportError::Dimensions { source_dim: source.dim(), target_dim: target.dim() });
    }
    match n.max(m) > LARGEST && n.min(m) > 1 {
        true => Err(TransportError::TooMany { n: n.max(m), limit: LARGEST }),
        false => Ok(()),
    }
}

/// Refuses costs, m a row, that are not all finite.
fn finite(costs: &[f64], m: usize) -> Result<(), TransportError> {
    match costs.iter().position(|cost| !cost.is_finite()) {
        Some(at) => Err(TransportError::Cost { i: at / m, j: at % m, value: costs[at] }),
        None => Ok(()),
    }
}

/// Solves the linear programme of `costs` between the masses of two clouds.
fn optimum([source, target]: [&Cloud; 2], costs: &Costs<'_>) -> Result<Optimum, TransportError> {
    if costs.bound().is_nan() || costs.bound() > LARGEST_COST {
        return Err(TransportError::Overflow);
    }
    let (a, b) = units(source, target);
    let support = |mass: &[i64]| (0..mass.len()).filter(|&i| mass[i] > 0).collect::<Vec<usize>>();
    let (rows, columns) = (support(&a), support(&b));
    let (all_rows, all_columns) = (rows.len() == a.len(), columns.len() == b.len());
    let few = (!all_rows || !all_columns).then(|| costs.of(&rows, &columns));
    let pick = |mass: &[i64], chosen: &[usize]| chosen.iter().map(|&i| mass[i]).collect::<Vec<i64>>();
    let basis = simplex::solve(few.as_ref().unwrap_or(costs), &pick(&a, &rows), &pick(&b, &columns));

    let total = a.iter().map(|&units| units as f64).sum::<f64>();
    let flows = basis.flows.iter().map(|&(i, j, flow)| (rows[i], columns[j], flow));
    let kept = flows.filter(|&(i, j, flow)| flow as f64 > NEGLIGIBLE * a[i].min(b[j]) as f64);
    let mut entries: Vec<PlanEntry> =
        kept.map(|(i, j, flow)| PlanEntry { source: i, target: j, mass: flow as f64 / total }).collect();
    entries.sort_unstable_by_key(|entry| (entry.source, entry.target));

    let gap = rows.iter().zip(&basis.excess).map(|(&i, excess)| a[i] as f64 / total * excess).sum();

    // Points without mass get the largest potentials that the others allow: the c-transform.
    let [u, v] = [&basis.u, &basis.v].map(|potential| potential.iter().map(|p| p.high).collect::<Vec<f64>>());
    let f = if all_rows { u } else { costs.of(&(0..a.len()).collect::<Vec<_>>(), &columns).row_transform(&v) };
    let g = if all_columns { v } else { costs.column_transform(&f) };
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
fn barycentric([source, target]: [&Cloud; 2], costs: &Costs<'_>, optimum: &Optimum) -> Vec<f64> {
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
            let slack = |j: usize| costs.at(i, j) - optimum.potentials.g[j];
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
