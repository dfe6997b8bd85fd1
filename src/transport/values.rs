//! Values of a plan that a solver has left, from what its rows say of the columns.

use crate::transport::hold::Hold;
use crate::transport::solver::Potentials;
use crate::vector::dot;

/// What the rows of a plan say of the columns: means under P_ij / Σ_j P_ij, so all of one plan.
#[derive(Default)]
pub struct RowMeans {
    /// log of the first marginal's density.
    pub log_ratio: Vec<f64>,
    /// E[c | x_i].
    pub costs: Vec<f64>,
    /// E[ε log(P_ij/(a_i b_j)) | x_i], the mean exponent times ε.
    pub exponents: Vec<f64>,
    /// E[log b | x_i].
    pub log_masses: Vec<f64>,
}

impl RowMeans {
    /// Adds those of the rows that follow.
    pub fn extend(&mut self, more: Self) {
        self.log_ratio.extend(more.log_ratio);
        self.costs.extend(more.costs);
        self.exponents.extend(more.exponents);
        self.log_masses.extend(more.log_masses);
    }
}

/// A plan as a solver leaves it, with its own lengths, in any order of the points.
pub struct Ended<'a> {
    pub eps: f64,
    /// Weights of source and target.
    pub mass: [&'a [f64]; 2],
    pub holds: [&'a Hold; 2],
    /// φ and ψ.
    pub convex: [&'a [f64]; 2],
    pub rows: &'a RowMeans,
}

/// Potentials and values of an [`Ended`] plan, with its lengths.
pub struct Values {
    pub potentials: Potentials,
    pub mass: f64,
    pub transport_cost: f64,
    pub dual: f64,
    pub regularised_cost: f64,
    pub entropy: f64,
}

impl Ended<'_> {
    /// All of them are sums over the first marginal p of means under the rows, whose terms have one sign or are as small as their sum:
    ///
    /// ```text
    /// ⟨P, c⟩ = Σ p E[c | x]      ε Σ P log(P/ab) = Σ p E[x·y − φ − ψ | x]      −Σ P log P = −Σ P log(P/ab) − Σ p (log a + E[log b | x])
    /// ```
    pub fn values(&self) -> Values {
        let Self { eps, mass: [a, b], holds: [hold_x, hold_y], rows, .. } = *self;
        let potential = |hold: &Hold, convex: &[f64]| hold.ground.iter().zip(convex).map(|(ground, phi)| ground - phi).collect();
        let (mut f, mut g): (Vec<f64>, Vec<f64>) = (potential(hold_x, self.convex[0]), potential(hold_y, self.convex[1]));

        let p: Vec<f64> = a.iter().zip(&rows.log_ratio).map(|(a, r)| a * r.exp()).collect();
        let mass: f64 = p.iter().sum();
        let moved = |means: &[f64]| p.iter().zip(means).filter(|(p, _)| **p > 0.0).map(|(p, mean)| p * mean).sum::<f64>();
        let transport_cost = moved(&rows.costs);
        let information = moved(&rows.exponents);
        let log_product: f64 = p.iter().zip(a).filter(|(_, a)| **a > 0.0).map(|(p, a)| p * a.ln()).sum();
        let penalties = hold_x.penalty(a, &f) + hold_y.penalty(b, &g);
        let regularised_cost = transport_cost + information - eps * (mass - 1.0) + penalties;
        let dual = hold_x.dual(a, &f) + hold_y.dual(b, &g) - eps * (mass - 1.0);

        let balanced = hold_x.rho.is_none() && hold_y.rho.is_none();
        let gauge = if balanced { dot(b, &g) } else { 0.0 };
        f.iter_mut().for_each(|f| *f += gauge);
        g.iter_mut().for_each(|g| *g -= gauge);
        Values {
            potentials: Potentials { f, g },
            mass,
            transport_cost,
            dual,
            regularised_cost,
            entropy: -information / eps - log_product - moved(&rows.log_masses),
        }
    }
}
