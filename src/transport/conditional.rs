//! The law of the partner of a point under an entropic plan, for all points at once and never stored:
//!
//! ```text
//! p_j(x) = b_j exp((g_j − c(x, y_j))/ε) / Σ_k b_k exp((g_k − c(x, y_k))/ε)
//! ```
//!
//! At a point x_i of the source it is P_ij / Σ_k P_ik; a point that has no mass has a law too. Means of it are the entropic map and
//! labels carried back, quantiles of it are pairs for training, its largest terms the likeliest partners.

pub(in crate::transport) mod row_by_row;

use std::borrow::Cow;
use std::sync::Arc;

use crate::backend::{self, Backend, BackendError, Cost, Device, Packed, Reals, Rows, Storage, Task};
use crate::measure::Cloud;
use crate::transport::hold::convex;
use crate::transport::map::check_potential;
use crate::transport::problem::{Relative, Side, scale};
use crate::transport::{ClassCosts, EntropicMap, GroundCost, TransportError};
use crate::vector::dot;

/// The conditional law of a solved plan, given its target side.
#[derive(Clone, Debug)]
pub struct Conditional {
    /// Target y, b.
    pub target: Cloud,
    /// Potential g, of length m, in the input coordinates.
    pub g: Arc<[f64]>,
    /// ε in units of c.
    pub eps: f64,
    /// c of the points.
    pub cost: GroundCost,
    /// What c has of classes: only points of the source have one.
    pub classes: Option<ClassCosts>,
    /// The potential f, where the points asked about are those of the source: it saves a pass over the pairs.
    pub f: Option<Arc<[f64]>>,
}

/// Which draws of which row: those of row i are `quantiles[first_i..first_{i+1}]`.
#[derive(Clone, Copy, Debug)]
pub struct Draws<'a> {
    /// Where the draws of each row begin, and their number: n + 1 numbers.
    pub first: &'a [u32],
    /// A number of [0, 1) a draw.
    pub quantiles: &'a [f64],
}

/// The k likeliest partners of each point.
#[derive(Clone, Debug, PartialEq)]
pub struct Partners {
    /// Partners a point.
    pub k: usize,
    /// Their indices, n × k, likeliest first.
    pub index: Vec<u32>,
    /// Their probabilities p_j(x), n × k.
    pub probability: Vec<f64>,
}

impl Conditional {
    /// Σ_j p_j(x) v_j for each of `points`: n × p from `values` v, m × p.
    ///
    /// # Errors
    /// [`TransportError`] when the dimensions or the number of values do not fit, or memory runs out.
    pub fn mean(&self, points: &Cloud, values: &[f64], p: usize, device: &Device) -> Result<Vec<f64>, TransportError> {
        check_values(values, self.target.len(), p)?;
        Ok(self.soft_mean(points, values, p, device)?.1)
    }

    /// The entropic map Σ_j p_j(x) y_j of each of `points` (Pooladian & Niles-Weed 2021, eq. 8), n × d row-major.
    ///
    /// # Errors
    /// [`TransportError`] when the dimensions differ or memory runs out.
    pub fn map(&self, points: &Cloud, device: &Device) -> Result<Vec<f64>, TransportError> {
        match self.is_half_squared() {
            true => EntropicMap { target: self.target.clone(), g: self.g.clone(), eps: self.eps }.apply(points, device),
            false => self.mean(points, self.target.points(), self.target.dim(), device),
        }
    }

    /// The potential that belongs to g at each of `points`, f(x) = −ε log Σ_j b_j exp((g_j − c(x, y_j))/ε), of length n.
    ///
    /// # Errors
    /// [`TransportError`] when the dimensions differ or memory runs out.
    pub fn potential(&self, points: &Cloud, device: &Device) -> Result<Vec<f64>, TransportError> {
        if self.is_half_squared() {
            return EntropicMap { target: self.target.clone(), g: self.g.clone(), eps: self.eps }.potential(points, device);
        }
        self.check(points)?;
        Ok(self.row_log_sum(points).into_iter().map(|log_sum| -self.eps * log_sum).collect())
    }

    /// A partner a draw: the smallest j with Σ_{j′≤j} p_j′(x) > u. Points without mass are never drawn.
    ///
    /// # Errors
    /// [`TransportError`] when the dimensions or the number of draws do not fit, or memory runs out.
    pub fn draw(&self, points: &Cloud, draws: Draws<'_>, device: &Device) -> Result<Vec<u32>, TransportError> {
        self.check(points)?;
        let (first, quantiles) = (draws.first, draws.quantiles);
        let whole = first.len() == points.len() + 1 && first.is_sorted() && first.last() == Some(&(quantiles.len() as u32));
        if !whole || first[0] != 0 {
            return Err(TransportError::Values { what: "draws", len: quantiles.len(), rows: points.len(), p: 1 });
        }
        match self.is_product() {
            true => Ok(device.run(Draw { law: self, points, draws })?),
            false => Ok(self.row_draws(points, draws)),
        }
    }

    /// The `k` likeliest partners of each point; k is cut to m.
    ///
    /// # Errors
    /// [`TransportError`] when the dimensions differ, k = 0, or memory runs out.
    pub fn top(&self, points: &Cloud, k: usize, device: &Device) -> Result<Partners, TransportError> {
        self.check(points)?;
        let k = k.min(self.target.len());
        if k == 0 {
            return Err(TransportError::Values { what: "partners", len: 0, rows: points.len(), p: 1 });
        }
        match self.is_product() {
            true => Ok(device.run(Top { law: self, points, k })?),
            false => Ok(self.row_top(points, k)),
        }
    }

    /// The entropy −Σ_j p_j(x) log p_j(x) of each point's law, in nats: exp of it is the number of effective partners.
    ///
    /// # Errors
    /// [`TransportError`] when the dimensions differ or memory runs out.
    pub fn entropy(&self, points: &Cloud, device: &Device) -> Result<Vec<f64>, TransportError> {
        self.check(points)?;
        match self.is_product() {
            true => Ok(device.run(Entropy { law: self, points })?),
            false => Ok(self.row_entropy(points)),
        }
    }

    /// The log-sum of each row relative to its shift f/ε (or none), and the mean of the values.
    pub(super) fn soft_mean(
        &self,
        points: &Cloud,
        values: &[f64],
        p: usize,
        device: &Device,
    ) -> Result<(Vec<f64>, Vec<f64>), TransportError> {
        self.check(points)?;
        match self.is_product() {
            true => Ok(device.run(SoftMean { law: self, points, values, p })?),
            false => Ok(self.row_mean(points, values, p)),
        }
    }

    /// Whether the cost is a product of coordinates, so that the device serves.
    fn is_product(&self) -> bool {
        self.classes.is_none() && matches!(self.cost, GroundCost::Known(Cost::HalfSquaredEuclidean | Cost::Cosine))
    }

    /// Whether it is ½|x−y|² and no more.
    fn is_half_squared(&self) -> bool {
        self.classes.is_none() && self.cost.is_half_squared()
    }

    fn check(&self, points: &Cloud) -> Result<(), TransportError> {
        if points.dim() != self.target.dim() {
            return Err(TransportError::Dimensions { source_dim: points.dim(), target_dim: self.target.dim() });
        }
        check_potential(&self.g, self.target.len())?;
        match &self.f {
            Some(f) if f.len() != points.len() => {
                Err(TransportError::Values { what: "points of the source", len: points.len(), rows: f.len(), p: 1 })
            }
            None if self.classes.is_some() => Err(TransportError::Unlabelled),
            _ => Ok(()),
        }
    }
}

/// Refuses `values` that are not rows of `p` numbers, one a point.
pub(super) fn check_values(values: &[f64], rows: usize, p: usize) -> Result<(), TransportError> {
    if p == 0 || values.len() != rows * p {
        return Err(TransportError::Values { what: "values", len: values.len(), rows, p });
    }
    Ok(())
}

/// How a cloud is put on a device.
type Make<B> = fn(&B, &Cloud, f64, &[f64], Storage) -> Result<Side<B>, BackendError>;

/// Rows and packed columns on a device: the logits are those of the law up to a constant a row.
struct Pairs<B: Backend> {
    x: Reals<B>,
    n: usize,
    /// φ of each row, where f is known; like all lengths here scaled as the problem is.
    phi: Option<Reals<B>>,
    eps: f64,
    d: usize,
    /// y about its mean.
    y: Relative,
    /// log b − ψ/ε of each column, in f64, up to a constant.
    bias: Vec<f64>,
    columns: Packed<B>,
}

impl<B: Backend> Pairs<B> {
    fn new(backend: &B, law: &Conditional, points: &Cloud) -> Result<Self, BackendError> {
        // The plan's own rows are relative to their mean; of others each may come alone, so they are relative to the mean of y.
        let (points, target, side) = match law.cost.is_half_squared() {
            true => (Cow::Borrowed(points), Cow::Borrowed(&law.target), Side::with as Make<B>),
            false => (Cow::Owned(points.directions()), Cow::Owned(law.target.directions()), Side::of_directions as Make<B>),
        };
        let scale = scale(&target, &points);
        let side = |cloud: &Cloud| side(backend, cloud, scale, &[], Storage::Full);
        let (square, y) = (scale * scale, side(&target)?);
        let own = law.f.as_deref().map(|f| Ok((f, side(&points)?))).transpose()?;
        let centre = own.as_ref().map_or(&y, |(_, x)| x);
        let gap: Vec<f64> = centre.mean.iter().zip(&y.mean).map(|(x, y)| x - y).collect();
        let (eps, g) = (law.eps * square, law.g.iter().map(|g| g * square).collect::<Vec<_>>());
        let psi = convex(&y, &g, &gap, -1.0);
        // Only φ + ψ counts: about the mean of ψ neither loses digits to the distance between the clouds.
        let mean = dot(&y.mass, &psi);
        let bias: Vec<f64> = psi.iter().zip(&y.mass).map(|(psi, b)| b.ln() - (psi - mean) / eps).collect();
        let (d, mut columns) = (y.d, Packed::of(backend, y.points.reals, y.n, y.d)?);
        columns.pack(backend, 1.0 / eps, &backend.upload_reals(&bias)?, None)?;
        let (x, phi) = match own {
            Some((f, x)) => {
                let f: Vec<f64> = f.iter().map(|f| f * square - mean).collect();
                let phi = backend.upload_reals(convex(&x, &f, &gap, 1.0))?;
                (x.points.reals, Some(phi))
            }
            None => {
                let x = Relative::new(&points, y.relative.origin().0.to_vec(), scale);
                (x.on_device(backend, 0..points.len())?.reals, None)
            }
        };
        Ok(Self { x, n: points.len(), phi, eps, d, y: y.relative, bias, columns })
    }

    fn rows(&self) -> Rows<'_, B> {
        Rows { points: &self.x, n: self.n, d: self.d }
    }

    fn shift(&self) -> Option<(&Reals<B>, f64)> {
        self.phi.as_ref().map(|phi| (phi, 1.0 / self.eps))
    }

    /// Log-sum and mean of `values`, m × p.
    fn soft_mean(&self, backend: &B, values: &[f64], p: usize) -> Result<(Vec<f64>, Vec<f64>), BackendError> {
        let values = backend.upload_reals(values)?;
        self.columns.means(backend, self.rows(), self.shift(), (&values, p))
    }

    /// The log-sum of each row, without shift.
    fn log_sum(&self, backend: &B) -> Result<Reals<B>, BackendError> {
        self.columns.log_sums(backend, self.rows())
    }
}

struct SoftMean<'a> {
    law: &'a Conditional,
    points: &'a Cloud,
    values: &'a [f64],
    p: usize,
}

impl Task for SoftMean<'_> {
    type Output = Result<(Vec<f64>, Vec<f64>), BackendError>;

    fn run<B: Backend>(self, backend: &B) -> Self::Output {
        Pairs::new(backend, self.law, self.points)?.soft_mean(backend, self.values, self.p)
    }
}

struct Draw<'a> {
    law: &'a Conditional,
    points: &'a Cloud,
    draws: Draws<'a>,
}

impl Task for Draw<'_> {
    type Output = Result<Vec<u32>, BackendError>;

    fn run<B: Backend>(self, backend: &B) -> Self::Output {
        let pairs = Pairs::new(backend, self.law, self.points)?;
        let first = backend.upload(self.draws.first)?;
        let quantiles = backend.upload(self.draws.quantiles)?;
        let mut index = backend.zeros(self.draws.quantiles.len())?;
        let total = if pairs.phi.is_none() { Some(pairs.log_sum(backend)?) } else { None };
        if let Some(shift) = total.as_ref().map(|total| (total, 1.0)).or(pairs.shift()) {
            let draws = backend::Draws { first: &first, quantiles: &quantiles };
            backend.sample_plan(pairs.rows(), pairs.columns.columns(), shift, draws, &mut index)?;
        }
        backend.download(&index)
    }
}

struct Top<'a> {
    law: &'a Conditional,
    points: &'a Cloud,
    k: usize,
}

impl Task for Top<'_> {
    type Output = Result<Partners, BackendError>;

    fn run<B: Backend>(self, backend: &B) -> Self::Output {
        let Self { law, points, k } = self;
        let pairs = Pairs::new(backend, law, points)?;
        let log_sum = backend.download_reals(&pairs.log_sum(backend)?)?;
        let (mut index, mut logit) = (backend.zeros(pairs.n * k)?, backend.zeros(pairs.n * k)?);
        backend.top_k(pairs.rows(), pairs.columns.columns(), k, &mut index, &mut logit)?;
        let logit = backend.download_reals(&logit)?;
        let rows = logit.chunks_exact(k).zip(&log_sum);
        let probability = rows.flat_map(|(row, total)| row.iter().map(move |logit| (logit - total).exp())).collect();
        Ok(Partners { k, index: backend.download(&index)?, probability })
    }
}

struct Entropy<'a> {
    law: &'a Conditional,
    points: &'a Cloud,
}

impl Task for Entropy<'_> {
    type Output = Result<Vec<f64>, BackendError>;

    /// H = log Σ − E[logit], the logit being bias + x·y/ε: one pass with the values (y, bias).
    fn run<B: Backend>(self, backend: &B) -> Self::Output {
        let pairs = Pairs::new(backend, self.law, self.points)?;
        let (d, eps) = (pairs.d, pairs.eps);
        // A column without mass adds nothing; its infinite bias must not enter the mean.
        let finite = |bias: f64| if bias.is_finite() { bias } else { 0.0 };
        let mut values = Vec::with_capacity(pairs.bias.len() * (d + 1));
        pairs.y.each(0..pairs.bias.len(), |j, y| values.extend(y.iter().copied().chain([finite(pairs.bias[j])])));
        let (log_sum, mean) = pairs.soft_mean(backend, &values, d + 1)?;
        let x = backend.download_reals(&pairs.x)?;
        let shift: Vec<f64> = match &pairs.phi {
            Some(phi) => backend.download_reals(phi)?.into_iter().map(|phi| phi / eps).collect(),
            None => vec![0.0; pairs.n],
        };
        let entropy = |i: usize| {
            let (x, mean): (&[f64], &[f64]) = (&x[i * d..][..d], &mean[i * (d + 1)..][..d + 1]);
            let product: f64 = x.iter().zip(mean).map(|(x, y)| x * y).sum();
            (log_sum[i] + shift[i] - mean[d] - product / eps).max(0.0)
        };
        Ok((0..pairs.n).map(entropy).collect())
    }
}
