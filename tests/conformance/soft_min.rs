//! `pack` and `soft_min`: out_i = log Σ_j exp(h_j + k_j x_i·y_j) − shift_i with h = bias + c · potential.

use brenier::backend::{Backend, Columns, Logit, Out, Reals, Rows, Scale};

use crate::{SIZES, assert_near, dot, normals, on_each, rounded, rounding};

/// Rows, columns and logits of one soft-min, as the backend holds them.
pub struct Case {
    pub name: &'static str,
    pub n: usize,
    pub m: usize,
    pub d: usize,
    pub x: Vec<f64>,
    pub y: Vec<f64>,
    /// The common factor, or one a column.
    pub factor: Result<f64, Vec<f64>>,
    pub bias: Vec<f64>,
    pub potential: Option<(Vec<f64>, f64)>,
}

/// What a row of a [`Case`] should give.
pub struct Expected {
    /// log Σ_j exp(logit_ij).
    pub log_sum: f64,
    /// Bound of the rounding errors of that.
    pub tolerance: f64,
    /// Softmax weights.
    pub weights: Vec<f64>,
}

impl Case {
    /// Clouds of normals with logits of size about one.
    pub fn random<B: Backend>((n, m, d): (usize, usize, usize)) -> Self {
        let weights = normals(m, 3).iter().map(|z| 0.5 * z - (m as f64).ln()).collect::<Vec<_>>();
        Self {
            name: "random",
            n,
            m,
            d,
            x: rounded::<B>(&normals(n * d, 1)),
            y: rounded::<B>(&normals(m * d, 2)),
            factor: Ok(1.7 / (d as f64).sqrt()),
            bias: rounded::<B>(&weights),
            potential: Some((rounded::<B>(&normals(m, 4)), -1.3)),
        }
    }

    /// The random case and all that is hostile.
    pub fn all<B: Backend>(size: (usize, usize, usize)) -> Vec<Self> {
        let random = || Self::random::<B>(size);
        let (n, m, d) = size;
        let scaled = |v: &[f64], s: f64| rounded::<B>(&v.iter().map(|v| s * v).collect::<Vec<_>>());
        let per_column = normals(m, 5).iter().map(|z| (0.3 * z).exp() / (d as f64).sqrt()).collect::<Vec<_>>();
        let mut some_massless = random();
        some_massless.bias.iter_mut().skip(1).step_by(2).for_each(|bias| *bias = f64::NEG_INFINITY);
        let far = scaled(&random().y, 1e4);
        let huge = rounded::<B>(&(0..m).map(|j| if j % 2 == 0 { 1e30 } else { -1e30 }).collect::<Vec<_>>());
        let (first_x, first_y) = (random().x[..d].repeat(n), random().y[..d].repeat(m));
        vec![
            random(),
            Self { name: "a factor a column", factor: Err(rounded::<B>(&per_column)), ..random() },
            Self { name: "no potential", potential: None, ..random() },
            Self { name: "columns without mass", ..some_massless },
            Self { name: "columns far apart", y: far, ..random() },
            Self { name: "equal points", x: first_x, y: first_y, potential: None, ..random() },
            Self { name: "huge potentials", potential: Some((huge, 1.0)), ..random() },
        ]
    }

    /// The reference for row `i`, and the bound of the errors that the rounding `u` makes.
    pub fn expect(&self, i: usize, u: f64) -> Expected {
        let x = &self.x[i * self.d..][..self.d];
        let column = |j: usize| {
            let y = &self.y[j * self.d..][..self.d];
            let k = self.factor.as_ref().map_or_else(|factors| factors[j], |&k| k);
            let h = self.bias[j] + self.potential.as_ref().map_or(0.0, |(g, c)| c * g[j]);
            let size: f64 = h.abs() + x.iter().zip(y).map(|(x, y)| (k * x * y).abs()).sum::<f64>();
            (h + k * dot(x, y), size)
        };
        let columns: Vec<(f64, f64)> = (0..self.m).map(column).collect();
        let top = columns.iter().map(|c| c.0).fold(f64::NEG_INFINITY, f64::max);
        let total: f64 = columns.iter().map(|c| (c.0 - top).exp()).sum();
        // Each of d + 4 operations on a logit rounds numbers of up to `size`, and the errors add like a random walk: four of
        // its deviations. Columns 40 below the top do not count. Exponential and sums add 16 roundings.
        let size = columns.iter().filter(|c| c.0 >= top - 40.0).map(|c| c.1).fold(0.0, f64::max);
        let tolerance = u * (4.0 * (self.d as f64 + 4.0).sqrt() * size + 16.0);
        Expected { log_sum: top + total.ln(), tolerance, weights: columns.iter().map(|c| (c.0 - top).exp() / total).collect() }
    }

    pub fn upload<B: Backend>(&self, backend: &B) -> (Reals<B>, Reals<B>) {
        let up = |host: &[f64]| backend.upload_reals(host).unwrap();
        let factors = self.factor.as_ref().err().map(|factors| up(factors));
        let scale = match (&self.factor, &factors) {
            (Ok(k), _) => Scale::Uniform(*k),
            (Err(_), factors) => Scale::PerColumn(factors.as_ref().unwrap()),
        };
        let potential = self.potential.as_ref().map(|(g, c)| (up(g), *c));
        let mut packed = backend.zeros(self.m * (self.d + 1)).unwrap();
        let potential = potential.as_ref().map(|(g, c)| (g, *c));
        backend
            .pack(Rows { points: &up(&self.y), n: self.m, d: self.d }, scale, &up(&self.bias), potential, &mut packed)
            .unwrap();
        (up(&self.x), packed)
    }

    pub fn rows<'a, B: Backend>(&self, points: &'a Reals<B>) -> Rows<'a, B> {
        Rows { points, n: self.n, d: self.d }
    }

    pub fn columns<'a, B: Backend>(&self, packed: &'a Reals<B>) -> Columns<'a, B> {
        Columns { packed, m: self.m, d: self.d }
    }

    /// The logits of what was uploaded.
    pub fn logit<'a, B: Backend>(
        &self,
        (x, packed): &'a (Reals<B>, Reals<B>),
        shift: Option<(&'a Reals<B>, f64)>,
    ) -> Logit<'a, B> {
        Logit::Product { rows: self.rows(x), columns: self.columns(packed), shift }
    }
}

/// The shift goes to bits and back: two constants, three products and a difference, each rounded.
pub const SHIFT_ROUNDINGS: f64 = 6.0;

/// Shifts of n rows and the factor they are given with: none, the answer itself, the answer over a factor, one that some rows
/// can use and some only with the guarded second run, and one that none can use.
pub fn shifts<B: Backend>(answer: &[f64]) -> Vec<Option<(Vec<f64>, f64)>> {
    let off = |amounts: &[f64]| answer.iter().zip(amounts.iter().cycle()).map(|(l, off)| l + off).collect::<Vec<_>>();
    let half: Vec<f64> = answer.iter().map(|l| -0.5 * l).collect();
    let with = |shift: &[f64], factor: f64| Some((rounded::<B>(shift), factor));
    vec![
        None,
        with(&off(&[0.0]), 1.0),
        with(&half, -2.0),
        with(&off(&[20.0, -20.0]), 1.0),
        with(&off(&[0.0, 1e4, -3.0, -1e4, 75.0]), 1.0),
        with(&off(&[1e4]), 1.0),
    ]
}

pub fn soft_min<B: Backend>(backend: &B) {
    let u = rounding::<B>();
    for case in SIZES.into_iter().flat_map(Case::all::<B>) {
        let pairs = case.upload(backend);
        let expected: Vec<Expected> = (0..case.n).map(|i| case.expect(i, u)).collect();
        let answer: Vec<f64> = expected.iter().map(|e| e.log_sum).collect();
        for (number, shift) in shifts::<B>(&answer).into_iter().enumerate() {
            let uploaded = shift.as_ref().map(|(s, c)| (backend.upload_reals(s).unwrap(), *c));
            let mut out = backend.upload_reals(vec![f64::NAN; case.n]).unwrap();
            let given = uploaded.as_ref().map(|(s, c)| (s, *c));
            backend.soft_min(case.logit(&pairs, given), Out::of(&mut out)).unwrap();
            let found = backend.download_reals(&out).unwrap();
            for (i, e) in expected.iter().enumerate() {
                let by = shift.as_ref().map_or(0.0, |(s, c)| c * s[i]);
                let what = || format!("{}, {} × {} × {}, shift {number}, row {i}", case.name, case.n, case.m, case.d);
                assert_near(found[i], e.log_sum - by, e.tolerance + SHIFT_ROUNDINGS * u * by.abs(), &what);
            }
        }
    }
}

#[test]
fn soft_min_is_the_log_of_the_sum_of_exponentials_in_f32() {
    on_each::<f32>(soft_min);
}

#[test]
fn soft_min_is_the_log_of_the_sum_of_exponentials_in_f64() {
    on_each::<f64>(soft_min);
}

/// A row that sees no mass at all has a log-sum as good as −∞, and no NaN.
pub fn massless<B: Backend>(backend: &B) {
    let mut case = Case::random::<B>((5, 60, 3));
    case.bias.fill(f64::NEG_INFINITY);
    let pairs = case.upload(backend);
    let mut out = backend.zeros(case.n).unwrap();
    backend.soft_min(case.logit(&pairs, None), Out::of(&mut out)).unwrap();
    assert!(backend.download_reals(&out).unwrap().iter().all(|&l| l < -1e35));
}

#[test]
fn rows_that_see_no_mass_have_log_sum_minus_infinity() {
    on_each::<f32>(massless);
    on_each::<f64>(massless);
}

#[cfg(feature = "cuda")]
crate::cuda::suites! {
    in_one_order: soft_min_on_emulated_cuda, soft_min_on_a_gpu: soft_min;
    on_emulator: massless_rows_on_emulated_cuda, massless_rows_on_a_gpu: massless;
}
