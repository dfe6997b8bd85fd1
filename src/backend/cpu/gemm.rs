//! The matrix product of `matrixmultiply`, whose sums run over the inner dimension in blocks of a fixed size whatever the number
//! of rows; so row i does not depend on its neighbours, as long as nothing is scaled: a factor of the product is rounded otherwise at
//! the edges. It chooses its own instruction set.

/// The product C ← s A B + t C: m, k, n, s, then each matrix with its strides between rows and columns, t before C.
type Product<T> = unsafe fn(usize, usize, usize, T, *const T, isize, isize, *const T, isize, isize, T, *mut T, isize, isize);

/// A precision with a matrix product.
pub trait Gemm: Copy {
    /// The product.
    const PRODUCT: Product<Self>;
    /// 0.
    const ZERO: Self;
    /// 1.
    const ONE: Self;
}

impl Gemm for f32 {
    const PRODUCT: Product<f32> = matrixmultiply::sgemm;
    const ZERO: f32 = 0.0;
    const ONE: f32 = 1.0;
}

impl Gemm for f64 {
    const PRODUCT: Product<f64> = matrixmultiply::dgemm;
    const ZERO: f64 = 0.0;
    const ONE: f64 = 1.0;
}

/// Numbers, and the strides between the rows and between the columns of the matrix in them.
pub struct Matrix<S>(pub S, pub [usize; 2]);

/// C ← A B + t C with A m × k, B k × n and C m × n; nothing of C is read where t is 0.
///
/// # Panics
/// When a matrix is larger than its slice: a mistake of the caller's, which would otherwise write elsewhere.
pub fn gemm<T: Gemm>([m, k, n]: [usize; 3], a: Matrix<&[T]>, b: Matrix<&[T]>, t: T, c: Matrix<&mut [T]>) {
    let end = |rows: usize, columns: usize, [by_row, by_column]: [usize; 2]| {
        if rows * columns == 0 { 0 } else { (rows - 1) * by_row + (columns - 1) * by_column + 1 }
    };
    let fits = end(m, k, a.1) <= a.0.len() && end(k, n, b.1) <= b.0.len() && end(m, n, c.1) <= c.0.len();
    assert!(fits, "the matrices of a product do not fit");
    let [[a_row, a_column], [b_row, b_column], [c_row, c_column]] = [a.1, b.1, c.1].map(|strides| strides.map(|s| s as isize));
    let (a, b, c) = (a.0.as_ptr(), b.0.as_ptr(), c.0.as_mut_ptr());
    // SAFETY: every element of the three matrices lies within its slice, as was just checked.
    unsafe {
        T::PRODUCT(m, k, n, T::ONE, a, a_row, a_column, b, b_row, b_column, t, c, c_row, c_column);
    }
}
