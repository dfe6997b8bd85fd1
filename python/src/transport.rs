//! Plans between two clouds: the problem as it is asked, its solvers, and what they find.

use std::borrow::Cow;
use std::sync::Arc;

use brenier::Error;
use brenier::backend::{Cost, Device};
use brenier::checkpoint::Checkpoint;
use brenier::geodesic::{Bridge, Displacement};
use brenier::measure::Cloud;
use brenier::transport::{
    AnyPlan, ClassLabels, ClassPairing, ClassPairs, ClassProblem, Convention, CostScale, Divergence, ExactPlan, GroundCost,
    LinePlan, LowRank, Potentials, Problem, Sinkhorn, Solved, TransportError,
};
use brenier::watch::{Progress, Watch};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;

use crate::array::{Array, given_back, indices};
use crate::error::{exception, in_keywords};
use crate::work::{self, Told};

/// Points up to which a problem is posed where it is asked for.
const SHORT: usize = 10_000;

/// The keywords of the entropic solver.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub struct Asked<'py> {
    eps: Option<f64>,
    blur: Option<f64>,
    entropy: Option<f64>,
    cost: Bound<'py, PyAny>,
    reach: Option<f64>,
    reach_source: Option<f64>,
    reach_target: Option<f64>,
    tau_source: Option<f64>,
    tau_target: Option<f64>,
    debias: bool,
    start: Option<(Bound<'py, PyAny>, Bound<'py, PyAny>)>,
    tol: f64,
    max_iter: usize,
    plain: bool,
    convention: String,
    precision: Option<String>,
    device: String,
    seed: u32,
    progress: Option<Bound<'py, PyAny>>,
    checkpoint: work::Kept,
}

/// x, y, and their weights a and b or None.
type Clouds<'py> = (Bound<'py, PyAny>, Bound<'py, PyAny>, Bound<'py, PyAny>, Bound<'py, PyAny>);

/// Two clouds and the cost between their points.
pub struct Ends {
    pub x: Cloud,
    pub y: Cloud,
    cost: GroundCost,
    /// Whether results are wanted in single precision: no input is in double.
    pub single: bool,
}

impl Ends {
    /// The ends of `x`, `y` and their weights; of a matrix of costs, whose points are its rows and columns.
    pub fn of((x, y, a, b): &Clouds<'_>, cost: &Bound<'_, PyAny>) -> PyResult<Self> {
        let weights = |given: &Bound<'_, PyAny>, name| if given.is_none() { Ok(None) } else { Array::of(given, name).map(Some) };
        let (a, b) = (weights(a, "a")?, weights(b, "b")?);
        if let Ok(name) = cost.extract::<Cow<'_, str>>() {
            if x.is_none() || y.is_none() {
                return Err(PyTypeError::new_err(
                    "x and y are points, n x d and m x d; only an array of costs does without them",
                ));
            }
            let cost: Cost = name.parse().map_err(|why| PyValueError::new_err(format!("cost: {why}")))?;
            let (x, y) = (Array::of(x, "x")?, Array::of(y, "y")?);
            let single = x.is_single() && y.is_single();
            return Ok(Self { x: x.cloud(a.as_ref())?, y: y.cloud(b.as_ref())?, cost: GroundCost::Known(cost), single });
        }
        let costs = Array::of(cost, "cost")?;
        let ([n, m], single) = (costs.matrix()?, costs.is_single());
        let rows = |count: usize, weights: Option<&Array>| {
            let cloud = Cloud::new((0..count).map(|i| i as f64).collect(), 1).map_err(exception)?;
            match weights {
                Some(weights) => cloud.with_weights(weights.to_vec()).map_err(exception),
                None => Ok(cloud),
            }
        };
        let costs = costs.to_vec();
        if let Some(at) = costs.iter().position(|cost| !cost.is_finite()) {
            let why = format!("cost: row {}, column {} is {}; every cost must be a finite number", at / m, at % m, costs[at]);
            return Err(PyValueError::new_err(why));
        }
        let cost = GroundCost::given(move |x, y| costs[x[0] as usize * m + y[0] as usize]);
        Ok(Self { x: rows(n, a.as_ref())?, y: rows(m, b.as_ref())?, cost, single })
    }

    /// The precision of the arithmetic: as asked, or that of the input.
    pub fn precision<'a>(&self, asked: Option<&'a str>) -> &'a str {
        asked.unwrap_or(if self.single { "f32" } else { "f64" })
    }

    fn is_half_squared(&self) -> bool {
        self.cost == GroundCost::Known(Cost::HalfSquaredEuclidean)
    }
}

/// What there is to be solved.
struct Posed {
    problem: Problem,
    entropy: Option<f64>,
    solver: Sinkhorn,
    start: Option<Potentials>,
    debias: bool,
    device: Device,
}

impl Asked<'_> {
    /// The convention, of which only the square of the distance knows several.
    fn convention(&self, ends: &Ends) -> PyResult<Convention> {
        let convention = match self.convention.as_str() {
            "brenier" => Convention::Brenier,
            "geomloss" => Convention::Geomloss,
            "ott" => Convention::Ott,
            "pot" => Convention::Pot,
            "flash" => Convention::Flash,
            other => {
                let why =
                    format!("there is no convention \"{other}\"; take \"brenier\", \"geomloss\", \"ott\", \"pot\" or \"flash\"");
                return Err(PyValueError::new_err(why));
            }
        };
        Ok(if ends.is_half_squared() { convention } else { Convention::Brenier })
    }

    /// The cost of moving as far as `length`.
    fn of_length(&self, length: f64, name: &str, ends: &Ends) -> PyResult<f64> {
        if !(length > 0.0 && length.is_finite()) {
            return Err(PyValueError::new_err(format!("{name} = {length}; give a finite length above zero")));
        }
        match &ends.cost {
            GroundCost::Known(Cost::HalfSquaredEuclidean) => Ok(self.convention(ends)?.of_length(length)),
            GroundCost::Known(Cost::Cosine) => {
                Err(PyValueError::new_err(format!("{name} is a length, which the cost cosine does not see; use eps")))
            }
            // A norm is a length, and so is a cost whose unit nobody knows.
            _ => Ok(length),
        }
    }

    fn posed(&self, py: Python<'_>, ends: &Ends) -> PyResult<Posed> {
        let convention = self.convention(ends)?;
        let given = [self.eps.is_some(), self.blur.is_some(), self.entropy.is_some()].into_iter().filter(|given| *given).count();
        if given > 1 {
            return Err(PyValueError::new_err("eps, blur and entropy say the same in three ways; give one of them"));
        }
        let eps = match (self.eps, self.blur) {
            (Some(eps), _) => convention.strength(eps),
            (None, Some(blur)) => self.of_length(blur, "blur", ends)?,
            (None, None) => {
                let seed = self.seed;
                CostScale::PLAN * work::aside(py, || ends.cost.scale(&ends.x, &ends.y, seed).value)?
            }
        };
        let rho = |reach: Option<f64>, tau: Option<f64>, name| match (reach.or(self.reach), tau) {
            (Some(reach), _) => self.of_length(reach, name, ends).map(Some),
            (None, Some(tau)) if tau > 0.0 && tau < 1.0 => Ok(Some(eps * tau / (1.0 - tau))),
            (None, Some(tau)) if tau != 1.0 => {
                Err(PyValueError::new_err(format!("tau = {tau}; it is rho/(rho + eps), above 0 and at most 1")))
            }
            (None, _) => Ok(None),
        };
        let rho = [rho(self.reach_source, self.tau_source, "reach")?, rho(self.reach_target, self.tau_target, "reach")?];
        if self.debias && rho[0] != rho[1] {
            return Err(PyValueError::new_err("a divergence compares problems alike on both sides; free both marginals alike"));
        }
        let pose = || Problem::new(&ends.x, &ends.y, eps).and_then(|problem| imposed(problem, &ends.cost, rho));
        // Known costs are one pass over the points, which is shorter than the way to another thread.
        let is_short = !matches!(ends.cost, GroundCost::Given(_)) && ends.x.len() + ends.y.len() < SHORT;
        let problem = if is_short { pose() } else { work::aside(py, pose)? };
        let problem = problem.map_err(exception)?;
        let start = match &self.start {
            Some((f, g)) => Some(Potentials { f: Array::of(f, "start")?.to_vec(), g: Array::of(g, "start")?.to_vec() }),
            None => None,
        };
        let solver = Sinkhorn { tol: self.tol, max_iter: self.max_iter, plain: self.plain };
        let device = work::device(&self.device, ends.precision(self.precision.as_deref()))?;
        Ok(Posed { problem, entropy: self.entropy, solver, start, debias: self.debias, device })
    }
}

/// The problem under another cost and with free marginals.
fn imposed(problem: Problem, cost: &GroundCost, [source, target]: [Option<f64>; 2]) -> Result<Problem, TransportError> {
    let problem = problem.with_rho(source, target)?;
    match cost {
        GroundCost::Known(Cost::HalfSquaredEuclidean) => Ok(problem),
        GroundCost::Known(cost) => problem.with_cost(*cost),
        GroundCost::Given(cost) | GroundCost::Reversed(cost) => {
            let cost = Arc::clone(cost);
            problem.with_cost_function(move |x, y| cost(x, y))
        }
    }
}

impl Posed {
    /// The problem at the ε that its entropy asks for.
    fn settled(&mut self, told: &Told) -> Result<(), Error> {
        if let Some(entropy) = self.entropy {
            let tell = |now: Progress<'_>| told.tell(now);
            let eps = self.solver.eps_of_entropy(&self.problem, entropy, &self.device, &Watch::telling(&tell))?;
            self.problem = self.problem.clone().with_eps(eps)?;
        }
        Ok(())
    }

    fn solve(mut self, told: &Told, checkpoint: &mut Checkpoint) -> Result<Solved, Error> {
        self.settled(told)?;
        let Self { problem, solver, start, debias, device, .. } = self;
        let tell = |now: Progress<'_>| told.tell(now);
        let mut watched = |problem: &Problem, start: Option<&Potentials>, part| {
            solver.solve_watched(problem, start, &device, Watch::telling(&tell).keeping(checkpoint.part(part)))
        };
        let outcome = watched(&problem, start.as_ref(), "plan")?;
        let mut own = |cloud: &Cloud, part| watched(&problem.between(cloud, cloud)?, None, part);
        let own = if debias { Some([own(problem.source(), "source")?, own(problem.target(), "target")?]) } else { None };
        Ok(Solved::entropic(outcome, own))
    }
}

/// The entropic plan.
#[pyfunction]
pub fn sinkhorn<'py>(py: Python<'py>, clouds: Clouds<'py>, asked: Asked<'py>) -> PyResult<Found> {
    let ends = Ends::of(&clouds, &asked.cost)?;
    let posed = asked.posed(py, &ends)?;
    let device = posed.device.clone();
    let kept = asked.checkpoint;
    let solved = work::run_kept(py, asked.progress.as_ref(), kept, move |told, checkpoint| posed.solve(told, checkpoint))?;
    Ok(Found::new(solved, ends, device))
}

/// S_ε and its derivatives: (value, gradients of x, a, y and b).
#[pyfunction]
pub fn divergence<'py>(py: Python<'py>, clouds: Clouds<'py>, asked: Asked<'py>) -> PyResult<(f64, f64, [Bound<'py, PyAny>; 4])> {
    let ends = Ends::of(&clouds, &asked.cost)?;
    let mut posed = asked.posed(py, &ends)?;
    if !ends.is_half_squared() {
        let why = "derivatives are of the cost half-sq-euclidean; for the value under another take sinkhorn(..., debias=True)";
        return Err(PyValueError::new_err(why));
    }
    let (n, m, d, single) = (ends.x.len(), ends.y.len(), ends.x.dim(), ends.single);
    let (value, eps, at_x, at_y) = work::run(py, asked.progress.as_ref(), move |told| {
        posed.settled(told)?;
        let Posed { problem, solver, device, .. } = posed;
        let eps = problem.eps();
        let tell = |now: Progress<'_>| told.tell(now);
        let both = Divergence::gradients_watched(&problem, solver, &device, Watch::telling(&tell))?;
        Ok::<_, Error>((both.value, eps, both.source, both.target))
    })?;
    let back = |values, shape: &[usize]| given_back(py, values, shape, single);
    let gradients =
        [back(at_x.points, &[n, d])?, back(at_x.weights, &[n])?, back(at_y.points, &[m, d])?, back(at_y.weights, &[m])?];
    Ok((value, eps, gradients))
}

/// The keywords of `couple` that the solver does not have.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub struct Paired<'py> {
    n: Option<u64>,
    labels: Option<Bound<'py, PyAny>>,
    source_labels: Option<Bound<'py, PyAny>>,
    without_replacement: bool,
    usual_entropy: f64,
}

/// Pairs drawn from the plan, or from those of the classes: (source, target, label or none, eps, converged).
#[pyfunction]
#[allow(clippy::type_complexity)]
pub fn couple<'py>(
    py: Python<'py>,
    clouds: Clouds<'py>,
    asked: Asked<'py>,
    paired: Paired<'py>,
) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyAny>, Option<Bound<'py, PyAny>>, f64, bool)> {
    let ends = Ends::of(&clouds, &asked.cost)?;
    let mut posed = asked.posed(py, &ends)?;
    let is_usual = asked.eps.is_none() && asked.blur.is_none() && asked.entropy.is_none();
    let labels =
        |given: &Option<Bound<'_, PyAny>>, name, n| given.as_ref().map(|given| Array::of(given, name)?.labels(n)).transpose();
    let of_target = labels(&paired.labels, "labels", ends.y.len())?;
    let of_source = labels(&paired.source_labels, "source_labels", ends.x.len())?;
    let classes = match (of_source, of_target) {
        (source, Some(target)) => Some(ClassLabels { source, target }),
        (Some(_), None) => {
            return Err(PyValueError::new_err("source_labels are matched to labels of the target; give those too"));
        }
        (None, None) => None,
    };
    if let Some(classes) = &classes {
        classes.check(ends.x.len(), ends.y.len()).map_err(exception)?;
    }
    let total = paired.n.unwrap_or(ends.x.len() as u64);
    let (without_replacement, seed, usual_entropy) = (paired.without_replacement, asked.seed, paired.usual_entropy);
    let (pairs, eps, converged) = work::run(py, asked.progress.as_ref(), move |told| {
        if is_usual {
            posed.entropy = Some(usual_entropy);
            // Between points of which many are equal no eps has it.
            if let Err(Error::Transport(TransportError::Entropy { .. })) = posed.settled(told) {
                let eps = posed.problem.eps() * CostScale::PAIRS / CostScale::PLAN;
                posed.problem = posed.problem.with_eps(eps)?;
            }
        } else {
            posed.settled(told)?;
        }
        let Posed { problem, solver, device, .. } = posed;
        let (x, y, eps, rho) = (problem.source(), problem.target(), problem.eps(), problem.rho());
        let whole = ClassLabels { source: None, target: vec![0; y.len()] };
        let mut problems = classes.as_ref().unwrap_or(&whole).problems(x, y, eps)?;
        for of_class in &mut problems {
            of_class.problem = imposed(of_class.problem.clone(), problem.cost(), rho)?;
        }
        let tell = |now: Progress<'_>| told.tell(now);
        let solve = |of_class: &ClassProblem| solver.solve_watched(&of_class.problem, None, &device, Watch::telling(&tell));
        let outcomes = problems.iter().map(solve).collect::<Result<Vec<_>, _>>()?;
        let converged = outcomes.iter().all(|outcome| outcome.converged);
        let mut pairing = ClassPairing::new(&problems, &outcomes, total, without_replacement, (seed, 0))?;
        let mut all = ClassPairs::default();
        while let Some(ClassPairs { pairs, classes }) = pairing.next_round(&device, &Watch::telling(&tell))? {
            all.pairs.source.extend(pairs.source);
            all.pairs.target.extend(pairs.target);
            all.classes.extend(classes);
        }
        Ok::<_, Error>((all, eps, converged))
    })?;
    let count = [pairs.pairs.source.len()];
    let labels = paired.labels.is_some().then(|| pairs.classes.iter().map(|class| class.unwrap_or(0)).collect());
    Ok((
        indices(py, pairs.pairs.source, &count)?,
        indices(py, pairs.pairs.target, &count)?,
        labels.map(|labels| indices(py, labels, &count)).transpose()?,
        eps,
        converged,
    ))
}

/// The exact plan.
#[pyfunction]
pub fn exact<'py>(py: Python<'py>, clouds: Clouds<'py>, cost: &Bound<'py, PyAny>) -> PyResult<Found> {
    let ends = Ends::of(&clouds, cost)?;
    let on_a_line = ends.is_half_squared() && ends.x.dim() == 1 && ends.y.dim() == 1;
    let (x, y, cost) = (ends.x.clone(), ends.y.clone(), ends.cost.clone());
    let solved = work::run(py, None, move |_| {
        Ok::<_, Error>(match on_a_line {
            true => Solved::from(LinePlan::new(&x, &y)?),
            false => Solved::from(ExactPlan::under(&x, &y, &cost, None)?),
        })
    })?;
    Ok(Found::new(solved, ends, work::device("cpu", "f64")?))
}

/// A plan of low rank.
#[pyfunction]
pub fn low_rank<'py>(
    py: Python<'py>,
    clouds: Clouds<'py>,
    rank: usize,
    stopping: (f64, usize),
    seed: u32,
    progress: Option<Bound<'py, PyAny>>,
) -> PyResult<Found> {
    let cost = pyo3::types::PyString::new(py, "half-sq-euclidean").into_any();
    let ends = Ends::of(&clouds, &cost)?;
    let (x, y) = (ends.x.clone(), ends.y.clone());
    let (tol, max_iter) = stopping;
    let solver = LowRank { rank, tol, max_iter, seed };
    let solved = work::run(py, progress.as_ref(), move |told| {
        let tell = |now: Progress<'_>| told.tell(now);
        Ok::<_, Error>(Solved::from(solver.solve_watched(&x, &y, Watch::telling(&tell))?))
    })?;
    Ok(Found::new(solved, ends, work::device("cpu", "f64")?))
}

/// What a solver found, with the clouds that it is about.
#[pyclass(frozen, module = "brenier._brenier")]
pub struct Found {
    solved: Arc<Solved>,
    ends: Arc<Ends>,
    device: Device,
}

impl Found {
    fn new(solved: Solved, ends: Ends, device: Device) -> Self {
        Self { solved: Arc::new(solved), ends: Arc::new(ends), device }
    }

    fn plan(&self) -> PyResult<&AnyPlan> {
        self.solved.plan.as_ref().ok_or_else(|| PyValueError::new_err("this result has no plan"))
    }

    /// Runs `work` on the plan.
    fn on_plan<T: Send + 'static>(
        &self,
        py: Python<'_>,
        work: impl FnOnce(&AnyPlan, &Ends, &Device) -> Result<T, Error> + Send + 'static,
    ) -> PyResult<T> {
        self.plan()?;
        let (solved, ends, device) = (self.solved.clone(), self.ends.clone(), self.device.clone());
        let done = work::run(py, None, move |_| {
            Ok::<_, Error>(match &solved.plan {
                Some(plan) => Some(work(plan, &ends, &device)?),
                None => None,
            })
        })?;
        done.ok_or_else(|| PyValueError::new_err("this result has no plan"))
    }

    /// Refuses what is about points, where there are none.
    fn check_points(&self) -> PyResult<()> {
        match self.ends.cost {
            GroundCost::Given(_) => {
                Err(PyValueError::new_err("costs in an array say nothing of where points lie; there is no map"))
            }
            _ => Ok(()),
        }
    }

    /// Images of the source points.
    fn images(&self) -> PyResult<Vec<f64>> {
        self.check_points()?;
        let images = self.solved.map.as_ref().ok_or_else(|| PyValueError::new_err("this plan has no map"))?;
        Ok(images.to_vec())
    }

    fn back<'py>(&self, py: Python<'py>, values: Vec<f64>, shape: &[usize]) -> PyResult<Bound<'py, PyAny>> {
        given_back(py, values, shape, self.ends.single)
    }
}

/// Values of the points of an end: their numbers, the columns, and the shape of a result for `rows` points.
fn values(given: &Bound<'_, PyAny>, of: usize, rows: usize) -> PyResult<(Vec<f64>, usize, Vec<usize>)> {
    let array = Array::of(given, "values")?;
    match array.shape[..] {
        [n] if n == of => Ok((array.to_vec(), 1, vec![rows])),
        [n, p] if n == of && p > 0 => Ok((array.to_vec(), p, vec![rows, p])),
        _ => Err(PyValueError::new_err(format!("values have shape {:?}; give one row for each of the {of} points", array.shape))),
    }
}

#[pymethods]
impl Found {
    /// (kind, eps, cost, w2_squared, value, dual, divergence, iterations, converged, verdict, marginal_error, mass, entropy,
    /// variance_kept, precision).
    #[allow(clippy::type_complexity)]
    fn numbers<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, pyo3::types::PyTuple>> {
        let solved = &self.solved;
        let kind = match solved.kind {
            brenier::transport::solved::Kind::ClosedForm => "closed_form",
            brenier::transport::solved::Kind::Exact => "exact",
            brenier::transport::solved::Kind::UpperBound => "upper_bound",
            brenier::transport::solved::Kind::LowRank => "low_rank",
            brenier::transport::solved::Kind::Entropic => "entropic",
            brenier::transport::solved::Kind::Debiased => "debiased",
            brenier::transport::solved::Kind::Map => "map",
        };
        let entropic = solved.entropic.as_ref();
        let half_squared = self.ends.is_half_squared();
        let first = (
            kind,
            solved.eps,
            solved.transport_cost,
            half_squared.then_some(solved.w2_squared),
            solved.regularised_cost,
            solved.dual,
            solved.divergence,
            solved.iterations,
        );
        let then = (
            solved.converged,
            in_keywords(&solved.ending.to_string()),
            solved.marginal_error,
            entropic.map(|entropic| entropic.mass),
            entropic.map(|entropic| entropic.entropy),
            solved.variance_kept,
            solved.precision.name(),
        );
        (first, then).into_pyobject(py)
    }

    /// The potentials; none without.
    fn potentials<'py>(&self, py: Python<'py>) -> PyResult<Option<[Bound<'py, PyAny>; 2]>> {
        let back = |values: &Vec<f64>| self.back(py, values.clone(), &[values.len()]);
        self.solved.potentials.as_ref().map(|Potentials { f, g }| Ok([back(f)?, back(g)?])).transpose()
    }

    /// Images of the source points, or of `points` under an entropic plan.
    #[pyo3(signature = (points = None))]
    fn map<'py>(&self, py: Python<'py>, points: Option<&Bound<'py, PyAny>>) -> PyResult<Bound<'py, PyAny>> {
        let d = self.ends.y.dim();
        let Some(points) = points else {
            return self.back(py, self.images()?, &[self.ends.x.len(), d]);
        };
        self.check_points()?;
        let points = Array::of(points, "points")?.cloud(None)?;
        let n = points.len();
        let images = self.on_plan(py, move |plan, _, device| match plan {
            AnyPlan::Entropic(plan) => Ok(Some(plan.partners().map(&points, device)?)),
            _ => Ok(None),
        })?;
        let images = images.ok_or_else(|| PyValueError::new_err("only an entropic plan has a map beyond its own points"))?;
        self.back(py, images, &[n, d])
    }

    /// The points (1−t)x + tT(x), n × d.
    fn displaced<'py>(&self, py: Python<'py>, t: f64) -> PyResult<Bound<'py, PyAny>> {
        let path = Displacement::new(&self.ends.x, self.images()?).map_err(exception)?;
        self.back(py, path.at(t), &[self.ends.x.len(), self.ends.x.dim()])
    }

    /// A sample of the Schrödinger bridge at `t` for each point of the source, n × d.
    fn bridged<'py>(&self, py: Python<'py>, t: f64, seed: u32) -> PyResult<Bound<'py, PyAny>> {
        self.check_points()?;
        let points = self.on_plan(py, move |plan, _, device| match plan {
            AnyPlan::Entropic(plan) => Ok(Some(Bridge::new(plan.clone()).paths(seed, device)?.at(t, 0))),
            _ => Ok(None),
        })?;
        let points = points.ok_or_else(|| PyValueError::new_err("a bridge is that of an entropic plan"))?;
        self.back(py, points, &[self.ends.x.len(), self.ends.x.dim()])
    }

    /// Points of the source and of the target.
    fn lengths(&self) -> PyResult<[usize; 2]> {
        Ok(self.plan()?.lengths())
    }

    /// P v, or with `back` Pᵀ v.
    fn apply<'py>(&self, py: Python<'py>, given: &Bound<'py, PyAny>, back: bool) -> PyResult<Bound<'py, PyAny>> {
        let [n, m] = self.lengths()?;
        let (rows, of) = if back { (m, n) } else { (n, m) };
        let (values, p, shape) = values(given, of, rows)?;
        let image = self.on_plan(py, move |plan, _, device| Ok(plan.apply(&values, p, back, device)?))?;
        self.back(py, image, &shape)
    }

    /// E[v | x_i], or with `back` E[u | y_j].
    fn pull<'py>(&self, py: Python<'py>, given: &Bound<'py, PyAny>, back: bool) -> PyResult<Bound<'py, PyAny>> {
        let [n, m] = self.lengths()?;
        let (rows, of) = if back { (m, n) } else { (n, m) };
        let (values, p, shape) = values(given, of, rows)?;
        let means = self.on_plan(py, move |plan, _, device| {
            Ok(if back { plan.given_target(&values, p, device) } else { plan.given_source(&values, p, device) }?)
        })?;
        self.back(py, means, &shape)
    }

    /// All P_ij, n × m.
    fn matrix<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let shape = self.lengths()?;
        let dense = self.on_plan(py, |plan, _, _| Ok(plan.dense()))?;
        self.back(py, dense, &shape)
    }

    /// Whether the plan has its entries written out.
    fn is_sparse(&self) -> PyResult<bool> {
        Ok(matches!(self.plan()?, AnyPlan::Sparse { .. }))
    }

    /// The entries of a sparse plan: (i, j, mass).
    fn entries<'py>(&self, py: Python<'py>) -> PyResult<[Bound<'py, PyAny>; 3]> {
        let AnyPlan::Sparse { entries, .. } = self.plan()? else {
            return Err(PyValueError::new_err("this plan has mass between all pairs; take its matrix(), or top_k(k)"));
        };
        let count = [entries.len()];
        let rows = indices(py, entries.iter().map(|entry| entry.source as u32).collect(), &count)?;
        let columns = indices(py, entries.iter().map(|entry| entry.target as u32).collect(), &count)?;
        Ok([rows, columns, self.back(py, entries.iter().map(|entry| entry.mass).collect(), &count)?])
    }

    /// The likeliest partners of each source point: (index, probability), n × k.
    fn top_k<'py>(&self, py: Python<'py>, k: usize) -> PyResult<[Bound<'py, PyAny>; 2]> {
        let n = self.lengths()?[0];
        let partners = self.on_plan(py, move |plan, _, device| Ok(plan.top(k, device)?))?;
        let shape = [n, partners.k];
        Ok([indices(py, partners.index, &shape)?, self.back(py, partners.probability, &shape)?])
    }

    /// A partner drawn for each source point.
    fn sample<'py>(&self, py: Python<'py>, seed: u32) -> PyResult<Bound<'py, PyAny>> {
        let n = self.lengths()?[0];
        let partners = self.on_plan(py, move |plan, _, device| Ok(plan.draw_partners(seed, device)?))?;
        indices(py, partners, &[n])
    }

    /// `total` pairs drawn from the plan.
    fn pairs<'py>(&self, py: Python<'py>, total: u32, seed: u32) -> PyResult<[Bound<'py, PyAny>; 2]> {
        let pairs = self.on_plan(py, move |plan, _, device| Ok(plan.draw_pairs(total, (seed, 0), device)?))?;
        let count = [pairs.source.len()];
        Ok([indices(py, pairs.source, &count)?, indices(py, pairs.target, &count)?])
    }
}
