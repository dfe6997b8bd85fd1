//! Second derivatives of balanced OT_ε with respect to the source points, applied to a direction v without a matrix.
//!
//! Differentiating ∂OT_ε/∂x_i = p_i (x_i − T(x_i)) and the marginal constraints along v, with M₁, M₂ the means over a row and a
//! column of the plan,
//!
//! ```text
//! (H v)_i = p_i [v_i − (1/ε)(Cov_i(y, y) v_i + Cov_i(y, ġ))]        ġ_j − (M₂ M₁ ġ)_j = −M₂[v·(y_j − T)]_j
//! ```
//!
//! Cov_i under row i of the plan. M₂M₁ is self-adjoint and positive under b, so conjugate gradients find ġ, the change of g, at two
//! weighted means an iteration.

use crate::backend::{Backend, Device, Task};
use crate::transport::problem::Problem;
use crate::transport::sinkhorn::Run;
use crate::transport::solver::Potentials;
use crate::transport::{Outcome, TransportError};
use crate::vector::dot;
use crate::watch::Watch;

/// H v and how well the linear system behind it was solved.
#[derive(Clone, Debug, PartialEq)]
pub struct HessianProduct {
    /// H v, n × d row-major.
    pub product: Vec<f64>,
    /// Residual of the system for ġ over its right-hand side, in the norm of b.
    pub residual: f64,
    /// Conjugate-gradient iterations made.
    pub iterations: usize,
}

impl Outcome {
    /// The second derivative of OT_ε in the source points along `v`, n × d row-major, to a relative residual `tol`.
    ///
    /// Its own accuracy is that of the potentials: solve the problem to a small tolerance, in f64, first.
    ///
    /// # Errors
    /// [`TransportError`] when v has another length, a marginal is free, the cost is another than ½|x−y|², or memory runs out.
    pub fn hessian_product(&self, v: &[f64], tol: f64, device: &Device) -> Result<HessianProduct, TransportError> {
        let problem = &self.problem;
        let expected = problem.source().len() * problem.source().dim();
        if v.len() != expected {
            return Err(TransportError::Direction { found: v.len(), expected });
        }
        if !problem.cost().is_half_squared() {
            return Err(TransportError::QuadraticOnly { what: "Hessian-vector products" });
        }
        if problem.rho() != [None; 2] {
            return Err(TransportError::Balanced);
        }
        device.run(Product { potentials: &self.potentials, problem, v, tol })
    }
}

struct Product<'a> {
    potentials: &'a Potentials,
    problem: &'a Problem,
    v: &'a [f64],
    tol: f64,
}

impl Task for Product<'_> {
    type Output = Result<HessianProduct, TransportError>;

    fn run<B: Backend>(self, backend: &B) -> Self::Output {
        /// Conjugate gradients end here whatever the residual: a plan of separate pieces has no unique ġ to find.
        const MOST: usize = 1000;
        let Self { potentials, problem, v, tol } = self;
        let mut run = Run::new(backend, problem, problem.sides(backend)?, Watch::default())?;
        run.start_from(potentials)?;
        let (n, d, eps, y_points) = (run.x.n, run.x.d, run.eps, run.y.relative.points(0..run.y.n));
        let (x_mass, y_mass) = (run.x.mass.clone(), run.y.mass.clone());

        // One pass gives T and, for the covariance, the second moments: y_k y_l for k ≤ l.
        let moments: Vec<(usize, usize)> = (0..d).flat_map(|k| (k..d).map(move |l| (k, l))).collect();
        let values: Vec<f64> =
            y_points.chunks_exact(d).flat_map(|y| y.iter().copied().chain(moments.iter().map(|&(k, l)| y[k] * y[l]))).collect();
        let row = d + moments.len();
        let (log_ratio, of_rows) = run.row_means(eps, &values, row)?;
        let map: Vec<f64> = of_rows.chunks_exact(row).flat_map(|row| &row[..d]).copied().collect();

        // −M₂[v·(y_j − T)] = M₂[v·T] − y_j·M₂[v].
        let along = |x: &[f64]| v.chunks_exact(d).zip(x.chunks_exact(d)).map(|(v, x)| dot(v, x)).collect::<Vec<_>>();
        let values: Vec<f64> =
            along(&map).iter().zip(v.chunks_exact(d)).flat_map(|(vt, v)| std::iter::once(*vt).chain(v.iter().copied())).collect();
        let (_, means) = run.column_means(eps, &values, d + 1)?;
        let right: Vec<f64> =
            means.chunks_exact(d + 1).zip(y_points.chunks_exact(d)).map(|(m, y)| m[0] - dot(y, &m[1..])).collect();

        let inner = |u: &[f64], w: &[f64]| y_mass.iter().zip(u.iter().zip(w)).map(|(b, (u, w))| b * u * w).sum::<f64>();
        let mut g_dot = vec![0.0; y_mass.len()];
        let (mut rest, mut direction) = (right.clone(), right.clone());
        let whole = inner(&right, &right);
        let (mut square, mut iterations) = (whole, 0);
        while square > tol * tol * whole && iterations < MOST {
            let (_, rows) = run.row_means(eps, &direction, 1)?;
            let (_, columns) = run.column_means(eps, &rows, 1)?;
            let image: Vec<f64> = direction.iter().zip(&columns).map(|(u, m)| u - m).collect();
            let step = square / inner(&direction, &image);
            if !(step > 0.0 && step.is_finite()) {
                break;
            }
            g_dot.iter_mut().zip(&direction).for_each(|(g, u)| *g += step * u);
            rest.iter_mut().zip(&image).for_each(|(r, i)| *r -= step * i);
            let next = inner(&rest, &rest);
            direction.iter_mut().zip(&rest).for_each(|(u, r)| *u = r + next / square * *u);
            (square, iterations) = (next, iterations + 1);
        }

        // Cov_i(y, ġ) from the means of ġ and ġ y.
        let values: Vec<f64> = g_dot
            .iter()
            .zip(y_points.chunks_exact(d))
            .flat_map(|(g, y)| std::iter::once(*g).chain(y.iter().map(move |y| g * y)))
            .collect();
        let (_, with_g) = run.row_means(eps, &values, d + 1)?;
        let product = (0..n).flat_map(|i| {
            let (t, v) = (&map[i * d..][..d], &v[i * d..][..d]);
            let (g, s) = (&with_g[i * (d + 1)..][..d + 1], &of_rows[i * row + d..(i + 1) * row]);
            let mut covered: Vec<f64> = (0..d).map(|k| g[k + 1] - t[k] * g[0] - t[k] * dot(t, v)).collect();
            for (&(k, l), s) in moments.iter().zip(s) {
                covered[k] += s * v[l];
                if k != l {
                    covered[l] += s * v[k];
                }
            }
            let p = x_mass[i] * log_ratio[i].exp();
            (0..d).map(|k| p * (v[k] - covered[k] / eps)).collect::<Vec<_>>()
        });
        let residual = if whole > 0.0 { (square / whole).sqrt() } else { 0.0 };
        Ok(HessianProduct { product: product.collect(), residual, iterations })
    }
}
