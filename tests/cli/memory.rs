//! How much memory a solve takes.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use brenier::io::{Float, write_npy};
use brenier::random::{Philox, Stream};

/// Coordinates a point.
const D: usize = 3072;

/// The most memory, in bytes, that `brenier transport` of `n` points had resident.
fn peak(folder: &Path, n: usize) -> u64 {
    let philox = Philox::new(n as u32, Stream::Source);
    let mut row = vec![0.0f32; D];
    for (step, name) in ["x.npy", "y.npy"].into_iter().enumerate() {
        let point = |i: usize| {
            philox.normals(i as u32, step as u32, 0, &mut row);
            row.iter().map(|x| f64::from(*x)).collect::<Vec<_>>()
        };
        write_npy(&folder.join(name), &(0..n).flat_map(point).collect::<Vec<_>>(), &[n, D], Float::F32).unwrap();
    }
    let mut command = Command::new(assert_cmd::cargo::cargo_bin!("brenier"));
    // One iteration, whose plan single precision shows.
    let args = "transport x.npy y.npy --eps 30 --tol 0 --max-iter 1 --device cpu --threads 2 --quiet";
    command.current_dir(folder).args(args.split(' '));
    let mut child = command.stdout(Stdio::null()).spawn().unwrap();
    let status = format!("/proc/{}/status", child.id());
    let mut kilobytes = 0;
    while child.try_wait().unwrap().is_none() {
        // The kernel keeps the highest, so that only a peak of the last milliseconds is missed.
        let text = fs::read_to_string(&status).unwrap_or_default();
        let high = text.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix("kB")?.trim().parse().ok());
        kilobytes = kilobytes.max(high.unwrap_or(0));
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(child.wait().unwrap().success());
    assert!(kilobytes > 0, "{status} names no VmHWM");
    1024 * kilobytes
}

/// The clouds, and then their copies on the device with the columns of one side, or in the end the columns, their values and the map,
/// each half as much: three times the files, where copies in double made it ten.
#[test]
fn a_solve_takes_a_few_times_the_memory_of_its_files() {
    let folder = tempfile::tempdir().unwrap();
    let (few, many) = (100, 1100);
    let files = (2 * (many - few) * D * 4) as f64;
    let times = (peak(folder.path(), many) as f64 - peak(folder.path(), few) as f64) / files;
    assert!(times < 3.5, "{times:.2} times the files");
}
