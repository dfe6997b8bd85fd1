//! Plain records of whole runs: what `run.json` holds and what the report draws.

use serde::{Deserialize, Serialize};

use crate::experiment::by_class::ClassRecord;
use crate::measure::Cloud;
pub use crate::metric::{Flag, NoiseFloor};
use crate::vector::mean;

/// The two families of the paper.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// Gradient flow of KL(ρ‖π): the initial-value problem.
    Diffusion,
    /// Velocity fields between fixed ends: the boundary-value problem.
    Flow,
}

impl Family {
    /// Its name in records and figures.
    pub fn name(self) -> &'static str {
        match self {
            Self::Diffusion => "diffusion",
            Self::Flow => "flow",
        }
    }
}

/// One method at one number of steps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Family of the method.
    pub family: Family,
    /// Name of the method.
    pub method: String,
    /// Name in pictures and files: the method, with ε where it has rows at several.
    #[serde(skip)]
    pub label: String,
    /// ε of the coupling over the mean of c; none where there is no coupling.
    pub eps_relative: Option<f64>,
    /// Steps made.
    pub steps: usize,
    /// Evaluations of the field a particle.
    pub nfe: usize,
    /// Seconds of the sampler alone.
    pub seconds: f64,
    /// RMS distance of each particle to its own end point at 1,024 Heun steps of the same ODE; none for stochastic methods.
    pub solver_error: Option<f64>,
    /// 2 S_ε to the held-out half B, in units of |x−y|².
    pub divergence: Option<f64>,
    /// Exact W₂² to B on subsamples, in units of |x−y|².
    pub w2_squared_exact: Option<f64>,
    /// Total variance over that of B.
    pub variance_ratio: Option<f64>,
    /// Median distance of a sample to its nearest training point.
    pub nn_train: Option<f64>,
    /// Median distance of a held-out point to its nearest training point.
    pub nn_heldout: Option<f64>,
    /// ∫ E|v|² dt along the path; none for stochastic methods.
    pub action: Option<f64>,
    /// Σ of the RMS steps; none for stochastic methods.
    pub length: Option<f64>,
    /// What to keep in mind about the row.
    pub flags: Vec<Flag>,
}

/// What a method's grid takes for the solver error that the trailing grid has.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Reclocked {
    /// Name of the method.
    pub method: String,
    /// A solver error that the trailing grid reached.
    pub solver_error: f64,
    /// Evaluations it took there.
    pub nfe_trailing: usize,
    /// Evaluations that the rows' grid takes for the same, between its rows; none outside of their errors.
    pub nfe: Option<f64>,
}

/// A named grid and its solver error, as that of a [`Row`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NamedGrid {
    /// Name of its spacing.
    pub grid: String,
    /// Its times, from 0 (noise) to 1 (data).
    pub times: Vec<f64>,
    /// RMS distance of each particle to its own end point at 1,024 Heun steps.
    pub solver_error: f64,
}

/// The best times that were found for a method and a number of steps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Found {
    /// Name of the method.
    pub method: String,
    /// The times, from 0 (noise) to 1 (data).
    pub times: Vec<f64>,
    /// Their solver error on the comparison's particles, on which they were not fitted.
    pub solver_error: f64,
    /// The named grid of as many steps whose solver error is least.
    pub best_grid: NamedGrid,
    /// All named grids of as many steps.
    pub grids: Vec<NamedGrid>,
}

impl Found {
    /// The times found, or those of the best of `grids` if it does at least as well; none without a grid.
    pub fn judged(method: &str, times: Vec<f64>, solver_error: f64, grids: Vec<NamedGrid>) -> Option<Self> {
        let best_grid = grids.iter().min_by(|a, b| a.solver_error.total_cmp(&b.solver_error))?.clone();
        let (times, solver_error) = if solver_error < best_grid.solver_error {
            (times, solver_error)
        } else {
            (best_grid.times.clone(), best_grid.solver_error)
        };
        Some(Self { method: method.into(), times, solver_error, best_grid, grids })
    }

    /// Steps.
    pub fn steps(&self) -> usize {
        self.times.len() - 1
    }
}

/// The ledger of one deterministic path ([`experiment::ledger`](crate::experiment::ledger) has the equations):
/// action = W₂² + coupling gap + bend + clock, all in units of |x−y|² and of the same particles.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ledger {
    /// Name of the path: `diffusion` (linear VP), `diffusion-cosine`, `fm`, `ot`, `displacement`, or `model`.
    pub path: String,
    /// ∫ E|v|² dt over the time T that was run.
    pub action: f64,
    /// Exact W₂² between the start and the end points.
    pub w2_squared: f64,
    /// E|Z₁−Z₀|² − W₂² ≥ 0: what the pairing of start and end costs beyond the best one.
    pub coupling_gap: f64,
    /// length²/T − E|Z₁−Z₀|² ≥ 0: what the curve of laws costs for not being straight.
    pub bend: f64,
    /// action − length²/T ≥ 0: what the uneven speed costs; none of it is of the curve.
    pub clock: f64,
    /// length²/T with length = ∫ √E|v|² dt: the least action of this curve under any clock.
    pub length_squared: f64,
    /// bend + clock = ∫ E|Ż − (Z₁−Z₀)|² dt where T is 1.
    pub straightness: f64,
    /// E|ẋ_t|² of the conditional paths the field was averaged from, minus the least regression loss E|ẋ_t − v|²; an
    /// independent estimate of the action. None where the path is not such an average.
    pub action_from_regression: Option<f64>,
    /// action − (w2_squared + coupling_gap + straightness), or, where there is an independent estimate of the action, that
    /// estimate minus the sum.
    pub residual: f64,
    /// Standard error of `residual`.
    pub standard_error: f64,
    /// Whether |residual| ≤ 3 standard errors.
    pub closes: bool,
    /// Standard error of `bend`, by jackknife over the particles.
    pub bend_se: f64,
    /// Standard error of `clock`, by jackknife over the particles.
    pub clock_se: f64,
}

/// One point of the free-energy curve F(ρ_t) = KL(ρ_t ‖ N(0, I)) along the diffusion path.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct FreeEnergy {
    /// Time, 0 at noise and 1 at data.
    pub t: f64,
    /// Ornstein–Uhlenbeck time −log α.
    pub flow_time: f64,
    /// W₂ length of the path from the data to here, ∫√E|v|² dt.
    pub arc_length: f64,
    /// Monte-Carlo estimate of KL(ρ_t ‖ N(0, I)), in nats.
    pub free_energy: f64,
    /// Standard error of the estimate.
    pub standard_error: f64,
}

/// Everything `compare` prints as JSON.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CompareRecord {
    /// `compare`.
    pub command: String,
    /// Version of brenier.
    pub version: String,
    /// Name of the network that is the field; none where the fields are made from the target.
    pub model: Option<String>,
    /// Name of the target.
    pub target: String,
    /// Name of the source.
    pub source: String,
    /// Particles in each row.
    pub n: usize,
    /// Points in the held-out half B.
    pub m: usize,
    /// Dimension.
    pub d: usize,
    /// Seed.
    pub seed: u32,
    /// Device the arithmetic ran on.
    pub device: String,
    /// `f32` or `f64`.
    pub precision: String,
    /// Whether the target is a law known in closed form (its field is exact) rather than a data set.
    pub law: bool,
    /// ε of the metric, 0.05 × T of B, the mean c within it, in units of c.
    pub eps_metric: f64,
    /// ε of the ot rows, 0.002 × c₀, the mean c within the clouds, in units of c; none where there are no such rows.
    pub eps_transport: Option<f64>,
    /// Noise floor at (n, m).
    pub noise_floor: NoiseFloor,
    /// What the network's own flow scores at 1,024 Heun steps: no number of steps brings it further. None without a network.
    pub model_limit: Option<NoiseFloor>,
    /// One row a method and number of steps.
    pub rows: Vec<Row>,
    /// The classes, where particles were asked under those of the data.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub classes: Vec<ClassRecord>,
    /// Where the levels of the rows lie: a [`Spacing`](crate::path::Spacing)'s name.
    pub grid: String,
    /// On a grid other than `trailing`, evaluations at equal solver error there and here, for each deterministic method and
    /// number of steps above one.
    pub reclocking: Vec<Reclocked>,
    /// The best times of each method, where they were asked for.
    pub found: Vec<Found>,
    /// One ledger a deterministic path.
    pub ledger: Vec<Ledger>,
    /// Free energy along the diffusion path, from noise to data.
    pub free_energy: Vec<FreeEnergy>,
    /// Sentences a reader should see (families left out, fields that memorise by construction).
    pub notes: Vec<String>,
    /// What to keep in mind about the whole run.
    pub flags: Vec<Flag>,
    /// Seconds of the whole command.
    pub wall_seconds: f64,
}

impl CompareRecord {
    /// The divergence that counts as reached: 1.2 × the noise floor, or 1.2 × what a network can reach where that is more.
    pub fn reached(&self) -> f64 {
        let limit = self.model_limit.map_or(0.0, |limit| limit.divergence);
        1.2 * limit.max(self.noise_floor.divergence)
    }

    /// Evaluations on the rows' grid over those on the trailing grid at equal solver error, for each method that has any: the
    /// geometric mean over the errors that both reach.
    pub fn reclocked(&self) -> Vec<(&str, f64)> {
        let mut methods: Vec<&str> = self.reclocking.iter().map(|entry| entry.method.as_str()).collect();
        methods.dedup();
        let log_ratios = |method: &str| -> Vec<f64> {
            let own = self.reclocking.iter().filter(|entry| entry.method == method);
            own.filter_map(|entry| Some((entry.nfe? / entry.nfe_trailing as f64).ln())).collect()
        };
        let all = methods.into_iter().map(|method| (method, log_ratios(method)));
        all.filter(|(_, logs)| !logs.is_empty()).map(|(method, logs)| (method, mean(&logs).exp())).collect()
    }

    /// The row that tells of the classes: the first of those that are enough, or else the one of least divergence.
    pub fn telling(&self) -> Option<usize> {
        let enough = [Family::Diffusion, Family::Flow].into_iter().find_map(|family| self.enough(family));
        let is_enough = |row: &Row| enough.is_some_and(|enough| std::ptr::eq(row, enough));
        let divergence = |at: &usize| self.rows[*at].divergence.unwrap_or(f64::INFINITY);
        let least = (0..self.rows.len()).min_by(|a, b| divergence(a).total_cmp(&divergence(b)));
        self.rows.iter().position(is_enough).or(least)
    }

    /// The unflagged row of `family` that reaches it with fewest evaluations: the answer to "how many steps?".
    pub fn enough(&self, family: Family) -> Option<&Row> {
        let reaches = |row: &&Row| row.flags.is_empty() && row.divergence.is_some_and(|d| d <= self.reached());
        self.rows.iter().filter(|row| row.family == family).filter(reaches).min_by_key(|row| row.nfe)
    }
}

/// A few particles' paths, for the picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Trajectory {
    /// Family of the method.
    pub family: Family,
    /// Name of the method.
    pub method: String,
    /// States in order of time, each with the same particles in the same order.
    pub states: Vec<Cloud>,
}

/// A finished comparison: the record, and the clouds behind it.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// The numbers.
    pub record: CompareRecord,
    /// Samples of each row, in the order of `record.rows`.
    pub samples: Vec<Cloud>,
    /// Training half A.
    pub train: Cloud,
    /// Held-out half B.
    pub heldout: Cloud,
    /// Paths of a few particles, one entry a family.
    pub trajectories: Vec<Trajectory>,
}
