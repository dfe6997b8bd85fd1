//! The order of points: every aligned block of 2^k of them is a cell of one k-d tree.

use crate::backend::Real;

/// A permutation of the points (n × d, row-major) in which each aligned block of 2^k consecutive ones, for every k, lies in a box
/// that overlaps no other block's but at its faces: halved again and again across the widest extent.
pub fn order<T: Real>(points: &[T], d: usize) -> Vec<u32> {
    let n = points.len() / d;
    let mut index: Vec<u32> = (0..n as u32).collect();
    halve(points, d, &mut index, n.next_power_of_two());
    index
}

/// Below this many points a half is not worth a thread.
const ALONE: usize = 8192;

/// Orders the block `index`, which fills the front of a block of `whole` points.
fn halve<T: Real>(points: &[T], d: usize, index: &mut [u32], whole: usize) {
    let mut half = whole / 2;
    while half >= index.len() && half > 0 {
        half /= 2;
    }
    if half == 0 {
        return;
    }
    let at = |i: u32, axis: usize| points[i as usize * d + axis].to_f64();
    let extent = |axis: usize| {
        let ends = index.iter().map(|&i| at(i, axis)).fold((f64::MAX, f64::MIN), |(low, high), x| (low.min(x), high.max(x)));
        ends.1 - ends.0
    };
    let widest = (0..d).map(|axis| (extent(axis), axis)).fold((0.0, 0), |best, next| if next.0 > best.0 { next } else { best });
    if widest.0 > 0.0 {
        // The index breaks ties, so that the blocks are a function of the points alone.
        let axis = widest.1;
        index.select_nth_unstable_by(half, |&i, &j| at(i, axis).total_cmp(&at(j, axis)).then(i.cmp(&j)));
    }
    let alone = index.len() < ALONE;
    let (low, high) = index.split_at_mut(half);
    let (mut low, mut high) = (|| halve(points, d, low, half), || halve(points, d, high, half));
    if alone {
        low();
        high();
    } else {
        rayon::join(low, high);
    }
}
