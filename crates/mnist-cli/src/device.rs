//! The backends: the only file that names one.

use std::str::FromStr;

use anyhow::Result;
use burn::{
    backend::Autodiff,
    tensor::backend::{AutodiffBackend, Backend, BackendTypes},
};

use crate::args::UsageError;

/// Something to do on whichever backend was chosen.
pub(crate) trait Job {
    /// What comes of it.
    type Output;

    /// Does it.
    fn run<B: Compute>(self, device: B::Device) -> Result<Self::Output>;
}

/// A backend that a job may run on: plain for using a model, [`Compute::Training`] for training one.
pub(crate) trait Compute: Backend {
    /// The same with gradients.
    type Training: AutodiffBackend<InnerBackend = Self> + BackendTypes<Device = Self::Device>;
}

/// A backend by name. All names exist everywhere; which can be used depends on the features of the build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BackendName {
    /// Burn's own CPU backend.
    Flex,
    /// The ndarray crate on the CPU.
    Ndarray,
    /// A graphics card through WebGPU.
    Wgpu,
    /// PyTorch's library.
    Tch,
}

/// In the order of preference where none is named: one added by a feature flag wins over the default.
const ALL: [BackendName; 4] = [BackendName::Tch, BackendName::Wgpu, BackendName::Ndarray, BackendName::Flex];

impl BackendName {
    /// Its name, which is its feature flag's as well.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Flex => "flex",
            Self::Ndarray => "ndarray",
            Self::Wgpu => "wgpu",
            Self::Tch => "tch",
        }
    }

    fn compiled(self) -> bool {
        match self {
            Self::Flex => cfg!(feature = "flex"),
            Self::Ndarray => cfg!(feature = "ndarray"),
            Self::Wgpu => cfg!(feature = "wgpu"),
            Self::Tch => cfg!(feature = "tch"),
        }
    }

    /// The backend that was asked for, or the preferred one of this build.
    ///
    /// # Errors
    /// [`UsageError`] naming the feature flag to build with.
    pub(crate) fn choose(wanted: Option<Self>) -> Result<Self> {
        let compiled =
            || ALL.into_iter().filter(|b| b.compiled()).map(Self::name).collect::<Vec<_>>().join(", ");
        match wanted {
            Some(backend) if backend.compiled() => Ok(backend),
            Some(backend) => Err(UsageError(format!(
                "backend {0} is not compiled in (there are: {1}); build with it: cargo run -p mnist-cli \
                 --features {0} -- ...",
                backend.name(),
                compiled()
            ))
            .into()),
            None => ALL.into_iter().find(|b| b.compiled()).ok_or_else(|| {
                UsageError("no backend is compiled in; build with --features flex".into()).into()
            }),
        }
    }

    /// Runs a job on this backend's default device.
    pub(crate) fn run<J: Job>(self, job: J) -> Result<J::Output> {
        match self {
            #[cfg(feature = "flex")]
            Self::Flex => job.run::<burn_flex::Flex>(Default::default()),
            #[cfg(feature = "ndarray")]
            Self::Ndarray => job.run::<burn_ndarray::NdArray>(Default::default()),
            #[cfg(feature = "wgpu")]
            Self::Wgpu => job.run::<burn_wgpu::Wgpu>(Default::default()),
            #[cfg(feature = "tch")]
            Self::Tch => job.run::<burn_tch::LibTorch>(Default::default()),
            #[allow(unreachable_patterns)]
            other => {
                let _ = job;
                Err(UsageError(format!("backend {} is not compiled in", other.name())).into())
            }
        }
    }
}

impl FromStr for BackendName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        ALL.into_iter().find(|b| b.name() == text).ok_or_else(|| {
            let names: Vec<_> = ALL.into_iter().map(Self::name).collect();
            format!("there are {}", names.join(", "))
        })
    }
}

impl<B: Backend> Compute for B
where
    Autodiff<B>: AutodiffBackend<InnerBackend = B> + BackendTypes<Device = B::Device>,
{
    type Training = Autodiff<B>;
}
