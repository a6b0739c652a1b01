//! Tests of the crate through its public API, one file per module.

#[cfg(test)]
mod augment;
#[cfg(test)]
mod dataset;
#[cfg(test)]
mod fetch;
#[cfg(test)]
mod idx;
#[cfg(test)]
mod loader;
#[cfg(test)]
mod mnist;
#[cfg(feature = "scan")]
#[cfg(test)]
mod own;
#[cfg(test)]
mod rng;
#[cfg(test)]
mod split;
#[cfg(test)]
mod text;
