//! What softmax and cross-entropy have in common: sums over rows, sixteen strands at a time.
//!
//! These functions are parts of vectorised loops (see [`crate::simd`]).

use crate::special::exp;

const LANES: usize = 16;

/// Elements below which a second thread costs more than it brings.
const ELEMENTS_OF_A_THREAD: usize = 1 << 15;

/// Rows of `len` elements that one thread takes in one go, at least 1.
pub(crate) fn rows_of_a_thread(len: usize) -> usize {
    (ELEMENTS_OF_A_THREAD / len.max(1)).max(1)
}

/// The largest element; minus infinity if there is none. NaN is passed over.
#[inline(always)]
pub(crate) fn max(row: &[f32]) -> f32 {
    let (chunks, rest) = row.as_chunks::<LANES>();
    let mut strands = [f32::NEG_INFINITY; LANES];
    for chunk in chunks {
        for (strand, &value) in strands.iter_mut().zip(chunk) {
            *strand = if value > *strand { value } else { *strand };
        }
    }
    strands.iter().chain(rest).fold(f32::NEG_INFINITY, |max, &value| if value > max { value } else { max })
}

/// The sum of `e^(x - shift)`.
#[inline(always)]
pub(crate) fn sum_of_exp(row: &[f32], shift: f32) -> f32 {
    let (chunks, rest) = row.as_chunks::<LANES>();
    let mut strands = [0.0; LANES];
    for chunk in chunks {
        add_exp(chunk, shift, &mut strands);
    }
    if !rest.is_empty() {
        add_exp(&padded(rest, f32::NEG_INFINITY), shift, &mut strands);
    }
    total(strands)
}

/// The sum of `e^(x - shift)`, and each in `y`.
#[inline(always)]
pub(crate) fn exp_and_sum(row: &[f32], shift: f32, y: &mut [f32]) -> f32 {
    let (chunks, rest) = row.as_chunks::<LANES>();
    let (outputs, output_rest) = y.as_chunks_mut::<LANES>();
    let mut strands = [0.0; LANES];
    for (chunk, output) in chunks.iter().zip(outputs) {
        *output = add_exp(chunk, shift, &mut strands);
    }
    if !rest.is_empty() {
        let last = add_exp(&padded(rest, f32::NEG_INFINITY), shift, &mut strands);
        output_rest.copy_from_slice(&last[..rest.len()]);
    }
    total(strands)
}

/// The sum of the elements.
#[inline(always)]
pub(crate) fn sum(row: &[f32]) -> f32 {
    let (chunks, rest) = row.as_chunks::<LANES>();
    let mut strands = padded(rest, 0.0);
    for chunk in chunks {
        for (strand, &value) in strands.iter_mut().zip(chunk) {
            *strand += value;
        }
    }
    total(strands)
}

/// The sum of the products of two rows' elements.
#[inline(always)]
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let (a_chunks, a_rest) = a.as_chunks::<LANES>();
    let (b_chunks, b_rest) = b.as_chunks::<LANES>();
    let mut strands = [0.0; LANES];
    for (strand, (&a, &b)) in strands.iter_mut().zip(a_rest.iter().zip(b_rest)) {
        *strand = a * b;
    }
    for (a, b) in a_chunks.iter().zip(b_chunks) {
        for (strand, (&a, &b)) in strands.iter_mut().zip(a.iter().zip(b)) {
            *strand = a.mul_add(b, *strand);
        }
    }
    total(strands)
}

#[inline(always)]
fn add_exp(chunk: &[f32; LANES], shift: f32, strands: &mut [f32; LANES]) -> [f32; LANES] {
    let mut values = [0.0; LANES];
    for ((value, &x), strand) in values.iter_mut().zip(chunk).zip(strands) {
        *value = exp(x - shift);
        *strand += *value;
    }
    values
}

#[inline(always)]
fn padded(rest: &[f32], with: f32) -> [f32; LANES] {
    let mut chunk = [with; LANES];
    chunk[..rest.len()].copy_from_slice(rest);
    chunk
}

#[inline(always)]
fn total(mut strands: [f32; LANES]) -> f32 {
    for half in [8, 4, 2, 1] {
        for i in 0..half {
            strands[i] += strands[i + half];
        }
    }
    strands[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_any_length_are_taken_whole() {
        for len in [0, 1, 10, 16, 17, 52, 100] {
            let row: Vec<f32> = (0..len).map(|i| (i * 7 % 11) as f32 - 5.0).collect();
            assert_eq!(sum(&row), row.iter().sum::<f32>());
            assert_eq!(dot(&row, &row), row.iter().map(|x| x * x).sum::<f32>());
            assert_eq!(max(&row), row.iter().copied().fold(f32::NEG_INFINITY, f32::max));
            let mut each = vec![0.0; len];
            let sum = exp_and_sum(&row, 1.0, &mut each);
            assert_eq!(sum, sum_of_exp(&row, 1.0));
            let wanted: f64 = row.iter().map(|&x| f64::from(x - 1.0).exp()).sum();
            assert!((f64::from(sum) - wanted).abs() <= 1e-6 * wanted, "{len}");
            for (each, x) in each.iter().zip(&row) {
                assert_eq!(*each, exp(x - 1.0));
            }
        }
    }

    #[test]
    fn nan_is_in_the_sums_but_not_the_maximum() {
        let row = [1.0, f32::NAN, 3.0];
        assert_eq!(max(&row), 3.0);
        assert!(sum_of_exp(&row, 3.0).is_nan());
    }
}
