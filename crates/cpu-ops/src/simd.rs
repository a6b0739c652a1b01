//! Loops compiled once for each instruction set, the best of this machine's chosen at run time.
//!
//! A Rust program is compiled for the oldest processor of its kind; the `pulp` crate compiles a piece of it again
//! for newer ones (AVX2 and AVX-512 on x86-64), so that plain loops become wide instructions.

/// Defines a function whose loops are compiled for each instruction set.
///
/// It is written as a function with one lifetime, which the types of the arguments may use; they carry no
/// patterns. What it calls has to be `#[inline(always)]` to be compiled for the same instructions.
/// `f32::mul_add` is one instruction there, and slow on x86-64 processors without AVX2.
macro_rules! vectorised {
    (@output) => { () };
    (@output $output:ty) => { $output };
    ($(#[$meta:meta])* $vis:vis fn $name:ident<$life:lifetime>($($arg:ident: $type:ty),* $(,)?)
        $(-> $output:ty)? $body:block) => {
        $(#[$meta])*
        $vis fn $name<$life>($($arg: $type),*) $(-> $output)? {
            struct Loops<$life> { $($arg: $type,)* life: std::marker::PhantomData<&$life ()> }
            impl<$life> pulp::WithSimd for Loops<$life> {
                type Output = $crate::simd::vectorised!(@output $($output)?);

                #[inline(always)]
                fn with_simd<S: pulp::Simd>(self, _: S) -> Self::Output {
                    let Self { $($arg,)* life: _ } = self;
                    $body
                }
            }
            pulp::Arch::new().dispatch(Loops { $($arg,)* life: std::marker::PhantomData })
        }
    };
}
pub(crate) use vectorised;

vectorised! {
    /// The sum, in sixteen strands, so that it is not one long chain of additions.
    pub(crate) fn sum<'a>(values: &'a [f32]) -> f32 {
        let mut strands = [0.0_f32; 16];
        let chunks = values.chunks_exact(16);
        let rest: f32 = chunks.remainder().iter().sum();
        for chunk in chunks {
            for (strand, value) in strands.iter_mut().zip(chunk) {
                *strand += value;
            }
        }
        strands.iter().sum::<f32>() + rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_takes_every_value_once() {
        for len in [0, 1, 15, 16, 17, 100] {
            let values: Vec<f32> = (0..len).map(|i| i as f32).collect();
            assert_eq!(sum(&values), (len * (len.max(1) - 1) / 2) as f32);
        }
    }
}
