//! What an entropic plan keeps of its target: Var T / Var y, which falls to 0 as ε grows and the plan becomes a ⊗ b.
//!
//! ```text
//! Var y = Var T + E Var(y | x)        under the plan, with T(x) = E[y | x]
//! ```

use crate::transport::Outcome;
use crate::transport::hold::moved;

/// |x − y|², in order.
fn square(x: &[f64], y: &[f64]) -> f64 {
    x.iter().zip(y).map(|(x, y)| (x - y).powi(2)).sum()
}

impl Outcome {
    /// E Var(y | x) under the plan, for a unit of the mass that it moves: what of the target's variance the map leaves to the pairs. NaN
    /// where nothing can be told: a marginal is free and the cost another than ½|x−y|².
    pub fn conditional_variance(&self) -> f64 {
        let problem = &self.problem;
        let (x, y) = (problem.source(), problem.target());
        if problem.rho() == [None; 2] {
            let (mean, mut explained) = (y.mean(), 0.0);
            self.images.each(|i, image| explained += x.weight(i) * square(image, &mean));
            return (y.variance() - explained).max(0.0);
        }
        if !problem.cost().is_half_squared() || problem.labels().is_some() {
            return f64::NAN;
        }
        let (mut moved, mut total, mut room) = (0.0, 0.0, vec![0.0; x.dim()]);
        self.images.each(|i, t| match self.moved(i) {
            p if p > 0.0 => (moved, total) = (moved + p * square(x.row_in(i, &mut room), t), total + p),
            _ => {}
        });
        (2.0 * self.transport_cost - moved).max(0.0) / total
    }

    /// What the optimum moves of the mass of source point `i`.
    fn moved(&self, i: usize) -> f64 {
        moved(self.problem.source().weight(i), self.potentials.f[i], self.problem.rho()[0])
    }

    /// The share of the variance of x's partners that the barycentric map keeps: Var T / (Var T + E Var(y | x)) under the plan, which
    /// is Var T over the variance of the target where both marginals are held.
    ///
    /// 1 is a map, 0 independent pairs. NaN where nothing can be told: one end lies in one place, or a marginal is free and the cost
    /// another than ½|x−y|².
    pub fn variance_kept(&self) -> f64 {
        let problem = &self.problem;
        let (x, y, d) = (problem.source(), problem.target(), problem.source().dim());
        let each = |to: &mut dyn FnMut(f64, &[f64])| {
            self.images.each(|i, t| match self.moved(i) {
                p if p > 0.0 => to(p, t),
                _ => {}
            });
        };
        let total: f64 = (0..x.len()).map(|i| self.moved(i)).filter(|p| *p > 0.0).sum();
        let (mut mean, mut of_map) = (vec![0.0; d], 0.0);
        each(&mut |p, t| mean.iter_mut().zip(t).for_each(|(mean, t)| *mean += p * t / total));
        each(&mut |p, t| of_map += p * square(t, &mean));
        of_map /= total;
        let whole = match problem.rho() {
            _ if x.variance() == 0.0 || y.variance() == 0.0 => f64::NAN,
            [None, None] => y.variance(),
            _ => of_map + self.conditional_variance(),
        };
        of_map / whole
    }
}

#[cfg(test)]
mod tests {
    use crate::backend::{Device, Precision};
    use crate::measure::{Cloud, Measure, Mixture};
    use crate::random::Stream;
    use crate::transport::{GroundCost, Problem, Sinkhorn};

    const DEVICE: fn() -> Device = || Device::cpu(Precision::F32);

    fn normal(n: usize, d: usize, step: u32) -> Cloud {
        Measure::Law(Mixture::standard_normal(d)).sample(n, 0, Stream::Source, step)
    }

    fn kept(problem: &Problem) -> f64 {
        Sinkhorn::default().solve(problem, &DEVICE()).unwrap().variance_kept()
    }

    /// Between N(0, 1) and itself the map is s x with s = √(1 + ε²/4) − ε/2; free marginals as far as nothing is destroyed.
    #[test]
    fn a_map_between_normals_keeps_the_square_of_its_slope() {
        let (x, y) = (normal(1500, 1, 0), normal(1500, 1, 1));
        for eps in [0.2, 1.0, 5.0] {
            let slope: f64 = (1.0f64 + 0.25 * eps * eps).sqrt() - 0.5 * eps;
            let held = Problem::new(&x, &y, eps).unwrap();
            for problem in [held.clone(), held.with_rho(Some(1e4), Some(1e4)).unwrap()] {
                let found = kept(&problem);
                // Sample variances of 1,500 points are off by 4 %, and the coupling of two samples by as much.
                assert!((found / (slope * slope) - 1.0).abs() < 0.12, "{found} for {} at {eps}", slope * slope);
            }
        }
    }

    #[test]
    fn no_map_of_ordinary_clouds_has_collapsed_at_the_default_eps_and_each_has_at_a_hundred_times_their_spread() {
        let cost = GroundCost::Known(crate::backend::Cost::HalfSquaredEuclidean);
        for d in [1, 2, 3, 8, 16, 64] {
            let (x, y) = (normal(300, d, 0), normal(300, d, 1));
            let scale = cost.scale(&x, &y, 0).value;
            for (eps, collapsed) in [(0.05 * scale, false), (100.0 * scale, true)] {
                let found = kept(&Problem::new(&x, &y, eps).unwrap());
                assert_eq!(found < crate::metric::flag::MAP_COLLAPSED, collapsed, "{found} in dimension {d} at {eps}");
            }
        }
    }

    #[test]
    fn an_end_in_one_place_leaves_nothing_to_tell() {
        let (x, one) = (normal(20, 2, 0), Cloud::new(vec![1.0, 2.0], 2).unwrap());
        assert!(kept(&Problem::new(&one, &x, 1.0).unwrap()).is_nan());
        assert!(kept(&Problem::new(&x, &one, 1.0).unwrap()).is_nan());
    }
}
