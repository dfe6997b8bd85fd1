//! A plan of any solver, as what it does to values: conditional means given one of its ends, and its marginals, never in n × m numbers.
//!
//! ```text
//! E[v | x_i] = Σ_j P_ij v_j / Σ_j P_ij        E[u | y_j] = Σ_i P_ij u_i / Σ_i P_ij
//! ```
//!
//! The denominators are the marginals of the plan itself, a and b up to the solver's tolerance where these are held, so that a constant
//! is carried to itself by every plan, also by one that creates and destroys mass.

mod draws;

use rayon::prelude::*;

use crate::backend::Device;
use crate::transport::conditional::check_values;
use crate::transport::conditional::row_by_row::likeliest;
use crate::transport::{Partners, Plan, PlanEntry, TransportError};
use crate::vector::dot;

/// A plan of any solver.
#[derive(Clone, Debug)]
pub enum AnyPlan {
    /// That of potentials.
    Entropic(Plan),
    /// The entries of an exact one.
    Sparse {
        /// All P_ij > 0.
        entries: Vec<PlanEntry>,
        /// Points of the source.
        n: usize,
        /// Points of the target.
        m: usize,
    },
    /// P = Q diag(1/g) Rᵀ.
    LowRank {
        /// Q, n × r row-major.
        q: Vec<f64>,
        /// R, m × r row-major.
        r: Vec<f64>,
        /// g, of length r.
        g: Vec<f64>,
    },
}

impl AnyPlan {
    /// Points of the source and of the target.
    pub fn lengths(&self) -> [usize; 2] {
        match self {
            Self::Entropic(plan) => [plan.source().len(), plan.target().len()],
            Self::Sparse { n, m, .. } => [*n, *m],
            Self::LowRank { q, r, g } => [q.len() / g.len(), r.len() / g.len()],
        }
    }

    /// E[v | x_i], n × p, of `values` v of the target, m × p. A point without mass has the law that the potential g gives it under an
    /// entropic plan; other plans know nothing of it, and it has the mean over all.
    ///
    /// # Errors
    /// [`TransportError`] when the number of values does not fit or memory runs out.
    pub fn given_source(&self, values: &[f64], p: usize, device: &Device) -> Result<Vec<f64>, TransportError> {
        match self {
            Self::Entropic(plan) => plan.pull(values, p, device),
            _ => Ok(self.means(values, p, false)?.finished().1),
        }
    }

    /// E[u | y_j], m × p, of `values` u of the source, n × p: (Pᵀu)_j/b_j where the second marginal is held.
    ///
    /// # Errors
    /// As [`AnyPlan::given_source`].
    pub fn given_target(&self, values: &[f64], p: usize, device: &Device) -> Result<Vec<f64>, TransportError> {
        match self {
            Self::Entropic(plan) => plan.transposed().pull(values, p, device),
            _ => Ok(self.means(values, p, true)?.finished().1),
        }
    }

    /// P v, n × p, of `values` v of the target, m × p; with `back` Pᵀ u, m × p, of values u of the source, n × p.
    ///
    /// # Errors
    /// As [`AnyPlan::given_source`].
    pub fn apply(&self, values: &[f64], p: usize, back: bool, device: &Device) -> Result<Vec<f64>, TransportError> {
        match self {
            Self::Entropic(plan) if back => plan.transposed().apply(values, p, device),
            Self::Entropic(plan) => plan.apply(values, p, device),
            _ => Ok(self.means(values, p, back)?.sums),
        }
    }

    /// All P_ij, n × m row-major: for small clouds.
    pub fn dense(&self) -> Vec<f64> {
        let [_, m] = self.lengths();
        match self {
            Self::Entropic(plan) => plan.dense(),
            Self::Sparse { entries, n, .. } => {
                let mut dense = vec![0.0; n * m];
                entries.iter().for_each(|entry| dense[entry.source * m + entry.target] += entry.mass);
                dense
            }
            Self::LowRank { q, r, g } => q.chunks_exact(g.len()).flat_map(|q| through_stations(q, r, g)).collect(),
        }
    }

    /// The first marginal Σ_j P_ij, of length n.
    ///
    /// # Errors
    /// [`TransportError`] when memory runs out.
    pub fn row_mass(&self, device: &Device) -> Result<Vec<f64>, TransportError> {
        match self {
            Self::Entropic(plan) => plan.row_mass(device),
            _ => Ok(self.means(&vec![1.0; self.lengths()[1]], 1, false)?.finished().0),
        }
    }

    /// The `k` likeliest partners in the target of each point of the source, k cut to m; where a row of an exact plan has fewer entries
    /// the rest have probability 0.
    ///
    /// # Errors
    /// [`TransportError`] when k = 0 or memory runs out.
    pub fn top(&self, k: usize, device: &Device) -> Result<Partners, TransportError> {
        let [n, m] = self.lengths();
        let k = k.min(m);
        if k == 0 {
            return Err(TransportError::Values { what: "partners", len: 0, rows: n, p: 1 });
        }
        let normalised = |law: &mut Vec<f64>| {
            let sum: f64 = law.iter().sum();
            law.iter_mut().filter(|_| sum > 0.0).for_each(|p| *p /= sum);
            likeliest(law, k)
        };
        let rows = match self {
            Self::Entropic(plan) => return plan.partners_of_source().top(plan.source(), k, device),
            Self::Sparse { entries, .. } => {
                let mut order: Vec<&PlanEntry> = entries.iter().collect();
                order.sort_by_key(|entry| entry.source);
                let row = |law: &mut Vec<f64>, i: usize| {
                    law.clear();
                    law.resize(m, 0.0);
                    let own = &order[order.partition_point(|entry| entry.source < i)..];
                    own.iter().take_while(|entry| entry.source == i).for_each(|entry| law[entry.target] += entry.mass);
                    normalised(law)
                };
                (0..n).into_par_iter().map_init(Vec::new, row).collect()
            }
            Self::LowRank { q, r, g } => {
                let rank = g.len();
                let row = |law: &mut Vec<f64>, i: usize| {
                    law.clear();
                    law.extend(through_stations(&q[i * rank..][..rank], r, g));
                    normalised(law)
                };
                (0..n).into_par_iter().map_init(Vec::new, row).collect()
            }
        };
        Ok(Partners::of_rows(k, rows))
    }

    /// Sums over the rows of the plan, or of the plan `back`, where it is written out.
    fn means(&self, values: &[f64], p: usize, back: bool) -> Result<Means, TransportError> {
        let [n, m] = self.lengths();
        let (rows, columns) = if back { (m, n) } else { (n, m) };
        check_values(values, columns, p)?;
        let mut means = Means::new(rows, p);
        match self {
            Self::Entropic(_) => {}
            Self::Sparse { entries, .. } => {
                for PlanEntry { source, target, mass } in entries {
                    let (row, column) = if back { (*target, *source) } else { (*source, *target) };
                    means.add(row, *mass, &values[column * p..][..p]);
                }
            }
            Self::LowRank { q, r, g } => {
                let (own, other) = if back { (r, q) } else { (q, r) };
                let mut stations = Means::new(g.len(), p);
                for (shares, value) in other.chunks_exact(g.len()).zip(values.chunks_exact(p)) {
                    shares.iter().enumerate().for_each(|(k, share)| stations.add(k, *share, value));
                }
                let (masses, at) = stations.finished();
                for (row, shares) in own.chunks_exact(g.len()).enumerate() {
                    for (k, share) in shares.iter().enumerate().filter(|(k, _)| g[*k] > 0.0) {
                        means.add(row, share * masses[k] / g[k], &at[k * p..][..p]);
                    }
                }
            }
        }
        Ok(means)
    }
}

/// A row of Q diag(1/g) Rᵀ, whose row of Q is `q`.
fn through_stations<'a>(q: &[f64], r: &'a [f64], g: &[f64]) -> impl Iterator<Item = f64> + use<'a> {
    let share = |(q, g): (&f64, &f64)| if *g > 0.0 { q / g } else { 0.0 };
    let shares: Vec<f64> = q.iter().zip(g).map(share).collect();
    r.chunks_exact(g.len()).map(move |r| dot(&shares, r))
}

/// Weighted sums of p values a row.
struct Means {
    masses: Vec<f64>,
    sums: Vec<f64>,
    p: usize,
}

impl Means {
    fn new(rows: usize, p: usize) -> Self {
        Self { masses: vec![0.0; rows], sums: vec![0.0; rows * p], p }
    }

    fn add(&mut self, row: usize, mass: f64, values: &[f64]) {
        self.masses[row] += mass;
        self.sums[row * self.p..][..self.p].iter_mut().zip(values).for_each(|(sum, value)| *sum += mass * value);
    }

    /// The masses and means of the rows; one without mass has the mean of all.
    fn finished(self) -> (Vec<f64>, Vec<f64>) {
        let Self { masses, mut sums, p } = self;
        let total: f64 = masses.iter().sum();
        let mean: Vec<f64> = (0..p).map(|k| sums.iter().skip(k).step_by(p).sum::<f64>() / total).collect();
        for (row, mass) in sums.chunks_exact_mut(p).zip(&masses) {
            match *mass > 0.0 {
                true => row.iter_mut().for_each(|sum| *sum /= mass),
                false => row.copy_from_slice(&mean),
            }
        }
        (masses, sums)
    }
}
