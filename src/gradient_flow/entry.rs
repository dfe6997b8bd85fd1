//! The table of schemes: what each is called, what it needs, which options it takes, and what of its certificate is exact.

use crate::backend::{Cost, Device};
use crate::field::Field;
use crate::gradient_flow::{Blob, Chain, FlowError, Implicit, Langevin, Scheme, SemiUnbalancedJko, SinkhornFlow};
use crate::measure::{Cloud, Measure, Mixture};
use crate::names::nearest;
use crate::path::{Grid, Schedule, Spacing};
use crate::sampler::loops::energy::IN_THE_PLANE;
use crate::sampler::{AnnealedLangevin, Ddim, Ddpm, EnergyMatching, ExplicitScore, Method, Variance, prior_error};
use crate::transport::{Gaussian, GroundCost};

/// A scheme by its name: one row of [`SCHEMES`].
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// Its name on the command line and in records.
    pub name: &'static str,
    /// One line for `--help`.
    pub about: &'static str,
    /// The ends that it runs between.
    pub needs: Needs,
    /// The options that it takes.
    pub options: &'static [Choice],
    /// Where its ε comes from unless it is given, in words; none without ε.
    pub eps_origin: Option<&'static str>,
    /// Whether its particles keep the weights that they start under.
    pub keeps_weights: bool,
    /// What of its certificate is exact, and what is approximate.
    pub certificate: Certificate,
    make: fn(&Setting<'_>, Cloud) -> Result<Made, FlowError>,
}

/// What of a certificate is exact, and what is approximate: a sentence each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Certificate {
    /// What is exact.
    pub exact: &'static str,
    /// What is approximate.
    pub approximate: &'static str,
}

/// The ends that a scheme runs between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// Any source, any target.
    Any,
    /// A target that is a law.
    Law,
    /// A source that is N(0, I), from which noise is taken away.
    NormalSource,
    /// A target that is N(0, I), to which noise is added.
    NormalTarget,
}

/// An option that some schemes take and others do not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// The length of a step.
    Tau,
    /// The regularisation.
    Eps,
    /// The noise that joins the modes at first.
    Anneal,
    /// The schedule that the levels lie on.
    Schedule,
}

impl Choice {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Tau, Self::Eps, Self::Anneal, Self::Schedule];

    /// What it is called.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tau => "tau",
            Self::Eps => "eps",
            Self::Anneal => "anneal",
            Self::Schedule => "schedule",
        }
    }

    /// The names of the schemes that take it, in words.
    pub fn schemes(self) -> String {
        let names: Vec<&str> = SCHEMES.iter().filter(|entry| entry.options.contains(&self)).map(|entry| entry.name).collect();
        match names.split_last() {
            Some((last, [_, ..])) => format!("{} and {last}", names[..names.len() - 1].join(", ")),
            _ => names.concat(),
        }
    }
}

/// The options of all schemes; what is not given is the scheme's own choice.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Options {
    /// τ.
    pub tau: Option<f64>,
    /// ε.
    pub eps: Option<f64>,
    /// The noise with which the law is joined at first, falling to none over the first half of the steps.
    pub anneal: Option<f64>,
    /// The schedule on which the levels lie, trailing, instead of equal steps of the flow's own time.
    pub schedule: Option<Schedule>,
}

/// What a scheme is made for.
#[derive(Clone, Copy, Debug)]
pub struct Setting<'a> {
    /// Where the particles come from.
    pub source: &'a Measure,
    /// Where they go.
    pub target: &'a Measure,
    /// Points of the target: of a finite one those that are not held out, of a law draws.
    pub train: &'a Cloud,
    /// The options.
    pub options: &'a Options,
    /// Steps.
    pub steps: usize,
    /// Seed.
    pub seed: u32,
    /// Device.
    pub device: &'a Device,
}

/// A scheme ready to run, and what it was made with.
pub struct Made {
    /// The scheme.
    pub scheme: Box<dyn Scheme>,
    /// τ; none where steps differ.
    pub tau: Option<f64>,
    /// ε; none without.
    pub eps: Option<f64>,
    /// The stationary variance of the scheme over that of a Gaussian target, minus one; for a mixture that of its narrowest direction.
    pub predicted_bias: Option<f64>,
    /// Whether it begins where the particles of the data are not yet those of the prior.
    pub short_of_noise: bool,
}

impl Entry {
    /// The scheme from `start`.
    ///
    /// # Errors
    /// [`FlowError`] for ends that it does not run between, an option that it does not take, or one out of its domain.
    pub fn make(&'static self, setting: &Setting<'_>, start: Cloud) -> Result<Made, FlowError> {
        if let Some(tau) = setting.options.tau {
            FlowError::check_tau(tau)?;
        }
        self.check(setting)?;
        (self.make)(setting, start)
    }

    fn check(&self, setting: &Setting<'_>) -> Result<(), FlowError> {
        let Options { tau, eps, anneal, schedule } = setting.options;
        let given = [tau.is_some(), eps.is_some(), anneal.is_some(), schedule.is_some()];
        let refused = Choice::ALL.iter().zip(given).find(|(choice, given)| *given && !self.options.contains(choice));
        if let Some((choice, _)) = refused {
            return Err(FlowError::NotTaken { scheme: self.name, option: choice.name(), schemes: choice.schemes() });
        }
        if tau.is_some() && schedule.is_some() {
            return Err(FlowError::TauOfSchedule);
        }
        match self.needs {
            Needs::Law if !matches!(setting.target, Measure::Law(_)) => Err(FlowError::NeedsLaw),
            Needs::NormalTarget if !is_normal(setting.target) => Err(FlowError::NeedsNormalTarget),
            Needs::NormalSource if !is_normal(setting.source) => Err(FlowError::NeedsNormalSource { scheme: self.name }),
            _ => Ok(()),
        }
    }
}

/// The names of all schemes.
pub fn names() -> impl Iterator<Item = &'static str> {
    SCHEMES.iter().map(|entry| entry.name)
}

/// The scheme called `name`, a row of [`SCHEMES`].
///
/// # Errors
/// [`FlowError::UnknownScheme`] with the nearest known name.
pub fn named(name: &str) -> Result<&'static Entry, FlowError> {
    let unknown = || FlowError::UnknownScheme { name: name.to_owned(), nearest: nearest(name, names()) };
    SCHEMES.iter().find(|entry| entry.name == name).ok_or_else(unknown)
}

/// The scheme for a `target` when none is named: Langevin for a law, else the Sinkhorn flow.
pub fn usual(target: &Measure) -> &'static Entry {
    let name = if matches!(target, Measure::Law(_)) { "langevin" } else { "sinkhorn-flow" };
    SCHEMES.iter().find(|entry| entry.name == name).unwrap_or(&SCHEMES[0])
}

const TAU: &[Choice] = &[Choice::Tau];
const LEVELS: &[Choice] = &[Choice::Tau, Choice::Schedule];
const SILVERMAN: &str = "Silverman's rule in the narrowest direction of the target";
/// What holds for the certificate of samplers that take noise away.
const BACKWARD: Certificate = Certificate {
    exact: "the density and score of the law p_t at each level, and with them the residual of a step from p_t; the noise that a step puts \
            back enters as its probability flow",
    approximate: "the particles follow p_t only up to the error of starting from N(0, I) and the errors of earlier steps; means are over at \
                  most 4,096 particles; W2² is bounded by the cost of the step's own map and by tau² times the dissipation",
};
const NOISY: &str = "V and its gradient at the step's level; F and the residual where source and target are Gaussian laws; elsewhere the noise \
                     of the step is a kernel of known width, which bounds F from both sides";

/// All schemes.
pub const SCHEMES: &[Entry] = &[
    Entry {
        name: "sinkhorn-flow",
        about: "flow of the Sinkhorn divergence, debiased",
        needs: Needs::Any,
        options: &[Choice::Tau, Choice::Eps],
        eps_origin: Some("0.05 x the mean cost within the target"),
        keeps_weights: true,
        certificate: Certificate {
            exact: "F = S_eps of the particles, its gradient and the W2² of the explicit step, to the tolerance of the solver",
            approximate: "S_eps stands for half W2², with an error of O(eps²); tau is a dimensionless fraction of the way, so no \
                          decay rate applies",
        },
        make: sinkhorn_flow,
    },
    Entry {
        name: "semi-unbalanced",
        about: "entropic JKO step of KL on the target's points",
        needs: Needs::Any,
        options: &[Choice::Tau, Choice::Eps],
        eps_origin: Some("a tenth of tau"),
        keeps_weights: true,
        certificate: Certificate {
            exact: "F = KL(rho|m) of the weights, and the energy inequality in the metric of the entropic step",
            approximate: "W2² of the step, read off J_eps; weights change while the points stay, so there is no residual",
        },
        make: semi_unbalanced,
    },
    Entry {
        name: "langevin",
        about: "unadjusted Langevin, towards a law",
        needs: Needs::Law,
        options: &[Choice::Tau, Choice::Anneal],
        eps_origin: None,
        keeps_weights: false,
        certificate: Certificate {
            exact: NOISY,
            approximate: "elsewhere density and score are estimated from at most 4,096 particles (jko_residual_floor, standard errors); the step \
                          is explicit in V, so it settles slightly off the target and F stays above F_0 e^(-2 lambda t)",
        },
        make: langevin,
    },
    Entry {
        name: "blob",
        about: "kernel particles, towards a law in at most 5 dimensions",
        needs: Needs::Law,
        options: &[Choice::Tau, Choice::Eps, Choice::Anneal],
        eps_origin: Some(SILVERMAN),
        keeps_weights: true,
        certificate: Certificate {
            exact: "F of the particles with the entropy of their kernel density, its gradient, W2² of the step and the energy inequality",
            approximate: "the kernel density's entropy stands for that of the law; jko_residual_floor is what the estimate gives on draws \
                          of the target, where the exact residual is zero",
        },
        make: blob,
    },
    Entry {
        name: "implicit",
        about: "the JKO step itself on particles: a fixed point with the score at the new point",
        needs: Needs::Law,
        options: &[Choice::Tau, Choice::Eps],
        eps_origin: Some(SILVERMAN),
        keeps_weights: true,
        certificate: Certificate {
            exact: "between Gaussian laws and without eps everything, for the Gaussian with the particles' moments; elsewhere that the \
                    step minimises F + W2²/2tau with the entropy of the kernel density",
            approximate: "elsewhere the kernel density's entropy stands for that of the law; jko_residual_floor is what the estimate gives \
                          on draws of the target, where the exact residual is zero",
        },
        make: implicit,
    },
    Entry {
        name: "forward",
        about: "noise added to the source until it is N(0, I)",
        needs: Needs::NormalTarget,
        options: TAU,
        eps_origin: None,
        keeps_weights: false,
        certificate: Certificate {
            exact: "law, density and score at every step, of a mixture or of the source's points; lambda = 1; noise enters as its \
                    probability flow",
            approximate: "means are over at most 4,096 particles; W2² is bounded by the cost of the step's own map and by tau² times the \
                          dissipation",
        },
        make: forward,
    },
    Entry {
        name: "explicit-score",
        about: "x + tau (grad V + grad log p_t): undoes the JKO steps of forward noising",
        needs: Needs::NormalSource,
        options: LEVELS,
        eps_origin: None,
        keeps_weights: false,
        certificate: BACKWARD,
        make: |setting, start| backward(setting, start, &ExplicitScore),
    },
    Entry {
        name: "ddim",
        about: "DDIM without noise",
        needs: Needs::NormalSource,
        options: LEVELS,
        eps_origin: None,
        keeps_weights: false,
        certificate: BACKWARD,
        make: |setting, start| backward(setting, start, &Ddim { eta: 0.0 }),
    },
    Entry {
        name: "ddpm",
        about: "DDPM with the posterior's variance",
        needs: Needs::NormalSource,
        options: LEVELS,
        eps_origin: None,
        keeps_weights: false,
        certificate: BACKWARD,
        make: |setting, start| backward(setting, start, &Ddpm { variance: Variance::Posterior }),
    },
    Entry {
        name: "ncsn",
        about: "annealed Langevin of NCSN, a step at each of falling noise levels",
        needs: Needs::Any,
        options: &[],
        eps_origin: None,
        keeps_weights: false,
        certificate: Certificate {
            exact: NOISY,
            approximate: "F = KL(.|p_sigma) changes with the level, so it is compared within a step only; density and score of the particles \
                          are estimated (jko_residual_floor, standard errors)",
        },
        make: ncsn,
    },
    Entry {
        name: "energy-matching",
        about: "Energy Matching on V = -log p: descent, then noise from t = 0.8 to 0.15 at t = 1",
        needs: Needs::Law,
        options: TAU,
        eps_origin: None,
        keeps_weights: false,
        certificate: Certificate {
            exact: "everything before t = 0.8, where F = int V has no entropy; later V and its gradient",
            approximate: "from t = 0.8 on F includes the entropy times a rising temperature, estimated from the particles where a step's \
                          noise is wide enough",
        },
        make: energy_matching,
    },
];

fn is_normal(measure: &Measure) -> bool {
    matches!(measure, Measure::Law(law) if law.is_standard_normal())
}

/// Mean c within the points of the target.
fn within(setting: &Setting<'_>) -> f64 {
    GroundCost::Known(Cost::HalfSquaredEuclidean).scale(setting.train, setting.train, setting.seed).value
}

fn law<'a>(setting: &Setting<'a>) -> Result<&'a Mixture, FlowError> {
    if let Measure::Law(law) = setting.target { Ok(law) } else { Err(FlowError::NeedsLaw) }
}

/// The field of the target: its own, or that of its points.
fn field(setting: &Setting<'_>) -> Field {
    if let Measure::Law(law) = setting.target { Field::Mixture(law.clone()) } else { Field::DataSet(setting.train.clone()) }
}

fn made(scheme: impl Scheme + 'static, tau: f64) -> Made {
    Made { scheme: Box::new(scheme), tau: Some(tau), eps: None, predicted_bias: None, short_of_noise: false }
}

fn sinkhorn_flow(setting: &Setting<'_>, start: Cloud) -> Result<Made, FlowError> {
    let tau = setting.options.tau.unwrap_or(0.5);
    let eps = setting.options.eps.unwrap_or_else(|| 0.05 * within(setting));
    let flow = SinkhornFlow::new(start, setting.train, tau, eps, setting.device)?;
    Ok(Made { eps: Some(eps), ..made(flow, tau) })
}

fn semi_unbalanced(setting: &Setting<'_>, start: Cloud) -> Result<Made, FlowError> {
    let tau = setting.options.tau.unwrap_or_else(|| 0.5 * within(setting));
    let eps = setting.options.eps.unwrap_or(0.1 * tau);
    let scheme = SemiUnbalancedJko::new(start, setting.train, tau, eps, setting.device)?;
    Ok(Made { eps: Some(eps), predicted_bias: Some(SemiUnbalancedJko::predicted_bias(tau, eps)), ..made(scheme, tau) })
}

/// A tenth of the law's least variance: a bias of 5 % of Langevin.
fn tau_of_law(setting: &Setting<'_>) -> Result<(f64, f64), FlowError> {
    let least = law(setting)?.least_variance();
    Ok((setting.options.tau.unwrap_or(0.1 * least), least))
}

fn langevin(setting: &Setting<'_>, start: Cloud) -> Result<Made, FlowError> {
    let (tau, least) = tau_of_law(setting)?;
    let mut langevin = Langevin::new(start, law(setting)?.clone(), tau, setting.seed, setting.device)?;
    if let Measure::Law(law) = setting.source {
        langevin = langevin.from_law(law.clone());
    }
    if let Some(sigma) = setting.options.anneal {
        langevin = langevin.annealed(sigma, setting.steps / 2)?;
    }
    Ok(Made { predicted_bias: Langevin::predicted_bias(tau, least), ..made(langevin, tau) })
}

/// ε given, or Silverman's rule on the narrowest direction for as many particles as `start` has.
fn eps_of_kernel(setting: &Setting<'_>, start: &Cloud, least: f64) -> f64 {
    let width = least.sqrt() * (start.len() as f64).powf(-1.0 / (start.dim() as f64 + 4.0));
    setting.options.eps.unwrap_or(width * width)
}

fn blob(setting: &Setting<'_>, start: Cloud) -> Result<Made, FlowError> {
    let (tau, least) = tau_of_law(setting)?;
    let eps = eps_of_kernel(setting, &start, least);
    let mut blob = Blob::new(start, law(setting)?.clone(), tau, eps, setting.device)?.with_seed(setting.seed);
    if let Some(sigma) = setting.options.anneal {
        blob = blob.annealed(sigma, setting.steps / 2)?;
    }
    Ok(Made { eps: Some(eps), predicted_bias: Some(Blob::predicted_bias(eps, least)), ..made(blob, tau) })
}

fn implicit(setting: &Setting<'_>, start: Cloud) -> Result<Made, FlowError> {
    let ((tau, least), target) = (tau_of_law(setting)?, law(setting)?);
    // A width that is given asks for the kernel.
    let of_source = match setting.source {
        Measure::Law(law) if setting.options.eps.is_none() => Gaussian::of_mixture(law),
        _ => None,
    };
    if let Some((_, gaussian)) = of_source.zip(Gaussian::of_mixture(target)) {
        return Ok(made(Implicit::gaussian(start, gaussian, tau, setting.seed, setting.device)?, tau));
    }
    let eps = eps_of_kernel(setting, &start, least);
    let implicit = Implicit::new(start, target.clone(), (tau, eps), setting.seed, setting.device)?;
    Ok(Made { eps: Some(eps), predicted_bias: Some(Blob::predicted_bias(eps, least)), ..made(implicit, tau) })
}

/// The time of the Ornstein–Uhlenbeck flow that a chain covers unless τ is given: e^{−5} of the data is left of them then.
const TIME: f64 = 5.0;
/// The error of the prior, in units of σ, above which the samples are said to keep it, as `sample` does.
const SHORT_OF_NOISE: f64 = 0.1;

fn forward(setting: &Setting<'_>, start: Cloud) -> Result<Made, FlowError> {
    let tau = setting.options.tau.unwrap_or(TIME / setting.steps as f64);
    let data = if let Measure::Law(law) = setting.source { Field::Mixture(law.clone()) } else { Field::DataSet(start.clone()) };
    Ok(made(Chain::forward(start, data, (tau, setting.steps), setting.seed, setting.device)?, tau))
}

fn backward(setting: &Setting<'_>, start: Cloud, method: &dyn Method) -> Result<Made, FlowError> {
    let Setting { options, steps, seed, device, .. } = *setting;
    let tau = options.tau.unwrap_or(TIME / steps as f64);
    let grid = match &options.schedule {
        Some(schedule) => Grid::spaced(schedule, steps, Spacing::Trailing)?,
        None => Grid::ornstein_uhlenbeck(tau * steps as f64, steps)?,
    };
    let sigma = grid.start().sigma; // the prior N(0, σ²I) of the first level
    let start = start.with_points(start.points().iter().map(|x| sigma * x).collect())?;
    let data = field(setting);
    let short_of_noise = prior_error(&data, grid.start()) > SHORT_OF_NOISE;
    let chain = Chain::backward(start, data, (method, &grid), seed, device)?;
    Ok(Made { tau: options.schedule.is_none().then_some(tau), short_of_noise, ..made(chain, tau) })
}

fn ncsn(setting: &Setting<'_>, start: Cloud) -> Result<Made, FlowError> {
    // At least the largest distance between two points of the target (Song, Ermon 2020, technique 1).
    let (method, grid) = AnnealedLangevin::of_length(setting.steps, 2.0 * setting.train.radius())?;
    let ncsn = Langevin::ladder(start, field(setting), (&method, &grid), setting.seed, setting.device)?;
    Ok(Made { tau: None, ..made(ncsn, 0.0) })
}

fn energy_matching(setting: &Setting<'_>, start: Cloud) -> Result<Made, FlowError> {
    let tau = setting.options.tau.unwrap_or(IN_THE_PLANE.step);
    let method = EnergyMatching { step: tau, ..IN_THE_PLANE };
    let mut scheme = Langevin::warming(start, law(setting)?.clone().into(), method, setting.seed, setting.device)?;
    if let Measure::Law(law) = setting.source {
        scheme = scheme.from_law(law.clone());
    }
    Ok(made(scheme, tau))
}
