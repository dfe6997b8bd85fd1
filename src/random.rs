//! Philox4x32-10 (Salmon, Moraes, Dror, Shaw 2011): random numbers as a pure function of where they are used.
//!
//! Key = (seed, stream), counter = (particle, step, draw, block). Nothing is carried from one call to the next, so a result
//! depends on the seed and the particle's index alone: not on the batch, the thread count or the device. Normals come from
//! Box–Muller on polynomials written with explicit fused multiply-adds, IEEE division and square root, so that every device
//! gives the same bits.

use std::convert::Infallible;

/// What a random number is for: the second half of the key, so that no two uses share numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Splits and permutations of data.
    Split = 0,
    /// Draws of the source, the target law and the start points.
    Source = 1,
    /// Noise of stochastic samplers.
    Noise = 2,
    /// Subsamples and fresh clouds of metrics.
    Metric = 3,
    /// Bootstrap resamples.
    Bootstrap = 4,
    /// Initial weights, pairs and times of training.
    Training = 5,
}

/// A keyed generator: every number is a function of (seed, stream) and the counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Philox {
    key: [u32; 2],
}

impl Philox {
    /// The generator with key (`seed`, `stream`).
    pub fn new(seed: u32, stream: Stream) -> Self {
        Self { key: [seed, stream as u32] }
    }

    /// The key (seed, stream).
    pub fn key(&self) -> [u32; 2] {
        self.key
    }

    /// Four random words at `counter` = (particle, step, draw, block).
    #[inline(always)]
    pub fn block(&self, mut counter: [u32; 4]) -> [u32; 4] {
        let [mut k0, mut k1] = self.key;
        for _ in 0..10 {
            let p0 = 0xD251_1F53_u64 * u64::from(counter[0]);
            let p1 = 0xCD9E_8D57_u64 * u64::from(counter[2]);
            let (high0, high1) = ((p0 >> 32) as u32, (p1 >> 32) as u32);
            counter = [high1 ^ counter[1] ^ k0, p1 as u32, high0 ^ counter[3] ^ k1, p0 as u32];
            k0 = k0.wrapping_add(0x9E37_79B9);
            k1 = k1.wrapping_add(0xBB67_AE85);
        }
        counter
    }

    /// One uniform number in [0, 1) with 53 bits.
    pub fn uniform(&self, particle: u32, step: u32, draw: u32) -> f64 {
        self.uniform_at([particle, step, draw, 0])
    }

    /// One uniform number in [0, 1) with 53 bits at `counter` = (particle, step, draw, block).
    pub fn uniform_at(&self, counter: [u32; 4]) -> f64 {
        let [high, low, ..] = self.block(counter);
        let bits = (u64::from(high) << 32 | u64::from(low)) >> 11;
        bits as f64 * f64::from_bits(0x3CA0_0000_0000_0000) // 2^-53
    }

    /// Fills `out` with independent standard normals for (particle, step, draw), four to a block.
    #[inline(always)]
    pub fn normals(&self, particle: u32, step: u32, draw: u32, out: &mut [f32]) {
        for (block, four) in out.chunks_mut(4).enumerate() {
            let z = self.normal_block([particle, step, draw, block as u32]);
            four.copy_from_slice(&z[..four.len()]);
        }
    }

    /// Four independent standard normals at `counter` = (particle, step, draw, block).
    #[inline(always)]
    pub fn normal_block(&self, counter: [u32; 4]) -> [f32; 4] {
        let [a, b, c, d] = self.block(counter);
        let ((z0, z1), (z2, z3)) = (box_muller(a, b), box_muller(c, d));
        [z0, z1, z2, z3]
    }

    /// The first `count` entries of a uniformly random permutation of 0..n (Fisher–Yates).
    pub fn permutation(&self, n: usize, count: usize, step: u32) -> Vec<usize> {
        let mut order: Vec<usize> = (0..n).collect();
        for i in 0..count.min(n) {
            let j = i + (self.uniform(i as u32, step, 0) * (n - i) as f64) as usize;
            order.swap(i, j);
        }
        order.truncate(count);
        order
    }

    /// Place `k` of a random order of 0..n, without holding that order: six rounds of a Feistel network (Luby & Rackoff 1988) on the
    /// smallest square domain that holds n, walked until it lands below n.
    pub fn shuffled(&self, k: u64, n: u64, step: u32) -> u64 {
        let half = (64 - n.saturating_sub(1).leading_zeros()).div_ceil(2).max(1);
        let mask = (1u64 << half) - 1;
        let mut at = k;
        loop {
            let (mut left, mut right) = (at >> half, at & mask);
            for round in 0..6 {
                let [word, ..] = self.block([right as u32, step, round, 0]);
                (left, right) = (right, left ^ u64::from(word) & mask);
            }
            at = left << half | right;
            if at < n {
                return at;
            }
        }
    }

    /// A sequential [`rand`] generator over the words of (`particle`, `step`), for use off the hot path.
    pub fn rng(self, particle: u32, step: u32) -> PhiloxRng {
        PhiloxRng { philox: self, counter: [particle, step, 0, 0], words: [0; 4], used: 4 }
    }
}

/// Two standard normals from two words: radius √(−2 log u₁) from the first, angle 2π u₂ from the second.
///
/// Error of each below 4 units in the last place; the largest radius is 6.66.
#[inline(always)]
fn box_muller(first: u32, second: u32) -> (f32, f32) {
    const INVERSE: f32 = 1.0 / 4_294_967_296.0;
    let u = (first as f32).mul_add(INVERSE, 0.5 * INVERSE);
    let radius = (-2.0 * log(u)).sqrt();
    let (cos, sin) = cos_sin_turn(second);
    (radius * cos, radius * sin)
}

/// Natural logarithm for positive normal u ≤ 1: u = 2^e (1+f), f in [√½ − 1, √2 − 1), log(1+f) = f − f²/2 + f³ P(f).
#[inline(always)]
fn log(u: f32) -> f32 {
    let shifted = u.to_bits().wrapping_sub(0x3F35_04F3); // bits of √½
    let exponent = (shifted as i32 >> 23) as f32;
    let f = f32::from_bits((shifted & 0x007F_FFFF).wrapping_add(0x3F35_04F3)) - 1.0;
    let p = [0.128_816_49_f32, -0.131_287_54, 0.141_811_92, -0.166_245_54, 0.200_022_86, -0.250_008_1, 0.333_333_16]
        .iter()
        .fold(-0.078_596_15_f32, |p, &c| p.mul_add(f, c));
    let square = f * f;
    let tail = (square * f).mul_add(p, -0.5 * square);
    exponent.mul_add(std::f32::consts::LN_2, f + tail)
}

/// Cosine and sine of 2π `word`/2³²: an exact split into quadrant and remainder, then polynomials on [−π/4, π/4].
#[inline(always)]
fn cos_sin_turn(word: u32) -> (f32, f32) {
    let quadrant = word.wrapping_add(1 << 29) >> 30;
    let remainder = word.wrapping_sub(quadrant << 30) as i32;
    let a = remainder as f32 * (std::f32::consts::FRAC_PI_2 / 1_073_741_824.0);
    let square = a * a;
    let s = (-0.000_195_173_f32).mul_add(square, 0.008_332_178).mul_add(square, -0.166_666_55);
    let sin = (s * square).mul_add(a, a);
    let c = 2.443_845_2e-5_f32.mul_add(square, -0.001_388_736_8).mul_add(square, 0.041_666_646);
    let cos = (c * square).mul_add(square, (-0.5_f32).mul_add(square, 1.0));
    let (x, y) = if quadrant & 1 == 0 { (cos, sin) } else { (sin, cos) };
    let flip = |v: f32, when: u32| f32::from_bits(v.to_bits() ^ ((when & 2) << 30));
    (flip(x, quadrant ^ (quadrant << 1)), flip(y, quadrant))
}

/// A sequential generator of the [`rand`] crate that reads one Philox counter after the other.
#[derive(Clone, Debug)]
pub struct PhiloxRng {
    philox: Philox,
    counter: [u32; 4],
    words: [u32; 4],
    used: usize,
}

impl rand::TryRng for PhiloxRng {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        if self.used == 4 {
            self.words = self.philox.block(self.counter);
            self.used = 0;
            self.counter[3] = self.counter[3].wrapping_add(1);
            self.counter[2] = self.counter[2].wrapping_add(u32::from(self.counter[3] == 0));
        }
        self.used += 1;
        Ok(self.words[self.used - 1])
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(u64::from(self.try_next_u32()?) | u64::from(self.try_next_u32()?) << 32)
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        for chunk in bytes.chunks_mut(4) {
            chunk.copy_from_slice(&self.try_next_u32()?.to_le_bytes()[..chunk.len()]);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::Rng as _;

    /// The known answers of Random123's kat_vectors for philox4x32-10.
    #[test]
    fn philox_gives_the_known_answers() {
        let known = [
            ([0; 4], [0; 2], [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]),
            ([u32::MAX; 4], [u32::MAX; 2], [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]),
            (
                [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344],
                [0xa409_3822, 0x299f_31d0],
                [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1],
            ),
        ];
        for (counter, key, answer) in known {
            assert_eq!(Philox { key }.block(counter), answer);
        }
    }

    #[test]
    fn box_muller_agrees_with_the_library_functions() {
        let philox = Philox::new(7, Stream::Noise);
        for i in 0..20_000 {
            let [a, b, ..] = philox.block([i, 0, 0, 0]);
            let u = (f64::from(a as f32) / 2f64.powi(32)).max(2f64.powi(-33));
            let (radius, angle) = ((-2.0 * u.ln()).max(0.0).sqrt(), std::f64::consts::TAU * f64::from(b) / 2f64.powi(32));
            let (x, y) = box_muller(a, b);
            assert!((f64::from(x) - radius * angle.cos()).abs() < 2e-6, "{a} {b}: {x}");
            assert!((f64::from(y) - radius * angle.sin()).abs() < 2e-6, "{a} {b}: {y}");
        }
    }

    #[test]
    fn normals_have_the_moments_of_the_law() {
        let philox = Philox::new(3, Stream::Source);
        let n = 200_000u32;
        let mut moments = [0.0f64; 4];
        for i in 0..n {
            let mut z = [0.0f32; 1];
            philox.normals(i, 0, 0, &mut z);
            for (k, m) in moments.iter_mut().enumerate() {
                *m += f64::from(z[0]).powi(k as i32 + 1) / f64::from(n);
            }
        }
        // Standard errors of the first four moments: √(1, 2, 15, 96)/√n.
        for ((m, truth), variance) in moments.iter().zip([0.0, 1.0, 0.0, 3.0]).zip([1.0f64, 2.0, 15.0, 96.0]) {
            assert!((m - truth).abs() < 4.0 * (variance / f64::from(n)).sqrt(), "{m} for {truth}");
        }
    }

    #[test]
    fn the_rand_generator_reads_the_blocks_in_order() {
        let philox = Philox::new(1, Stream::Split);
        let mut rng = philox.rng(5, 6);
        let words: Vec<u32> = (0..8).map(|_| rng.next_u32()).collect();
        assert_eq!(words[..4], philox.block([5, 6, 0, 0]));
        assert_eq!(words[4..], philox.block([5, 6, 0, 1]));
    }

    #[test]
    fn an_order_that_is_not_held_is_a_permutation_and_looks_random() {
        let philox = Philox::new(2, Stream::Split);
        for n in [1, 2, 3, 64, 1000, 4097] {
            let order: Vec<u64> = (0..n).map(|k| philox.shuffled(k, n, 0)).collect();
            let mut sorted = order.clone();
            sorted.sort_unstable();
            assert!(sorted.into_iter().eq(0..n), "{n}");
        }
        // The correlation of place and value has standard deviation 1/√n.
        let n = 40_000u64;
        let centre = (n as f64 - 1.0) / 2.0;
        let product = |k: u64| (k as f64 - centre) * (philox.shuffled(k, n, 1) as f64 - centre);
        let correlation = (0..n).map(product).sum::<f64>() / (n as f64 * (n as f64).powi(2) / 12.0);
        assert!(correlation.abs() < 4.0 / (n as f64).sqrt(), "{correlation}");
    }

    #[test]
    fn a_permutation_is_a_permutation() {
        let mut order = Philox::new(0, Stream::Split).permutation(1000, 1000, 0);
        order.sort_unstable();
        assert!(order.into_iter().eq(0..1000));
    }
}
