//! Which way up? Each image is shown in four rotations by 90 degrees, and the model tells which one it sees: pretraining without
//! labels (Gidaris et al. 2018, arXiv 1803.07728).

use burn::{
    module::Module,
    nn::{Linear, LinearConfig},
    tensor::{Int, Tensor, activation::log_softmax, backend::Backend},
};
use mnist_data::{Batch, HostBatch};
use mnist_model::{
    Encoder, Losses, Net, Objective, ObjectiveConfig, Score,
    nets::EncoderConfig,
    objectives::{ChosenBy, Part, Progress},
};

/// All that makes a [`Rotation`].
#[derive(Clone, Debug)]
pub struct RotationConfig {
    /// The encoder.
    pub encoder: EncoderConfig,
}

/// An encoder, and a head of four classes.
#[derive(Module, Debug)]
pub struct Rotation<B: Backend> {
    /// What is reused: `finetune --from` looks for this name.
    net: Net<B>,
    head: Linear<B>,
    mean: f32,
    std: f32,
}

impl ObjectiveConfig for RotationConfig {
    type Input = HostBatch;
    type Model<B: Backend> = Rotation<B>;

    const CHOSEN_BY: ChosenBy = ChosenBy { score: "cross_entropy", larger_is_better: false };

    fn check(&self) -> Result<(), String> {
        let [height, width] = self.encoder.size.sides();
        if height != width {
            return Err(format!("images are {height}x{width}; only square ones can be turned"));
        }
        self.encoder.check()
    }

    fn init<B: Backend>(&self, device: &B::Device) -> Result<Rotation<B>, String> {
        self.check()?;
        let net = self.encoder.init(device)?;
        let head = LinearConfig::new(net.width(), 4).init(device);
        Ok(Rotation { net, head, mean: self.encoder.mean, std: self.encoder.std })
    }
}

/// `[batch, 1, side, side]`, turned by 0, 90, 180 and 270 degrees: `[4 * batch, 1, side, side]`.
fn turned<B: Backend>(images: Tensor<B, 4>) -> Tensor<B, 4> {
    let quarter = |x: Tensor<B, 4>| x.swap_dims(2, 3).flip([2]);
    let half = images.clone().flip([2, 3]);
    Tensor::cat(vec![images.clone(), quarter(images), half.clone(), quarter(half)], 0)
}

impl<B: Backend> Rotation<B> {
    /// Logarithms of the probability of each rotation, and the true ones: `[4 * batch, 4]`, `[4 * batch, 1]`.
    fn told(&self, images: Tensor<B, 4>) -> (Tensor<B, 2>, Tensor<B, 2, Int>) {
        let [batch, ..] = images.dims();
        let truth = Tensor::<B, 1, Int>::arange(0..4, &images.device()).reshape([4, 1]).repeat_dim(1, batch);
        let features = self.net.forward((turned(images) - self.mean) / self.std);
        (log_softmax(self.head.forward(features), 1), truth.reshape([4 * batch, 1]))
    }
}

impl<B: Backend> Objective<B> for Rotation<B> {
    type Input = HostBatch;

    fn losses(&self, batch: Batch<B>, _progress: Progress) -> Losses<B> {
        let (found, truth) = self.told(batch.images);
        let right = found.clone().detach().argmax(1).equal(truth.clone()).float().mean();
        let part = Part { name: "accuracy", unit: "share", value: right };
        Losses { total: found.gather(1, truth).mean().neg(), parts: vec![part] }
    }

    fn scores(&self, batch: Batch<B>) -> Vec<Score<B>> {
        let [images, ..] = batch.images.dims();
        let (found, truth) = self.told(batch.images);
        // One value an image: the mean of its four.
        let mean = |values: Tensor<B, 2>| values.reshape([4, images]).mean_dim(0).reshape([images]);
        let right = mean(found.clone().argmax(1).equal(truth.clone()).float());
        let surprise = mean(found.gather(1, truth).neg());
        vec![
            Score { name: "accuracy", unit: "share", values: right },
            Score { name: "cross_entropy", unit: "nats", values: surprise },
        ]
    }

    fn features(&self, batch: Batch<B>) -> Option<Tensor<B, 2>> {
        Some(self.net.forward((batch.images - self.mean) / self.std))
    }
}

#[cfg(test)]
mod tests {
    use burn_flex::Flex;

    use super::*;

    /// numpy: `[np.rot90([[1, 2], [3, 4]], k).tolist() for k in range(4)]`.
    #[test]
    fn turns_are_numpys() {
        let image = Tensor::<Flex, 4>::from_floats([[[[1., 2.], [3., 4.]]]], &Default::default());
        let found: Vec<f32> = turned(image).into_data().iter::<f32>().collect();
        assert_eq!(found, [1., 2., 3., 4., 2., 4., 1., 3., 4., 3., 2., 1., 3., 1., 4., 2.]);
    }
}
