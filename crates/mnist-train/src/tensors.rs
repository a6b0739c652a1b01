//! A module's tensors as a flat list, in the fixed order of its fields, and back.
//!
//! Optimizer, moving average and checkpoints work on this list: they need no knowledge of the module, a name
//! for each tensor comes with it, and shapes are checked before anything is put back.

use burn::{
    module::{AutodiffModule, Module, ModuleMapper, ModuleVisitor, Param},
    tensor::{
        Tensor,
        backend::{AutodiffBackend, Backend},
    },
};

/// All float tensors of a module, each flattened to `[n]`.
pub fn flatten<B: Backend, M: Module<B>>(module: &M) -> Vec<Tensor<B, 1>> {
    struct Take<B: Backend>(Vec<Tensor<B, 1>>);
    impl<B: Backend> ModuleVisitor<B> for Take<B> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
            self.0.push(param.val().flatten(0, D - 1));
        }
    }
    let mut take = Take(Vec::new());
    module.visit(&mut take);
    take.0
}

/// Puts a list as [`flatten`] makes it back into a module of the same build.
///
/// # Panics
/// If the list is not of this module's make: callers check names and shapes first.
pub fn unflatten<B: Backend, M: Module<B>>(module: M, values: Vec<Tensor<B, 1>>) -> M {
    struct Put<B: Backend>(std::vec::IntoIter<Tensor<B, 1>>);
    impl<B: Backend> ModuleMapper<B> for Put<B> {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
            let (id, old, mapper) = param.consume();
            let Some(new) = self.0.next() else { unreachable!("the list is shorter than the module") };
            Param::from_mapped_value(id, new.reshape(old.dims()), mapper)
        }
    }
    module.map(&mut Put(values.into_iter()))
}

/// As [`unflatten`], for a module that is being trained: what was trained stays so.
///
/// # Panics
/// As [`unflatten`].
pub fn unflatten_trained<B, M>(module: M, values: Vec<Tensor<B::InnerBackend, 1>>) -> M
where
    B: AutodiffBackend,
    M: AutodiffModule<B>,
{
    let mut values = values.into_iter();
    replace::<B, M>(module, |_| {
        values.next().unwrap_or_else(|| unreachable!("the list is shorter than the module"))
    })
}

/// Puts what `new` makes of each tensor, flattened to `[n]`, in its place, in a module that is being trained: what
/// was trained stays so. Where nobody else holds a tensor, `new` has it alone.
pub fn replace<B, M>(
    module: M,
    new: impl FnMut(Tensor<B::InnerBackend, 1>) -> Tensor<B::InnerBackend, 1>,
) -> M
where
    B: AutodiffBackend,
    M: AutodiffModule<B>,
{
    struct Put<F>(F);
    impl<B, F> ModuleMapper<B> for Put<F>
    where
        B: AutodiffBackend,
        F: FnMut(Tensor<B::InnerBackend, 1>) -> Tensor<B::InnerBackend, 1>,
    {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
            let (id, old, mapper) = param.consume();
            let (shape, trained) = (old.dims(), old.is_require_grad());
            let new = self.0(old.inner().flatten(0, D - 1)).reshape(shape);
            Param::from_mapped_value(id, Tensor::from_inner(new).set_require_grad(trained), mapper)
        }
    }
    module.map(&mut Put(new))
}

/// Gradients of a module's tensors, in the order of [`flatten`]; `None` where the loss does not depend on one.
pub fn gradients<B, M>(module: &M, grads: &B::Gradients) -> Vec<Option<Tensor<B::InnerBackend, 1>>>
where
    B: AutodiffBackend,
    M: AutodiffModule<B>,
{
    struct Take<'a, B: AutodiffBackend> {
        from: &'a B::Gradients,
        found: Vec<Option<Tensor<B::InnerBackend, 1>>>,
    }
    impl<B: AutodiffBackend> ModuleVisitor<B> for Take<'_, B> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
            self.found.push(param.val().grad(self.from).map(|g| g.flatten(0, D - 1)));
        }
    }
    let mut take = Take::<B> { from: grads, found: Vec::new() };
    module.visit(&mut take);
    take.found
}

/// Which of a module's float tensors are trained, in the order of [`flatten`].
pub fn trained<B: AutodiffBackend, M: AutodiffModule<B>>(module: &M) -> Vec<bool> {
    struct Take(Vec<bool>);
    impl<B: AutodiffBackend> ModuleVisitor<B> for Take {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
            self.0.push(param.val().is_require_grad());
        }
    }
    let mut take = Take(Vec::new());
    module.visit(&mut take);
    take.0
}

/// Lets exactly the `trained` of a module's float tensors be trained, in the order of [`flatten`].
pub fn set_trained<B: AutodiffBackend, M: AutodiffModule<B>>(module: M, trained: Vec<bool>) -> M {
    struct Set(std::vec::IntoIter<bool>);
    impl<B: AutodiffBackend> ModuleMapper<B> for Set {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
            match self.0.next() {
                Some(trained) if trained != param.val().is_require_grad() => param.set_require_grad(trained),
                _ => param,
            }
        }
    }
    module.map(&mut Set(trained.into_iter()))
}
