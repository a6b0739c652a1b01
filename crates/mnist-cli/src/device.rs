//! The backends: the only file that names one. A new backend is one line in `backends!`, one feature in
//! Cargo.toml.

use std::{num::NonZeroUsize, str::FromStr};

use anyhow::{Result, anyhow};
use burn::{
    backend::Autodiff,
    tensor::backend::{AutodiffBackend, Backend, BackendTypes},
};

use crate::{
    args::{Common, UsageError},
    guard::{DeviceError, guarded},
};

/// Something to do on whichever backend was chosen.
pub(crate) trait Job {
    /// What comes of it.
    type Output;

    /// Does it. The first device is the main one; only training has work for others.
    fn run<B: Compute>(self, main: &B::Device, others: &[B::Device]) -> Result<Self::Output>;
}

/// A backend that a job may run on: plain for using a model, [`Compute::Training`] for training one.
pub(crate) trait Compute: Backend {
    /// The same with gradients.
    type Training: AutodiffBackend<InnerBackend = Self> + BackendTypes<Device = Self::Device>;
}

impl<B: Backend> Compute for B
where
    Autodiff<B>: AutodiffBackend<InnerBackend = B> + BackendTypes<Device = B::Device>,
{
    type Training = Autodiff<B>;
}

/// How a backend computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// In Rust on the CPU: a panic is a mistake in a program.
    Cpu,
    /// Through a library that may find no device or no memory, which Burn tells by a panic.
    Library,
    /// As `Library`, with programs that are compiled for the device when they are first used.
    Kernels,
}

macro_rules! backends {
    ($($(#[$about:meta])* $name:ident: $flag:literal, $backend:ty, $kind:ident, $devices:expr, $needs:literal;)*) => {
        /// A backend by name. All names exist everywhere; which can be used depends on the features of the build.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum BackendName {
            $($(#[$about])* $name,)*
        }

        /// In the order of preference where none is named: one added by a feature flag wins over the default.
        const ALL: &[BackendName] = &[$(BackendName::$name,)*];

        impl BackendName {
            /// Its name, which is its feature flag's as well.
            pub(crate) fn name(self) -> &'static str {
                match self { $(Self::$name => $flag,)* }
            }

            fn compiled(self) -> bool {
                match self { $(Self::$name => cfg!(feature = $flag),)* }
            }

            fn kind(self) -> Kind {
                match self { $(Self::$name => Kind::$kind,)* }
            }

            /// What a machine has to have for it.
            fn needs(self) -> &'static str {
                match self { $(Self::$name => $needs,)* }
            }

            /// Runs a job on the devices with these numbers, or on the backend's default one.
            #[allow(deprecated, reason = "burn-candle is deprecated as a whole")]
            fn run<J: Job>(self, numbers: &[usize], job: J) -> Result<J::Output> {
                match self {
                    $(
                        #[cfg(feature = $flag)]
                        Self::$name => run_on::<$backend, J>(self, numbers, || $devices, job),
                    )*
                    #[allow(unreachable_patterns)]
                    other => {
                        let _ = (numbers, job);
                        Err(UsageError(format!("backend {} is not compiled in", other.name())).into())
                    }
                }
            }
        }
    };
}

backends! {
    /// NVIDIA's cards.
    Cuda: "cuda", burn_cuda::Cuda, Kernels, of_types::<burn_cuda::Cuda>(&[0]),
        "an NVIDIA card, its driver and the CUDA toolkit (libcuda, libnvrtc) on the library path";
    /// AMD's cards.
    Rocm: "rocm", burn_rocm::Rocm, Kernels, of_types::<burn_rocm::Rocm>(&[0]), "an AMD card and ROCm 6 or 7";
    /// Apple's cards.
    Metal: "metal", burn_wgpu::Metal, Kernels, of_types::<burn_wgpu::Metal>(&[0, 1, 2, 3]), "a Mac";
    /// Graphics cards through Vulkan, with shaders in its own language.
    Vulkan: "vulkan", burn_wgpu::Vulkan, Kernels, of_types::<burn_wgpu::Vulkan>(&[0, 1, 2, 3]),
        "a Vulkan driver; without a graphics card one for the CPU does (Debian and Ubuntu: \
         apt-get install mesa-vulkan-drivers libvulkan1)";
    /// PyTorch's library.
    Tch: "tch", burn_tch::LibTorch, Library, torch_devices(), "libtorch 2.9.0: cargo xtask libtorch";
    /// Graphics cards through WebGPU.
    Wgpu: "wgpu", burn_wgpu::Wgpu, Kernels, of_types::<burn_wgpu::Wgpu>(&[0, 1, 2, 3]),
        "a Vulkan driver (on a Mac: Metal); without a graphics card one for the CPU does (Debian and Ubuntu: \
         apt-get install mesa-vulkan-drivers libvulkan1)";
    /// Hugging Face's library on the CPU.
    Candle: "candle", burn_candle::Candle, Cpu, vec![Default::default()], "";
    /// The ndarray crate on the CPU.
    Ndarray: "ndarray", burn_ndarray::NdArray, Cpu, vec![Default::default()], "";
    /// Burn's own CPU backend.
    Flex: "flex", burn_flex::Flex, Cpu, vec![Default::default()], "";
}

/// Devices of these types, as Burn numbers types: for graphics cards in the order in which one wants them
/// (discrete, integrated, virtual, CPU).
#[cfg(any(feature = "cuda", feature = "rocm", feature = "metal", feature = "vulkan", feature = "wgpu"))]
fn of_types<B: Backend>(types: &[u16]) -> Vec<B::Device> {
    use burn::{prelude::DeviceOps, tensor::backend::DeviceId};
    let of_type =
        |&t: &u16| (0..B::device_count(t)).map(move |i| B::Device::from_id(DeviceId::new(t, i as u16)));
    types.iter().flat_map(of_type).collect()
}

/// CUDA's cards, or Apple's, and at the end the CPU. Burn itself does not count them.
#[cfg(feature = "tch")]
fn torch_devices() -> Vec<burn_tch::LibTorchDevice> {
    use burn_tch::LibTorchDevice::{Cpu, Cuda, Mps};
    let cards = usize::try_from(tch::Cuda::device_count()).unwrap_or(0);
    let mut found: Vec<_> = (0..cards).map(Cuda).collect();
    found.extend(tch::utils::has_mps().then_some(Mps));
    found.push(Cpu);
    found
}

impl BackendName {
    /// The backend that was asked for, or the preferred one of this build.
    fn choose(wanted: Option<Self>) -> Result<Self> {
        let compiled =
            || ALL.iter().filter(|b| b.compiled()).map(|b| b.name()).collect::<Vec<_>>().join(", ");
        match wanted {
            Some(backend) if backend.compiled() => Ok(backend),
            Some(backend) => Err(UsageError(format!(
                "backend {0} is not compiled in (there are: {1}); build with it: cargo run -p mnist-cli \
                 --features {0} -- ...",
                backend.name(),
                compiled()
            ))
            .into()),
            None => ALL.iter().copied().find(|b| b.compiled()).ok_or_else(|| {
                UsageError("no backend is compiled in; build with --features flex".into()).into()
            }),
        }
    }
}

impl FromStr for BackendName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        ALL.iter().copied().find(|b| b.name() == text).ok_or_else(|| {
            let names: Vec<_> = ALL.iter().map(|b| b.name()).collect();
            format!("there are {}", names.join(", "))
        })
    }
}

/// Sets up the threads that the CPU backends compute on, once for the process; `None` is one for each core.
///
/// The calling thread is one of them: a loop begun inside the pool starts at once, while one begun outside waits
/// until a sleeping thread has taken it up. With several devices their threads share the pool and the calling one
/// waits for them, so that it must not be counted on.
///
/// # Errors
/// Threads that cannot be started.
pub(crate) fn set_threads(threads: Option<NonZeroUsize>, devices: &[usize]) -> Result<()> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads.map_or(0, NonZeroUsize::get));
    if devices.len() > 1 { pool } else { pool.use_current_thread() }.build_global()?;
    #[cfg(feature = "tch")]
    if let Some(threads) = threads {
        tch::set_num_threads(i32::try_from(threads.get()).unwrap_or(i32::MAX));
    }
    Ok(())
}

/// A backend of this build and the devices of it that were asked for.
pub(crate) struct Place {
    backend: BackendName,
    numbers: Vec<usize>,
}

impl Place {
    /// The backend that was typed, or the preferred one of this build, if it works here.
    ///
    /// # Errors
    /// [`UsageError`] naming the feature flag to build with, or the devices that there are; an error that says
    /// what to install where the backend finds no device.
    pub(crate) fn choose(common: &Common) -> Result<Self> {
        Self::of(common.backend, common)
    }

    /// As [`Place::choose`], for a backend that is known already.
    ///
    /// # Errors
    /// As [`Place::choose`].
    pub(crate) fn of(wanted: Option<BackendName>, common: &Common) -> Result<Self> {
        let backend = BackendName::choose(wanted)?;
        let numbers = common.devices.clone();
        if let Some(twice) =
            numbers.iter().enumerate().find_map(|(i, n)| numbers[..i].contains(n).then_some(n))
        {
            return Err(UsageError(format!("--devices names device {twice} twice")).into());
        }
        let place = Self { backend, numbers };
        place.run(Open).map_err(|error| {
            if !error.is::<DeviceError>() {
                return error;
            }
            // What the driver says names its parts, not what to do: it is in the log.
            tracing::info!("{error}");
            let (name, needs) = (backend.name(), backend.needs());
            anyhow!("backend {name} finds no device that it can use here; it needs {needs}")
        })?;
        Ok(place)
    }

    /// Runs a job there.
    ///
    /// # Errors
    /// The job's own; [`DeviceError`] where the device fails.
    pub(crate) fn run<J: Job>(&self, job: J) -> Result<J::Output> {
        match self.backend.kind() {
            Kind::Cpu => self.backend.run(&self.numbers, job),
            Kind::Library | Kind::Kernels => {
                guarded(self.backend.name(), || self.backend.run(&self.numbers, job))?
            }
        }
    }

    /// The backend's name.
    pub(crate) fn name(&self) -> &'static str {
        self.backend.name()
    }

    /// How many devices were asked for.
    pub(crate) fn devices(&self) -> usize {
        self.numbers.len().max(1)
    }

    /// Whether what it computes is compiled when it is first used, which takes a while.
    pub(crate) fn compiles_kernels(&self) -> bool {
        self.backend.kind() == Kind::Kernels
    }
}

/// Runs a job on the devices with these numbers out of `all`, or on the default one.
fn run_on<B: Compute, J: Job>(
    backend: BackendName,
    numbers: &[usize],
    all: impl FnOnce() -> Vec<B::Device>,
    job: J,
) -> Result<J::Output> {
    let [first, others @ ..] = numbers else { return job.run::<B>(&B::Device::default(), &[]) };
    let all = all();
    let pick = |number: &usize| {
        all.get(*number).cloned().ok_or_else(|| {
            let (name, count) = (backend.name(), all.len());
            let numbered = match count {
                1 => "one device here, number 0".to_string(),
                _ => format!("{count} devices here, numbers 0 to {}", count.saturating_sub(1)),
            };
            UsageError(format!("--devices {number}: backend {name} has {numbered}"))
        })
    };
    let main = pick(first)?;
    let others = others.iter().map(pick).collect::<Result<Vec<_>, _>>()?;
    job.run::<B>(&main, &others)
}

/// Finds out whether there is a device.
struct Open;

impl Job for Open {
    type Output = ();

    fn run<B: Compute>(self, main: &B::Device, others: &[B::Device]) -> Result<()> {
        std::iter::once(main).chain(others).try_for_each(B::sync)?;
        Ok(())
    }
}
