//! Pictures as measures: pixels as weighted points of the plane, and colours as weighted points of a colour space.
//!
//! Colours live in Oklab (Ottosson 2020), where |x−y| is nearly what the eye sees as a difference; the least that it sees is about 0.02.

use std::collections::BTreeMap;

use crate::measure::{Cloud, CloudError};

/// A picture: sRGB, one byte a channel, row by row from its top left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// Pixels in a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// width × height colours.
    pub pixels: Vec<[u8; 3]>,
}

impl Picture {
    /// The colours of all pixels in Oklab, n × 3.
    pub fn colours(&self) -> Vec<f64> {
        self.pixels.iter().flat_map(|&pixel| oklab(pixel)).collect()
    }

    /// The same picture with another palette, n × 3 in Oklab: pixel i has colour `places`\[i\] of it.
    pub fn recoloured(&self, palette: &[f64], places: &[u32]) -> Self {
        let colours: Vec<[u8; 3]> = palette.as_chunks::<3>().0.iter().map(|&colour| srgb(colour)).collect();
        let pixels = places.iter().map(|&place| colours[place as usize]).collect();
        Self { width: self.width, height: self.height, pixels }
    }

    /// The colours of all pixels as a cloud, n × 3 in Oklab: each colour once, under the share of pixels that have it, and which of
    /// them each pixel has.
    ///
    /// # Errors
    /// [`CloudError`] when the picture has no pixel.
    pub fn palette(&self) -> Result<(Cloud, Vec<u32>), CloudError> {
        let mut counts: BTreeMap<[u8; 3], f64> = BTreeMap::new();
        self.pixels.iter().for_each(|pixel| *counts.entry(*pixel).or_default() += 1.0);
        let places: BTreeMap<[u8; 3], u32> = counts.keys().copied().zip(0..).collect();
        let points = counts.keys().flat_map(|&colour| oklab(colour)).collect();
        let cloud = Cloud::new(points, 3)?.with_weights(counts.into_values().collect())?;
        Ok((cloud, self.pixels.iter().map(|pixel| places[pixel]).collect()))
    }

    /// How much ink each pixel holds, from 0 to 1: darkness on a light ground, lightness on a dark one.
    pub fn ink(&self) -> Vec<f64> {
        let on_light = self.has_light_ground();
        self.pixels.iter().map(|&pixel| if on_light { 1.0 - grey(pixel) } else { grey(pixel) }).collect()
    }

    /// Whether most of the border is light.
    pub fn has_light_ground(&self) -> bool {
        let (w, h) = (self.width, self.height);
        let border = (0..w * h).filter(|at| [0, w - 1].contains(&(at % w)) || [0, h - 1].contains(&(at / w)));
        let (light, all) = border.fold((0, 0), |(light, all), at| (light + usize::from(grey(self.pixels[at]) > 0.5), all + 1));
        2 * light > all
    }

    /// The ink as a cloud: the centres of the pixels that hold some, in units of the longer side, under their ink.
    ///
    /// # Errors
    /// [`CloudError`] when there is no ink at all.
    pub fn density(&self) -> Result<Cloud, CloudError> {
        let (ink, unit) = (self.ink(), self.width.max(self.height) as f64);
        // Less than a byte's rounding is none.
        let inked: Vec<usize> = (0..ink.len()).filter(|&at| ink[at] > 0.5 / 255.0).collect();
        let centre = |&at: &usize| [at % self.width, at / self.width].map(|pixel| (pixel as f64 + 0.5) / unit);
        let points = inked.iter().flat_map(centre).collect();
        Cloud::new(points, 2)?.with_weights(inked.iter().map(|&at| ink[at]).collect())
    }

    /// The picture that has this much ink, from 0 to 1, in each pixel.
    pub fn of_ink(ink: &[f64], width: usize, light_ground: bool) -> Self {
        let pixel = |ink: &f64| {
            let ink = ink.clamp(0.0, 1.0);
            [(255.0 * if light_ground { 1.0 - ink } else { ink }).round() as u8; 3]
        };
        Self { width, height: ink.len() / width, pixels: ink.iter().map(pixel).collect() }
    }
}

/// How light a colour looks, from 0 to 1 (ITU-R BT.601).
fn grey([r, g, b]: [u8; 3]) -> f64 {
    (0.299 * f64::from(r) + 0.587 * f64::from(g) + 0.114 * f64::from(b)) / 255.0
}

/// The colour in Oklab: lightness from 0 to 1, green to red, blue to yellow.
pub fn oklab(srgb: [u8; 3]) -> [f64; 3] {
    let [r, g, b] = srgb.map(|c| {
        let c = f64::from(c) / 255.0;
        if c <= 0.04045 { c / 12.92 } else { ((c + 0.055) / 1.055).powf(2.4) }
    });
    let l = (0.412_221_470_8 * r + 0.536_332_536_3 * g + 0.051_445_992_9 * b).cbrt();
    let m = (0.211_903_498_2 * r + 0.680_699_545_1 * g + 0.107_396_956_6 * b).cbrt();
    let s = (0.088_302_461_9 * r + 0.281_718_837_6 * g + 0.629_978_700_5 * b).cbrt();
    [
        0.210_454_255_3 * l + 0.793_617_785_0 * m - 0.004_072_046_8 * s,
        1.977_998_495_1 * l - 2.428_592_205_0 * m + 0.450_593_709_9 * s,
        0.025_904_037_1 * l + 0.782_771_766_2 * m - 0.808_675_766_0 * s,
    ]
}

/// The nearest byte of each channel; what lies outside of sRGB is cut off.
pub fn srgb([lightness, a, b]: [f64; 3]) -> [u8; 3] {
    let l = (lightness + 0.396_337_777_4 * a + 0.215_803_757_3 * b).powi(3);
    let m = (lightness - 0.105_561_345_8 * a - 0.063_854_172_8 * b).powi(3);
    let s = (lightness - 0.089_484_177_5 * a - 1.291_485_548_0 * b).powi(3);
    let linear = [
        4.076_741_662_1 * l - 3.307_711_591_3 * m + 0.230_969_929_2 * s,
        -1.268_438_004_6 * l + 2.609_757_401_1 * m - 0.341_319_396_5 * s,
        -0.004_196_086_3 * l - 0.703_418_614_7 * m + 1.707_614_701_0 * s,
    ];
    linear.map(|c| {
        let c = c.clamp(0.0, 1.0);
        let c = if c <= 0.003_130_8 { 12.92 * c } else { 1.055 * c.powf(1.0 / 2.4) - 0.055 };
        (255.0 * c).round() as u8
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_colour_comes_back_from_oklab_and_white_is_one() {
        for colour in (0..=255u8).flat_map(|r| [[r, 0, 255 - r], [r, r, r], [255, r, r / 2]]) {
            assert_eq!(srgb(oklab(colour)), colour);
        }
        let white = oklab([255; 3]);
        // The published matrices have ten digits.
        assert!((white[0] - 1.0).abs() < 1e-6 && white[1].abs() < 1e-6 && white[2].abs() < 1e-6, "{white:?}");
    }

    /// Repeated colours are merged, none is changed: the cloud has the mean of all pixels, and gives every one of them back.
    #[test]
    fn a_palette_holds_every_colour_once_and_makes_the_picture_again() {
        let pixels: Vec<[u8; 3]> = (0..900).map(|k| [(k % 25) as u8, (k / 60) as u8, (k * 7 % 5) as u8]).collect();
        let picture = Picture { width: 30, height: 30, pixels };
        let (palette, places) = picture.palette().unwrap();
        assert!(palette.len() < 900 && places.len() == 900);
        assert_eq!(picture.recoloured(palette.points(), &places), picture);
        let mean = Cloud::new(picture.colours(), 3).unwrap().mean();
        palette.mean().iter().zip(&mean).for_each(|(p, m)| assert!((p - m).abs() < 1e-12));
    }

    #[test]
    fn ink_is_what_differs_from_the_border() {
        let picture = |ground: u8, dot: u8| {
            let mut pixels = vec![[ground; 3]; 9];
            pixels[4] = [dot; 3];
            Picture { width: 3, height: 3, pixels }.ink()
        };
        for ink in [picture(255, 0), picture(0, 255)] {
            assert!(ink.iter().enumerate().all(|(at, ink)| (ink - f64::from(u8::from(at == 4))).abs() < 1e-12));
        }
    }
}
