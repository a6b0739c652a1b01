//! New examples of a trained model, in pieces that fit into memory.

use burn::tensor::{Tensor, backend::Backend};
use mnist_data::Key;
use mnist_model::{
    generate::{GenerateRequest, Generated},
    objectives::Picture,
};

use crate::{
    error::{Result, TrainError},
    registry::Trained,
};

/// Images that are made at once.
const AT_ONCE: usize = 256;

/// New images, as a picture of all of them; a function of the model, the request and the key.
///
/// # Errors
/// [`TrainError::Settings`] if the model makes no images, or none are asked for.
pub fn images<B: Backend>(
    model: &dyn Trained<B>,
    request: &GenerateRequest,
    key: Key,
    device: &B::Device,
) -> Result<Picture<B>> {
    let mut pieces: Vec<Tensor<B, 4>> = Vec::new();
    let mut shape = ("", 1);
    for (piece, start) in (0..request.count).step_by(AT_ONCE).enumerate() {
        let count = AT_ONCE.min(request.count - start);
        B::seed(device, key.with(piece as u64).seed());
        match model.generate(&GenerateRequest { count, ..request.clone() }, device) {
            Some(Generated::Images(picture)) => {
                shape = (picture.name, picture.columns);
                pieces.push(picture.images);
            }
            Some(Generated::Tokens(_)) | None => {
                return Err(TrainError::Settings("this model makes no images".into()));
            }
        }
    }
    if pieces.is_empty() {
        return Err(TrainError::Settings("no images were asked for".into()));
    }
    let (name, columns) = shape;
    Ok(Picture { name, images: Tensor::cat(pieces, 0), columns })
}
