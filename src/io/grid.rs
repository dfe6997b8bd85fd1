//! Pictures side by side in one, as samples of a model are looked at.

use crate::measure::Picture;

/// The most pictures in a grid, and in a row of it.
const MOST: usize = 64;
const ROW: usize = 8;
/// Pixels of a grid, which has fewer pictures where they are large.
const PIXELS: usize = 1 << 24;
/// Smaller pictures are enlarged until a side has as many pixels.
const SIDE: usize = 64;
/// Pixels between two pictures.
const GAP: usize = 2;

/// The first of `points`, n × `shape`, as pictures in rows of up to eight; none where `shape` is neither H × W nor C × H × W with one or
/// three channels. Numbers from `black` to `white` are shown, and those beyond as these.
pub fn grid(points: &[f64], shape: &[usize], (black, white): (f64, f64)) -> Option<Picture> {
    let (channels, height, width) = match *shape {
        [height, width] => (1, height, width),
        [channels @ (1 | 3), height, width] => (channels, height, width),
        _ => return None,
    };
    let plane = height * width;
    let scale = SIDE.div_ceil(height.max(width).max(1));
    let shown = (points.len() / (channels * plane).max(1)).min(MOST).min((PIXELS / (plane * scale * scale).max(1)).max(1));
    if plane == 0 || shown == 0 {
        return None;
    }
    let columns = ROW.min((shown as f64).sqrt().ceil() as usize);
    let extent = |pictures: usize, side: usize| pictures * (side * scale + GAP) + GAP;
    let (wide, high) = (extent(columns, width), extent(shown.div_ceil(columns), height));
    let mut pixels = vec![[u8::MAX; 3]; wide * high];
    let byte = |x: f64| ((x - black) / (white - black) * 255.0).round().clamp(0.0, 255.0) as u8;
    for (at, point) in points.chunks_exact(channels * plane).take(shown).enumerate() {
        let (left, top) = (extent(at % columns, width), extent(at / columns, height));
        for (y, x) in (0..height * scale).flat_map(|y| (0..width * scale).map(move |x| (y, x))) {
            let place = y / scale * width + x / scale;
            pixels[(top + y) * wide + left + x] = [0, 1, 2].map(|channel| byte(point[channel % channels * plane + place]));
        }
    }
    Some(Picture { width: wide, height: high, pixels })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_stand_side_by_side_and_channels_are_planes() {
        // Red, and green; 1 × 2 pixels each, enlarged to 32 × 64.
        let red_then_green = [1.0, 1.0, -1.0, -1.0, -1.0, -1.0, -1.0, -1.0, 9.0, 9.0, -9.0, -1.0];
        let picture = grid(&red_then_green, &[3, 1, 2], (-1.0, 1.0)).unwrap();
        assert_eq!((picture.width, picture.height), (2 * 66 + 2, 34 + 2));
        let pixel = |x: usize, y: usize| picture.pixels[y * picture.width + x];
        assert_eq!([pixel(0, 0), pixel(1, 20), pixel(66, 20)], [[255; 3]; 3], "gaps are white");
        assert_eq!([pixel(2, 2), pixel(65, 33)], [[255, 0, 0]; 2]);
        assert_eq!([pixel(68, 2), pixel(131, 33)], [[0, 255, 0]; 2]);
        let grey = grid(&[0.0, 16.0, 8.0, 4.0], &[2, 2], (0.0, 16.0)).unwrap();
        let pixel = |x: usize, y: usize| grey.pixels[(GAP + y * 32) * grey.width + GAP + x * 32];
        assert_eq!([pixel(0, 0), pixel(1, 0), pixel(0, 1), pixel(1, 1)], [[0; 3], [255; 3], [128; 3], [64; 3]]);
    }

    #[test]
    fn a_grid_has_at_most_64_pictures_and_large_ones_are_fewer() {
        let shown = |n: usize, side: usize| {
            let picture = grid(&vec![0.0; n * side * side], &[1, side, side], (-1.0, 1.0)).unwrap();
            let scaled = side * SIDE.div_ceil(side) + GAP;
            (picture.width / scaled, picture.height / scaled)
        };
        assert_eq!([shown(1, 8), shown(3, 8), shown(1000, 8)], [(1, 1), (2, 2), (8, 8)]);
        assert_eq!(shown(5, 2048), (2, 2));
        for shape in [&[4][..], &[2, 8, 8], &[1, 1, 2, 2], &[0, 4]] {
            assert_eq!(grid(&[0.0; 256], shape, (0.0, 1.0)), None, "{shape:?}");
        }
    }
}
