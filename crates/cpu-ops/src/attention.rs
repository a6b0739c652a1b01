//! Scaled dot-product attention of several heads (Vaswani et al. 2017, arXiv 1706.03762, section 3.2) as one
//! operation.
//!
//! Heads are columns of the queries, keys and values: nothing is permuted, neither here nor in the output. The
//! scores exist for a block of queries of one head at a time, as in FlashAttention (Dao et al. 2022,
//! arXiv 2205.14135): the forward pass leaves one number a query and head, from which the backward pass makes
//! them again. Unlike there a block sees all its keys at once, because a row of scores fits into a CPU's cache.

mod autodiff;
mod kernel;
mod softmax;

use std::sync::Arc;

use burn::tensor::{Bool, Tensor, TensorData, backend::Backend, module, ops::AttentionModuleOptions};

use crate::operation::{primitive, run, tensor};

/// How [`attention`] and [`self_attention`] weigh the values.
///
/// The default: one head, every query sees every key, the scale of the paper.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AttentionOptions {
    /// Number of heads, at least 1; each has its share of the width, in order.
    pub heads: usize,
    /// Whether a query sees only the keys at its place and before, where the last query is at the last key's place.
    pub causal: bool,
    /// What products of queries and keys are multiplied by, above 0; 1 / sqrt(width of a head) if there is none.
    pub scale: Option<f32>,
}

impl Default for AttentionOptions {
    fn default() -> Self {
        Self { heads: 1, causal: false, scale: None }
    }
}

/// Sizes of a call.
#[derive(Clone, Copy, Debug)]
struct Geometry {
    batch: usize,
    queries: usize,
    keys: usize,
    /// Keys, from the first, that may be seen: fewer than there are where the rest only fills up.
    visible: usize,
    heads: usize,
    /// Width of one head.
    head: usize,
    scale: f32,
    causal: bool,
}

impl Geometry {
    fn new(batch: usize, [queries, keys]: [usize; 2], width: usize, options: AttentionOptions) -> Self {
        let AttentionOptions { heads, causal, scale } = options;
        assert!(
            heads > 0 && width > 0 && width.is_multiple_of(heads),
            "a width of {width} cannot be shared by {heads} heads"
        );
        let head = width / heads;
        let scale = scale.unwrap_or(1.0 / (head as f32).sqrt());
        assert!(scale > 0.0 && scale.is_finite(), "a scale of {scale} is not a finite number above 0");
        Self { batch, queries, keys, visible: keys, heads, head, scale, causal }
    }

    /// Multiplications and additions of the two products of the forward pass, those of hidden keys among them.
    fn flops(&self) -> u64 {
        4 * [self.batch, self.queries, self.keys, self.heads * self.head]
            .iter()
            .map(|&n| n as u64)
            .product::<u64>()
    }
}

/// For each query and head: softmax(scale * query . keys) as weights of the sum of the values. The heads' results
/// lie side by side, without the projection that usually follows.
///
/// A query that sees no key, which happens with `causal` and fewer keys than queries, gives 0.
///
/// # Shapes
/// - `query`: `[batch, queries, width]`
/// - `key`, `value`: `[batch, keys, width]`
/// - returns: `[batch, queries, width]`
///
/// # Panics
/// If the shapes do not fit together, the heads cannot share the width or the scale is not above 0.
pub fn attention<B: Backend>(
    query: Tensor<B, 3>,
    key: Tensor<B, 3>,
    value: Tensor<B, 3>,
    options: AttentionOptions,
) -> Tensor<B, 3> {
    let [batch, queries, width] = query.dims();
    let [batch_of_keys, keys, width_of_keys] = key.dims();
    assert_eq!(key.dims(), value.dims(), "keys and values differ in shape");
    assert_eq!([batch, width], [batch_of_keys, width_of_keys], "queries and keys differ in batch or width");
    let geometry = Geometry::new(batch, [queries, keys], width, options);
    #[cfg(feature = "tch")]
    if crate::libtorch::is::<B>() {
        let inputs = [query, key, value].map(primitive);
        return tensor(crate::libtorch::run::<B, 3>(inputs, |inputs| libtorch(inputs, &geometry)));
    }
    let [query, key, value] =
        match run::<B, _, 3>(&autodiff::Apart(geometry), [query, key, value].map(primitive)) {
            Ok((output, _)) => return tensor(output),
            Err(inputs) => inputs.map(tensor),
        };
    plain(query, key, value, &geometry, None)
}

/// [`attention`] where queries, keys and values are of the same tokens and lie side by side, as one projection
/// leaves them.
/// # Shapes
/// - `qkv`: `[batch, tokens, 3 * width]`: queries, keys, values
/// - returns: `[batch, tokens, width]`
///
/// # Panics
/// If the last size is no multiple of 3, the heads cannot share a third of it or the scale is not above 0.
pub fn self_attention<B: Backend>(qkv: Tensor<B, 3>, options: AttentionOptions) -> Tensor<B, 3> {
    of_tokens(qkv, None, options)
}

/// [`self_attention`] of sequences that are filled up to one length: of each only so many tokens, from the first, are
/// real, and the others are seen by none. What these see themselves is of no meaning.
///
/// # Shapes
/// - `qkv`: `[batch, tokens, 3 * width]`: queries, keys, values
/// - `lengths`: `[batch]`, each at most `tokens`
/// - returns: `[batch, tokens, width]`
///
/// # Panics
/// As [`self_attention`], and if there are not as many lengths as sequences or one is above the tokens.
pub fn padded_self_attention<B: Backend>(
    qkv: Tensor<B, 3>,
    lengths: &Arc<[usize]>,
    options: AttentionOptions,
) -> Tensor<B, 3> {
    of_tokens(qkv, Some(lengths), options)
}

fn of_tokens<B: Backend>(
    qkv: Tensor<B, 3>,
    lengths: Option<&Arc<[usize]>>,
    options: AttentionOptions,
) -> Tensor<B, 3> {
    let [batch, tokens, three_widths] = qkv.dims();
    assert!(three_widths.is_multiple_of(3), "{three_widths} columns are not queries, keys and values");
    let width = three_widths / 3;
    let geometry = Geometry::new(batch, [tokens, tokens], width, options);
    if let Some(lengths) = lengths {
        assert_eq!(lengths.len(), batch, "there are not as many lengths as sequences");
        assert!(lengths.iter().all(|&length| length <= tokens), "a length is above the {tokens} tokens");
    }
    #[cfg(feature = "tch")]
    if crate::libtorch::is::<B>() && lengths.is_none() {
        return crate::libtorch::map(qkv, |qkv| match qkv.chunk(3, 2).as_slice() {
            [query, key, value] => libtorch([query, key, value], &geometry),
            parts => panic!("libtorch made {} parts of 3", parts.len()),
        });
    }
    let packed = autodiff::Packed { geometry, lengths: lengths.cloned() };
    let qkv = match run::<B, _, 1>(&packed, [primitive(qkv)]) {
        Ok((output, _)) => return tensor(output),
        Err([qkv]) => tensor::<B, 3>(qkv),
    };
    let [query, key, value] = [0, 1, 2].map(|part| qkv.clone().narrow(2, part * width, width));
    plain(query, key, value, &geometry, lengths.map(|lengths| &**lengths))
}

/// The same in libtorch's functions.
#[cfg(feature = "tch")]
fn libtorch(inputs: [&tch::Tensor; 3], g: &Geometry) -> tch::Tensor {
    let [batch, heads, head, queries, keys] =
        [g.batch, g.heads, g.head, g.queries, g.keys].map(|size| size as i64);
    let [query, key, value] = inputs.map(|x| x.reshape([batch, -1, heads, head]).transpose(1, 2));
    // libtorch has the first query at the first key's place.
    let mask = (g.causal && queries != keys)
        .then(|| tch::Tensor::ones([queries, keys], (tch::Kind::Bool, query.device())).tril(keys - queries));
    let (causal, scale) = (g.causal && mask.is_none(), f64::from(g.scale));
    let y = tch::Tensor::scaled_dot_product_attention(&query, &key, &value, mask, 0.0, causal, scale, false);
    y.transpose(1, 2).reshape([batch, queries, heads * head])
}

/// The same by Burn's own operations.
fn plain<B: Backend>(
    query: Tensor<B, 3>,
    key: Tensor<B, 3>,
    value: Tensor<B, 3>,
    g: &Geometry,
    lengths: Option<&[usize]>,
) -> Tensor<B, 3> {
    let mask = lengths.map(|lengths| {
        let beyond = lengths.iter().flat_map(|&length| (0..g.keys).map(move |key| key >= length));
        let data = TensorData::new(beyond.collect::<Vec<_>>(), [g.batch, 1, 1, g.keys]);
        let mask = Tensor::<B, 4, Bool>::from_data(data, &query.device());
        mask.expand([g.batch, g.heads, g.queries, g.keys])
    });
    let heads = |x: Tensor<B, 3>| {
        let [batch, tokens, _width] = x.dims();
        x.reshape([batch, tokens, g.heads, g.head]).swap_dims(1, 2) // [batch, heads, tokens, head]
    };
    let [query, key, value] = [query, key, value].map(heads);
    let options =
        AttentionModuleOptions { scale: Some(g.scale.into()), is_causal: g.causal, ..Default::default() };
    // burn-tch 0.21 gives libtorch a mask as it is, for which true is what is seen and not what is hidden.
    let y = match mask {
        Some(_) => module::attention_fallback(query, key, value, mask, None, options),
        None => module::attention(query, key, value, None, None, options),
    }; // [batch, heads, queries, head]
    y.swap_dims(1, 2).reshape([g.batch, g.queries, g.heads * g.head])
}
