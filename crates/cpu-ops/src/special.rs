//! The exponential and the normal distribution in f32, as plain arithmetic without branches, so that loops over
//! them become wide instructions (see [`crate::simd`]).
//!
//! The exponential is the usual one (Cody and Waite 1980, "Software manual for the elementary functions"): a
//! power of two through the bits of the exponent times a polynomial on [-ln 2 / 2, ln 2 / 2]. The tail of the
//! normal distribution is `exp(-a^2 / 2)` times a slowly varying function of `(a - 4) / (a + 4)` (as Shepherd and
//! Laframboise 1981, "Chebyshev approximation of (1 + 2x) exp(x^2) erfc x"), so that it keeps its relative
//! precision far out, where `1 + erf` has lost it. Both polynomials are minimax fits of our own.

/// `e^x`, within 1.5 units in the last place where the result is a normal number, rounded once more where it is
/// subnormal; infinity, 0 and NaN where they belong.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    /// `1.5 * 2^23`: added to a small number, leaves it rounded to an integer in the lowest bits.
    const ROUND: f32 = 12_582_912.0;
    /// ln 2 in two parts; the first has few enough bits to be multiplied exactly.
    const LN_2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];
    // Beyond these the result is infinity or 0. Comparisons, not `clamp`, so that NaN stays.
    let x = if x > 89.0 { 89.0 } else { x };
    let x = if x < -104.0 { -104.0 } else { x };
    let shifted = x.mul_add(std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = n.mul_add(-LN_2[1], n.mul_add(-LN_2[0], x));
    let p = 1.395_050_7e-3_f32;
    let p = p.mul_add(r, 8.368_902e-3);
    let p = p.mul_add(r, 4.166_620_6e-2);
    let p = p.mul_add(r, 1.666_651_8e-1);
    let p = p.mul_add(r, 0.5);
    let p = p.mul_add(r * r, r) + 1.0;
    // In two factors: 2^128 and the subnormal powers have no bits of their own.
    let n = (shifted.to_bits() as i32).wrapping_sub(ROUND.to_bits() as i32);
    let half = n >> 1;
    p * power_of_two(half) * power_of_two(n.wrapping_sub(half))
}

/// `2^n` for `n` from -126 to 127.
#[inline(always)]
fn power_of_two(n: i32) -> f32 {
    f32::from_bits((n.wrapping_add(127) as u32) << 23)
}

/// The logistic function `1 / (1 + e^-x)`, within 3 units in the last place down to x = -87; 0 from -88.8 on.
#[inline(always)]
pub(crate) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// Distribution function and density of the standard normal distribution.
///
/// The relative error is at most 5e-7 where the result is a normal number (`x` from -12.9 to 12.9).
#[inline(always)]
pub(crate) fn normal(x: f32) -> (f32, f32) {
    /// `1 / sqrt(2 pi)`.
    const DENSITY: f32 = 0.398_942_3;
    let a = x.abs();
    let a = if a > 20.0 { 20.0 } else { a }; // no infinities below; the tail at 20 is 0
    // The square to twice the precision: its error would be multiplied by the square itself.
    let square = a * a;
    let rest = a.mul_add(a, -square);
    let e = exp(-0.5 * square);
    let e = e.mul_add(-0.5 * rest, e);
    let u = 1.0 / (a + 4.0);
    let t = u.mul_add(-8.0, 1.0);
    let q = -1.341_962_3e-4_f32;
    let q = q.mul_add(t, 1.746_594e-4);
    let q = q.mul_add(t, 1.568_408_2e-3);
    let q = q.mul_add(t, -3.510_211e-3);
    let q = q.mul_add(t, -7.524_004e-3);
    let q = q.mul_add(t, 6.040_349e-2);
    let q = q.mul_add(t, -1.865_236_6e-1);
    let q = q.mul_add(t, 3.871_369e-1);
    let q = q.mul_add(t, -6.078_966e-1);
    let q = q.mul_add(t, 7.552_851_4e-1);
    let tail = e * u * q;
    (if x < 0.0 { tail } else { 1.0 - tail }, e * DENSITY)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The complementary error function for `x >= 0`: Abramowitz and Stegun 7.1.6 below 2, the continued
    /// fraction 7.1.14 above.
    fn erfc(x: f64) -> f64 {
        let scale = (-x * x).exp() / std::f64::consts::PI.sqrt();
        if x < 2.0 {
            let mut term = 2.0 * x;
            let mut sum = term;
            for n in 1..80 {
                term *= 2.0 * x * x / (2.0 * f64::from(n) + 1.0);
                sum += term;
            }
            return 1.0 - scale * sum;
        }
        let fraction = (1..200).rev().fold(x, |below, n| x + f64::from(n) / 2.0 / below);
        scale / fraction
    }

    fn normal_distribution(x: f64) -> f64 {
        let tail = erfc(x.abs() / std::f64::consts::SQRT_2) / 2.0;
        if x < 0.0 { tail } else { 1.0 - tail }
    }

    /// `from` to `to` in steps that hit no pattern of ours.
    fn sweep(from: f64, to: f64) -> impl Iterator<Item = f32> {
        const STEPS: u32 = 1_000_003;
        (0..=STEPS).map(move |i| (from + (to - from) * f64::from(i) / f64::from(STEPS)) as f32)
    }

    fn worst_relative_error(
        range: impl Iterator<Item = f32>,
        ours: impl Fn(f32) -> f32,
        right: impl Fn(f64) -> f64,
    ) -> f64 {
        range.fold(0.0, |worst, x| {
            let right = right(f64::from(x));
            worst.max(((f64::from(ours(x)) - right) / right).abs())
        })
    }

    #[test]
    fn exp_is_within_one_and_a_half_units_in_the_last_place() {
        let worst = sweep(-87.3, 88.72).fold(0.0_f64, |worst, x| {
            let right = f64::from(x).exp();
            let unit = f64::from((right as f32).next_up()) - f64::from(right as f32);
            worst.max((f64::from(exp(x)) - right).abs() / unit)
        });
        assert!(worst < 1.5, "{worst}");
    }

    #[test]
    fn exp_is_right_where_floats_end() {
        assert_eq!(exp(0.0), 1.0);
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        assert_eq!(exp(f32::INFINITY), f32::INFINITY);
        assert_eq!(exp(88.73), f32::INFINITY);
        assert!(exp(88.72) < f32::INFINITY);
        assert_eq!(exp(-104.0), 0.0);
        assert!(exp(f32::NAN).is_nan());
        let smallest = f64::from(f32::from_bits(1));
        for x in sweep(-104.0, -87.3) {
            assert!((f64::from(exp(x)) - f64::from(x).exp()).abs() <= 1.01 * smallest, "{x}");
        }
    }

    #[test]
    fn the_logistic_function_keeps_its_relative_precision() {
        let worst = worst_relative_error(sweep(-87.0, 30.0), sigmoid, |x| 1.0 / (1.0 + (-x).exp()));
        assert!(worst < 3.6e-7, "{worst}");
        assert_eq!([sigmoid(f32::NEG_INFINITY), sigmoid(f32::INFINITY)], [0.0, 1.0]);
        assert!(sigmoid(f32::NAN).is_nan());
    }

    #[test]
    fn the_normal_distribution_keeps_its_relative_precision() {
        let worst = worst_relative_error(sweep(-12.9, 12.9), |x| normal(x).0, normal_distribution);
        assert!(worst < 5e-7, "{worst}");
        let density = |x: f64| (-x * x / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt();
        let worst = worst_relative_error(sweep(-12.9, 12.9), |x| normal(x).1, density);
        assert!(worst < 5e-7, "{worst}");
    }

    #[test]
    fn the_normal_distribution_ends_in_0_and_1() {
        assert_eq!(normal(f32::NEG_INFINITY), (0.0, 0.0));
        assert_eq!(normal(f32::INFINITY), (1.0, 0.0));
        assert!(normal(f32::NAN).0.is_nan() && normal(f32::NAN).1.is_nan());
    }

    // import math; [0.5 * math.erfc(-x / math.sqrt(2)) for x in (-6., -1.5, 0., .25, 3.)]
    #[test]
    fn the_reference_is_right() {
        let wanted = [9.865_876_450_376_98e-10, 0.066_807_201_268_858_1, 0.5, 0.598_706_325_682_923_7];
        for (x, wanted) in [-6.0, -1.5, 0.0, 0.25].into_iter().zip(wanted) {
            assert!((normal_distribution(x) / wanted - 1.0).abs() < 1e-12, "{x}");
        }
    }
}
