//! Butcher tables of explicit Runge–Kutta methods, and the embedded pairs that adaptive steps need.

/// The coefficients of an explicit method: k_i = f(y + h Σ_j a_ij k_j, t + c_i h), y′ = y + h Σ b_i k_i.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tableau {
    /// Stage times c, the first zero.
    pub c: &'static [f64],
    /// Rows of a, each one longer than the one before; the first is empty.
    pub a: &'static [&'static [f64]],
    /// Weights b.
    pub b: &'static [f64],
    /// Order of y′.
    pub order: u32,
}

/// A method with an estimate of its error, h Σ e_i k_i, and the middle of the step, y + h Σ mid_i k_i.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pair {
    /// The method.
    pub tableau: Tableau,
    /// b minus the weights of the lower order.
    pub e: &'static [f64],
    /// Weights of the state at the middle of the step.
    pub mid: &'static [f64],
    /// Whether the last stage is the slope at y′.
    pub first_same_as_last: bool,
}

const THIRD: f64 = 1.0 / 3.0;
/// Weights b, which are the last row of a too.
const DOPRI_5_B: [f64; 7] = [35.0 / 384.0, 0.0, 500.0 / 1113.0, 125.0 / 192.0, -2187.0 / 6784.0, 11.0 / 84.0, 0.0];
const DOPRI_8_B: [f64; 14] = [
    0.041747491141530244,
    0.0,
    0.0,
    0.0,
    0.0,
    -0.05545232861123931,
    0.2393128072011801,
    0.703510669403443,
    -0.7597596138144609,
    0.6605630309222863,
    0.15818748251012332,
    -0.2381095387528628,
    0.25,
    0.0,
];

impl Tableau {
    /// Euler's method.
    pub const EULER: Self = Self { c: &[0.0], a: &[&[]], b: &[1.0], order: 1 };
    /// The midpoint method.
    pub const MIDPOINT: Self = Self { c: &[0.0, 0.5], a: &[&[], &[0.5]], b: &[0.0, 1.0], order: 2 };
    /// Heun's method of order 2.
    pub const HEUN_2: Self = Self { c: &[0.0, 1.0], a: &[&[], &[1.0]], b: &[0.5, 0.5], order: 2 };
    /// Heun's method of order 3.
    pub const HEUN_3: Self =
        Self { c: &[0.0, THIRD, 2.0 * THIRD], a: &[&[], &[THIRD], &[0.0, 2.0 * THIRD]], b: &[0.25, 0.0, 0.75], order: 3 };
    /// Kutta's 3/8 rule, of order 4.
    pub const RK_4: Self = Self {
        c: &[0.0, THIRD, 2.0 * THIRD, 1.0],
        a: &[&[], &[THIRD], &[-THIRD, 1.0], &[1.0, -1.0, 1.0]],
        b: &[0.125, 0.375, 0.375, 0.125],
        order: 4,
    };
}

impl Pair {
    /// The 5(4) pair of Dormand and Prince (1980), with the middle of Shampine (1986).
    pub const DOPRI_5: Self = Self {
        tableau: Tableau {
            c: &[0.0, 0.2, 0.3, 0.8, 8.0 / 9.0, 1.0, 1.0],
            a: &[
                &[],
                &[0.2],
                &[3.0 / 40.0, 9.0 / 40.0],
                &[44.0 / 45.0, -56.0 / 15.0, 32.0 / 9.0],
                &[19372.0 / 6561.0, -25360.0 / 2187.0, 64448.0 / 6561.0, -212.0 / 729.0],
                &[9017.0 / 3168.0, -355.0 / 33.0, 46732.0 / 5247.0, 49.0 / 176.0, -5103.0 / 18656.0],
                DOPRI_5_B.split_at(6).0,
            ],
            b: &DOPRI_5_B,
            order: 5,
        },
        e: &[
            35.0 / 384.0 - 1951.0 / 21600.0,
            0.0,
            500.0 / 1113.0 - 22642.0 / 50085.0,
            125.0 / 192.0 - 451.0 / 720.0,
            -2187.0 / 6784.0 + 12231.0 / 42400.0,
            11.0 / 84.0 - 649.0 / 6300.0,
            -1.0 / 60.0,
        ],
        mid: &[
            6025192743.0 / 30085553152.0 / 2.0,
            0.0,
            51252292925.0 / 65400821598.0 / 2.0,
            -2691868925.0 / 45128329728.0 / 2.0,
            187940372067.0 / 1594534317056.0 / 2.0,
            -1776094331.0 / 19743644256.0 / 2.0,
            11237099.0 / 235043384.0 / 2.0,
        ],
        first_same_as_last: true,
    };
    /// The 3(2) pair of Bogacki and Shampine (1989).
    pub const BOSH_3: Self = Self {
        tableau: Tableau {
            c: &[0.0, 0.5, 0.75, 1.0],
            a: &[&[], &[0.5], &[0.0, 0.75], &[2.0 / 9.0, THIRD, 4.0 / 9.0]],
            b: &[2.0 / 9.0, THIRD, 4.0 / 9.0, 0.0],
            order: 3,
        },
        e: &[2.0 / 9.0 - 7.0 / 24.0, THIRD - 0.25, 4.0 / 9.0 - THIRD, -0.125],
        mid: &[0.0, 0.5, 0.0, 0.0],
        first_same_as_last: true,
    };
    /// Heun's method with Euler's inside it.
    pub const ADAPTIVE_HEUN: Self =
        Self { tableau: Tableau::HEUN_2, e: &[0.5, -0.5], mid: &[0.5, 0.0], first_same_as_last: false };
    /// The 8(7) pair of Dormand and Prince (1981), 13 stages and the new slope.
    pub const DOPRI_8: Self = Self {
        tableau: Tableau {
            c: &[
                0.0,
                0.05555555555555555,
                0.08333333333333333,
                0.125,
                0.3125,
                0.375,
                0.1475,
                0.465,
                0.5648654513822595,
                0.65,
                0.9246562776405044,
                1.0,
                1.0,
                1.0,
            ],
            a: &[
                &[],
                &[0.05555555555555555],
                &[0.020833333333333332, 0.0625],
                &[0.03125, 0.0, 0.09375],
                &[0.3125, 0.0, -1.171875, 1.171875],
                &[0.0375, 0.0, 0.0, 0.1875, 0.15],
                &[0.04791013711111111, 0.0, 0.0, 0.11224871277777777, -0.02550567377777778, 0.012846823888888888],
                &[
                    0.01691798978729228,
                    0.0,
                    0.0,
                    0.3878482784860432,
                    0.03597736985150033,
                    0.19697021421566607,
                    -0.17271385234050185,
                ],
                &[
                    0.0690957533591923,
                    0.0,
                    0.0,
                    -0.6342479767288541,
                    -0.16119757522460407,
                    0.13865030945882525,
                    0.9409286140357562,
                    0.21163632648194397,
                ],
                &[
                    0.1835569968390454,
                    0.0,
                    0.0,
                    -2.4687680843155926,
                    -0.29128688781630047,
                    -0.026473020233117376,
                    2.8478387641928005,
                    0.2813873314698498,
                    0.12374489986331466,
                ],
                &[
                    -1.2154248173958881,
                    0.0,
                    0.0,
                    16.672608665945774,
                    0.915741828416818,
                    -6.056605804357471,
                    -16.00357359415618,
                    14.849303086297663,
                    -13.371575735289849,
                    5.134182648179638,
                ],
                &[
                    0.25886091643826425,
                    0.0,
                    0.0,
                    -4.774485785489205,
                    -0.4350930137770325,
                    -3.0494833320722416,
                    5.5779200399360995,
                    6.15583158986104,
                    -5.062104586736939,
                    2.193926173180679,
                    0.13462799865933495,
                ],
                &[
                    0.8224275996265075,
                    0.0,
                    0.0,
                    -11.658673257277664,
                    -0.7576221166909362,
                    0.7139735881595816,
                    12.075774986890057,
                    -2.127659113920403,
                    1.9901662070489554,
                    -0.23428647154404028,
                    0.17589857770794226,
                    0.0,
                ],
                DOPRI_8_B.split_at(13).0,
            ],
            b: &DOPRI_8_B,
            order: 8,
        },
        e: &[
            0.012194277465176744,
            0.0,
            0.0,
            0.0,
            0.0,
            0.7731539478765578,
            -0.07192809284993823,
            -1.763834521196444,
            1.787182038027448,
            -0.7829855527544889,
            0.07877188662899604,
            -0.28255398319730723,
            0.25,
            0.0,
        ],
        mid: &[
            0.04103130360739393,
            0.0,
            0.0,
            0.0,
            0.0,
            0.05100562801991382,
            0.2388930677412202,
            0.3096870143996103,
            -0.2172325471755352,
            0.07833405679331928,
            -0.0018614369715579948,
            0.007072844202678841,
            0.00690847373200576,
            -0.013838404349047373,
        ],
        first_same_as_last: true,
    };
}

impl Tableau {
    /// The slopes k of all stages of a step h from `y`, where the slope is `first`; `slope` is f at the share c of the step.
    pub(super) fn stages(
        &self,
        first: Vec<f64>,
        y: &[f64],
        h: f64,
        slope: &mut dyn FnMut(f64, &[f64]) -> Vec<f64>,
    ) -> Vec<Vec<f64>> {
        let mut slopes = vec![first];
        for (c, row) in self.c.iter().zip(self.a).skip(1) {
            let point = moved(y, &weighted(h, row, &slopes));
            slopes.push(slope(*c, &point));
        }
        slopes
    }

    /// The state at the last of `times` of the system dy/dt = `slope`, from `start` at the first.
    pub fn integrate(&self, slope: &mut dyn FnMut(f64, &[f64]) -> Vec<f64>, times: &[f64], start: &[f64]) -> Vec<f64> {
        let mut y = start.to_vec();
        for ends in times.windows(2) {
            let (t, h) = (ends[0], ends[1] - ends[0]);
            let slopes = self.stages(slope(t, &y), &y, h, &mut |c, point| slope(t + c * h, point));
            y = moved(&y, &weighted(h, self.b, &slopes));
        }
        y
    }
}

/// h Σ w_i k_i.
pub(super) fn weighted(h: f64, weights: &[f64], slopes: &[Vec<f64>]) -> Vec<f64> {
    let at = |i: usize| slopes.iter().zip(weights).map(|(k, w)| h * w * k[i]).sum::<f64>();
    (0..slopes.first().map_or(0, Vec::len)).map(at).collect()
}

/// y + Δ.
pub(super) fn moved(y: &[f64], by: &[f64]) -> Vec<f64> {
    y.iter().zip(by).map(|(y, m)| y + m).collect()
}
