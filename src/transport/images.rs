//! Where a plan sends the source points, as a solver leaves it.

use crate::backend::Precision;

/// The barycentric map T(x_i) = Σ_j P_ij y_j / Σ_j P_ij, n × d row-major.
///
/// It is held as it was computed, in the precision of that and relative to the target's mean, which in single precision is half of
/// what [`Images::to_vec`] makes.
#[derive(Clone, Debug, PartialEq)]
pub struct Images {
    d: usize,
    held: Held,
    /// The target's mean and the factor of lengths, where they are not those of the input.
    frame: Option<(Vec<f64>, f64)>,
}

#[derive(Clone, Debug, PartialEq)]
enum Held {
    F32(Vec<f32>),
    F64(Vec<f64>),
}

impl Images {
    /// The images of `n` points in the input coordinates, row-major.
    pub(super) fn new(images: Vec<f64>, n: usize) -> Self {
        Self { d: images.len() / n, held: Held::F64(images), frame: None }
    }

    /// `n` images that are to be [placed](Self::place), relative to `mean` in lengths `unit` times those of the input, and computed
    /// in `precision`.
    pub(super) fn about((mean, unit): (&[f64], f64), n: usize, precision: Precision) -> Self {
        let (d, len) = (mean.len(), n * mean.len());
        let held = match precision {
            Precision::F32 => Held::F32(vec![0.0; len]),
            Precision::F64 => Held::F64(vec![0.0; len]),
        };
        Self { d, held, frame: Some((mean.to_vec(), unit)) }
    }

    /// Sets the image of point `i`, of a precision no higher than is held.
    pub(super) fn place(&mut self, i: usize, image: &[f64]) {
        let at = i * self.d..(i + 1) * self.d;
        match &mut self.held {
            Held::F32(held) => held[at].iter_mut().zip(image).for_each(|(held, t)| *held = *t as f32),
            Held::F64(held) => held[at].copy_from_slice(image),
        }
    }

    /// Calls `to` with the index of each point and its image in the input coordinates.
    pub fn each(&self, mut to: impl FnMut(usize, &[f64])) {
        let (d, mut image) = (self.d, vec![0.0; self.d]);
        let n = match &self.held {
            Held::F32(held) => held.len() / d,
            Held::F64(held) => held.len() / d,
        };
        for i in 0..n {
            match &self.held {
                Held::F32(held) => image.iter_mut().zip(&held[i * d..]).for_each(|(image, t)| *image = f64::from(*t)),
                Held::F64(held) => image.copy_from_slice(&held[i * d..][..d]),
            }
            if let Some((mean, unit)) = &self.frame {
                image.iter_mut().zip(mean).for_each(|(t, m)| *t = *t / unit + m);
            }
            to(i, &image);
        }
    }

    /// All of them in the input coordinates, n × d row-major.
    pub fn to_vec(&self) -> Vec<f64> {
        if let (Held::F64(held), None) = (&self.held, &self.frame) {
            return held.clone();
        }
        let mut all = Vec::with_capacity(match &self.held {
            Held::F32(held) => held.len(),
            Held::F64(held) => held.len(),
        });
        self.each(|_, image| all.extend_from_slice(image));
        all
    }
}
