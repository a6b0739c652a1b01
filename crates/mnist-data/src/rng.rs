//! Counter-based randomness: every draw is a function of a key, never of what was drawn before.
//!
//! A [`Key`] is 256 bits; child keys are SHA-256 of the parent and a name or a number, and a key
//! seeds a ChaCha8 generator. The idea is that of Salmon et al., "Parallel random numbers: as easy
//! as 1, 2, 3" (SC 2011), and of JAX's splittable keys (Claessen and Pałka, "Splittable
//! pseudorandom number generators using cryptographic hashing", Haskell 2013). So sample 17 of
//! epoch 3 is augmented in the same way on any thread, in any order and after any resume.

use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use sha2::{Digest, Sha256};

/// The name of one stream of randomness.
///
/// ```
/// use mnist_data::Key;
/// use rand::RngExt;
///
/// let key = Key::new(1).named("augment").with(3).with(17); // run seed 1, epoch 3, sample 17
/// let first: f32 = key.rng().random();
/// let again: f32 = key.rng().random();
/// assert_eq!(first, again);
/// assert_ne!(key.seed(), Key::new(1).named("augment").with(3).with(18).seed());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key([u8; 32]);

impl Key {
    /// The root key of a run with this seed.
    pub fn new(seed: u64) -> Self {
        Self(
            Sha256::new()
                .chain_update(b"mnist-burn/key/1")
                .chain_update(seed.to_le_bytes())
                .finalize()
                .into(),
        )
    }

    /// The child key number `n`: an epoch, a step, a sample.
    pub fn with(self, n: u64) -> Self {
        self.child(0, &n.to_le_bytes())
    }

    /// The child key for a purpose: "order", "augment", "dropout".
    pub fn named(self, purpose: &str) -> Self {
        self.child(1, purpose.as_bytes())
    }

    /// The generator that this key names; always starts at its beginning.
    pub fn rng(self) -> ChaCha8Rng {
        ChaCha8Rng::from_seed(self.0)
    }

    /// 64 bits of the key, for generators seeded by a number (`B::seed`).
    pub fn seed(self) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = self.0;
        u64::from_le_bytes([a, b, c, d, e, f, g, h])
    }

    /// A number in [0, 1) that the key names, for those who have no generator.
    pub fn uniform(self) -> f32 {
        self.rng().random()
    }

    /// `kind` keeps numbers and names of equal bytes apart.
    fn child(self, kind: u8, bytes: &[u8]) -> Self {
        Self(Sha256::new().chain_update(self.0).chain_update([kind]).chain_update(bytes).finalize().into())
    }
}
