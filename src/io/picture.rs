//! Pictures in and out: PNG and JPEG.

use std::io::{BufReader, Cursor};
use std::path::{Path, PathBuf};

use image::codecs::jpeg::JpegEncoder;
use image::{DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, RgbImage, imageops};
use thiserror::Error;

use crate::io::ReadError;
use crate::io::read::open;
use crate::measure::Picture;

/// Why a picture could not be read or encoded.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PictureError {
    /// A file that begins as no picture does.
    #[error("{}: this is no picture; pictures are .png and .jpg files", path.display())]
    NoPicture {
        /// The file.
        path: PathBuf,
    },
    /// A file that cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A picture that is broken.
    #[error("{}: {cause}; pictures are .png and .jpg files", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        cause: ImageError,
    },
    /// A picture that has no encoding.
    #[error("a picture of {width} x {height} pixels cannot be encoded: {cause}")]
    Encode {
        /// Pixels in a row.
        width: usize,
        /// Rows.
        height: usize,
        /// Why not.
        cause: ImageError,
    },
}

/// How a picture is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PictureFormat {
    /// Exact.
    Png,
    /// A tenth of the size, with the losses of a photograph.
    Jpeg,
}

impl PictureFormat {
    /// The format that the name of `path` says, if it is one.
    pub fn of(path: &Path) -> Option<Self> {
        match ImageFormat::from_path(path).ok()? {
            ImageFormat::Png => Some(Self::Png),
            ImageFormat::Jpeg => Some(Self::Jpeg),
            _ => None,
        }
    }

    /// The ending of its files.
    pub fn ending(self) -> &'static str {
        match self {
            Self::Png => "png",
            Self::Jpeg => "jpg",
        }
    }

    /// Its media type.
    pub fn mime(self) -> &'static str {
        match self {
            Self::Png => "image/png",
            Self::Jpeg => "image/jpeg",
        }
    }
}

/// The picture at `path` as it is shown: turned as its EXIF orientation says, and on white where it is transparent.
///
/// # Errors
/// [`PictureError::Read`] when the file cannot be read, [`PictureError::Damaged`] when it is damaged, [`PictureError::NoPicture`] when
/// it is neither PNG nor JPEG.
pub fn read_picture(path: &Path) -> Result<Picture, PictureError> {
    let file = open(path).map_err(|fault| ReadError::File { path: path.into(), fault })?;
    let damaged = |cause| PictureError::Damaged { path: path.into(), cause };
    let reader = ImageReader::new(BufReader::new(file)).with_guessed_format().map_err(|cause| damaged(cause.into()))?;
    if reader.format().is_none() {
        return Err(PictureError::NoPicture { path: path.into() });
    }
    let mut decoder = reader.into_decoder().map_err(damaged)?;
    let orientation = decoder.orientation().map_err(damaged)?;
    let mut image = DynamicImage::from_decoder(decoder).map_err(damaged)?;
    image.apply_orientation(orientation);
    let image = image.into_rgba8();
    let over_white = |pixel: &image::Rgba<u8>| {
        let [r, g, b, alpha] = pixel.0.map(u32::from);
        [r, g, b].map(|c| ((c * alpha + 255 * (255 - alpha) + 127) / 255) as u8)
    };
    let (width, height) = (image.width() as usize, image.height() as usize);
    Ok(Picture { width, height, pixels: image.pixels().map(over_white).collect() })
}

/// The picture in a file's bytes.
///
/// # Errors
/// [`PictureError::Encode`] when the format does not take its size.
pub fn encode_picture(picture: &Picture, format: PictureFormat) -> Result<Vec<u8>, PictureError> {
    let Picture { width, height, .. } = *picture;
    let image = rgb(picture);
    let mut bytes = Vec::new();
    let encoded = match format {
        PictureFormat::Png => image.write_to(&mut Cursor::new(&mut bytes), ImageFormat::Png),
        PictureFormat::Jpeg => image.write_with_encoder(JpegEncoder::new_with_quality(&mut bytes, 88)),
    };
    encoded.map_err(|cause| PictureError::Encode { width, height, cause })?;
    Ok(bytes)
}

/// The picture in the middle of a square of `side` pixels, shrunk or enlarged to fit, on the colour of its top left pixel.
pub fn on_canvas(picture: &Picture, side: usize) -> Picture {
    let scale = side as f64 / picture.width.max(picture.height) as f64;
    let fit = |extent: usize| ((extent as f64 * scale).round() as u32).max(1);
    let (width, height) = (fit(picture.width), fit(picture.height));
    let fitted = imageops::resize(&rgb(picture), width, height, imageops::FilterType::Triangle);
    let mut canvas = RgbImage::from_pixel(side as u32, side as u32, image::Rgb(picture.pixels[0]));
    let middle = |extent: u32| i64::from((side as u32 - extent) / 2);
    imageops::replace(&mut canvas, &fitted, middle(width), middle(height));
    Picture { width: side, height: side, pixels: canvas.pixels().map(|pixel| pixel.0).collect() }
}

fn rgb(picture: &Picture) -> RgbImage {
    let mut image = RgbImage::new(picture.width as u32, picture.height as u32);
    image.pixels_mut().zip(&picture.pixels).for_each(|(pixel, colour)| pixel.0 = *colour);
    image
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::ImageEncoder;

    #[test]
    fn png_is_exact_and_a_file_that_is_no_picture_is_named() {
        let pixels = (0..12u8).map(|k| [k, 20 * k, 255 - k]).collect();
        let picture = Picture { width: 4, height: 3, pixels };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p.png");
        std::fs::write(&path, encode_picture(&picture, PictureFormat::Png).unwrap()).unwrap();
        assert_eq!(read_picture(&path).unwrap(), picture);
        std::fs::write(&path, "no picture").unwrap();
        let error = read_picture(&path).unwrap_err().to_string();
        assert!(error.starts_with(&path.display().to_string()) && error.ends_with("pictures are .png and .jpg files"), "{error}");
        assert!(read_picture(&folder.path().join("missing.png")).is_err());
    }

    /// The eight orientations of EXIF, in JPEG and PNG: where the stored top left pixel, the only dark one, is shown.
    #[test]
    fn a_picture_is_turned_as_its_orientation_says() {
        let (width, height) = (24, 16);
        let dark = |k: usize| k % width < 8 && k / width < 8;
        let pixels = (0..width * height).map(|k| [if dark(k) { 20 } else { 230 }; 3]).collect();
        let stored = rgb(&Picture { width, height, pixels });
        let folder = tempfile::tempdir().unwrap();
        let shown = [
            (false, false),
            (true, false),
            (true, true),
            (false, true),
            (false, false),
            (true, false),
            (true, true),
            (false, true),
        ];
        for (orientation, (right, bottom)) in (1..=8u8).zip(shown) {
            let tag = [&b"MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0"[..], &[orientation, 0, 0, 0, 0, 0, 0]].concat();
            for ending in ["jpg", "png"] {
                let mut bytes = Vec::new();
                if ending == "jpg" {
                    let mut encoder = JpegEncoder::new_with_quality(&mut bytes, 95);
                    encoder.set_exif_metadata(tag.clone()).unwrap();
                    stored.write_with_encoder(encoder).unwrap();
                } else {
                    let mut encoder = image::codecs::png::PngEncoder::new(&mut bytes);
                    encoder.set_exif_metadata(tag.clone()).unwrap();
                    stored.write_with_encoder(encoder).unwrap();
                }
                let path = folder.path().join(format!("p.{ending}"));
                std::fs::write(&path, bytes).unwrap();
                let Picture { width: w, height: h, pixels } = read_picture(&path).unwrap();
                assert_eq!((w, h), if orientation < 5 { (24, 16) } else { (16, 24) }, "{ending} {orientation}");
                let corner = [(0, 0), (w - 1, 0), (w - 1, h - 1), (0, h - 1)].map(|(x, y)| pixels[y * w + x][0] < 120);
                let expected = [(false, false), (true, false), (true, true), (false, true)].map(|c| c == (right, bottom));
                assert_eq!(corner, expected, "{ending} {orientation}");
            }
        }
    }

    #[test]
    fn a_canvas_keeps_the_middle_and_the_ground() {
        let mut pixels = vec![[250; 3]; 8];
        pixels[5] = [10; 3];
        let canvas = on_canvas(&Picture { width: 4, height: 2, pixels }, 8);
        assert_eq!((canvas.width, canvas.height, canvas.pixels[0]), (8, 8, [250; 3]));
        // Twice the size, its neighbour 3/4 of it: 250 − ¾ 240, left of the middle and in its lower half.
        assert_eq!(canvas.pixels[5 * 8 + 2][0], 70);
    }
}
