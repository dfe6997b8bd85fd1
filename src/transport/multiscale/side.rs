//! One cloud of a level: its potential, its cells, and what of them lies on the device.

use std::sync::Arc;

use rayon::prelude::*;

use crate::backend::{Backend, BackendError, Damping, Logit, Out, Partial, Reals, TILE, TileList, Tiles, Update};
use crate::transport::hold::Hold;
use crate::transport::multiscale::tiles::{Cell, List, Scale, affine, cells, list};

/// All that an iteration touches stays on the device.
pub struct Side<B: Backend, const D: usize> {
    pub scale: Arc<Scale<D>>,
    pub hold: Hold,
    pub cells: Vec<Vec<Cell<D>>>,
    /// How far the potential has fallen anywhere below the one the cells belong to: how far exponents can have risen.
    pub fallen: f64,
    /// φ = ½|x|² − f.
    potential: B::Buf<f64>,
    /// The potential that the cells belong to.
    fitted: B::Buf<f64>,
    /// What an update changes of φ.
    change: B::Buf<f64>,
    /// φ at f = 0, where the marginal is free.
    ground: Option<B::Buf<f64>>,
    mass: B::Buf<f64>,
    weights: Reals<B>,
    points: B::Buf<f64>,
    log_weights: B::Buf<f64>,
    frames: B::Buf<f64>,
}

/// A side between two iterations: its potential, and the one its cells belong to.
pub struct Saved {
    pub potential: Vec<f64>,
    pub fitted: Vec<f64>,
}

impl<B: Backend, const D: usize> Side<B, D> {
    pub fn new(backend: &B, scale: Arc<Scale<D>>, hold: Hold, potential: &[f64]) -> Result<Self, BackendError> {
        let log_weights: Vec<f64> = scale.weights.iter().map(|a| a.ln()).collect();
        let mut side = Self {
            cells: Vec::new(),
            fallen: 0.0,
            potential: backend.upload(potential)?,
            fitted: backend.zeros(0)?,
            change: backend.zeros(potential.len())?,
            ground: hold.rho.map(|_| backend.upload(&hold.ground)).transpose()?,
            mass: backend.upload(&scale.weights)?,
            weights: backend.upload_reals(&scale.weights)?,
            points: backend.upload(&scale.points)?,
            log_weights: backend.upload(&log_weights)?,
            frames: backend.zeros(0)?,
            scale,
            hold,
        };
        side.fit_to(backend, potential)?;
        Ok(side)
    }

    /// The side as it was saved.
    pub fn restored(backend: &B, scale: Arc<Scale<D>>, hold: Hold, saved: &Saved) -> Result<Self, BackendError> {
        let mut side = Self::new(backend, scale, hold, &saved.fitted)?;
        side.potential = backend.upload(&saved.potential)?;
        side.measure_fall(backend)?;
        Ok(side)
    }

    pub fn save(&self, backend: &B) -> Result<Saved, BackendError> {
        Ok(Saved { potential: self.potential(backend)?, fitted: backend.download(&self.fitted)? })
    }

    /// φ as it is now.
    pub fn potential(&self, backend: &B) -> Result<Vec<f64>, BackendError> {
        backend.download(&self.potential)
    }

    /// Cells and frames of the potential as it is now.
    pub fn fit(&mut self, backend: &B) -> Result<(), BackendError> {
        let potential = self.potential(backend)?;
        self.fit_to(backend, &potential)
    }

    fn fit_to(&mut self, backend: &B, potential: &[f64]) -> Result<(), BackendError> {
        self.cells = cells(&self.scale, potential);
        let frame = |cell: &Cell<D>| cell.centre.into_iter().chain(cell.slope).chain([cell.level]).collect::<Vec<f64>>();
        self.frames = backend.upload(&self.cells[0].iter().flat_map(frame).collect::<Vec<f64>>())?;
        self.fitted = backend.upload(potential)?;
        self.fallen = 0.0;
        Ok(())
    }

    fn measure_fall(&mut self, backend: &B) -> Result<(), BackendError> {
        self.fallen = backend.largest_fall(&self.fitted, &self.potential)?.read()?;
        Ok(())
    }

    /// `share` of what an update would change of φ, given log r.
    fn relax(&mut self, backend: &B, eps: f64, share: f64, log_ratio: &Reals<B>) -> Result<(), BackendError> {
        let free = self.hold.rho.zip(self.ground.as_ref());
        let damping = free.map(|(rho, ground)| Damping { omega: rho / (rho + eps), ground });
        backend.relax(log_ratio, Update { eps, share, damping }, &self.potential, &mut self.change)
    }

    /// φ moves by `relaxation` times what an update makes of it.
    pub fn advance(&mut self, backend: &B, eps: f64, relaxation: f64, log_ratio: &Reals<B>) -> Result<(), BackendError> {
        self.relax(backend, eps, relaxation, log_ratio)?;
        backend.advance(&self.change, &mut self.potential)?;
        self.measure_fall(backend)
    }

    /// The potential plus `share` of a trend, as the start of a level.
    pub fn extrapolate(&mut self, backend: &B, share: f64, trend: &Trend<'_, D>) -> Result<(), BackendError> {
        let (scale, mut potential) = (&self.scale, self.potential(backend)?);
        potential.par_iter_mut().enumerate().for_each(|(i, phi)| *phi += share * trend.at(i, &scale.point(i)));
        self.potential = backend.upload(&potential)?;
        self.fit_to(backend, &potential)
    }

    /// Σ a |r − 1| or, unless `balanced`, ‖Δφ‖∞/ε of an update.
    pub fn error(&mut self, backend: &B, eps: f64, log_ratio: &Reals<B>, balanced: bool) -> Result<f64, BackendError> {
        if balanced {
            return backend.marginal_error(&self.weights, log_ratio)?.read();
        }
        self.relax(backend, eps, 1.0, log_ratio)?;
        Ok(backend.largest_change(&self.mass, &self.change)?.read()? / eps)
    }

    fn tiles(&self) -> Tiles<'_, B> {
        Tiles {
            points: &self.points,
            potential: &self.potential,
            log_weights: &self.log_weights,
            frames: &self.frames,
            n: self.scale.len(),
            d: D,
        }
    }

    /// The `potential` of this cloud on a finer one, each of whose blocks of 2^`log2` points is a point here: affine on a block.
    pub fn on_blocks(&self, potential: &[f64], fine: &Scale<D>, log2: u32) -> Vec<f64> {
        let at = |i: usize| {
            let parent = i >> log2;
            let (x, from, slope) = (fine.point(i), self.scale.point(parent), self.cells[0][parent / TILE].slope);
            potential[parent] + (0..D).map(|k| slope[k] * (x[k] - from[k])).sum::<f64>()
        };
        (0..fine.len()).into_par_iter().map(at).collect()
    }
}

/// The change of a potential from one level to the next, as an affine function a tile: what changes with ε is smooth, and what
/// single points do differently is noise that extrapolation would magnify.
pub struct Trend<'a, const D: usize> {
    cells: &'a [Cell<D>],
    fits: Vec<([f64; D], f64)>,
    /// log₂ of the points that stand for one of the level it was taken from.
    log2: u32,
}

impl<'a, const D: usize> Trend<'a, D> {
    /// From `then`, the potential that `side` was given by the coarser level, to the one it has `now`.
    pub fn new<B: Backend>(side: &'a Side<B, D>, then: &[f64], now: &[f64], log2: u32) -> Self {
        let change: Vec<f64> = now.iter().zip(then).map(|(now, then)| now - then).collect();
        let tiles = side.scale.points.par_chunks(TILE * D).zip(change.par_chunks(TILE)).zip(&side.cells[0]);
        Self { cells: &side.cells[0], fits: tiles.map(|((x, change), cell)| affine(x, change, &cell.centre)).collect(), log2 }
    }

    /// The change at point `i` of a finer cloud.
    fn at(&self, i: usize, x: &[f64; D]) -> f64 {
        let tile = (i >> self.log2) / TILE;
        let ((slope, level), centre) = (self.fits[tile], self.cells[tile].centre);
        level + (0..D).map(|k| slope[k] * (x[k] - centre[k])).sum::<f64>()
    }
}

/// The kept pairs of tiles of two sides.
pub struct Kept<B: Backend> {
    starts: B::Buf<u32>,
    runs: B::Buf<[u32; 2]>,
    /// A bound of the plan's mass in the pairs that were skipped, for the potentials the cells belong to.
    pub skipped: f64,
}

impl<B: Backend> Kept<B> {
    pub fn new<const D: usize>(
        backend: &B,
        rows: &Side<B, D>,
        columns: &Side<B, D>,
        eps: f64,
        cut: f64,
    ) -> Result<Self, BackendError> {
        let List { starts, runs, skipped } = list(&rows.cells, &columns.cells, eps, cut);
        Ok(Self { starts: backend.upload(&starts)?, runs: backend.upload(&runs)?, skipped })
    }

    /// log r_i = log Σ_j b_j exp((x_i·y_j − φ_i − ψ_j)/ε) of each row over the kept pairs.
    pub fn log_ratio<const D: usize>(
        &self,
        backend: &B,
        (rows, columns): (&Side<B, D>, &Side<B, D>),
        eps: f64,
        packed: &mut Reals<B>,
        out: &mut Reals<B>,
    ) -> Result<(), BackendError> {
        let list = TileList { starts: &self.starts, runs: &self.runs };
        let logit = Logit::Tiles { rows: &rows.tiles(), columns: &columns.tiles(), list: &list, eps, packed };
        backend.soft_min(logit, Out::of(out))
    }

    /// log r of each row, and the means Σ_j P_ij v_j / Σ_j P_ij of values v, m × p.
    pub fn means<const D: usize>(
        &self,
        backend: &B,
        (rows, columns): (&Side<B, D>, &Side<B, D>),
        eps: f64,
        (values, p): (Reals<B>, usize),
        packed: &mut Reals<B>,
    ) -> Result<Partial<B::Real>, BackendError> {
        let list = TileList { starts: &self.starts, runs: &self.runs };
        let logit = Logit::Tiles { rows: &rows.tiles(), columns: &columns.tiles(), list: &list, eps, packed };
        Partial::of(backend, logit, rows.scale.len(), Some((&values, p)))
    }
}
