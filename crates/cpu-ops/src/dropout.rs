//! Dropout (Srivastava et al. 2014, "Dropout: a simple way to prevent neural networks from overfitting") with a
//! mask that is a function of a counter.
//!
//! Whether element `i` is kept depends on `(seed, i)` alone, in the way of Salmon et al. (2011, "Parallel random
//! numbers: as easy as 1, 2, 3"): no stream to advance, any thread can take any part, and the backward pass
//! computes the mask again instead of reading it. Philox is made to pass every test of randomness; a mask needs
//! less, so each number here is one integer mix of two multiplications.

use burn::tensor::{Distribution, Tensor, backend::Backend};

use crate::{
    elementwise::{BLOCK, by_blocks},
    operation::{Forward, Operation, Pass, Reads, has_fast_path, primitive, run, tensor},
    simd::vectorised,
};

/// In training (on a backend with autodiff) sets each element to zero with probability `share` and divides the
/// others by `1 - share`; else gives `x` as it is.
///
/// The mask comes from the backend's generator: [`Backend::seed`] before it makes it the same again. On the fast
/// path and on Burn's own path it is not the same mask.
///
/// # Shapes
/// - `x`: any
/// - `share`: in [0, 1]; with 1 nothing is left
/// - returns: as `x`
///
/// # Panics
/// If `share` is not in [0, 1].
pub fn dropout<B: Backend, const D: usize>(x: Tensor<B, D>, share: f64) -> Tensor<B, D> {
    assert!((0.0..=1.0).contains(&share), "the share to drop is {share}, not in [0, 1]");
    if share == 0.0 || !B::ad_enabled(&x.device()) {
        return x;
    }
    #[cfg(feature = "tch")]
    if crate::libtorch::is::<B>() {
        return crate::libtorch::map(x, |x| x.dropout(share, true));
    }
    let x = match fast(x, share) {
        Ok(y) => return y,
        Err(x) => x,
    };
    if share == 1.0 {
        return x * 0.0;
    }
    let kept = x.random_like(Distribution::Bernoulli(1.0 - share));
    x * kept * (1.0 / (1.0 - share))
}

fn fast<B: Backend, const D: usize>(x: Tensor<B, D>, share: f64) -> Result<Tensor<B, D>, Tensor<B, D>> {
    if !has_fast_path::<B>() {
        return Err(x); // and the generator is as it was
    }
    let dropout = Dropout { mask: Mask::new(draw_seed::<B>(&x.device()), share), shape: x.dims().to_vec() };
    run::<B, _, 1>(&dropout, [primitive(x)]).map(|(y, _)| tensor(y)).map_err(|[x]| tensor(x))
}

/// 64 bits of the backend's generator.
fn draw_seed<B: Backend>(device: &B::Device) -> u64 {
    let draws = Tensor::<B, 1>::random([4], Distribution::Uniform(0.0, 65_536.0), device);
    draws.into_data().iter::<f32>().fold(0, |seed, draw| seed << 16 | u64::from(draw as u16))
}

#[derive(Clone, Debug)]
struct Dropout {
    mask: Mask,
    shape: Vec<usize>,
}

impl Operation<1> for Dropout {
    type Kept = ();

    fn forward(&self, [x]: [&[f32]; 1], _keep: bool) -> Forward<()> {
        Forward { output: self.mask.apply(x), shape: self.shape.clone(), kept: () }
    }

    fn reads(&self, _wanted: [bool; 1]) -> Reads<1> {
        Reads { inputs: [false], output: false }
    }

    fn backward(&self, pass: Pass<'_, (), 1>) -> [Vec<f32>; 1] {
        [self.mask.apply(pass.dy)]
    }
}

/// Which elements stay, and by what they are multiplied.
#[derive(Clone, Copy, Debug)]
struct Mask {
    seed: u64,
    /// Numbers of 24 bits below this one drop their element.
    threshold: i32,
    scale: f32,
}

impl Mask {
    fn new(seed: u64, share: f64) -> Self {
        let scale = if share < 1.0 { (1.0 / (1.0 - share)) as f32 } else { 0.0 };
        Self { seed, threshold: (share * f64::from(1 << 24)).round() as i32, scale }
    }

    fn apply(&self, x: &[f32]) -> Vec<f32> {
        let first = split_mix(self.seed); // so that no block of a seed is one of the next seed
        by_blocks(x.len(), |range, y| {
            let key = split_mix(first.wrapping_add((range.start / BLOCK) as u64));
            apply_block(key, self.threshold, self.scale, &x[range], y);
        })
    }
}

vectorised! {
    /// One block; multiplies by zero, so that NaN stays.
    fn apply_block<'a>(key: u64, threshold: i32, scale: f32, x: &'a [f32], y: &'a mut [f32]) {
        let keys = [key as u32, (key >> 32) as u32];
        for (lane, (y, &x)) in (0_u32..).zip(y.iter_mut().zip(x)) {
            *y = x * if (mix(lane, keys) >> 8) as i32 >= threshold { scale } else { 0.0 };
        }
    }
}

/// The number of a lane under two keys: a mix of full avalanche by Wellons and "TheIronBorn" (2018-2022,
/// "Prospecting for hash functions"), the second key in its middle so that no key shifts another's numbers.
#[inline(always)]
fn mix(lane: u32, [first, second]: [u32; 2]) -> u32 {
    let x = lane.wrapping_mul(0x9E37_79B9) ^ first;
    let x = (x ^ (x >> 16)).wrapping_mul(0x21F0_AAAD) ^ second;
    let x = (x ^ (x >> 15)).wrapping_mul(0xD35A_2D97);
    x ^ (x >> 15)
}

/// SplitMix64's output function (Steele et al. 2014) at a counter.
fn split_mix(counter: u64) -> u64 {
    let x = counter.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use rayon::ThreadPoolBuilder;

    use super::*;

    const COUNT: usize = 1 << 18;

    /// 1 where an element is kept, else 0.
    fn kept(seed: u64, share: f64) -> Vec<f64> {
        let mask = Mask { scale: 1.0, ..Mask::new(seed, share) };
        mask.apply(&[1.0; COUNT]).into_iter().map(f64::from).collect()
    }

    /// How many standard deviations a correlation of kept elements, `distance` apart, is from 0.
    fn deviations(a: &[f64], b: &[f64], share: f64) -> f64 {
        let mean = 1.0 - share;
        let covariance: f64 = a.iter().zip(b).map(|(a, b)| (a - mean) * (b - mean)).sum();
        covariance / (share * mean) / (a.len().min(b.len()) as f64).sqrt()
    }

    #[test]
    fn the_share_is_kept() {
        for (seed, share) in [(0, 0.1), (1, 0.5), (2, 0.9), (u64::MAX, 0.5), (1 << 40, 0.01)] {
            let sum: f64 = kept(seed, share).iter().sum();
            let off = sum - COUNT as f64 * (1.0 - share);
            assert!(off.abs() < 4.0 * (COUNT as f64 * share * (1.0 - share)).sqrt(), "{seed} {share} {off}");
        }
    }

    #[test]
    fn all_or_nothing_at_the_ends() {
        assert!(kept(7, 1.0).iter().all(|&kept| kept == 0.0));
        assert!(Mask::new(7, 1.0).apply(&[1.0; 3]) == [0.0; 3]);
        assert!(kept(7, 0.0).iter().all(|&kept| kept == 1.0));
    }

    #[test]
    fn neighbours_near_and_far_are_independent() {
        for share in [0.1, 0.5] {
            for seed in [0, 1, 12_345, 1 << 63] {
                let mask = kept(seed, share);
                for distance in [1, 2, 3, 16, 28, 32, 64, 512, BLOCK, 2 * BLOCK, 784] {
                    let off = deviations(&mask, &mask[distance..], share);
                    assert!(off.abs() < 4.5, "share {share}, seed {seed}, distance {distance}: {off}");
                }
            }
        }
    }

    #[test]
    fn seeds_near_and_far_are_independent() {
        let one = kept(1_000, 0.5);
        for seed in [999, 1_001, 1_002, 1_000 ^ 1 << 16, 1_000 ^ 1 << 32, 1_000 ^ 1 << 63, !1_000] {
            let other = kept(seed, 0.5);
            let off = deviations(&one, &other, 0.5);
            assert!(off.abs() < 4.5, "seed {seed}: {off}");
        }
    }

    #[test]
    fn no_block_of_a_seed_is_a_block_of_the_next() {
        let [one, next] = [kept(1_000, 0.5), kept(1_001, 0.5)];
        assert_ne!(one[BLOCK..2 * BLOCK], next[..BLOCK]);
    }

    #[test]
    fn threads_and_lengths_change_nothing() {
        let whole = kept(3, 0.3);
        for threads in [1, 2, 3] {
            let pool = ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            assert!(pool.install(|| kept(3, 0.3)) == whole);
        }
        let mask = Mask { scale: 1.0, ..Mask::new(3, 0.3) };
        for len in [1, 15, 16, 17, BLOCK + 1] {
            let part: Vec<f64> = mask.apply(&vec![1.0; len]).into_iter().map(f64::from).collect();
            assert_eq!(part, whole[..len]);
        }
    }

    #[test]
    fn nan_is_not_lost() {
        assert!(Mask::new(3, 1.0).apply(&[f32::NAN])[0].is_nan());
    }
}
