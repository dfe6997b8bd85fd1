//! Operations on the law of a row's partner: its columns packed, draws, likeliest columns, and the soft-mins of special clouds.

use std::f64::consts::LN_2;

use crate::backend::{
    Backend, BackendError, Blend, Columns, Draws, Half, HalfColumns, HalfPoints, Logit, Mean, Out, PairCost, Reals, Rows, Scale,
    Shares, Stations, Storage, Sweep, Symmetric, TILE, TileList, Tiles,
};
use crate::experiment::selftest::inputs::{Inputs, normals};

/// Biases of the columns.
fn biases(m: usize) -> Vec<f64> {
    normals(m, 3).iter().map(|z| f64::from((LN_2 * z) as f32)).collect()
}

/// Columns with logits of a few units.
pub fn packed<B: Backend>(backend: &B, inputs: &Inputs) -> Result<Reals<B>, BackendError> {
    let Inputs { m, d, .. } = *inputs;
    let (y, mut packed) = (backend.upload_reals(normals(m * d, 2))?, backend.zeros(m * (d + 1))?);
    backend.pack(
        Rows { points: &y, n: m, d },
        Scale::Uniform(1.0 / (d as f64).sqrt()),
        &backend.upload_reals(biases(m))?,
        None,
        &mut packed,
    )?;
    Ok(packed)
}

/// A draw a row at the middle of its heaviest column, which is thousands of roundings away from the edges.
pub fn draws<B: Backend>(backend: &B, inputs: &Inputs) -> Result<Vec<f64>, BackendError> {
    let Inputs { n, m, d } = *inputs;
    let (x, y, bias) = (normals(n * d, 1), normals(m * d, 2), biases(m));
    let middle = |x: &[f64]| {
        let logit = |j: usize| x.iter().zip(&y[j * d..]).map(|(x, y)| x * y).sum::<f64>() / (d as f64).sqrt() + bias[j];
        let weights: Vec<f64> = (0..m).map(|j| logit(j).exp()).collect();
        let heaviest = (0..m).fold(0, |best, j| if weights[j] > weights[best] { j } else { best });
        (weights[..heaviest].iter().sum::<f64>() + 0.5 * weights[heaviest]) / weights.iter().sum::<f64>()
    };
    let quantiles = backend.upload(&x.chunks_exact(d).map(middle).collect::<Vec<_>>())?;
    let first = backend.upload(&(0..=n as u32).collect::<Vec<_>>())?;
    let (x, packed) = (backend.upload_reals(&x)?, packed(backend, inputs)?);
    let (mut log_sum, mut index) = (backend.zeros(n)?, backend.zeros(n)?);
    let (rows, columns) = (Rows { points: &x, n, d }, Columns { packed: &packed, m, d });
    backend.soft_min(Logit::Product { rows, columns, shift: None }, Out::of(&mut log_sum))?;
    let draws = Draws { first: &first, quantiles: &quantiles };
    backend.sample_plan(rows, columns, (&log_sum, 1.0), draws, &mut index)?;
    Ok(backend.download(&index)?.into_iter().map(f64::from).collect())
}

/// The five largest logits of each row.
pub fn top_k<B: Backend>(backend: &B, inputs: &Inputs) -> Result<Vec<f64>, BackendError> {
    let Inputs { n, m, d } = *inputs;
    let (x, packed, k) = (backend.upload_reals(normals(n * d, 1))?, packed(backend, inputs)?, m.min(5));
    let (mut index, mut logit) = (backend.zeros(n * k)?, backend.zeros(n * k)?);
    backend.top_k(Rows { points: &x, n, d }, Columns { packed: &packed, m, d }, k, &mut index, &mut logit)?;
    backend.download_reals(&logit)
}

/// Shares of the points in five stations, and behind them their sums.
pub fn share<B: Backend>(backend: &B, inputs: &Inputs) -> Result<Vec<f64>, BackendError> {
    let (Inputs { n, d, .. }, rank) = (*inputs, 5);
    let up = |count: usize, step: u32| backend.upload(&normals(count, step));
    let (points, slopes, levels) = (up(n * d, 1)?, up(rank * d, 2)?, up(rank, 3)?);
    let (masses, stations) = (backend.upload(&vec![1.0 / n as f64; n])?, || Stations { slopes: &slopes, levels: &levels });
    let (mut each, mut moments, mut overlaps) = (backend.zeros(n * rank)?, backend.zeros(rank * d)?, backend.zeros(rank * rank)?);
    backend.share(&points, &masses, stations(), Shares::Each(&mut each))?;
    backend.share(&points, &masses, stations(), Shares::Sums { moments: &mut moments, overlaps: &mut overlaps })?;
    Ok([&each, &moments, &overlaps].map(|buffer| backend.download(buffer)).into_iter().collect::<Result<Vec<_>, _>>()?.concat())
}

/// What a denoiser makes of the means of the points themselves.
pub fn soft_blend<B: Backend>(backend: &B, inputs: &Inputs) -> Result<Vec<f64>, BackendError> {
    let Inputs { n, m, d } = *inputs;
    let (x, y) = (backend.upload_reals(normals(n * d, 1))?, backend.upload_reals(normals(m * d, 2))?);
    let (packed, mut log_sum, mut out) = (packed(backend, inputs)?, backend.zeros(n)?, backend.zeros(n * d)?);
    let (rows, columns) = (Rows { points: &x, n, d }, Columns { packed: &packed, m, d });
    let mean = Mean { values: &y, p: d, out: &mut out, blend: Some(Blend { s: 0.8, t: -0.6, with: &x }) };
    backend.soft_min(Logit::Product { rows, columns, shift: None }, Out { log_sum: &mut log_sum, mean: Some(mean) })?;
    backend.download_reals(&out)
}

/// Log-sums over a norm of the difference, and behind them the means of the cost and of three values.
pub fn soft_min_cost<B: Backend>(backend: &B, inputs: &Inputs, cost: PairCost<'_>) -> Result<(Vec<f64>, Vec<f64>), BackendError> {
    let (Inputs { n, m, d }, p) = (*inputs, 3);
    let (x, y, mut packed) =
        (backend.upload_reals(normals(n * d, 1))?, backend.upload_reals(normals(m * d, 2))?, backend.zeros(m * (d + 1))?);
    backend.pack(Rows { points: &y, n: m, d }, Scale::Uniform(LN_2), &backend.upload_reals(biases(m))?, None, &mut packed)?;
    let (mut out, mut costs, mut means) = (backend.zeros(n)?, backend.zeros(n)?, backend.zeros(n * p)?);
    let values = backend.upload_reals(normals(m * p, 5))?;
    let (rows, columns, k) = (Rows { points: &x, n, d }, Columns { packed: &packed, m, d }, 1.0 / (d as f64).sqrt());
    let logit = Logit::Cost { rows, columns, cost, k, shift: None, mean: Some(&mut costs) };
    backend.soft_min(logit, Out::with_mean(&mut out, &values, p, &mut means))?;
    let means = [backend.download_reals(&costs)?, backend.download_reals(&means)?].concat();
    Ok((backend.download_reals(&out)?, means))
}

/// Both log-sums of a Sinkhorn iteration near its answer; by soft-mins where the device keeps no scores.
pub fn sweep<B: Backend>(backend: &B, inputs: &Inputs) -> Result<Vec<f64>, BackendError> {
    let (Inputs { n, m, d }, k) = (*inputs, 1.0 / (inputs.d as f64).sqrt());
    let halves =
        |points: &[f64]| points.chunks_exact(d).map(|x| f64::from((0.5 * x.iter().map(|x| x * x).sum::<f64>()) as f32)).collect();
    let (x, y) = (normals(n * d, 1), normals(m * d, 2));
    let (p, q): (Vec<f64>, Vec<f64>) = (halves(&x), halves(&y));
    let up = |host: &[f64]| backend.upload_reals(host);
    let mass = |count: usize| 1.0 / count.next_power_of_two() as f64;
    let (weights, logs) =
        (|count: usize| up(&vec![mass(count); count]), |count: usize| up(&vec![f64::from(mass(count).ln() as f32); count]));
    let (points_x, points_y, of_x, of_y) = (up(&x)?, up(&y)?, up(&p)?, up(&q)?);
    let (b, a, mut log_sum, mut log_ratio) = (weights(n)?, weights(m)?, backend.zeros(n)?, backend.zeros(m)?);
    let (rows, columns) = (|| Rows { points: &points_x, n, d }, || Rows { points: &points_y, n: m, d });
    let kept = backend.scores(rows(), columns(), None)?;
    let swept = match kept {
        Some(mut scores) => {
            let (rows, columns) = (Half { potential: &of_x, weights: &b }, Half { potential: &of_y, weights: &a });
            backend.sweep(&mut scores, &Sweep { k, rows, columns, damping: None }, &mut log_sum, &mut log_ratio)?
        }
        None => false,
    };
    if !swept {
        let mut packed = backend.zeros(m * (d + 1))?;
        backend.pack(columns(), Scale::Uniform(k), &logs(m)?, Some((&of_y, -k)), &mut packed)?;
        let logit = Logit::Product { rows: rows(), columns: Columns { packed: &packed, m, d }, shift: Some((&of_x, k)) };
        backend.soft_min(logit, Out::of(&mut log_sum))?;
        let change = backend.download_reals(&log_sum)?;
        let moved: Vec<f64> = p.iter().zip(&change).map(|(p, log_sum)| p + log_sum / k).collect();
        let mut packed = backend.zeros(n * (d + 1))?;
        backend.pack(rows(), Scale::Uniform(k), &logs(n)?, Some((&up(&moved)?, -k)), &mut packed)?;
        let logit = Logit::Product { rows: columns(), columns: Columns { packed: &packed, m: n, d }, shift: Some((&of_y, k)) };
        backend.soft_min(logit, Out::of(&mut log_ratio))?;
    }
    Ok([backend.download_reals(&log_sum)?, backend.download_reals(&log_ratio)?].concat())
}

/// Means of points in half precision, as the device stores them.
pub fn soft_min_half<B: Backend>(backend: &B, inputs: &Inputs) -> Result<Vec<f64>, BackendError> {
    let (Inputs { n, m, d }, storage, k) = (*inputs, Storage::F16, 1.0 / (inputs.d as f64).sqrt());
    let stored = |count: usize, step: u32| normals(count, step).into_iter().map(|x| storage.round(x)).collect::<Vec<f64>>();
    let (x, y) = (stored(n * d, 1), stored(m * d, 2));
    let up = |host: &[f64]| backend.upload_reals(host);
    let (bias, potential, values) = (up(&biases(m))?, backend.zeros(m)?, up(&normals(m * 3, 5))?);
    let (mut out, mut mean) = (backend.zeros(n)?, backend.zeros(n * 3)?);
    if let (Some(rows), Some(points)) = (HalfPoints::new(backend, &x, d, storage)?, HalfPoints::new(backend, &y, d, storage)?) {
        let columns = HalfColumns { points: &points, k, bias: &bias, potential: (&potential, 0.0) };
        backend.soft_min(Logit::Half { rows: &rows, columns, shift: None }, Out::with_mean(&mut out, &values, 3, &mut mean))?;
    }
    backend.download_reals(&mean)
}

/// log Σ_j a_j exp(k x_i·x_j − s_i − s_j) near zero, as a potential makes it.
pub fn soft_min_self<B: Backend>(backend: &B, inputs: &Inputs) -> Result<Vec<f64>, BackendError> {
    let Inputs { n, d, .. } = *inputs;
    let (x, k) = (normals(n * d, 1), 1.0 / (d as f64).sqrt());
    let shift: Vec<f64> = x.chunks_exact(d).map(|x| f64::from((0.5 * k * x.iter().map(|x| x * x).sum::<f64>()) as f32)).collect();
    let mass = 1.0 / n.next_power_of_two() as f64;
    let up = |host: &[f64]| backend.upload_reals(host);
    let (x, shift, weights, log_weights) =
        (up(&x)?, up(&shift)?, up(&vec![mass; n])?, up(&vec![f64::from(mass.ln() as f32); n])?);
    let (mut packed, mut out) = (backend.zeros(n * (d + 1))?, backend.zeros(n)?);
    let (rows, weights) = (Rows { points: &x, n, d }, (&weights, &log_weights));
    let cloud = Symmetric { rows, k, weights, shift: (&shift, 1.0), packed: &mut packed };
    backend.soft_min(Logit::Symmetric(cloud), Out::of(&mut out))?;
    backend.download_reals(&out)
}

/// Log-sums over two tiles in three, and the means of three values behind them; in at most four dimensions.
pub fn tiles<B: Backend>(backend: &B, inputs: &Inputs) -> Result<(Vec<f64>, Vec<f64>), BackendError> {
    let (Inputs { n, m, .. }, d, p) = (*inputs, inputs.d.min(4), 3);
    // Frames about the first point of a tile, with a slope that is not the potential's.
    let cloud = |n: usize, step: u32| {
        let points = normals(n * d, step);
        let frame = |tile: &[f64]| [&tile[..d], &tile[..d], &[0.1]].concat();
        let frames: Vec<f64> = points.chunks(TILE * d).flat_map(frame).collect();
        let potential = points.chunks_exact(d).map(|x| 0.5 * x.iter().map(|x| x * x).sum::<f64>()).collect();
        [points, potential, vec![-(n as f64).ln(); n], frames]
    };
    let up = |host: [Vec<f64>; 4]| -> Result<Vec<B::Buf<f64>>, BackendError> {
        host.iter().map(|host| backend.upload(host)).collect()
    };
    let (x, y) = (up(cloud(n, 1))?, up(cloud(m, 2))?);
    fn tiles<B: Backend>(buffers: &[B::Buf<f64>], n: usize, d: usize) -> Tiles<'_, B> {
        Tiles { points: &buffers[0], potential: &buffers[1], log_weights: &buffers[2], frames: &buffers[3], n, d }
    }
    let (row_tiles, column_tiles) = (n.div_ceil(TILE) as u32, m.div_ceil(TILE) as u32);
    let runs: Vec<[u32; 2]> = (0..row_tiles).map(|row| [row * row % 3 * column_tiles / 6, column_tiles]).collect();
    let (starts, runs) = (backend.upload(&(0..=row_tiles).collect::<Vec<_>>())?, backend.upload(&runs)?);
    let list = TileList { starts: &starts, runs: &runs };
    let values = backend.upload_reals(normals(m * p, 5))?;
    let (mut packed, mut out, mut mean) = (backend.zeros(m * (d + 1))?, backend.zeros(n)?, backend.zeros(n * p)?);
    let (rows, columns) = (tiles::<B>(&x, n, d), tiles::<B>(&y, m, d));
    let (rows, columns, list) = (&rows, &columns, &list);
    backend.soft_min(Logit::Tiles { rows, columns, list, eps: 0.5, packed: &mut packed }, Out::of(&mut out))?;
    let log_sums = backend.download_reals(&out)?;
    let wanted = Out::with_mean(&mut out, &values, p, &mut mean);
    backend.soft_min(Logit::Tiles { rows, columns, list, eps: 0.5, packed: &mut packed }, wanted)?;
    Ok((log_sums, backend.download_reals(&mean)?))
}
