//! Invented comparisons with the shape of real ones: a law in the plane, and 8 × 8 images whose field memorises.

use std::f64::consts::TAU;

use brenier::experiment::entrants::{On, Way};
use brenier::experiment::{
    CompareRecord, Comparison, ENTRANTS, Entrant, Family, Flag, Found, FreeEnergy, Ledger, NamedGrid, NoiseFloor, Reclocked, Row,
    Trajectory,
};
use brenier::field::Field;
use brenier::measure::{Cloud, Mixture};
use brenier::path::Schedule;
use brenier::random::{Philox, Stream};
use brenier::sampler::Options;

const STEPS: [usize; 7] = [1, 2, 5, 10, 20, 50, 100];
/// The order of a method's error and the error at no step, none for stochastic methods, and its evaluations a step.
fn law_of(entrant: &Entrant) -> (Option<(i32, f64)>, usize) {
    let Way::Method(name) = entrant.way else { return (None, 10) };
    let field = Field::Mixture(Mixture::standard_normal(2));
    let entry = brenier::sampler::named(name).expect("a method");
    let order = entry.method(&field, &Schedule::CondOt, &Options::default()).expect("a program").order();
    let scale = if entrant.on == On::Optimal { 0.1 } else { 2.5 };
    (order.map(|order| (order as i32, scale * f64::from(order))), order.unwrap_or(1) as usize)
}

/// Standard normals of one particle, at most four.
fn normals(seed: u32, particle: usize) -> [f64; 4] {
    Philox::new(seed, Stream::Source).normal_block([particle as u32, 0, 0, 0]).map(f64::from)
}

fn cloud(n: usize, dim: usize, point: impl Fn(usize) -> Vec<f64>) -> Cloud {
    Cloud::new((0..n).flat_map(point).collect(), dim).expect("a cloud")
}

/// Eight Gaussians on a circle of radius 4, spread by `spread`.
fn gaussians(seed: u32, n: usize, spread: f64) -> Cloud {
    cloud(n, 2, |i| {
        let [a, b, ..] = normals(seed, i);
        let angle = TAU * (i % 8) as f64 / 8.0;
        vec![4.0 * angle.cos() + spread * a, 4.0 * angle.sin() + spread * b]
    })
}

/// Rings and bars of 8 × 8 pixels in [−1, 1], blurred differently for every seed and index.
fn images(seed: u32, n: usize) -> Cloud {
    cloud(n, 64, |i| {
        let [a, b, c, e] = normals(seed, i).map(|z| 0.5 * z);
        let pixel = |k: usize| {
            let (x, y) = ((k % 8) as f64 - 3.5 - a, (k / 8) as f64 - 3.5 - b);
            let ring = (-((x.hypot(y * 0.8) - 2.2 - 0.4 * c) / 0.8).powi(2)).exp();
            let bar = (-((x + 0.3 * e * y) / 0.9).powi(2)).exp();
            if i % 2 == 0 { 2.0 * ring - 1.0 } else { 2.0 * bar - 1.0 }
        };
        (0..64).map(pixel).collect()
    })
}

fn rows(floor: f64, memorises: bool) -> Vec<Row> {
    let mut rows = Vec::new();
    for entrant in ENTRANTS.iter().filter(|entrant| !matches!(entrant.way, Way::Map(_))) {
        let (method, family, (order, per_step)) = (entrant.name, entrant.family, law_of(entrant));
        for steps in STEPS {
            let k = steps as f64;
            let error = order.map(|(p, c)| c / (1.0 + k).powi(p));
            let divergence = floor * 0.9 + error.map_or(6.0 / k, |e| 2.0 * e * e);
            let memorised = memorises && steps >= 20 && !method.starts_with("ot");
            rows.push(Row {
                family,
                method: method.into(),
                label: method.into(),
                eps_relative: method.starts_with("ot").then_some(0.002),
                steps,
                nfe: steps * per_step,
                seconds: 0.0021 * k * per_step as f64,
                solver_error: error,
                divergence: Some(divergence),
                w2_squared_exact: Some(divergence * 1.1 + 0.02),
                variance_ratio: Some(1.0 - 0.3 / (k + 1.0)),
                nn_train: Some(if memorised { 1e-8 } else { 0.11 + 0.4 / k }),
                nn_heldout: Some(0.12),
                action: order.map(|_| 14.2),
                length: order.map(|_| 3.7),
                flags: if memorised { vec![Flag::Memorised] } else { Vec::new() },
            });
        }
    }
    let displacement = |label: &str, eps: f64, ratio: f64, flags: Vec<Flag>| Row {
        method: "displacement".into(),
        label: label.into(),
        eps_relative: Some(eps),
        steps: 1,
        nfe: 1,
        solver_error: None,
        divergence: Some(floor * (1.0 + 20.0 * (1.0 - ratio))),
        variance_ratio: Some(ratio),
        flags,
        ..rows.iter().find(|row| row.family == Family::Flow).expect("a flow").clone()
    };
    let exact = displacement("displacement", 0.002, 0.99, Vec::new());
    // The best numbers of all, but of a cloud that has shrunk; and a number that is not a number.
    let mut shrunk = displacement("displacement-0.05", 0.05, 0.61, vec![Flag::BelowFloor, Flag::Collapsed, Flag::NotFinite]);
    shrunk.divergence = Some(floor * 0.1);
    shrunk.w2_squared_exact = Some(1e-3);
    shrunk.action = Some(f64::NAN);
    rows.extend([exact, shrunk]);
    rows
}

/// A trailing grid that takes a third more for diffusion and a third less for flow, where the rows have the error.
fn reclocking(rows: &[Row]) -> Vec<Reclocked> {
    let of_row = |row: &Row| {
        let factor = if row.family == Family::Diffusion { 4.0 / 3.0 } else { 2.0 / 3.0 };
        let nfe_trailing = (row.nfe as f64 * factor).ceil() as usize;
        let nfe = (row.steps > 1).then_some(row.nfe as f64);
        Some(Reclocked { method: row.method.clone(), solver_error: row.solver_error?, nfe_trailing, nfe })
    };
    rows.iter().filter_map(of_row).collect()
}

/// Eight steps of two methods beside three named grids.
fn found() -> Vec<Found> {
    let times = |power: f64| (0..=8).map(|k| 1.0 - (1.0 - f64::from(k) / 8.0).powf(power)).collect::<Vec<f64>>();
    let grid = |(name, power, solver_error): (&str, f64, f64)| NamedGrid { grid: name.into(), times: times(power), solver_error };
    let of = |method: &str, scale: f64| {
        let grids = [("trailing", 1.0, 0.9), ("balanced", 2.0, 0.5), ("arc-length", 1.6, 0.4)];
        let grids = grids.map(|(name, power, error)| grid((name, power, scale * error))).to_vec();
        Found::judged(method, times(1.5), 0.2 * scale, grids).expect("grids")
    };
    vec![of("ddim", 1.0), of("fm-euler", 0.7)]
}

fn ledger() -> Vec<Ledger> {
    let line = |path: &str, [gap, bend, clock]: [f64; 3], regression: Option<f64>, closes: bool| Ledger {
        path: path.into(),
        action: 11.31 + gap + bend + clock + 0.02,
        w2_squared: 11.31,
        coupling_gap: gap,
        bend,
        clock,
        length_squared: 11.31 + gap + bend,
        straightness: bend + clock,
        action_from_regression: regression,
        residual: 0.02,
        standard_error: if closes { 0.03 } else { 0.004 },
        closes,
        bend_se: 0.03 * bend,
        clock_se: 0.02 * clock,
    };
    vec![
        line("diffusion", [0.42, 0.9, 7.0], None, true),
        line("diffusion-cosine", [0.42, 0.9, 2.1], Some(14.7), true),
        line("fm", [0.31, 1.2, 0.64], Some(13.6), true),
        line("ot", [0.02, 0.04, 0.01], None, true),
        line("displacement", [0.0; 3], None, false),
    ]
}

/// A path from `start` to `end`: straight, or bent towards the middle first as diffusion is.
fn trajectory(family: Family, method: &str, start: &Cloud, end: &Cloud, states: usize) -> Trajectory {
    let state = |k: usize| {
        let t = k as f64 / (states - 1) as f64;
        let (from, to) = match family {
            Family::Diffusion => (1.0 - t.powi(2), t.powi(4)),
            Family::Flow => (1.0 - t, t),
        };
        cloud(start.len(), start.dim(), |i| start.row(i).iter().zip(end.row(i)).map(|(a, b)| from * a + to * b).collect())
    };
    Trajectory { family, method: method.into(), states: (0..states).map(state).collect() }
}

fn comparison(target: &str, law: bool, train: Cloud, heldout: Cloud, samples: impl Fn(&Row, usize) -> Cloud) -> Comparison {
    let d = heldout.dim();
    let floor = 0.0123 * d as f64;
    let rows = rows(floor, !law);
    let few: Vec<usize> = (0..24).collect();
    let end = heldout.select(&few).expect("a few points");
    let start = cloud(24, d, |i| (0..d).map(|k| normals(7, 24 * k + i)[0]).collect());
    let energy = |i: u32| {
        let s = 0.05 * f64::from(i);
        let free_energy = 5.4 * (-2.6 * s).exp() + if i > 55 { 1e-9 } else { 0.0 };
        FreeEnergy {
            t: (-s).exp(),
            flow_time: s,
            arc_length: 3.0 * (1.0 - (-s).exp()),
            free_energy,
            standard_error: 0.004 * (-1.3 * s).exp(),
        }
    };
    let mut free_energy: Vec<FreeEnergy> = (0..60).rev().map(energy).collect();
    free_energy.push(FreeEnergy {
        t: 1.0,
        flow_time: 0.0,
        arc_length: 0.0,
        free_energy: f64::INFINITY,
        standard_error: f64::NAN,
    });
    let note = "The exact field of a data set memorises by construction: its flow ends on the training points.";
    Comparison {
        samples: rows.iter().enumerate().map(|(i, row)| samples(row, i)).collect(),
        trajectories: vec![
            trajectory(Family::Diffusion, "pf-heun", &start, &end, 41),
            trajectory(Family::Flow, "ot-heun", &start, &end, 41),
        ],
        record: CompareRecord {
            command: "compare".into(),
            model: None,
            version: "0.1.0".into(),
            target: target.into(),
            source: "normal".into(),
            n: train.len(),
            m: heldout.len(),
            d,
            seed: 0,
            device: "cpu".into(),
            precision: "f32".into(),
            law,
            eps_metric: 0.41,
            eps_transport: Some(0.0164),
            noise_floor: NoiseFloor { divergence: floor, w2_squared_exact: 0.031 * d as f64 },
            model_limit: None,
            reclocking: if law { reclocking(&rows) } else { Vec::new() },
            found: if law { found() } else { Vec::new() },
            rows,
            classes: Vec::new(),
            grid: if law { "arc-length" } else { "trailing" }.into(),
            ledger: ledger(),
            free_energy: if law { free_energy } else { Vec::new() },
            notes: if law { Vec::new() } else { vec![note.into()] },
            flags: Vec::new(),
            wall_seconds: 41.3,
        },
        train,
        heldout,
    }
}

/// A law in the plane.
pub fn law() -> Comparison {
    let samples = |row: &Row, i: usize| gaussians(10 + i as u32, 1500, 0.5 + 1.2 / row.steps as f64);
    comparison("8gaussians", true, gaussians(1, 1500, 0.5), gaussians(2, 1500, 0.5), samples)
}

/// Images with a height and a width of 8; from 20 steps on the samples are training points.
pub fn digits() -> Comparison {
    let train = images(1, 300);
    let samples = |row: &Row, i: usize| {
        let [from, to] =
            [train.select(&[3 + i % 50, 18, 7, 42, 99, 120, 64, 31]), images(50 + i as u32, 8).select(&[0, 1, 2, 3, 4, 5, 6, 7])];
        let (from, to) = (from.expect("training points"), to.expect("images"));
        let new = if row.flags.contains(&Flag::Memorised) { 0.0 } else { 1.0 / (row.steps as f64).sqrt() };
        cloud(8, 64, |i| from.row(i).iter().zip(to.row(i)).map(|(a, b)| (1.0 - new) * a + new * b).collect())
    };
    let heldout = images(2, 300);
    comparison("digits", false, train.clone(), heldout, samples)
}
