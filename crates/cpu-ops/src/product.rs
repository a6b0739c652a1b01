//! Matrix products in which each row of one factor lies anywhere, and the other has rows of whole vectors.
//!
//! A convolution on images with the channels last is such a product: a row is a patch, in pieces. The tile of the
//! result that stays in registers is at most 8 rows by 3 vectors (4 by 3 below AVX-512), as in Goto & van de Geijn
//! (2008, "Anatomy of high-performance matrix multiplication"); sums run in the order of the inner index, so the
//! size of a tile changes no bit.

use pulp::{Simd, WithSimd};

/// Rows of vectors are a multiple of this long, in elements: the widest vector there is.
pub(crate) const LANES: usize = 16;

/// Where a row begins, in the factor and in the result, in elements.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    pub(crate) from: usize,
    pub(crate) to: usize,
}

/// `out[to + j] = sum over taps t and i < run of a[from + t + i] * b[t, i, j]` for all rows.
pub(crate) struct Patches<'a> {
    pub(crate) a: &'a [f32],
    pub(crate) rows: &'a [Row],
    /// Distance of each piece of a patch from its row's begin.
    pub(crate) taps: &'a [usize],
    /// Length of a piece.
    pub(crate) run: usize,
    /// `[taps, run, width]`.
    pub(crate) b: &'a [f32],
    /// A multiple of [`LANES`].
    pub(crate) width: usize,
    pub(crate) out: &'a mut [f32],
}

impl WithSimd for Patches<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        if S::F32_LANES == LANES { self.tiles::<S, 8>(simd) } else { self.tiles::<S, 4>(simd) }
    }
}

impl Patches<'_> {
    #[inline(always)]
    fn tiles<S: Simd, const HIGH: usize>(mut self, simd: S) {
        let vectors = self.width / S::F32_LANES;
        let mut at = 0;
        while at < vectors {
            let wide = panel(vectors - at);
            match wide {
                3 => self.panel::<S, HIGH, 3>(simd, at),
                2 => self.panel::<S, HIGH, 2>(simd, at),
                _ => self.panel::<S, HIGH, 1>(simd, at),
            }
            at += wide;
        }
    }

    #[inline(always)]
    fn panel<S: Simd, const HIGH: usize, const WIDE: usize>(&mut self, simd: S, at: usize) {
        let rows = self.rows;
        let (tall, rest) = rows.as_chunks::<HIGH>();
        for rows in tall {
            self.tile::<S, HIGH, WIDE>(simd, at, rows);
        }
        let (pairs, last) = rest.as_chunks::<2>();
        for rows in pairs {
            self.tile::<S, 2, WIDE>(simd, at, rows);
        }
        for row in last {
            self.tile::<S, 1, WIDE>(simd, at, &[*row]);
        }
    }

    #[inline(always)]
    fn tile<S: Simd, const HIGH: usize, const WIDE: usize>(
        &mut self,
        simd: S,
        at: usize,
        rows: &[Row; HIGH],
    ) {
        let vectors = self.width / S::F32_LANES;
        let (b, _) = S::as_simd_f32s(self.b);
        let mut b = b.get(at..).unwrap_or_default(); // nothing where there are no taps
        let mut sums = [[simd.splat_f32s(0.0); WIDE]; HIGH];
        for &tap in self.taps {
            let mut pieces = [&[] as &[f32]; HIGH];
            for (piece, row) in pieces.iter_mut().zip(rows) {
                *piece = &self.a[row.from + tap..][..self.run];
            }
            for i in 0..self.run {
                let factors = &b[..WIDE];
                for (sums, piece) in sums.iter_mut().zip(pieces) {
                    let value = simd.splat_f32s(piece[i]);
                    for (sum, &factor) in sums.iter_mut().zip(factors) {
                        *sum = simd.mul_add_e_f32s(value, factor, *sum);
                    }
                }
                b = b.get(vectors..).unwrap_or_default();
            }
        }
        for (sums, row) in sums.iter().zip(rows) {
            let (out, _) = S::as_mut_simd_f32s(&mut self.out[row.to..][..self.width]);
            out[at..][..WIDE].copy_from_slice(sums);
        }
    }
}

/// `out[to + i * width + j] += sum over steps s of a[s.a + from + i] * b[s.b + j]` for `i < run`, for all runs.
pub(crate) struct Outer<'a> {
    pub(crate) a: &'a [f32],
    pub(crate) b: &'a [f32],
    /// Where each step begins in `a` (`from`) and `b` (`to`, a multiple of [`LANES`]).
    pub(crate) steps: &'a [Row],
    pub(crate) runs: &'a [Row],
    pub(crate) run: usize,
    /// A multiple of [`LANES`].
    pub(crate) width: usize,
    pub(crate) out: &'a mut [f32],
}

impl WithSimd for Outer<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        if S::F32_LANES == LANES { self.tiles::<S, 8>(simd) } else { self.tiles::<S, 4>(simd) }
    }
}

impl Outer<'_> {
    #[inline(always)]
    fn tiles<S: Simd, const HIGH: usize>(mut self, simd: S) {
        let vectors = self.width / S::F32_LANES;
        for &run in self.runs {
            let mut at = 0;
            while at < vectors {
                let wide = panel(vectors - at);
                match wide {
                    3 => self.panel::<S, HIGH, 3>(simd, at, run),
                    2 => self.panel::<S, HIGH, 2>(simd, at, run),
                    _ => self.panel::<S, HIGH, 1>(simd, at, run),
                }
                at += wide;
            }
        }
    }

    #[inline(always)]
    fn panel<S: Simd, const HIGH: usize, const WIDE: usize>(&mut self, simd: S, at: usize, run: Row) {
        let mut i = 0;
        while i + HIGH <= self.run {
            self.tile::<S, HIGH, WIDE>(simd, at, run, i);
            i += HIGH;
        }
        while i + 3 <= self.run {
            self.tile::<S, 3, WIDE>(simd, at, run, i);
            i += 3;
        }
        while i < self.run {
            self.tile::<S, 1, WIDE>(simd, at, run, i);
            i += 1;
        }
    }

    #[inline(always)]
    fn tile<S: Simd, const HIGH: usize, const WIDE: usize>(
        &mut self,
        simd: S,
        at: usize,
        run: Row,
        i: usize,
    ) {
        let (b, _) = S::as_simd_f32s(self.b);
        let (out, _) = S::as_mut_simd_f32s(&mut self.out[run.to + i * self.width..][..HIGH * self.width]);
        let vectors = self.width / S::F32_LANES;
        let mut sums = [[simd.splat_f32s(0.0); WIDE]; HIGH];
        for (high, sums) in sums.iter_mut().enumerate() {
            sums.copy_from_slice(&out[high * vectors + at..][..WIDE]);
        }
        for step in self.steps {
            let values = &self.a[step.from + run.from + i..][..HIGH];
            let factors = &b[step.to / S::F32_LANES + at..][..WIDE];
            for (sums, &value) in sums.iter_mut().zip(values) {
                let value = simd.splat_f32s(value);
                for (sum, &factor) in sums.iter_mut().zip(factors) {
                    *sum = simd.mul_add_e_f32s(value, factor, *sum);
                }
            }
        }
        for (high, sums) in sums.iter().enumerate() {
            out[high * vectors + at..][..WIDE].copy_from_slice(sums);
        }
    }
}

/// Width of the next panel, where so many vectors are left: 3 or 2, so that no panel of 1 remains.
#[inline(always)]
fn panel(left: usize) -> usize {
    match left {
        1 => 1,
        2 | 4 => 2,
        _ => 3,
    }
}
