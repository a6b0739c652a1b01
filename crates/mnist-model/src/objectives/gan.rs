//! Generative adversarial network (Goodfellow et al. 2014, arXiv 1406.2661): a generator makes images of noise, a
//! discriminator tells them from real ones, each learns from the other's mistakes. With the non-saturating loss of that
//! paper's section 3 and convolutional nets as in DCGAN (Radford et al. 2015, arXiv 1511.06434).
//!
//! Any net with a linear head discriminates, so that it can be reused as an encoder; a [`Decoder`] generates. Departures
//! from DCGAN: pixels are 0-1 and come out of a sigmoid, activations are ReLU in both.
//!
//! The penalty R1 (Mescheder et al. 2018, arXiv 1801.04406) is the squared slope of the discriminator at real images. Its
//! gradient takes a second derivative, which our fused operations do not have; we take the finite difference of Lin et
//! al. (2025, arXiv 2501.08316, section 3.4) in its place: `(D(x) - D(x + sigma * noise))^2`, whose mean over the noise is
//! `sigma^2` times the squared slope where `sigma` is small.

use burn::{
    module::Module,
    tensor::{
        Distribution, Tensor,
        activation::{log_sigmoid, sigmoid},
        backend::Backend,
    },
};
use mnist_data::{Batch, HostBatch};
use serde::{Deserialize, Serialize};

use super::{ChosenBy, Losses, Objective, ObjectiveConfig, Part, Phase, Picture, Progress, Score};
use crate::generate::{GenerateRequest, Generated, Watch};
use crate::{
    blocks::{Linear, output_linear},
    decoder::{Decoder, DecoderConfig},
    nets::{Encoder, EncoderConfig, Net, at_least_one},
};

/// Settings of the objective that a recipe may set.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(default)]
pub struct GanSettings {
    /// Numbers of noise that an image is made of.
    pub code: usize,
    /// What the run's learning rate is multiplied by for the discriminator.
    pub discriminator_rate: f64,
    /// What the run's learning rate is multiplied by for the generator.
    pub generator_rate: f64,
    /// Weight of the penalty on the discriminator's slope at real images, in its finite-difference form; 0 is none.
    pub r1: f64,
    /// Standard deviation of the noise that the difference is taken over, pixels being 0-1.
    pub sigma: f64,
    /// The generator.
    pub decoder: DecoderConfig,
}

impl Default for GanSettings {
    fn default() -> Self {
        Self {
            code: 64,
            discriminator_rate: 1.0,
            generator_rate: 1.0,
            r1: 10.0,
            sigma: 0.1,
            decoder: DecoderConfig::default(),
        }
    }
}

/// All that makes a [`Gan`].
#[derive(Clone, Debug)]
pub struct GanConfig {
    /// The discriminator's net.
    pub encoder: EncoderConfig,
    /// What a recipe may set.
    pub settings: GanSettings,
}

/// A discriminator and a generator.
#[derive(Module, Debug)]
pub struct Gan<B: Backend> {
    /// The discriminator but for its last layer.
    pub net: Net<B>,
    /// `[width, 1]`: the logit of an image being real.
    pub head: Linear<B>,
    /// From noise to images.
    pub generator: Decoder<B>,
    code: usize,
    mean: f32,
    std: f32,
    r1: f64,
    sigma: f64,
}

impl ObjectiveConfig for GanConfig {
    type Input = HostBatch;
    type Model<B: Backend> = Gan<B>;

    /// Neither player's loss says how good the images are: both are measured against the other. Of equal scores the last
    /// is chosen, and this one is always 0.
    const CHOSEN_BY: ChosenBy = ChosenBy::NOTHING;

    fn phases(&self) -> Vec<Phase> {
        let GanSettings { discriminator_rate, generator_rate, .. } = self.settings;
        vec![
            Phase {
                loss: "discriminator_loss",
                moves: vec!["net", "head"],
                learning_rate: discriminator_rate,
            },
            Phase { loss: "generator_loss", moves: vec!["generator"], learning_rate: generator_rate },
        ]
    }

    fn check(&self) -> Result<(), String> {
        let GanSettings { code, discriminator_rate, generator_rate, r1, sigma, decoder } = &self.settings;
        self.encoder.check()?;
        at_least_one("gan.code", &[*code])?;
        for (name, rate) in [("discriminator", discriminator_rate), ("generator", generator_rate)] {
            if !(*rate > 0.0 && *rate <= 100.0) {
                return Err(format!("`gan.{name}_rate` is {rate}; it has to be above 0 and at most 100"));
            }
        }
        if !(0.0..=1e6).contains(r1) {
            return Err(format!("`gan.r1` is {r1}; it has to be 0 (off) or more"));
        }
        if !(*sigma > 0.0 && *sigma <= 1.0) {
            return Err(format!("`gan.sigma` is {sigma}; it has to be above 0 and at most 1"));
        }
        decoder.check(*code, self.encoder.size).map_err(|e| format!("gan.{e}"))
    }

    fn init<B: Backend>(&self, device: &B::Device) -> Result<Gan<B>, String> {
        self.check()?;
        let GanSettings { code, r1, sigma, ref decoder, .. } = self.settings;
        let net = self.encoder.init(device)?;
        Ok(Gan {
            head: output_linear(net.width(), 1, device),
            net,
            generator: decoder.init(code, self.encoder.size, device),
            code,
            mean: self.encoder.mean,
            std: self.encoder.std,
            r1,
            sigma,
        })
    }
}

impl<B: Backend> Gan<B> {
    /// Logits of images, pixels in 0-1, `[batch, channels, height, width]`, being real: `[batch]`.
    pub fn discriminate(&self, images: Tensor<B, 4>) -> Tensor<B, 1> {
        let [batch, ..] = images.dims();
        let x = (images - self.mean) / self.std;
        self.head.forward(self.net.forward(x)).reshape([batch])
    }

    /// Images of noise, pixels in 0-1, `[count, channels, height, width]`; `spread` is the noise's standard deviation.
    fn make(&self, count: usize, device: &B::Device) -> Tensor<B, 4> {
        let noise = Tensor::random([count, self.code], Distribution::Normal(0.0, 1.0), device);
        sigmoid(self.generator.forward(noise))
    }

    fn discriminator_loss(&self, images: Tensor<B, 4>) -> Losses<B> {
        let [batch, ..] = images.dims();
        // Not frozen, only cut off: its norms have to go by the batch here as they do when it is its turn.
        let made = self.make(batch, &images.device()).detach();
        let real = self.discriminate(images.clone());
        let fake = self.discriminate(made);
        let right = |name, logits: &Tensor<B, 1>| {
            let value = logits.clone().detach().greater_elem(0.0).float().mean();
            Part { name, unit: "share", value }
        };
        let mut parts = vec![right("real_taken_for_real", &real), right("made_taken_for_real", &fake)];
        let mut total = (log_sigmoid(real.clone()) + log_sigmoid(fake.neg())).mean().neg();
        if self.r1 > 0.0 {
            let noise = images.random_like(Distribution::Normal(0.0, self.sigma));
            let near = self.discriminate(images + noise);
            let penalty = (real - near).square().mean();
            parts.push(Part { name: "r1", unit: "squared logits", value: penalty.clone().detach() });
            total = total + penalty * self.r1;
        }
        Losses { total, parts }
    }

    fn generator_loss(&self, batch: usize, device: &B::Device) -> Losses<B> {
        // The discriminator's own gradients are of no use here; norms, if it has any, go by their running averages.
        let opponent =
            Self { net: self.net.clone().no_grad(), head: self.head.clone().no_grad(), ..self.clone() };
        let total = log_sigmoid(opponent.discriminate(self.make(batch, device))).mean().neg();
        Losses { total, parts: Vec::new() }
    }
}

impl<B: Backend> Objective<B> for Gan<B> {
    type Input = HostBatch;

    fn losses(&self, batch: Batch<B>, progress: Progress) -> Losses<B> {
        match progress.phase {
            0 => self.discriminator_loss(batch.images),
            _ => self.generator_loss(batch.images.dims()[0], &batch.images.device()),
        }
    }

    fn scores(&self, batch: Batch<B>) -> Vec<Score<B>> {
        let ([count, ..], device) = (batch.images.dims(), batch.images.device());
        let share = |images| self.discriminate(images).greater_elem(0.0).float();
        vec![
            Score { name: "real_taken_for_real", unit: "share", values: share(batch.images) },
            Score { name: "made_taken_for_real", unit: "share", values: share(self.make(count, &device)) },
            Score { name: ChosenBy::NOTHING.score, unit: "", values: Tensor::zeros([count], &device) },
        ]
    }

    fn features(&self, batch: Batch<B>) -> Option<Tensor<B, 2>> {
        Some(self.net.forward((batch.images - self.mean) / self.std))
    }

    fn generate_watched(
        &self,
        request: &GenerateRequest,
        device: &B::Device,
        _watch: &mut Watch<'_>,
    ) -> Option<Generated<B>> {
        let images = sigmoid(self.generator.forward(request.codes(self.code, device)));
        Some(Generated::Images(Picture { name: "samples", images, columns: 16 }))
    }

    fn code_width(&self) -> Option<usize> {
        Some(self.code)
    }

    fn pictures(&self, batch: Batch<B>) -> Vec<Picture<B>> {
        // The caller's seed is the same after each epoch: so is the noise.
        let images = self.make(96, &batch.images.device());
        vec![Picture { name: "samples", images, columns: 16 }]
    }
}

#[cfg(test)]
mod tests {
    use burn::{backend::Autodiff, module::AutodiffModule, tensor::backend::AutodiffBackend};
    use burn_flex::Flex;

    use super::*;
    use crate::nets::NetSettings;

    type Ad = Autodiff<Flex>;

    fn config() -> GanConfig {
        let settings = GanSettings { code: 3, r1: 2.0, ..Default::default() };
        let encoder = EncoderConfig::new("mlp", NetSettings::default(), [8, 8]);
        GanConfig { encoder: EncoderConfig { mean: 0.1, std: 0.3, ..encoder }, settings }
    }

    fn images<B: Backend>(count: usize) -> Batch<B> {
        let device = Default::default();
        let images = Tensor::random([count, 1, 8, 8], Distribution::Uniform(0.0, 1.0), &device);
        Batch { images, labels: Tensor::zeros([count], &device) }
    }

    #[test]
    fn each_phase_has_gradients_of_its_own_player_only() {
        let device = Default::default();
        Ad::seed(&device, 1);
        let model = config().init::<Ad>(&device).unwrap();
        for (phase, mine) in [(0, [true, false]), (1, [false, true])] {
            let at = Progress { phase, step: 0, total: 1 };
            let grads = model.losses(images(6), at).total.backward();
            let end = model.head.weight.val().grad(&grads).is_some();
            let start = {
                let mut found = false;
                let mut look = Look { grads: &grads, found: &mut found };
                model.generator.visit(&mut look);
                found
            };
            assert_eq!([end, start], mine, "phase {phase}");
        }
    }

    /// Whether any tensor has a gradient.
    struct Look<'a> {
        grads: &'a <Ad as AutodiffBackend>::Gradients,
        found: &'a mut bool,
    }

    impl burn::module::ModuleVisitor<Ad> for Look<'_> {
        fn visit_float<const D: usize>(&mut self, param: &burn::module::Param<Tensor<Ad, D>>) {
            *self.found |= param.val().grad(self.grads).is_some();
        }
    }

    /// A linear discriminator has one slope everywhere, and the mean of the finite difference is known.
    #[test]
    fn the_penalty_is_the_squared_slope_times_the_variance_of_the_noise() {
        let device = Default::default();
        Flex::seed(&device, 2);
        let mut config = config();
        (config.settings.r1, config.settings.sigma) = (1.0, 1e-3);
        let model = config.init::<Ad>(&device).unwrap();
        let batch = images::<Ad>(4_000);
        let x = batch.images.clone().require_grad();
        let slope = x.grad(&model.discriminate(x.clone()).sum().backward()).unwrap();
        let wanted = slope.square().sum().into_scalar() / 4_000.0 * 1e-6;
        let penalty = model.valid().losses(images(4_000), Progress::default()).parts.remove(2);
        let found: f32 = penalty.value.into_scalar();
        assert!((found / wanted - 1.0).abs() < 0.1, "{found} is not {wanted}");
    }

    #[test]
    fn settings_that_make_no_model_are_refused() {
        let bad = |change: fn(&mut GanSettings)| {
            let mut config = config();
            change(&mut config.settings);
            config.init::<Flex>(&Default::default()).err().unwrap()
        };
        assert!(bad(|s| s.code = 0).contains("gan.code"));
        assert!(bad(|s| s.generator_rate = 0.0).contains("gan.generator_rate"));
        assert!(bad(|s| s.r1 = -1.0).contains("gan.r1"));
        assert!(bad(|s| s.sigma = 0.0).contains("gan.sigma"));
    }
}
