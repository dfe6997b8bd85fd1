//! The JKO step on particles: the implicit Euler step of the gradient flow of F = KL(·‖π), π ∝ e^{−V},
//!
//! ```text
//! x′ = x − τ (∇V + ∇log ρ′)(x′)        with the score of ρ′ estimated at the new points
//! ```
//!
//! which is the optimality condition of F(ρ′) + W₂²(ρ′, ρ)/2τ (Jordan, Kinderlehrer, Otto 1998). It is solved as a fixed point with
//! Anderson's acceleration, the score estimated again in every round, in one of two ways:
//!
//! - of a Gaussian of the particles' moments, exact where start and π are Gaussians, in any dimension: the moments then make the steps
//!   of [`Gaussian::jko_step`](crate::transport::Gaussian);
//! - by the functional of the [blob method](crate::gradient_flow::blob) with a kernel of width √ε, in at most five dimensions: the step
//!   is that of its F on the space of n particles, and F′ + E|x′ − x|²/2τ ≤ F.
//!
//! So the residual of a step is what the solver leaves; what the estimate is worth is told by its floor, the residual of the one step
//! known to have none: that of π itself, where nothing moves.

use nalgebra::DVector;

use crate::backend::{Anderson, Backend, BackendError, Device, Precision, Task};
use crate::checkpoint::Part;
use crate::field::Field;
use crate::gradient_flow::FlowError;
use crate::gradient_flow::anneal::Stage;
use crate::gradient_flow::blob::Functional;
use crate::gradient_flow::jko::{Account, Charge, JkoResidual, Scheme, check_reach, convexity, floor, mean_square, reach_of};
use crate::measure::{Cloud, Covariance, Mixture};
use crate::transport::Gaussian;
use crate::transport::gaussian::function_of;
use crate::watch::{Progress, Watch};

/// The implicit scheme under way.
#[derive(Debug)]
pub struct Implicit {
    state: Cloud,
    law: Mixture,
    score: Score,
    tau: f64,
    /// What a round moves the particles by, as a share of what is left: below one over the slope of the fixed point's map.
    share: f64,
    seed: u32,
    device: Device,
    reach: f64,
    floor: Option<f64>,
}

/// How the score of the particles' law is estimated.
#[derive(Debug)]
enum Score {
    /// That of N(m, Σ) of their moments, towards this Gaussian.
    Moments(Gaussian),
    /// That of their kernel density.
    Kernel(Functional),
}

/// F of particles, their velocity −∇(δF/δρ), and the particles within a kernel's width.
struct Slope {
    value: f64,
    velocity: Vec<f64>,
    neighbours: Option<f64>,
}

/// Rounds after which a step is taken as it is.
const ROUNDS: usize = 200;

impl Score {
    fn at(&self, cloud: &Cloud) -> Result<Slope, FlowError> {
        match self {
            Self::Moments(target) => {
                let own = moments(cloud)?;
                let [of_own, of_target] = [&own, target].map(|law| function_of(&law.covariance, f64::recip));
                let at = |x: &[f64]| {
                    let x = DVector::from_column_slice(x);
                    let velocity = &of_own * (&x - &own.mean) - &of_target * (&x - &target.mean);
                    velocity.as_slice().to_vec()
                };
                Ok(Slope { value: own.kl(target)?, velocity: cloud.rows().flat_map(at).collect(), neighbours: None })
            }
            Self::Kernel(functional) => {
                let energy = functional.energy(cloud, Stage::LAW)?;
                let velocity = functional.velocity(cloud.points(), &energy, Stage::LAW)?;
                Ok(Slope { value: energy.value, velocity, neighbours: Some(energy.neighbours) })
            }
        }
    }
}

/// The Gaussian of the moments of `cloud`.
fn moments(cloud: &Cloud) -> Result<Gaussian, FlowError> {
    let (d, mean) = (cloud.dim(), cloud.mean());
    let mut covariance = vec![0.0; d * d];
    for (i, row) in cloud.rows().enumerate() {
        let offset: Vec<f64> = row.iter().zip(&mean).map(|(x, mean)| x - mean).collect();
        for (at, entry) in covariance.iter_mut().enumerate() {
            *entry += cloud.weight(i) * offset[at / d] * offset[at % d];
        }
    }
    Ok(Gaussian::new(mean, &covariance)?)
}

impl Implicit {
    /// The scheme from `start` to `law` in steps τ with a kernel of width √ε, for (τ, ε); `seed` draws the law for the floor.
    ///
    /// # Errors
    /// [`FlowError`] when τ or ε is not positive, d > 5, or the dimensions differ.
    pub fn new(start: Cloud, law: Mixture, (tau, eps): (f64, f64), seed: u32, device: &Device) -> Result<Self, FlowError> {
        FlowError::check_tau(tau)?;
        let functional = Functional::new(&start, Field::Mixture(law.clone()), eps, device)?;
        let slope = 1.0 / law.least_variance() + 1.0 / eps;
        Ok(Self::from_parts(start, law, Score::Kernel(functional), (tau, slope), seed, device))
    }

    /// The scheme from draws of a Gaussian to `target` in steps `tau`, with the score of the Gaussian of the particles' moments.
    ///
    /// # Errors
    /// [`FlowError`] when τ is not positive, the dimensions differ or the particles have no covariance of full rank, as no d of
    /// them have.
    pub fn gaussian(start: Cloud, target: Gaussian, tau: f64, seed: u32, device: &Device) -> Result<Self, FlowError> {
        FlowError::check_tau(tau)?;
        if start.dim() != target.dim() {
            return Err(FlowError::Dimensions { particles: start.dim(), target: target.dim() });
        }
        if start.len() <= start.dim() {
            return Err(FlowError::TooFewParticles { particles: start.len(), dim: start.dim() });
        }
        let not_positive = |smallest| crate::transport::TransportError::NotGaussian { smallest };
        let covariance = Covariance::from_matrix(target.covariance(), target.dim()).map_err(not_positive)?;
        let law = Mixture::new(vec![1.0], vec![target.mean().to_vec()], vec![covariance]).map_err(|_| FlowError::NeedsLaw)?;
        let narrowest = moments(&start)?.covariance.symmetric_eigenvalues().min();
        let slope = 1.0 / law.least_variance() + 1.0 / narrowest;
        Ok(Self::from_parts(start, law, Score::Moments(target), (tau, slope), seed, device))
    }

    fn from_parts(state: Cloud, law: Mixture, score: Score, (tau, slope): (f64, f64), seed: u32, device: &Device) -> Self {
        let (share, reach) = (1.0 / (1.0 + tau * slope), reach_of(&state, Some(&law), 0.0));
        Self { state, law, score, tau, share, seed, device: device.clone(), reach, floor: None }
    }
}

impl Scheme for Implicit {
    fn account(&mut self, _: &Watch<'_>) -> Result<Account, FlowError> {
        let Slope { value, velocity, neighbours } = self.score.at(&self.state)?;
        let dissipation = Some(mean_square(&self.state, &velocity));
        Ok(Account { free_energy: Some(value), dissipation, effective_neighbours: neighbours, ..Account::default() })
    }

    fn advance(&mut self, k: usize, watch: &Watch<'_>) -> Result<Charge, FlowError> {
        let (before, d) = (self.state.clone(), self.state.dim());
        let close = match self.device.precision() {
            Precision::F32 => 1e-3,
            Precision::F64 => 1e-10,
        };
        let mass: Vec<f64> = (0..before.points().len()).map(|at| before.weight(at / d)).collect();
        let (mut memory, mut state, mut best, mut speed) = (None, before.clone(), None, None);
        for _ in 0..ROUNDS {
            if !watch.tell(Progress::default()) {
                return Err(FlowError::Stopped { steps: k });
            }
            let velocity = self.score.at(&state)?.velocity;
            let left: Vec<f64> =
                (0..mass.len()).map(|at| before.points()[at] + self.tau * velocity[at] - state.points()[at]).collect();
            let residual = mean_square(&before, &left).sqrt() / self.tau;
            if best.as_ref().is_none_or(|(least, _)| residual < *least) {
                best = Some((residual, state.clone()));
            }
            let speed = *speed.get_or_insert(residual); // at first x′ = x, so what is left is the velocity
            if residual <= close * speed {
                break;
            }
            let residual: Vec<f64> = left.iter().map(|left| self.share * left).collect();
            let (point, kept) =
                self.device.run(Accelerate { memory, mass: &mass, residual: &residual, point: state.points() })?;
            memory = Some(kept);
            check_reach(&point, &before.mean(), self.reach, k)?;
            state = before.with_points(point)?;
        }
        let (value, state) = best.unwrap_or((0.0, state));
        self.state = state;
        let moved: Vec<f64> = self.state.points().iter().zip(before.points()).map(|(x, y)| x - y).collect();
        let w2_squared = mean_square(&before, &moved);
        let floor = match self.floor {
            Some(floor) => floor,
            None => {
                let found = floor(&self.state, &self.law, self.seed, |draws| Ok(self.score.at(draws)?.velocity))?;
                *self.floor.insert(found)
            }
        };
        // With a kernel density in place of the law F is not convex.
        let convex = matches!(self.score, Score::Moments(_));
        Ok(Charge {
            w2_squared: Some(w2_squared),
            charged: Some(w2_squared / (2.0 * self.tau)),
            tau: Some(self.tau),
            decay: convexity(Some(&self.law)).filter(|_| convex).map(|lambda| (1.0 + lambda * self.tau).powi(-2)),
            residual: JkoResidual::Estimated { value, floor },
            ..Charge::default()
        })
    }

    fn state(&self) -> &Cloud {
        &self.state
    }

    fn keep(&self, part: &mut Part<'_>) {
        part.keep_array("points", self.state.points().to_vec());
    }

    fn resume(&mut self, part: &Part<'_>) -> Result<(), FlowError> {
        if let Some(points) = part.array("points") {
            self.state = self.state.with_points(points.to_vec())?;
        }
        Ok(())
    }
}

/// One step of Anderson's from `point`, whose residual is given, with what was remembered of those before.
struct Accelerate<'a> {
    memory: Option<[Vec<f64>; 4]>,
    mass: &'a [f64],
    residual: &'a [f64],
    point: &'a [f64],
}

impl Task for Accelerate<'_> {
    type Output = Result<(Vec<f64>, [Vec<f64>; 4]), BackendError>;

    fn run<B: Backend>(self, backend: &B) -> Self::Output {
        let mut memory = match &self.memory {
            Some(kept) => Anderson::upload(backend, kept)?,
            None => Anderson::new(backend, self.point.len())?,
        };
        let (mass, residual, mut point) =
            (backend.upload(self.mass)?, backend.upload(self.residual)?, backend.upload(self.point)?);
        backend.accelerate(&mut memory, &mass, &residual, &mut point)?;
        Ok((backend.download(&point)?, memory.download(backend)?))
    }
}
