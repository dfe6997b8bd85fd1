//! The bridge between two pictures' densities, drawn on a canvas: every pixel's mass goes to its partners along straight lines, spread
//! by the Brownian bridge of variance εt(1−t).
//!
//! Nothing is random: a pixel has [`PARTNERS`] partners, quantiles of its conditional law at (r + ½)/[`PARTNERS`], and the spread is a
//! convolution. What the quantiles bring too much or too little to a pixel, or not at all, is settled on the way, linearly in t: both
//! ends are exact.

use crate::backend::Device;
use crate::transport::{Draws, Plan, TransportError};

/// Partners of a pixel.
pub const PARTNERS: u32 = 16;

/// Masses on their way between two densities on a canvas of side × side pixels, whose coordinates lie in [0, 1]².
#[derive(Clone, Debug)]
pub struct DensityBridge {
    plan: Plan,
    side: usize,
    partner: Vec<u32>,
    /// b_j over the mass that the partners bring to j.
    missing: Vec<f64>,
    /// Targets that are nobody's partner: they grow where they are.
    alone: Vec<usize>,
}

impl DensityBridge {
    /// The bridge of `plan` on a canvas of `side` pixels, which must be a plan in the plane.
    ///
    /// # Errors
    /// [`TransportError`] when the plan is not in the plane or memory runs out.
    pub fn new(plan: Plan, side: usize, device: &Device) -> Result<Self, TransportError> {
        if plan.source().dim() != 2 {
            return Err(TransportError::Dimensions { source_dim: plan.source().dim(), target_dim: 2 });
        }
        let first: Vec<u32> = (0..=plan.source().len() as u32).map(|i| i * PARTNERS).collect();
        let one: Vec<f64> = (0..PARTNERS).map(|r| (f64::from(r) + 0.5) / f64::from(PARTNERS)).collect();
        let draws = Draws { first: &first, quantiles: &one.repeat(plan.source().len()) };
        let partner = plan.partners_of_source().draw(plan.source(), draws, device)?;
        let mut brought = vec![0.0; plan.target().len()];
        for (k, &j) in partner.iter().enumerate() {
            brought[j as usize] += plan.source().weight(k / PARTNERS as usize) / f64::from(PARTNERS);
        }
        let ratio = |(j, brought): (usize, &f64)| if *brought > 0.0 { plan.target().weight(j) / brought } else { 0.0 };
        let missing = brought.iter().enumerate().map(ratio).collect();
        let alone = (0..brought.len()).filter(|&j| brought[j] == 0.0).collect();
        Ok(Self { plan, side, partner, missing, alone })
    }

    /// The mass in each pixel at `t` ∈ [0, 1], side × side; together it is one.
    pub fn at(&self, t: f64) -> Vec<f64> {
        let (x, y, side) = (self.plan.source(), self.plan.target(), self.side as f64);
        let mut mass = vec![0.0; self.side * self.side];
        let mut put = |at: [f64; 2], share: f64| {
            for (column, part) in cells(side * at[0] - 0.5, self.side) {
                for (row, other) in cells(side * at[1] - 0.5, self.side) {
                    mass[row * self.side + column] += share * part * other;
                }
            }
        };
        for (i, partners) in self.partner.chunks_exact(PARTNERS as usize).enumerate() {
            let share = x.weight(i) / f64::from(PARTNERS);
            for &j in partners {
                let at = [0, 1].map(|k| (1.0 - t) * x.row(i)[k] + t * y.row(j as usize)[k]);
                put(at, share * (1.0 - t + t * self.missing[j as usize]));
            }
        }
        self.alone.iter().for_each(|&j| put([0, 1].map(|k| y.row(j)[k]), t * y.weight(j)));
        let spread = (self.plan.eps() * t * (1.0 - t)).max(0.0).sqrt() * side;
        blur(&blur(&mass, self.side, spread), self.side, spread)
    }
}

/// The two cells between whose centres `at` lies, and the share of each; beyond the border it is the outermost.
fn cells(at: f64, side: usize) -> [(usize, f64); 2] {
    let cell = |index: f64| index.clamp(0.0, side as f64 - 1.0) as usize;
    let (low, share) = (at.floor(), at - at.floor());
    [(cell(low), 1.0 - share), (cell(low + 1.0), share)]
}

/// The columns of `mass` blurred by a Gaussian of deviation `spread` pixels, transposed; what would leave stays at the border.
fn blur(mass: &[f64], side: usize, spread: f64) -> Vec<f64> {
    let reach = (4.0 * spread).ceil() as usize;
    let weight = |offset: usize| if spread > 0.0 { (-0.5 * (offset as f64 / spread).powi(2)).exp() } else { 1.0 };
    let total = weight(0) + 2.0 * (1..=reach).map(weight).sum::<f64>();
    let mut out = vec![0.0; mass.len()];
    for (at, mass) in mass.iter().enumerate().filter(|(_, mass)| **mass > 0.0) {
        let (row, column) = (at / side, at % side);
        for offset in 0..=reach {
            let part = mass * weight(offset) / total;
            out[column * side + (row + offset).min(side - 1)] += part;
            if offset > 0 {
                out[column * side + row.saturating_sub(offset)] += part;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Precision;
    use crate::measure::Cloud;
    use crate::transport::{Problem, Sinkhorn};

    /// Two dots four pixels apart: the mass is one at all times, the ends are the dots, and half way the variance along the line is
    /// that of the bridge plus at most a pixel's own.
    #[test]
    fn a_dot_moves_along_its_line_and_keeps_its_mass() {
        let (side, eps) = (16, 0.01);
        let dot = |column: f64| Cloud::new(vec![(column + 0.5) / 16.0, 8.5 / 16.0], 2).unwrap();
        let (x, y) = (dot(6.0), dot(10.0));
        let (problem, device) = (Problem::new(&x, &y, eps).unwrap(), Device::cpu(Precision::F64));
        let outcome = Sinkhorn::default().solve(&problem, &device).unwrap();
        let bridge = DensityBridge::new(Plan::new(&problem, &outcome.potentials).unwrap(), side, &device).unwrap();
        for (t, column) in [(0.0, 6.0), (0.5, 8.0), (1.0, 10.0)] {
            let mass = bridge.at(t);
            assert!((mass.iter().sum::<f64>() - 1.0).abs() < 1e-12);
            let mean: f64 = mass.iter().enumerate().map(|(at, mass)| (at % side) as f64 * mass).sum();
            assert!((mean - column).abs() < 1e-9, "{mean} for {column}");
            let variance: f64 = mass.iter().enumerate().map(|(at, mass)| ((at % side) as f64 - mean).powi(2) * mass).sum();
            let expected = eps * t * (1.0 - t) * (side * side) as f64;
            // Sums over the lattice stand for integrals to 1e-3 once a Gaussian is wider than a pixel half.
            assert!((variance - expected).abs() < 2e-3, "{variance} for {expected}");
        }
    }

    /// One pixel goes to a hundred of unlike masses, most of which are not among its sixteen partners: the end is the target all the same.
    #[test]
    fn both_ends_are_exact_also_where_targets_outnumber_partners() {
        let side = 10;
        let centre = |at: usize| [(at % side) as f64 + 0.5, (at / side) as f64 + 0.5].map(|x| x / side as f64);
        let x = Cloud::new(centre(33).to_vec(), 2).unwrap();
        let y = Cloud::new((0..side * side).flat_map(centre).collect(), 2).unwrap();
        let y = y.with_weights((0..side * side).map(|at| 1.0 + at as f64).collect()).unwrap();
        let (problem, device) = (Problem::new(&x, &y, 0.01).unwrap(), Device::cpu(Precision::F64));
        let outcome = Sinkhorn::default().solve(&problem, &device).unwrap();
        let bridge = DensityBridge::new(Plan::new(&problem, &outcome.potentials).unwrap(), side, &device).unwrap();
        let end = bridge.at(1.0);
        (0..side * side).for_each(|at| assert!((end[at] - y.weight(at)).abs() < 1e-12, "pixel {at}"));
        assert!((bridge.at(0.0)[33] - 1.0).abs() < 1e-12);
        assert!((bridge.at(0.3).iter().sum::<f64>() - 1.0).abs() < 1e-12);
    }
}
