//! Matrix product on slices: the one place where this crate calls code that the compiler cannot check.
//!
//! The product itself is the `gemm` crate's, on one thread; a large one is cut into tiles for many.

#![allow(unsafe_code)]

use std::cell::RefCell;

use rayon::prelude::*;

/// A matrix inside a slice: element `(i, j)` is `data[i * row_stride + j * col_stride]`.
#[derive(Clone, Copy)]
pub(crate) struct Matrix<'a> {
    /// The elements, and whatever else lies between them.
    pub(crate) data: &'a [f32],
    /// Rows and columns.
    pub(crate) size: [usize; 2],
    /// Distance between rows and between columns, in elements.
    pub(crate) strides: [usize; 2],
}

impl<'a> Matrix<'a> {
    /// A matrix stored row after row.
    pub(crate) fn rows(data: &'a [f32], size: [usize; 2]) -> Self {
        Self { data, size, strides: [size[1], 1] }
    }

    /// The transposed matrix, of the same elements.
    pub(crate) fn transposed(self) -> Self {
        let Self { data, size: [rows, cols], strides: [row, col] } = self;
        Self { data, size: [cols, rows], strides: [col, row] }
    }

    /// `count` rows from `first` on.
    fn rows_from(self, first: usize, count: usize) -> Self {
        let data = self.data.get(first * self.strides[0]..).unwrap_or_default();
        Self { data, size: [count, self.size[1]], ..self }
    }

    /// `count` columns from `first` on.
    fn cols_from(self, first: usize, count: usize) -> Self {
        self.transposed().rows_from(first, count).transposed()
    }

    /// Length that `data` needs, in elements; `None` when it is no `usize`.
    fn needed(&self) -> Option<usize> {
        let [rows, cols] = self.size;
        if rows == 0 || cols == 0 {
            return Some(0);
        }
        let last_row = (rows - 1).checked_mul(self.strides[0])?;
        let last_col = (cols - 1).checked_mul(self.strides[1])?;
        last_row.checked_add(last_col)?.checked_add(1)
    }
}

/// `out = a b`, or `out += a b` with `accumulate`, with `stride` elements from one row of `out` to the next; those
/// between rows stay as they are.
///
/// # Panics
/// If the sizes do not fit together, a slice is too short or rows would overlap.
pub(crate) fn gemm_rows(a: Matrix<'_>, b: Matrix<'_>, out: &mut [f32], stride: usize, accumulate: bool) {
    let [rows, cols] = [a.size[0], b.size[1]];
    check(&a, &b);
    let product = Matrix { data: out, size: [rows, cols], strides: [stride, 1] };
    let fits = product.needed().is_some_and(|needed| needed <= product.data.len());
    assert!(fits, "{} elements are too few for {:?}", product.data.len(), product.size);
    assert!(cols <= stride, "rows of {cols} elements overlap at a distance of {stride}");
    // SAFETY: `check` passed. `out` is borrowed mutably, so it overlaps nothing; its elements
    // `i * stride + j` are inside it, as just asserted, distinct since `j < cols <= stride`, and initialised.
    unsafe { multiply(a, b, out.as_mut_ptr(), stride, accumulate) }
}

/// `a b` as a new matrix, row after row, computed in the threads of the pool where it is large enough.
///
/// `finish` is called with each piece of a row, when it is done and still in the cache, and with the column that
/// it begins at. How the matrix is cut depends on the sizes alone.
///
/// # Panics
/// If the sizes do not fit together or a slice is too short.
pub(crate) fn product(
    a: Matrix<'_>,
    b: Matrix<'_>,
    finish: impl Fn(usize, &mut [f32]) + Send + Sync,
) -> Vec<f32> {
    let [rows, inner] = a.size;
    let [_, cols] = b.size;
    check(&a, &b);
    let Some(len) = rows.checked_mul(cols) else { panic!("{rows} rows of {cols} columns are too many") };
    let mut values = Vec::with_capacity(len);
    let out = Out(values.as_mut_ptr());
    let [height, width] = tile([rows, cols], inner);
    let across = cols.div_ceil(width);
    let work = |index: usize| {
        let [top, left] = [index / across * height, index % across * width];
        let [rows, wide] = [height.min(rows - top), width.min(cols - left)];
        // SAFETY: the tile lies inside the `len` values that have been allocated, as `top + rows` and
        // `left + wide` are at most the sizes, and shares no value with another tile; nothing else reaches the
        // allocation before the last tile is done. `check` passed for the matrices, and so for their parts.
        // `multiply` writes each value of the tile, so that the pieces of rows are initialised.
        unsafe {
            let out = out.at(top * cols + left);
            multiply_tile(a.rows_from(top, rows), b.cols_from(left, wide), out, cols);
            for row in 0..rows {
                finish(left, std::slice::from_raw_parts_mut(out.add(row * cols), wide));
            }
        }
    };
    let tiles = rows.div_ceil(height) * across;
    if rows * cols * inner <= ALONE {
        (0..tiles).for_each(work);
    } else {
        (0..tiles).into_par_iter().for_each(work);
    }
    // SAFETY: the tiles cover all `len` values of the allocation, and all have been written.
    unsafe { values.set_len(len) };
    values
}

/// As [`multiply`] without `accumulate`, with columns of `b` turned into rows first where that is faster.
///
/// # Safety
/// As [`multiply`].
unsafe fn multiply_tile(a: Matrix<'_>, b: Matrix<'_>, out: *mut f32, stride: usize) {
    /// Rows of `b` turned at a time: with them a tile stays in the second cache.
    const DEPTH: usize = 512;
    thread_local! {
        static TURNED: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
    }
    let [inner, wide] = b.size;
    if b.strides[0] != 1 || b.strides[1] == 1 || a.size[0] <= 8 {
        // SAFETY: the caller's promise.
        return unsafe { multiply(a, b, out, stride, false) };
    }
    // `gemm` would turn them one by one.
    TURNED.with_borrow_mut(|turned| {
        turned.resize(DEPTH.min(inner) * wide, 0.0);
        for first in (0..inner.max(1)).step_by(DEPTH) {
            let depth = DEPTH.min(inner - first);
            turn(b.rows_from(first, depth), turned);
            let (a, b) = (a.cols_from(first, depth), Matrix::rows(turned, [depth, wide]));
            // SAFETY: the caller's promise; what the first call has written the next ones may read.
            unsafe { multiply(a, b, out, stride, first > 0) };
        }
    });
}

/// Writes a matrix whose columns are stored one after the other, or apart, row after row.
fn turn(from: Matrix<'_>, to: &mut [f32]) {
    const SIDE: usize = 16;
    let [rows, cols] = from.size;
    for left in (0..cols).step_by(SIDE) {
        let wide = SIDE.min(cols - left);
        let mut top = 0;
        while wide == SIDE && top + SIDE <= rows {
            let block: [&[f32; SIDE]; SIDE] = std::array::from_fn(|col| {
                let Some(column) = from.data[(left + col) * from.strides[1] + top..].first_chunk() else {
                    unreachable!("`check` has found all elements")
                };
                column
            });
            for row in 0..SIDE {
                let to = &mut to[(top + row) * cols + left..][..SIDE];
                to.iter_mut().zip(&block).for_each(|(to, column)| *to = column[row]);
            }
            top += SIDE;
        }
        for col in left..left + wide {
            let column = &from.data[col * from.strides[1]..][..rows];
            for (row, value) in column.iter().enumerate().skip(top) {
                to[row * cols + col] = *value;
            }
        }
    }
}

/// Multiplications below which handing over to other threads costs more than it brings.
const ALONE: usize = 1 << 19;

/// Height and width of the tiles that a product is cut into, whose factors share `inner`; neither is 0.
fn tile([rows, cols]: [usize; 2], inner: usize) -> [usize; 2] {
    let mut height = even(rows, 128);
    let mut width = even(cols, (1 << 14) / height);
    // Few tiles keep few threads busy: smaller ones as long as each is worth it.
    while rows.div_ceil(height) * cols.div_ceil(width) < 8
        && height.min(rows) * width.min(cols) * inner >= 2 * ALONE
    {
        if width >= height && width > 32 {
            width = even(cols, width / 2);
        } else if height > 32 {
            height = even(rows, height / 2);
        } else {
            break;
        }
    }
    [height, width]
}

/// `n` cut evenly into as few pieces of at most about `most` as there can be, each a multiple of 16.
fn even(n: usize, most: usize) -> usize {
    n.div_ceil(n.div_ceil(most).max(1)).next_multiple_of(16).max(16)
}

/// Where the tiles of a product go; each touches its own part.
struct Out(*mut f32);

// SAFETY: a pointer to values that may be sent between threads; who uses it, and where, is in `product`.
unsafe impl Send for Out {}
// SAFETY: as above.
unsafe impl Sync for Out {}

impl Out {
    /// # Safety
    /// `offset` is inside the allocation.
    unsafe fn at(&self, offset: usize) -> *mut f32 {
        // SAFETY: the caller's promise.
        unsafe { self.0.add(offset) }
    }
}

fn check(a: &Matrix<'_>, b: &Matrix<'_>) {
    assert_eq!(a.size[1], b.size[0], "matrices of {:?} and {:?} have no product", a.size, b.size);
    for matrix in [a, b] {
        let fits = matrix.needed().is_some_and(|needed| needed <= matrix.data.len());
        assert!(fits, "{} elements are too few for {:?}", matrix.data.len(), matrix.size);
    }
}

/// `out = a b`, or `out += a b` with `accumulate`, with `stride` values from one row of `out` to the next.
/// Without `accumulate` what was in `out` is not read, and may be uninitialised.
///
/// # Safety
/// `a` and `b` have passed [`check`]. Nobody else reaches the values `out[i * stride + j]`, `i` and `j` below the
/// product's rows and columns, meanwhile; they are allocated, and initialised with `accumulate`.
unsafe fn multiply(a: Matrix<'_>, b: Matrix<'_>, out: *mut f32, stride: usize, accumulate: bool) {
    let [rows, inner] = a.size;
    let [_, cols] = b.size;
    if rows == 0 || cols == 0 {
        return;
    }
    if inner == 0 {
        if !accumulate {
            for row in 0..rows {
                // SAFETY: `cols` values that are the caller's to write; 0 bytes are 0.0.
                unsafe { out.add(row * stride).write_bytes(0, cols) };
            }
        }
        return;
    }
    // SAFETY: `gemm::gemm` reads `a[i * row + k * col]` and `b[k * row + j * col]` for `i < rows`, `k < inner`,
    // `j < cols`. No size is 0 here, so the greatest such index is `needed() - 1`, which `check` has found
    // below the slice's length; a slice is at most `isize::MAX` bytes long. A stride that is multiplied by
    // more than 0 is therefore a valid `isize`, and one that is only multiplied by 0 never moves a pointer.
    // It writes `out[i * stride + j]`, distinct for distinct `(i, j)`, and reads these only with `accumulate`:
    // the caller's promise. `a` and `b` are borrowed, so `out` overlaps neither. They hold initialised `f32`, for
    // which every bit pattern is valid.
    unsafe {
        gemm::gemm(
            rows,
            cols,
            inner,
            out,
            1,
            stride as isize,
            accumulate,
            a.data.as_ptr(),
            a.strides[1] as isize,
            a.strides[0] as isize,
            b.data.as_ptr(),
            b.strides[1] as isize,
            b.strides[0] as isize,
            1.0,
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Without anything between rows.
    fn gemm(a: Matrix<'_>, b: Matrix<'_>, out: &mut [f32], accumulate: bool) {
        gemm_rows(a, b, out, b.size[1], accumulate);
    }

    const A: [f32; 6] = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
    const B: [f32; 6] = [1.0, 0.0, 2.0, -1.0, 0.0, 3.0];

    #[test]
    fn products_of_plain_and_transposed_matrices() {
        let a = Matrix::rows(&A, [2, 3]);
        let b = Matrix::rows(&B, [3, 2]);
        let mut out = [7.0; 4];
        gemm(a, b, &mut out, false);
        assert_eq!(out, [5.0, 7.0, 14.0, 13.0]);
        gemm(b.transposed(), a.transposed(), &mut out, true);
        assert_eq!(out, [10.0, 21.0, 21.0, 26.0]);
    }

    #[test]
    fn empty_sizes_write_zeros_or_nothing() {
        let mut out = [7.0; 4];
        gemm(Matrix::rows(&[], [2, 0]), Matrix::rows(&[], [0, 2]), &mut out, true);
        assert_eq!(out, [7.0; 4]);
        gemm(Matrix::rows(&[], [2, 0]), Matrix::rows(&[], [0, 2]), &mut out, false);
        assert_eq!(out, [0.0; 4]);
        gemm(Matrix::rows(&[], [0, 3]), Matrix::rows(&B, [3, 2]), &mut [], false);
    }

    fn counted(len: usize) -> Vec<f32> {
        (0..len).map(|i| (i * 7 % 5) as f32 - 2.0).collect()
    }

    #[test]
    fn a_product_in_tiles_is_the_product_and_finishes_each_value_once() {
        // Whole numbers: exact in any order. Alone, in tiles, with columns turned in blocks, with odd edges.
        for [rows, inner, cols] in [[2, 3, 2], [1, 700, 90], [65, 70, 200], [130, 50, 330], [70, 1100, 40]] {
            let [left, right] = [counted(rows * inner), counted(inner * cols)];
            let (a, b) = (Matrix::rows(&left, [rows, inner]), Matrix::rows(&right, [inner, cols]));
            let turned: Vec<f32> = (0..cols * inner).map(|i| right[i % inner * cols + i / inner]).collect();
            let mut wanted = vec![0.0; rows * cols];
            gemm(a, b, &mut wanted, false);
            for (i, value) in wanted.iter_mut().enumerate() {
                *value += (i % cols) as f32;
            }
            for b in [b, Matrix::rows(&turned, [cols, inner]).transposed()] {
                let found = product(a, b, |first, row| {
                    row.iter_mut().enumerate().for_each(|(i, value)| *value += (first + i) as f32);
                });
                assert_eq!(found, wanted, "{rows} x {inner} x {cols}");
            }
        }
    }

    #[test]
    fn empty_products_are_empty_or_zero() {
        assert!(product(Matrix::rows(&[], [0, 3]), Matrix::rows(&B, [3, 2]), |_, _| ()).is_empty());
        assert!(product(Matrix::rows(&A, [2, 3]), Matrix::rows(&[], [3, 0]), |_, _| ()).is_empty());
        let (a, b) = (Matrix::rows(&[], [40, 0]), Matrix::rows(&[], [0, 2]));
        assert_eq!(product(a, b, |_, _| ()), [0.0; 80]);
        assert_eq!(product(a, Matrix::rows(&[], [2, 0]).transposed(), |_, _| ()), [0.0; 80]);
    }

    #[test]
    fn what_was_in_the_result_is_not_read_without_accumulate() {
        for [rows, inner, cols] in [[1, 1, 9], [3, 1, 9], [3, 2, 1], [9, 5, 1], [1, 40, 70], [64, 300, 64]] {
            let [left, right] = [counted(rows * inner), counted(inner * cols)];
            let (a, b) = (Matrix::rows(&left, [rows, inner]), Matrix::rows(&right, [inner, cols]));
            let mut out = vec![f32::NAN; rows * cols];
            gemm(a, b, &mut out, false);
            assert!(out.iter().all(|value| value.is_finite()), "{rows} x {inner} x {cols}");
        }
    }

    #[test]
    fn what_lies_between_rows_stays() {
        let (a, b) = (Matrix::rows(&A, [2, 3]), Matrix::rows(&B, [3, 2]));
        let mut out = [7.0; 6];
        gemm_rows(a, b, &mut out[..5], 3, false);
        assert_eq!(out, [5.0, 7.0, 7.0, 14.0, 13.0, 7.0]);
        gemm_rows(Matrix::rows(&[], [2, 0]), Matrix::rows(&[], [0, 2]), &mut out[..5], 3, false);
        assert_eq!(out, [0.0, 0.0, 7.0, 0.0, 0.0, 7.0]);
    }

    #[test]
    #[should_panic(expected = "rows of 2 elements overlap at a distance of 1")]
    fn rows_that_overlap_are_refused() {
        gemm_rows(Matrix::rows(&A, [2, 3]), Matrix::rows(&B, [3, 2]), &mut [0.0; 4], 1, false);
    }

    #[test]
    #[should_panic(expected = "5 elements are too few for [2, 3]")]
    fn a_short_slice_is_refused() {
        gemm(Matrix::rows(&A[..5], [2, 3]), Matrix::rows(&B, [3, 2]), &mut [0.0; 4], false);
    }

    #[test]
    #[should_panic(expected = "3 elements are too few for [2, 2]")]
    fn a_short_result_is_refused() {
        gemm(Matrix::rows(&A, [2, 3]), Matrix::rows(&B, [3, 2]), &mut [0.0; 3], false);
    }

    #[test]
    #[should_panic(expected = "are too few")]
    fn strides_that_overflow_are_refused() {
        let a = Matrix { data: &A, size: [2, 3], strides: [usize::MAX, 1] };
        gemm(a, Matrix::rows(&B, [3, 2]), &mut [0.0; 4], false);
    }
}
