//! A folder of pictures as points: each picture is C × H × W numbers in [−1, 1], the plane of red first; C is 1 where all are grey.

use std::fs;
use std::path::{Path, PathBuf};

use crate::io::{Fault, PictureFormat, read_picture};
use crate::measure::{Cloud, Picture};

/// The pictures in the folder at `path`, in the order of their names; other files are passed over.
pub(super) fn read(path: &Path) -> Result<Cloud, Fault> {
    let entries = fs::read_dir(path)?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<PathBuf>, Fault>>()?;
    let mut files: Vec<PathBuf> = entries.into_iter().filter(|path| PictureFormat::of(path).is_some()).collect();
    files.sort();
    let (mut bytes, mut first): (Vec<u8>, Option<[usize; 2]>) = (Vec::new(), None); // of width and height
    for file in &files {
        let Picture { width, height, pixels } =
            read_picture(file).map_err(|cause| Fault::Picture { name: name(file), why: cause.to_string() })?;
        let (found, expected) = ([width, height], *first.get_or_insert([width, height]));
        if found != expected {
            return Err(Fault::Sizes { name: name(file), found, first: name(&files[0]), expected });
        }
        bytes.extend((0..3).flat_map(|channel| pixels.iter().map(move |pixel| pixel[channel])));
    }
    let [width, height] = first.ok_or(Fault::NoPictures)?;
    let plane = width * height;
    let is_grey =
        bytes.chunks_exact(3 * plane).all(|rgb| rgb[..plane] == rgb[plane..2 * plane] && rgb[..plane] == rgb[2 * plane..]);
    let channels = if is_grey { 1 } else { 3 };
    let points = bytes.chunks_exact(3 * plane).flat_map(|rgb| &rgb[..channels * plane]).map(|&c| f32::from(c) / 127.5 - 1.0);
    Ok(Cloud::of_f32(points.collect::<Vec<f32>>(), channels * plane)?.with_shape(&[channels, height, width]))
}

fn name(file: &Path) -> String {
    file.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::encode_picture;

    #[test]
    fn a_folder_of_pictures_is_a_cloud_in_the_order_of_their_names() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, width: usize, pixels: Vec<[u8; 3]>| {
            let picture = Picture { width, height: pixels.len() / width, pixels };
            fs::write(folder.path().join(name), encode_picture(&picture, PictureFormat::Png).unwrap()).unwrap();
        };
        assert!(matches!(read(folder.path()), Err(Fault::NoPictures)));
        write("b.png", 2, vec![[0; 3], [255; 3]]);
        write("a.png", 2, vec![[255; 3], [0; 3]]);
        fs::write(folder.path().join("labels.csv"), "1\n2\n").unwrap();
        let grey = read(folder.path()).unwrap();
        assert_eq!((grey.points(), grey.dim()), (&[1.0, -1.0, -1.0, 1.0][..], 2));
        write("c.png", 2, vec![[255, 0, 0], [0, 0, 255]]);
        let coloured = read(folder.path()).unwrap();
        assert_eq!((coloured.len(), coloured.dim(), coloured.row(2)), (3, 6, &[1.0, -1.0, -1.0, -1.0, -1.0, 1.0][..]));
        assert_eq!([grey.shape(), coloured.shape()], [[1, 1, 2], [3, 1, 2]]);
        write("d.png", 1, vec![[0; 3], [0; 3]]);
        let error = read(folder.path()).unwrap_err().to_string();
        assert!(error.starts_with("d.png is of [1, 2] pixels and a.png of [2, 1]; points have one dimension"), "{error}");
        fs::write(folder.path().join("c.png"), "no picture").unwrap();
        let error = read(folder.path()).unwrap_err().to_string();
        assert!(error.starts_with("c.png: ") && error.contains("not a picture"), "{error}");
    }
}
