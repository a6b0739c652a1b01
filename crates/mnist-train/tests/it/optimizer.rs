//! Update rules, parameter groups, and clipping against PyTorch's numbers.

use burn::tensor::Tensor;
use burn_flex::Flex;
use mnist_model::parameters::Parameter;
use mnist_train::optimizer::{
    Average, Optimizer, OptimizerSettings, Rule, clip_factor, global_norm, kept_share,
};

type T = Tensor<Flex, 1>;

fn tensor(values: &[f32]) -> T {
    Tensor::from_floats(values, &Default::default())
}

fn check(found: &T, wanted: &[f64]) {
    let found: Vec<f32> = found.to_data().to_vec().unwrap();
    for (f, w) in found.iter().zip(wanted) {
        assert!((f64::from(*f) - w).abs() < 2e-6, "{found:?} is not {wanted:?}");
    }
}

/// A weight [2, 2] and a bias [2] after five updates with gradients that depend on the step.
fn five_updates(settings: &OptimizerSettings) -> Vec<T> {
    let parameters = [("w", vec![2, 2]), ("b", vec![2])].map(|(path, shape)| Parameter {
        path: path.into(),
        shape,
        trained: true,
    });
    let mut optimizer = Optimizer::<Flex>::new(settings, &parameters);
    let mut values = vec![tensor(&[0.5, -1.0, 2.0, 0.1]), tensor(&[1.0, -0.5])];
    for t in 1..=5 {
        let t = t as f32;
        let gradients = vec![Some(tensor(&[0.1 * t, -0.2, 0.3 / t, 1.0])), Some(tensor(&[0.05 * t, -1.0]))];
        values = values.into_iter().map(optimizer.step(|_| 0.1, gradients, None, None)).collect();
    }
    values
}

// import torch
// def run(make):
//     w = torch.tensor([.5, -1, 2, .1], requires_grad=True); b = torch.tensor([1., -.5], requires_grad=True)
//     o = make([{"params": [w], "weight_decay": .1}, {"params": [b], "weight_decay": 0.}])
//     for t in range(1, 6):
//         w.grad = torch.tensor([.1 * t, -.2, .3 / t, 1.]); b.grad = torch.tensor([.05 * t, -1.]); o.step()
//     print(w.tolist(), b.tolist())
// run(lambda g: torch.optim.Adam(g, lr=.1)); run(lambda g: torch.optim.AdamW(g, lr=.1))
// run(lambda g: torch.optim.SGD(g, lr=.1, momentum=.9))
// run(lambda g: torch.optim.SGD(g, lr=.1, momentum=.9, nesterov=True))
#[test]
fn five_updates_equal_pytorch_s() {
    let with = |rule, nesterov| OptimizerSettings { rule, nesterov, weight_decay: 0.1, ..Default::default() };
    let adaptive_b = [0.514_916_956_4, 0.0];
    let cases = [
        (
            with(Rule::Adam, false),
            [0.006_533_674_9, -0.501_779_437_1, 1.523_018_598_6, -0.399_543_285_4],
            adaptive_b,
        ),
        (
            with(Rule::AdamW, false),
            [0.000_085_912_6, -0.460_890_620_9, 1.471_101_999_3, -0.395_000_487_6],
            adaptive_b,
        ),
        (
            with(Rule::Sgd, false),
            [0.123_816_289_0, -0.614_902_079_1, 1.528_376_340_9, -1.196_496_367_5],
            [0.841_484_487_1, 0.814_409_971_2],
        ),
        (
            with(Rule::Sgd, true),
            [-0.004_228_916_5, -0.515_322_327_6, 1.423_109_054_6, -1.531_748_294_8],
            [0.782_335_996_6, 1.182_968_974_1],
        ),
    ];
    for (settings, w, b) in cases {
        let values = five_updates(&settings);
        check(&values[0], &w);
        check(&values[1], &b);
    }
}

// g = [torch.tensor([3., 4.]), torch.tensor([12.])]; ps = [torch.nn.Parameter(torch.zeros_like(x)) for x in g]
// for p, x in zip(ps, g): p.grad = x.clone()
// print(torch.nn.utils.clip_grad_norm_(ps, 1.), [p.grad.tolist() for p in ps])
#[test]
fn clipping_is_by_the_norm_of_all_gradients_together() {
    let gradients = [Some(tensor(&[3.0, 4.0])), None, Some(tensor(&[12.0]))];
    let norm = global_norm(&gradients).unwrap();
    check(&norm, &[13.0]);
    let factor = clip_factor(norm.clone(), 1.0);
    check(&(tensor(&[3.0, 4.0, 12.0]) * factor.clone()), &[0.230_769_2, 0.307_692_3, 0.923_076_9]);
    check(&clip_factor(norm, 100.0), &[1.0]);
    assert!(global_norm::<Flex>(&[None]).is_none());

    // Descent at rate 1 from 0 is the gradient, negative.
    let plain = OptimizerSettings { rule: Rule::Sgd, momentum: 0.0, ..Default::default() };
    let parameters =
        ["a", "b", "c"].map(|path| Parameter { path: path.into(), shape: vec![1], trained: true });
    let mut optimizer = Optimizer::<Flex>::new(&plain, &parameters);
    let values = [tensor(&[0.0, 0.0]), tensor(&[5.0]), tensor(&[0.0])];
    let step = optimizer.step(|_| 1.0, gradients.into(), Some(factor), None);
    let values: Vec<T> = values.into_iter().map(step).collect();
    check(&values[0], &[-0.230_769_2, -0.307_692_3]);
    check(&values[1], &[5.0]);
    check(&values[2], &[-0.923_076_9]);
}

#[test]
fn the_moving_average_warms_up_and_then_forgets_slowly() {
    assert_eq!(kept_share(0.999, 1), 2.0 / 11.0);
    assert_eq!(kept_share(0.999, 100_000), 0.999);
    // A tensor that is trained and one that is not.
    let still = OptimizerSettings { weight_decay: 0.0, ..Default::default() };
    let parameters = ["a", "b"].map(|path| Parameter { path: path.into(), shape: vec![1], trained: true });
    let mut optimizer = Optimizer::<Flex>::new(&still, &parameters);
    let mut values = vec![tensor(&[0.0]); 2];
    let mut average = vec![tensor(&[1.0]); 2];
    for (time, keep) in [(1, 2.0 / 11.0), (2, 0.999)] {
        let gradients = vec![Some(tensor(&[0.0])), None];
        let moving = Average { values: &mut average, keep };
        values = values.into_iter().map(optimizer.step(|_| 0.1, gradients, None, Some(moving))).collect();
        let wanted = [2.0 / 11.0, 0.999 * 2.0 / 11.0][time - 1];
        check(&average[0], &[wanted]);
        check(&average[1], &[wanted]);
    }
    check(&values[0], &[0.0]);
}
