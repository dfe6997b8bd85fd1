//! The exact field of a Gaussian mixture: against its definition, at the ends of the path, and folded into programs.

use approx::assert_abs_diff_eq;
use brenier::field::fold;
use brenier::measure::Mixture;
use brenier::measure::mixture::Covariance;
use brenier::path::Level;
use brenier::program::{Op, Program, Step};

fn level(alpha: f64, sigma: f64) -> Level {
    Level { t: alpha, alpha, sigma, alpha_dot: 1.0, sigma_dot: -1.0 }
}

fn isotropic() -> Mixture {
    let means = vec![vec![-2.0, 0.3, 1.0], vec![0.5, 0.1, -1.0], vec![9.0, 9.0, 9.0], vec![3.0, -1.5, 0.2]];
    let covariances = [0.09, 0.25, 1.0, 0.04].map(Covariance::Isotropic).to_vec();
    Mixture::new(vec![0.3, 0.5, 0.0, 0.2], means, covariances).unwrap()
}

fn full() -> Mixture {
    let a = Covariance::from_matrix(&[0.5, 0.2, 0.0, 0.2, 0.4, -0.1, 0.0, -0.1, 0.3], 3).unwrap();
    let b = Covariance::from_matrix(&[0.2, -0.1, 0.05, -0.1, 0.9, 0.3, 0.05, 0.3, 0.6], 3).unwrap();
    let means = vec![vec![-1.0, 0.3, 1.0], vec![0.5, 0.1, -1.0], vec![1.0, -1.5, 0.2]];
    Mixture::new(vec![0.3, 0.5, 0.2], means, vec![a, b, Covariance::Isotropic(0.2)]).unwrap()
}

const LEVELS: [(f64, f64); 5] = [(0.0, 1.0), (0.3, 0.7), (0.8, 0.6), (1.0, 3.0), (1.0, 0.0)];
const POINTS: [[f64; 3]; 3] = [[0.1, -0.4, 0.3], [2.0, 1.0, -1.0], [-3.0, 0.5, 2.5]];

/// Central differences of step 1e-5 are good to 1e-9 here; a wrong factor in the score would be seen at once.
#[test]
fn the_score_is_the_gradient_of_the_log_density() {
    for mixture in [isotropic(), full()] {
        for (alpha, sigma) in LEVELS {
            for x in POINTS {
                let score = mixture.score(level(alpha, sigma), &x);
                for i in 0..3 {
                    let at = |h: f64| {
                        let mut moved = x;
                        moved[i] += h;
                        mixture.log_density(level(alpha, sigma), &moved)
                    };
                    let slope = (at(1e-5) - at(-1e-5)) / 2e-5;
                    assert_abs_diff_eq!(score[i], slope, epsilon = 1e-7 * (1.0 + slope.abs()));
                }
            }
        }
    }
}

/// x = α x̂₀ + σ ε̂ and ∇log p = −ε̂/σ (Tweedie), to rounding.
#[test]
fn denoised_point_and_noise_make_up_the_point() {
    for mixture in [isotropic(), full()] {
        for (alpha, sigma) in LEVELS {
            for x in POINTS {
                let here = level(alpha, sigma);
                let (denoised, noise, score) = (mixture.denoised(here, &x), mixture.noise(here, &x), mixture.score(here, &x));
                for i in 0..3 {
                    assert_abs_diff_eq!(alpha * denoised[i] + sigma * noise[i], x[i], epsilon = 1e-13);
                    assert_abs_diff_eq!(noise[i], -sigma * score[i], epsilon = 1e-12);
                }
            }
        }
    }
}

/// At pure noise the point tells nothing about the data; at the data it is the data.
#[test]
fn the_field_is_regular_at_both_ends() {
    let mixture = full();
    let mean: Vec<f64> = (0..3).map(|i| mixture.components().iter().map(|c| c.weight * c.mean[i]).sum()).collect();
    for x in POINTS {
        let (at_noise, at_data) = (mixture.denoised(level(0.0, 1.0), &x), mixture.denoised(level(1.0, 0.0), &x));
        for i in 0..3 {
            assert_abs_diff_eq!(at_noise[i], mean[i], epsilon = 1e-15);
            assert_abs_diff_eq!(at_data[i], x[i], epsilon = 1e-14);
        }
        assert_eq!(mixture.noise(level(1.0, 0.0), &x), [0.0; 3]);
    }
}

/// The expanded quadratics lose at most the digits of |x|²/S, here 1e3.
#[test]
fn a_folded_program_does_what_the_program_does() {
    for mixture in [isotropic(), full()] {
        for (alpha, sigma) in LEVELS {
            let here = level(alpha, sigma);
            let twice = Step::evaluate(here, 0.7, -1.3)
                .add_noise(0.5)
                .then(Op::Evaluate { level: level(0.6, 0.4), src: 0, p: 0.2, q: 1.1, dst: 2 })
                .then(Op::Combine { dst: 0, terms: vec![(0, 0.3), (2, -0.5), (1, 0.1)] })
                .then(Op::Clip { register: 0, low: -1.0, high: 1.0 });
            let program = Program::from_iter([Step::evaluate(here, 1.0, 0.3), twice]);
            let folded = fold(&mixture, &program);
            assert_eq!(folded.registers, 3);
            assert_eq!(folded.steps[1].coefficients.len(), 2 * folded.stride());
            let normals = |step: u32, draw: u32| (0..3).map(|i| f64::from(step + draw + i) - 1.5).collect();
            for x in POINTS {
                let expected =
                    crate::reference::interpret(&program, &x, |level, p, q, x| mixture.evaluate(level, p, q, x), normals);
                let found = crate::reference::interpret_folded(&folded, &x, normals);
                for i in 0..3 {
                    assert_abs_diff_eq!(found[i], expected[i], epsilon = 1e-11);
                }
            }
        }
    }
}
