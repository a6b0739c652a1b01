//! The moves of Winograd's F(2x2, 3x3) between pixels and the space of 16 numbers, all channels of a tile at once.

use pulp::{Simd, WithSimd};

use crate::conv::frame::Frame;

/// Numbers of a tile.
pub(super) const SPACE: usize = 16;

/// One of the moves.
#[derive(Clone, Copy)]
pub(super) enum Enter {
    /// `Bt x B` of 4x4 pixels.
    Pixels,
    /// `A dy At` of the gradients of 2x2 outputs.
    OutputGradients,
}

/// One of the moves back.
#[derive(Clone, Copy)]
pub(super) enum Leave {
    /// `At m A`: 2x2 outputs, written.
    Outputs,
    /// `B v Bt`: gradients of 4x4 pixels, added.
    PixelGradients,
}

/// Where the tiles of a block lie in framed images or maps, and how their numbers lie: `[SPACE, block, pitch]`.
#[derive(Clone, Copy)]
pub(super) struct Tiles<'a> {
    /// Where each tile's first pixel begins.
    pub(super) corners: &'a [usize],
    pub(super) frame: Frame,
    pub(super) block: usize,
}

impl Tiles<'_> {
    pub(super) fn enter(self, what: Enter, framed: &[f32], numbers: &mut [f32]) {
        pulp::Arch::new().dispatch(Entering { what, tiles: self, framed, numbers });
    }

    pub(super) fn leave(self, what: Leave, numbers: &[f32], framed: &mut [f32]) {
        pulp::Arch::new().dispatch(Leaving { what, tiles: self, framed, numbers });
    }

    /// Calls `each` with the places of a tile's channels, a vector of them at a time: the first pixel in `framed`,
    /// the first of the numbers; all in vectors of `lanes`.
    #[inline(always)]
    fn each(self, lanes: usize, mut each: impl FnMut(usize, usize)) {
        let vectors = self.frame.pitch / lanes;
        for (tile, corner) in self.corners.iter().enumerate() {
            for vector in 0..vectors {
                each(corner / lanes + vector, tile * vectors + vector);
            }
        }
    }

    /// Distances down and across, in vectors of `lanes`: between pixels, between numbers.
    #[inline(always)]
    fn distances(self, lanes: usize) -> [[usize; 2]; 2] {
        let vectors = self.frame.pitch / lanes;
        [[self.frame.size[1] * vectors, vectors], [4 * self.block * vectors, self.block * vectors]]
    }
}

struct Entering<'a> {
    what: Enter,
    tiles: Tiles<'a>,
    framed: &'a [f32],
    numbers: &'a mut [f32],
}

impl WithSimd for Entering<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let [pixel, number] = self.tiles.distances(S::F32_LANES);
        let (framed, _) = S::as_simd_f32s(self.framed);
        let (numbers, _) = S::as_mut_simd_f32s(self.numbers);
        self.tiles.each(S::F32_LANES, |from, to| {
            let moved = match self.what {
                Enter::Pixels => both(load::<_, 4>(framed, from, pixel), |[a, b, c, d]| {
                    [simd.sub_f32s(a, c), simd.add_f32s(b, c), simd.sub_f32s(c, b), simd.sub_f32s(b, d)]
                }),
                Enter::OutputGradients => both(load::<_, 2>(framed, from, pixel), |[a, b]| {
                    [a, simd.add_f32s(a, b), simd.sub_f32s(a, b), simd.neg_f32s(b)]
                }),
            };
            store(numbers, to, number, moved);
        });
    }
}

struct Leaving<'a> {
    what: Leave,
    tiles: Tiles<'a>,
    framed: &'a mut [f32],
    numbers: &'a [f32],
}

impl WithSimd for Leaving<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let [pixel, number] = self.tiles.distances(S::F32_LANES);
        let (framed, _) = S::as_mut_simd_f32s(self.framed);
        let (numbers, _) = S::as_simd_f32s(self.numbers);
        self.tiles.each(S::F32_LANES, |to, from| {
            let m = load::<_, 4>(numbers, from, number);
            match self.what {
                Leave::Outputs => {
                    let y = both(m, |[a, b, c, d]| {
                        [simd.add_f32s(a, simd.add_f32s(b, c)), simd.sub_f32s(simd.sub_f32s(b, c), d)]
                    });
                    store(framed, to, pixel, y);
                }
                Leave::PixelGradients => {
                    let new = both(m, |[a, b, c, d]| {
                        let sum = simd.sub_f32s(simd.add_f32s(b, c), a);
                        [a, simd.add_f32s(simd.sub_f32s(b, c), d), sum, simd.neg_f32s(d)]
                    });
                    let old = load::<_, 4>(framed, to, pixel);
                    let sums = std::array::from_fn(|i| {
                        std::array::from_fn::<_, 4, _>(|j| simd.add_f32s(old[i][j], new[i][j]))
                    });
                    store(framed, to, pixel, sums);
                }
            }
        });
    }
}

/// A map of all columns, then of all rows.
#[inline(always)]
pub(super) fn both<V: Copy, const N: usize, const M: usize>(
    square: [[V; N]; N],
    line: impl Fn([V; N]) -> [V; M],
) -> [[V; M]; M] {
    let columns: [[V; M]; N] = std::array::from_fn(|j| line(std::array::from_fn(|i| square[i][j])));
    std::array::from_fn(|i| line(std::array::from_fn(|j| columns[j][i])))
}

#[inline(always)]
fn load<V: Copy, const N: usize>(values: &[V], from: usize, [down, across]: [usize; 2]) -> [[V; N]; N] {
    std::array::from_fn(|i| std::array::from_fn(|j| values[from + i * down + j * across]))
}

#[inline(always)]
fn store<V: Copy, const N: usize>(
    values: &mut [V],
    to: usize,
    [down, across]: [usize; 2],
    square: [[V; N]; N],
) {
    for (i, row) in square.into_iter().enumerate() {
        for (j, value) in row.into_iter().enumerate() {
            values[to + i * down + j * across] = value;
        }
    }
}
