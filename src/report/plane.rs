//! The plane that clouds are drawn in: the first two principal axes of the held-out points.

use nalgebra::{DMatrix, SymmetricEigen};

use super::axis::Axis;
use crate::measure::Cloud;

/// Fractional part of the golden ratio, whose multiples fill [0, 1) evenly.
const GOLDEN: f64 = 0.618_033_988_749_894_9;

/// A projection to two coordinates. Points of a plane keep their own coordinates; points of a line get a second one from the caller.
pub(super) struct Plane {
    mean: Vec<f64>,
    /// Two unit vectors, empty for d ≤ 2.
    axes: Vec<Vec<f64>>,
    /// Labels with units.
    pub labels: [String; 2],
}

impl Plane {
    /// The plane of the two largest eigenvalues of the covariance Σ_i a_i (x_i − x̄)(x_i − x̄)ᵀ; an eigenvector's largest entry is
    /// positive.
    pub fn of(cloud: &Cloud) -> Self {
        let (d, mean) = (cloud.dim(), cloud.mean());
        if d <= 2 {
            let second = if d == 1 { "fraction of the points; time of a path" } else { "x₂ (units of x)" };
            return Self { mean, axes: Vec::new(), labels: ["x₁ (units of x)".into(), second.into()] };
        }
        let mut scaled = DMatrix::from_row_slice(cloud.len(), d, &cloud.relative_to(&mean));
        for (i, mut row) in scaled.row_iter_mut().enumerate() {
            row *= cloud.weight(i).sqrt();
        }
        let eigen = SymmetricEigen::new(scaled.tr_mul(&scaled));
        let mut order: Vec<usize> = (0..d).collect();
        order.sort_by(|&i, &j| eigen.eigenvalues[j].total_cmp(&eigen.eigenvalues[i]));
        let axis = |&k: &usize| {
            let v = eigen.eigenvectors.column(k);
            let sign = if v[v.iamax()] < 0.0 { -1.0 } else { 1.0 };
            v.iter().map(|c| c * sign).collect()
        };
        let total = eigen.eigenvalues.sum();
        let label = |rank: usize, name: &str| {
            let share = if total > 0.0 { 100.0 * eigen.eigenvalues[order[rank]] / total } else { 0.0 };
            format!("{name} principal axis (units of x), {share:.0} %")
        };
        let labels = [label(0, "first"), label(1, "second")];
        Self { mean, axes: order[..2].iter().map(axis).collect(), labels }
    }

    /// Coordinates of `point`; `second` is the second one where there is only one.
    pub fn project(&self, point: &[f64], second: f64) -> (f64, f64) {
        match (self.axes.as_slice(), point) {
            ([a, b], _) => {
                let along = |axis: &[f64]| point.iter().zip(&self.mean).zip(axis).map(|((x, m), e)| (x - m) * e).sum();
                (along(a), along(b))
            }
            (_, [x]) => (*x, second),
            (_, point) => (point[0], point[1]),
        }
    }

    /// At most `most` points of `cloud`, taken at the multiples of the golden ratio, so that no order of the cloud matters; on a line the second coordinate is the fraction of points to the left.
    pub fn scatter(&self, cloud: &Cloud, most: usize) -> Vec<(f64, f64)> {
        let mut rows: Vec<&[f64]> = match cloud.len() {
            n if n <= most => cloud.rows().collect(),
            n => (0..most).map(|i| cloud.row((n as f64 * (i as f64 * GOLDEN).fract()) as usize)).collect(),
        };
        if cloud.dim() == 1 {
            rows.sort_by(|x, y| x[0].total_cmp(&y[0]));
        }
        let count = rows.len() as f64;
        rows.iter().enumerate().map(|(i, row)| self.project(row, (i as f64 + 0.5) / count)).collect()
    }

    /// Axes that hold all `points` at the same scale in both directions (on a line the second axis is 0 to 1).
    pub fn frame(&self, points: &[(f64, f64)]) -> [Axis; 2] {
        let ends = |values: Vec<f64>| {
            let (low, high) = values.iter().fold((f64::MAX, f64::MIN), |(lo, hi), v| (v.min(lo), v.max(hi)));
            (0.5 * (low + high), 0.5 * (high - low))
        };
        let (x, rx) = ends(points.iter().map(|p| p.0).collect());
        let (y, ry) = ends(points.iter().map(|p| p.1).collect());
        let r = if self.mean.len() == 1 { rx } else { rx.max(ry) };
        let r = if r > 0.0 { 1.05 * r } else { 1.0 };
        let second = if self.mean.len() == 1 { (0.0, 1.0) } else { (y - r, y + r) };
        [Axis::between(&self.labels[0], x - r, x + r), Axis::between(&self.labels[1], second.0, second.1)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plane_is_spanned_by_the_directions_of_largest_variance() {
        // Variance 1/5, 9/5 and 4/5 along the third, first and second coordinates of a far-away cloud.
        let far = [1e6, -1e6, 5.0];
        let arms = [[3.0, 0.0, 0.0], [-3.0, 0.0, 0.0], [0.0, 2.0, 0.0], [0.0, -2.0, 0.0], [0.0, 0.0, 0.0]];
        let points = arms.iter().flat_map(|p| p.iter().zip(far).map(|(x, f)| x + f).collect::<Vec<_>>()).collect();
        let plane = Plane::of(&Cloud::new(points, 3).unwrap());
        let (x, y) = plane.project(&[1e6 + 3.0, -1e6 + 2.0, 9.0], 0.0);
        assert!((x - 3.0).abs() < 1e-9 && (y - 2.0).abs() < 1e-9, "projected to ({x}, {y})");
    }

    #[test]
    fn points_of_a_plane_keep_their_coordinates() {
        let plane = Plane::of(&Cloud::new(vec![0.0, 0.0, 3.0, 1.0], 2).unwrap());
        assert_eq!(plane.project(&[3.0, 1.0], 0.0), (3.0, 1.0));
    }
}
