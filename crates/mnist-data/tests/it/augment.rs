//! Augmentation through its public face; the geometry has its own tests.

use mnist_data::{Augment, Key};
use proptest::prelude::*;

const ALL: Augment = Augment {
    shift: 2.0,
    rotation: 15.0,
    scale: 0.15,
    shear: 10.0,
    elastic_alpha: 34.0,
    elastic_sigma: 4.0,
    flip: 0.0,
};

/// A plump ring, 28x28.
fn ring() -> Vec<u8> {
    let at = |i: usize| ((i / 28) as f32 - 13.5).hypot((i % 28) as f32 - 13.5);
    (0..784).map(|i| if (5.0..9.0).contains(&at(i)) { 255 } else { 0 }).collect()
}

fn apply(augment: &Augment, key: Key) -> Vec<f32> {
    let mut out = vec![f32::NAN; 784];
    augment.apply(&ring(), 28, 28, key, &mut out);
    out
}

#[test]
fn off_is_the_plain_pixels() {
    let wanted: Vec<f32> = ring().into_iter().map(|pixel| f32::from(pixel) / 255.0).collect();
    assert_eq!(apply(&Augment::default(), Key::new(1)), wanted);
    assert!(Augment::default().is_off() && !ALL.is_off());
    assert!(Augment { elastic_sigma: 4.0, ..Augment::default() }.is_off());
}

#[test]
fn the_key_decides_and_nothing_else() {
    let mut augmenter = ALL.augmenter(28, 28);
    let mut out = vec![0.0; 784];
    for sample in [3, 1, 3, 2] {
        let key = Key::new(9).with(sample);
        augmenter.apply(&ring(), key, &mut out);
        assert_eq!(out, apply(&ALL, key), "whatever was drawn before");
    }
    assert_ne!(apply(&ALL, Key::new(1)), apply(&ALL, Key::new(2)));
}

#[test]
fn each_distortion_does_something_and_leaves_a_ring() {
    let off = Augment::default();
    let each = [
        Augment { shift: 2.0, ..off },
        Augment { rotation: 15.0, ..off },
        Augment { scale: 0.15, ..off },
        Augment { shear: 10.0, ..off },
        Augment { elastic_alpha: 34.0, elastic_sigma: 4.0, ..off },
    ];
    let plain = apply(&Augment::default(), Key::new(1));
    let ink = plain.iter().sum::<f32>();
    for augment in each {
        let out = apply(&augment, Key::new(1));
        assert_ne!(out, plain, "{augment:?}");
        let kept = out.iter().sum::<f32>() / ink;
        assert!((0.7..1.45).contains(&kept), "{augment:?} keeps {kept} of the ink");
    }
}

#[test]
fn shifts_reach_both_ways_and_average_to_nothing() {
    let augment = Augment { shift: 2.0, ..Augment::default() };
    let middle = |out: &[f32]| {
        let ink: f32 = out.iter().sum();
        out.iter().enumerate().map(|(i, v)| v * (i % 28) as f32).sum::<f32>() / ink - 13.5
    };
    let moves: Vec<f32> = (0..500).map(|n| middle(&apply(&augment, Key::new(n)))).collect();
    assert!(moves.iter().all(|m| m.abs() <= 2.001));
    assert!(moves.iter().any(|m| *m > 1.8) && moves.iter().any(|m| *m < -1.8));
    let mean = moves.iter().sum::<f32>() / 500.0; // standard error 0.05
    assert!(mean.abs() < 0.2, "{mean}");
}

#[test]
fn settings_out_of_range_are_named() {
    let off = Augment::default();
    assert!(off.validate().is_ok() && ALL.validate().is_ok());
    let bad = [
        ("shift", Augment { shift: -1.0, ..off }),
        ("rotation", Augment { rotation: f32::NAN, ..off }),
        ("scale", Augment { scale: 1.0, ..off }),
        ("shear", Augment { shear: 90.0, ..off }),
        ("elastic_alpha", Augment { elastic_alpha: f32::INFINITY, elastic_sigma: 4.0, ..off }),
        ("elastic_sigma", Augment { elastic_alpha: 1.0, ..off }),
    ];
    for (name, augment) in bad {
        let error = augment.validate().unwrap_err().to_string();
        assert!(error.starts_with(name), "{error}");
    }
}

#[test]
fn recipes_read_it_and_refuse_unknown_keys() {
    let read = |text| serde_json::from_str::<Augment>(text);
    assert_eq!(read(r#"{"shift": 2}"#).unwrap(), Augment { shift: 2.0, ..Augment::default() });
    assert!(read(r#"{"shfit": 2}"#).unwrap_err().to_string().contains("shfit"));
}

proptest! {
    /// Any settings at all, valid or not, and any size: numbers in 0-1, no panic.
    #[test]
    fn values_stay_in_range(
        values in prop::array::uniform5(prop_oneof![any::<f32>(), 0.0_f32..200.0]),
        sigma in prop_oneof![any::<f32>(), 0.0_f32..5.0],
        (rows, cols) in (1_usize..9, 1_usize..9),
        seed in any::<u64>(),
    ) {
        let [shift, rotation, scale, shear, elastic_alpha] = values;
        let augment = Augment { shift, rotation, scale, shear, elastic_alpha, elastic_sigma: sigma, flip: 0.0 };
        let image = vec![200; rows * cols];
        let mut out = vec![f32::NAN; rows * cols];
        augment.apply(&image, rows, cols, Key::new(seed), &mut out);
        prop_assert!(out.iter().all(|v| (0.0..=1.0).contains(v)));
    }
}

#[test]
fn left_and_right_are_exchanged_as_often_as_told() {
    let image: Vec<u8> = (0..9).collect();
    let mirrored: Vec<f32> = [2, 1, 0, 5, 4, 3, 8, 7, 6].map(|p: u8| f32::from(p) / 255.0).to_vec();
    let augment = |flip| Augment { flip, ..Augment::default() };
    let of = |augment: &Augment, key: u64| {
        let mut out = vec![0.0; 9];
        augment.apply(&image, 3, 3, Key::new(key), &mut out);
        out
    };
    let close = |a: &[f32], b: &[f32]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-6);
    assert!(close(&of(&augment(1.0), 5), &mirrored));
    let mirrors = (0..400).filter(|key| close(&of(&augment(0.25), *key), &mirrored)).count();
    // Binomial: 100 within four standard deviations.
    assert!((65..=135).contains(&mirrors), "{mirrors}");
    assert!(augment(1.1).validate().is_err());
}
