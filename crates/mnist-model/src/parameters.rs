//! What a module is made of: its tensors by name, their number, a summary to print.

use burn::{
    module::{Module, ModuleVisitor, Param},
    tensor::{Tensor, backend::Backend},
};

/// One float tensor of a module: a parameter or a running statistic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// Path of field names, joined by dots: `net.hidden.0.weight`.
    pub path: String,
    /// Size of each dimension.
    pub shape: Vec<usize>,
    /// Whether the optimizer moves it (running statistics of a BatchNorm: no).
    pub trained: bool,
}

impl Parameter {
    /// Number of values.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether it holds no value at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// All float tensors of a module in the fixed order of its fields. Forces lazily drawn initial values, in
/// that same order.
pub fn parameters<B: Backend, M: Module<B>>(module: &M) -> Vec<Parameter> {
    let mut list = Lister { path: Vec::new(), found: Vec::new() };
    module.visit(&mut list);
    list.found
}

/// Number of trainable parameters in a module.
pub fn parameter_count<B: Backend, M: Module<B>>(module: &M) -> usize {
    parameters::<B, M>(module).iter().filter(|p| p.trained).map(Parameter::len).sum()
}

/// A readable table of the tensors of a module: name, shape, number of values, and their total.
pub fn summary<B: Backend, M: Module<B>>(module: &M) -> String {
    let all = parameters::<B, M>(module);
    let wide = all.iter().map(|p| p.path.len()).max().unwrap_or(0);
    let mut text = String::new();
    for p in &all {
        let shape = p.shape.iter().map(ToString::to_string).collect::<Vec<_>>().join(" x ");
        let note = if p.trained { "" } else { "  (running statistic)" };
        text += &format!("{:wide$}  {:>18}  {:>10}{note}\n", p.path, shape, p.len());
    }
    let total: usize = all.iter().filter(|p| p.trained).map(Parameter::len).sum();
    text + &format!("{:wide$}  {:>18}  {total:>10}\n", "trainable parameters", "")
}

struct Lister {
    path: Vec<String>,
    found: Vec<Parameter>,
}

impl<B: Backend> ModuleVisitor<B> for Lister {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.to_string());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        let path = self.path.join(".");
        // Burn gives running statistics the type of a parameter; only their names tell. The last two are FixMatch's.
        let running = ["running_mean", "running_var", "labelled", "all"];
        let trained = !self.path.last().is_some_and(|name| running.contains(&name.as_str()));
        self.found.push(Parameter { path, shape: param.val().dims().to_vec(), trained });
    }
}
