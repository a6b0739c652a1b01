//! Mutations: an input of the corpus, changed in a few places by what a key draws.

use mnist_data::Key;
use rand::{Rng, RngExt};

use crate::below::Below;

/// Longest input, bytes.
const LONGEST: usize = 1 << 16;
/// Most changes of one input.
const CHANGES: usize = 6;
/// Whole numbers at the limits of their types, and small ones.
const NUMBERS: [u64; 20] = [
    0,
    1,
    2,
    0x7f,
    0x80,
    0xff,
    0x100,
    0x7fff,
    0x8000,
    0xffff,
    0x0001_0000,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x0001_0000_0000,
    0x0000_ffff_ffff_ffff,
    0x7fff_ffff_ffff_ffff,
    0x8000_0000_0000_0000,
    0xffff_ffff_ffff_ffff,
    0xffff_ffff_ffff_fff0,
];
/// What may stand where a text has a number, and pieces that end or begin something.
const TEXTS: [&str; 30] = [
    "0",
    "-1",
    "1",
    "255",
    "256",
    "65536",
    "2147483648",
    "4294967296",
    "9223372036854775807",
    "18446744073709551615",
    "18446744073709551616",
    "1e308",
    "1e999",
    "-1e-999",
    "0.5",
    "nan",
    "inf",
    "null",
    "true",
    "\"\"",
    "[]",
    "{}",
    "[[[[",
    "\"",
    "\n",
    "\0",
    ",,",
    "=",
    "\u{feff}",
    "\u{10ffff}",
];

/// Mutation of one of the `corpus`, mostly of one of the `sound`, of which there are some.
pub(crate) fn mutated(key: Key, sound: &[Vec<u8>], corpus: &[Vec<u8>], below: Below) -> Vec<u8> {
    let mut rng = key.rng();
    let rng = &mut rng;
    let from = if rng.random_bool(0.75) { sound } else { corpus };
    let base = pick(rng, from).clone();
    let other = pick(rng, corpus).clone();
    // Below the checksum as often as above it.
    if below != Below::Nothing && rng.random_bool(0.6) {
        let inside = below.inside(&base, rng.random_range(0..1 << 16));
        if let Some((content, wrap)) = inside {
            let other =
                below.inside(&other, rng.random_range(0..1 << 16)).map_or(other, |(content, _)| content);
            return wrap(&changed(content, &other, rng));
        }
    }
    changed(base, &other, rng)
}

fn changed(mut bytes: Vec<u8>, other: &[u8], rng: &mut impl Rng) -> Vec<u8> {
    for _ in 0..rng.random_range(1..=CHANGES) {
        change(&mut bytes, other, rng);
        bytes.truncate(LONGEST);
        if rng.random_bool(0.5) {
            break;
        }
    }
    bytes
}

/// One change.
fn change(bytes: &mut Vec<u8>, other: &[u8], rng: &mut impl Rng) {
    let at = rng.random_range(0..=bytes.len());
    match rng.random_range(0..13) {
        0 => on(bytes, at, |byte| *byte ^= 1 << rng.random_range(0..8)),
        1 => {
            let new = rng.random();
            on(bytes, at, |byte| *byte = new);
        }
        2 | 3 => {
            let width = *pick(rng, &[1, 2, 4, 8]);
            let number = pick(rng, &NUMBERS).wrapping_add(if rng.random_bool(0.2) {
                rng.random_range(0..64)
            } else {
                0
            });
            let new = if rng.random() {
                number.to_le_bytes()[..width].to_vec()
            } else {
                number.to_be_bytes()[8 - width..].to_vec()
            };
            // Sizes mostly stand at the beginning.
            let at = if rng.random_bool(0.4) { at.min(rng.random_range(0..64)) } else { at };
            bytes.iter_mut().skip(at).zip(new).for_each(|(to, from)| *to = from);
        }
        4 => bytes.truncate(at),
        5 => {
            let end = (at + block(rng)).min(bytes.len());
            bytes.drain(at..end);
        }
        6 => {
            let end = (at + block(rng)).min(bytes.len());
            let copy = bytes[at..end].repeat(*pick(rng, &[1, 2, 2, 30, 1000]));
            insert(bytes, at, &copy);
        }
        7 => {
            let from = rng.random_range(0..=other.len());
            let end = (from + block(rng)).min(other.len());
            insert(bytes, at, &other[from..end]);
        }
        8 => {
            bytes.truncate(at);
            bytes.extend(&other[rng.random_range(0..=other.len())..]);
        }
        9 => {
            let (other, length) = (rng.random_range(0..=bytes.len()), block(rng));
            (0..length).for_each(|i| {
                if at + i < bytes.len() && other + i < bytes.len() {
                    bytes.swap(at + i, other + i);
                }
            });
        }
        10 => {
            let noise: Vec<u8> = (0..block(rng)).map(|_| rng.random()).collect();
            insert(bytes, at, &noise);
        }
        11 => {
            // Another number where a text has one.
            let Some(from) = (at..bytes.len()).chain(0..at).find(|&i| bytes[i].is_ascii_digit()) else {
                return;
            };
            let length = bytes[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
            bytes.splice(from..from + length, pick(rng, &TEXTS).bytes());
        }
        _ => {
            let piece = pick(rng, &TEXTS).repeat(*pick(rng, &[1, 1, 2, 100, 5000]));
            insert(bytes, at, piece.as_bytes());
        }
    }
}

fn on(bytes: &mut [u8], at: usize, change: impl FnOnce(&mut u8)) {
    if let Some(byte) = bytes.get_mut(at) {
        change(byte);
    }
}

fn insert(bytes: &mut Vec<u8>, at: usize, new: &[u8]) {
    bytes.splice(at..at, new.iter().take(LONGEST).copied());
}

/// Length of a block: mostly short.
fn block(rng: &mut impl Rng) -> usize {
    let most = *pick(rng, &[2, 4, 8, 32, 256, 4096]);
    rng.random_range(1..=most)
}

fn pick<'a, T>(rng: &mut impl Rng, from: &'a [T]) -> &'a T {
    &from[rng.random_range(0..from.len())]
}
