//! Why a transport problem has no answer as asked.

use thiserror::Error;

use crate::backend::BackendError;
use crate::measure::CloudError;

/// Why a transport problem has no answer as asked.
#[derive(Clone, Debug, Error, PartialEq)]
#[non_exhaustive]
pub enum TransportError {
    /// Source and target live in different spaces.
    #[error("the source has dimension {source_dim} and the target {target_dim}; both must live in the same space")]
    Dimensions {
        /// Dimension of the source.
        source_dim: usize,
        /// Dimension of the target.
        target_dim: usize,
    },
    /// An assignment pairs points one to one.
    #[error("an assignment needs as many target points as source points, not {n} and {m}; take subsamples of equal size")]
    UnequalSizes {
        /// Points of the source.
        n: usize,
        /// Points of the target.
        m: usize,
    },
    /// More points than the exact algorithm should be given.
    #[error("exact transport takes at most {limit} points a side, not {n}; take a subsample, or solve with a small eps")]
    TooMany {
        /// Points of the larger cloud.
        n: usize,
        /// The largest number accepted.
        limit: usize,
    },
    /// An assignment moves equal masses.
    #[error("an assignment moves equal masses, and a cloud here has weights; draw a subsample according to them")]
    Weighted,
    /// Points so far apart that their squared distance is not a number.
    #[error("the squared distance between two points overflows; rescale the clouds")]
    Overflow,
    /// Too many intermediate points, or none.
    #[error("a plan of rank {rank} needs a rank from 1 to {most}, the points of the smaller cloud and at most 5,000")]
    Rank {
        /// The rank asked for.
        rank: usize,
        /// The largest for these clouds.
        most: usize,
    },
    /// A mean over no directions.
    #[error("a sliced distance is a mean over directions; give it one or more")]
    NoDirections,
    /// The quantile coupling exists on the line only.
    #[error("the quantile coupling needs points on a line, not in dimension {dim}")]
    NotALine {
        /// Dimension found.
        dim: usize,
    },
    /// Mean and covariance of different dimensions, or none.
    #[error(
        "a mean of length {mean} needs a covariance of {mean} x {mean} numbers, not {covariance}, and at least one coordinate"
    )]
    Shape {
        /// Length of the mean.
        mean: usize,
        /// Numbers in the covariance.
        covariance: usize,
    },
    /// A mean that is not finite, or a covariance that is not symmetric positive definite.
    #[error("the mean is not finite or the covariance is not symmetric positive definite (smallest eigenvalue {smallest:e})")]
    NotGaussian {
        /// Smallest eigenvalue of the covariance; NaN when a number is not finite or the matrix not symmetric.
        smallest: f64,
    },
    /// An ε that regularises nothing.
    #[error("eps = {eps}; the entropic problem needs a finite eps above zero, in units of |x-y|^2/2")]
    Eps {
        /// The ε given.
        eps: f64,
    },
    /// The power of no norm.
    #[error("p = {p}; the norm of a cost lp:P needs a finite P of 1 or more")]
    Power {
        /// The p given.
        p: f64,
    },
    /// A cost function that is not a number somewhere.
    #[error("the cost between source point {i} and target point {j} is {value}; a cost function must be finite for every pair")]
    Cost {
        /// Number of the source point, from 0.
        i: usize,
        /// Number of the target point, from 0.
        j: usize,
        /// The cost found.
        value: f64,
    },
    /// A divergence whose self-terms would be unlike.
    #[error("a divergence compares problems alike on both sides; give both marginals the same rho, or none")]
    OneSided,
    /// What only ½|x−y|² has.
    #[error("{what} are of the cost |x-y|²/2; this problem has another")]
    QuadraticOnly {
        /// What was asked for, in the plural.
        what: &'static str,
    },
    /// A ρ that draws a marginal nowhere.
    #[error(
        "rho = {rho}; a free marginal needs a finite rho above zero, in units of |x-y|^2/2, or none at all to be held exactly"
    )]
    Rho {
        /// The ρ given.
        rho: f64,
    },
    /// Points in half precision where exponents are not made of products.
    #[error(
        "points are stored in half precision for the costs |x-y|²/2 and cosine without class costs; store those of others in full"
    )]
    Storage,
    /// Potentials that are not those of the cloud.
    #[error(
        "a map needs a finite potential for each of the {m} target points, and {found} were given; use those of this problem"
    )]
    Potential {
        /// Points of the target.
        m: usize,
        /// Finite potentials given.
        found: usize,
    },
    /// A direction that is not one number a coordinate of the source.
    #[error("a direction for these source points has {expected} numbers, not {found}")]
    Direction {
        /// Numbers given.
        found: usize,
        /// Numbers needed.
        expected: usize,
    },
    /// Second derivatives are those of balanced problems.
    #[error("Hessian-vector products are of balanced problems; this one has a free marginal")]
    Balanced,
    /// A sharpness that no plan has.
    #[error(
        "no eps was found at which the plan has a renormalised entropy of {asked}: near eps = {eps:.2e} it is {found:.3}; give --eps"
    )]
    Entropy {
        /// The renormalised entropy asked for.
        asked: f64,
        /// That of the last plan tried.
        found: f64,
        /// About the ε of that plan.
        eps: f64,
    },
    /// Plans that do not follow one another.
    #[error(
        "plan {at} of a chain ends at {ends} points and the next begins at {begins}; give the plans in the order of the snapshots"
    )]
    Chain {
        /// Number of the plan, from 1; 0 where there is none.
        at: usize,
        /// Points it ends at.
        ends: usize,
        /// Points the next begins at.
        begins: usize,
    },
    /// Classes for another number of points.
    #[error("{labels} classes for {points} points of the {end}; give each point its class")]
    ClassCount {
        /// Which end.
        end: &'static str,
        /// Classes given.
        labels: usize,
        /// Points there are.
        points: usize,
    },
    /// A class that one end alone has.
    #[error("class {class} of the {has} has no point in the {lacks}; give it points there, or leave its points out")]
    LackingClass {
        /// The class.
        class: u32,
        /// The end that has it.
        has: &'static str,
        /// The end that does not.
        lacks: &'static str,
    },
    /// Labels that do not fit the clouds or the table.
    #[error(
        "class costs need {n} source labels below {rows} and {m} target labels below {columns}, the finite table's rows and columns"
    )]
    Labels {
        /// Points of the source.
        n: usize,
        /// Points of the target.
        m: usize,
        /// Rows of the table.
        rows: usize,
        /// Columns of the table.
        columns: usize,
    },
    /// Points without a class under a plan that has class costs.
    #[error("the plan has class costs, and points other than those of its source have no class; ask about the source itself")]
    Unlabelled,
    /// ε that the precision cannot hold.
    #[error(
        "eps = {eps:e} is too small for these points in {precision}\n  their largest {what} is {size}, so \
         exponents carry rounding errors of about {size}·{rounding:.0e}/eps; an eps of {smallest:.1e} or more keeps the plan \
         within 10 %",
        size = short(*.reach)
    )]
    EpsTooSmall {
        /// The ε asked for.
        eps: f64,
        /// `f32` or `f64`.
        precision: &'static str,
        /// What exponents are made of.
        what: &'static str,
        /// The largest of it: |x − mean|² over both clouds, or a cost.
        reach: f64,
        /// Relative rounding error of the precision.
        rounding: f64,
        /// The smallest ε that keeps the plan within 10 %.
        smallest: f64,
    },
    /// ε beside which the precision cannot tell costs from one another.
    #[error(
        "eps = {eps:e} is so large that its rounding in {precision} hides the costs of these points, about {cost:.1e}; an eps of \
         {largest:.1e} or less keeps three digits of them"
    )]
    EpsTooLarge {
        /// The ε asked for.
        eps: f64,
        /// `f32` or `f64`.
        precision: &'static str,
        /// What costs are about.
        cost: f64,
        /// The largest ε that keeps three digits of them.
        largest: f64,
    },
    /// ρ beside which f64 cannot tell costs from one another.
    #[error(
        "rho = {rho:e} is so small that rounding hides potentials of its size next to the costs of these points, about {cost:.1e}\n  \
         use a rho of {smallest:.1e} or more, a reach of {:.1e} where the cost is |x-y|^2/2", smallest.sqrt()
    )]
    RhoTooSmall {
        /// The ρ asked for.
        rho: f64,
        /// What costs are about.
        cost: f64,
        /// The smallest ρ that keeps a digit of the potentials.
        smallest: f64,
    },
    /// A warm start of another size.
    #[error("the warm start has potentials of lengths {f} and {g} for clouds of {n} and {m} points")]
    WarmStart {
        /// Length of f.
        f: usize,
        /// Length of g.
        g: usize,
        /// Points of the source.
        n: usize,
        /// Points of the target.
        m: usize,
    },
    /// Values, draws or partners in another number than the points ask for.
    #[error("{len} {what} for {rows} points of {p} each; give {p} a point, and at least one")]
    Values {
        /// What was counted.
        what: &'static str,
        /// How many were given.
        len: usize,
        /// Points they belong to.
        rows: usize,
        /// How many a point has.
        p: usize,
    },
    /// A source of a semidiscrete coupling that is itself points.
    #[error(
        "a semidiscrete coupling draws fresh points of its source, which is {n} points; give it a law, or couple the points by a plan"
    )]
    Atoms {
        /// Points of the source.
        n: usize,
    },
    /// Points that do not differ.
    #[error(
        "all points of the target that have mass lie at one place, and every pair is the same; give it points at two places or more"
    )]
    OnePlace,
    /// More components than there are dimensions, or none.
    #[error("{k} principal components of points in dimension {d}; ask for 1 to {d}")]
    Components {
        /// Components asked for.
        k: usize,
        /// Dimension of the points.
        d: usize,
    },
    /// Masses that make no measure.
    #[error(transparent)]
    Cloud(#[from] CloudError),
    /// The observer stopped the solver.
    #[error("stopped after {iterations} iteration{}", if *.iterations == 1 { "" } else { "s" })]
    Stopped {
        /// Iterations made.
        iterations: usize,
    },
    /// The device could not do it.
    #[error(transparent)]
    Backend(#[from] BackendError),
}

/// Three decimals, or a power of ten where they would say too little or the digits before them too much.
fn short(x: f64) -> String {
    if (0.1..1e6).contains(&x) { format!("{x:.3}") } else { format!("{x:.3e}") }
}
