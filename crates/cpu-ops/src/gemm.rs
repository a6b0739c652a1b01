//! Matrix product on slices: the one place where this crate calls code that the compiler cannot check.
//!
//! The product itself is the `gemm` crate's, on the calling thread alone.

#![allow(unsafe_code)]

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

/// `out = a b`, or `out += a b` with `accumulate`; `out` holds its rows one after the other.
///
/// # Panics
/// If the sizes do not fit together or a slice is too short.
pub(crate) fn gemm(a: Matrix<'_>, b: Matrix<'_>, out: &mut [f32], accumulate: bool) {
    let [rows, cols] = [a.size[0], b.size[1]];
    assert_eq!(Some(out.len()), rows.checked_mul(cols), "the product has {rows} rows of {cols} columns");
    gemm_rows(a, b, out, cols, accumulate);
}

/// As [`gemm`], with `stride` elements from one row of `out` to the next; those between rows stay as they are.
///
/// # Panics
/// If the sizes do not fit together, a slice is too short or rows would overlap.
pub(crate) fn gemm_rows(a: Matrix<'_>, b: Matrix<'_>, out: &mut [f32], stride: usize, accumulate: bool) {
    let [rows, inner] = a.size;
    let [inner_of_b, cols] = b.size;
    assert_eq!(inner, inner_of_b, "matrices of {:?} and {:?} have no product", a.size, b.size);
    let product = Matrix { data: out, size: [rows, cols], strides: [stride, 1] };
    for matrix in [a, b, product] {
        let fits = matrix.needed().is_some_and(|needed| needed <= matrix.data.len());
        assert!(fits, "{} elements are too few for {:?}", matrix.data.len(), matrix.size);
    }
    assert!(cols <= stride, "rows of {cols} elements overlap at a distance of {stride}");
    if rows == 0 || cols == 0 {
        return;
    }
    if inner == 0 {
        if !accumulate {
            out.chunks_mut(stride).take(rows).for_each(|row| row[..cols].fill(0.0));
        }
        return;
    }
    // SAFETY: `gemm::gemm` reads `a[i * row + k * col]` and `b[k * row + j * col]` for `i < rows`, `k < inner`,
    // `j < cols`. No size is 0 here, so the greatest such index is `needed() - 1`, which the assertion above
    // holds below the slice's length; a slice is at most `isize::MAX` bytes long. A stride that is multiplied by
    // more than 0 is therefore a valid `isize`, and one that is only multiplied by 0 never moves a pointer.
    // It reads and writes `out[i * stride + j]`, which the same assertion holds inside `out`; as `j < cols <=
    // stride`, distinct `(i, j)` are distinct elements. `out` is borrowed mutably, so it overlaps neither `a` nor `b`. All three
    // hold initialised `f32`, for which every bit pattern is valid.
    unsafe {
        gemm::gemm(
            rows,
            cols,
            inner,
            out.as_mut_ptr(),
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
    #[should_panic(expected = "the product has 2 rows of 2 columns")]
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
