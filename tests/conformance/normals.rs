//! `normals`: z of (first + row, step, draw), the same bits on every backend, or the numbers given.

use brenier::backend::{Backend, Draw, Noise};
use brenier::random::{Philox, Stream};

use crate::{normals, on_each, rounded};

pub fn counted<B: Backend>(backend: &B) {
    let philox = Philox::new(5, Stream::Noise);
    // The last range ends at the last particle that there is.
    for (n, d, first) in [(1, 1, 0), (777, 3, 0), (256, 4, 1_000_000), (257, 5, 7), (3, 784, 2), (300, 2, u32::MAX - 299)] {
        let mut out = backend.zeros(n * d).unwrap();
        backend.normals(Noise::Counter { philox, first }, Draw { step: 9, number: 2, call: 4 }, d, &mut out).unwrap();
        for (i, found) in backend.download_reals(&out).unwrap().chunks(d).enumerate() {
            let mut z = vec![0.0f32; d];
            philox.normals(first + i as u32, 9, 2, &mut z);
            assert!(found.iter().zip(&z).all(|(found, &z)| *found == f64::from(z)), "row {i} of {n} × {d} from {first}");
        }
    }
}

pub fn given<B: Backend>(backend: &B) {
    let (n, d, draws) = (67, 3, 4);
    let noise = normals(draws * n * d, 1);
    for call in 0..draws {
        let mut out = backend.zeros(n * d).unwrap();
        backend.normals(Noise::Given(&noise), Draw { step: 9, number: 2, call }, d, &mut out).unwrap();
        assert_eq!(backend.download_reals(&out).unwrap(), rounded::<B>(&noise[call * n * d..][..n * d]));
    }
}

#[test]
fn normals_are_the_bits_of_philox_in_f32() {
    on_each::<f32>(counted);
}

#[test]
fn normals_are_the_bits_of_philox_in_f64() {
    on_each::<f64>(counted);
}

#[test]
fn given_noise_is_used_in_call_order() {
    on_each::<f32>(given);
    on_each::<f64>(given);
}

#[cfg(feature = "cuda")]
crate::cuda::suites! {
    on_emulator: normals_are_the_bits_of_philox_on_emulated_cuda, normals_are_the_bits_of_philox_on_a_gpu: counted;
    on_emulator: given_noise_on_emulated_cuda, given_noise_on_a_gpu: given;
}
