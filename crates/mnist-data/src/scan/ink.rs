//! What is ink, and where it goes: threshold, polarity, specks, normalisation.

use super::{
    CONTRAST, SIDE, Scan,
    resample::{Placing, resample},
};

/// Larger images are shrunk to this side first: more than enough for 28 pixels.
const WORKING_SIDE: usize = 1024;
/// The ink's longer side on the 28x28 image, pixels.
const BOX: f64 = 20.0;
/// Pixel on which the centre of mass is put, in both directions.
const CENTRE: f64 = 14.0;
/// A patch of ink below this share of the largest one is a speck.
const SPECK: usize = 40;
/// Ink whose longer side is below this share of the image's longer side is dust.
const DUST: usize = 64;
/// Darkness, of 1, from which a pixel beside ink counts for the ink's box.
const EDGE: f32 = 0.4;

/// Grey values, row-major.
struct Gray {
    width: usize,
    height: usize,
    values: Vec<u8>,
}

/// The digit of an image of either polarity, or what there is instead of one.
pub(super) fn normalise(width: usize, height: usize, gray: &[u8]) -> Result<Scan, String> {
    let gray = working_copy(width, height, gray);
    let threshold = otsu(&gray.values);
    let inverted = paper_is_light(&gray, threshold);
    // From here on: ink is high, paper low.
    let flip = |v: u8| if inverted { 255 - v } else { v };
    let values: Vec<u8> = gray.values.iter().map(|v| flip(*v)).collect();
    let is_ink = |v: u8| if inverted { flip(v) <= threshold } else { v > threshold };

    let counts = histogram(&values);
    let (paper, ink) = (median(&counts, |v| !is_ink(v)), median(&counts, is_ink));
    if ink.saturating_sub(paper) < CONTRAST {
        return Err(format!("ink and paper differ by {} of 255 levels", ink.saturating_sub(paper)));
    }
    let mask: Vec<bool> = values.iter().map(|v| is_ink(*v)).collect();
    let mask = without_specks(&mask, gray.width);
    let extent = bounds(&mask, gray.width).ok_or("no ink")?;
    if extent.longer() * DUST < gray.width.max(gray.height) {
        return Err(format!("the only mark is {} pixels large", extent.longer()));
    }
    if (gray.width, gray.height) == (SIDE, SIDE) && is_normalised(&values, &extent) {
        let mut pixels = [0; SIDE * SIDE];
        pixels.copy_from_slice(&values);
        return Ok(Scan { pixels, inverted });
    }

    // Darkness 0-1, with the grey edges of the ink but nothing away from it.
    let near = grown(&mask, gray.width);
    let span = f32::from(ink - paper);
    let dark = |i: usize| match near[i] {
        true => (f32::from(values[i].saturating_sub(paper)) / span).min(1.0),
        false => 0.0,
    };
    let edges: Vec<bool> = (0..values.len()).map(|i| mask[i] || dark(i) >= EDGE).collect();
    let extent = bounds(&edges, gray.width).unwrap_or(extent);
    let scale = BOX / extent.longer() as f64;
    let (x, y) = mass_centre(gray.width, gray.values.len(), dark);
    let place = |centre: f64, near: usize, far: usize, from: usize| {
        // The ink's box stays on the image even where the centre of mass would push it off.
        let (low, high) = (-(near as f64) * scale, SIDE as f64 - far as f64 * scale);
        let offset = (CENTRE + 0.5 - centre * scale).clamp(low, high);
        Placing { scale, offset, from, to: SIDE }
    };
    let x = place(x, extent.left, extent.right, gray.width);
    let y = place(y, extent.top, extent.bottom, gray.height);
    let drawn = resample(x, y, dark);
    Ok(Scan { pixels: stretched(&drawn), inverted })
}

fn working_copy(width: usize, height: usize, gray: &[u8]) -> Gray {
    let side = width.max(height);
    if side <= WORKING_SIDE {
        return Gray { width, height, values: gray.to_vec() };
    }
    let scale = WORKING_SIDE as f64 / side as f64;
    let place = |from: usize| Placing {
        scale,
        offset: 0.0,
        from,
        to: ((from as f64 * scale).floor() as usize).max(1),
    };
    let (x, y) = (place(width), place(height));
    let values = resample(x, y, |i| f32::from(gray[i])).iter().map(|v| v.round() as u8).collect();
    Gray { width: x.to, height: y.to, values }
}

/// The level that parts the values best (Otsu 1979, "A threshold selection method from gray-level
/// histograms"): dark ones up to it, light ones above.
fn otsu(values: &[u8]) -> u8 {
    let counts = histogram(values).map(|n| n as f64);
    let total: f64 = counts.iter().enumerate().map(|(level, n)| level as f64 * n).sum();
    let n = values.len() as f64;
    let (mut below, mut sum, mut best, mut last, mut found) = (0.0, 0.0, -1.0, 0usize, 0usize);
    for (level, count) in counts.iter().enumerate() {
        below += count;
        sum += level as f64 * count;
        if below == 0.0 || below == n {
            continue;
        }
        let apart = sum / below - (total - sum) / (n - below);
        let variance = below * (n - below) * apart * apart;
        if variance > best * (1.0 + 1e-12) {
            (best, found, last) = (variance, level, level);
        } else if *count == 0.0 && last + 1 == level {
            last = level; // an empty stretch parts equally well everywhere: take its middle
        }
    }
    ((found + last) / 2) as u8
}

/// What the border mostly is, is paper; where it is both, what there is more of.
fn paper_is_light(gray: &Gray, threshold: u8) -> bool {
    let Gray { width, height, ref values } = *gray;
    let light_share = |light: usize, all: usize| light as f64 / all.max(1) as f64;
    let light = |i: &usize| values[*i] > threshold;
    let ends = (1..height - 1).flat_map(|y| [y * width, (y + 1) * width - 1]);
    let border: Vec<usize> = (0..width).chain((height - 1) * width..height * width).chain(ends).collect();
    let share = light_share(border.iter().filter(|i| light(i)).count(), border.len());
    if (0.4..=0.6).contains(&share) {
        return light_share((0..values.len()).filter(light).count(), values.len()) > 0.5;
    }
    share > 0.5
}

/// How often each level occurs.
fn histogram(values: &[u8]) -> [usize; 256] {
    let mut counts = [0; 256];
    values.iter().for_each(|v| counts[usize::from(*v)] += 1);
    counts
}

/// The upper median of the levels that are `among` those counted; 0 if there are none.
fn median(counts: &[usize; 256], among: impl Fn(u8) -> bool) -> u8 {
    let counted = || (0..=255).zip(counts).filter(|(level, _)| among(*level));
    let middle = counted().map(|(_, n)| n).sum::<usize>() / 2;
    let mut below = 0;
    let reached = counted().find(|(_, n)| {
        below += **n;
        below > middle
    });
    reached.map_or(0, |(level, _)| level)
}

/// `mask` without the patches that are small beside the largest: dust, noise, paper grain.
fn without_specks(mask: &[bool], width: usize) -> Vec<bool> {
    let mut patch = vec![0usize; mask.len()]; // 0: none yet
    let mut sizes = vec![0usize];
    let mut open = Vec::new();
    for start in 0..mask.len() {
        if !mask[start] || patch[start] > 0 {
            continue;
        }
        let number = sizes.len();
        sizes.push(0);
        patch[start] = number;
        open.push(start);
        while let Some(i) = open.pop() {
            sizes[number] += 1;
            for next in neighbours(i, width, mask.len()) {
                if mask[next] && patch[next] == 0 {
                    patch[next] = number;
                    open.push(next);
                }
            }
        }
    }
    let largest = sizes.iter().copied().max().unwrap_or(0);
    patch.iter().map(|number| *number > 0 && sizes[*number] * SPECK >= largest).collect()
}

/// `mask` and all pixels beside it.
fn grown(mask: &[bool], width: usize) -> Vec<bool> {
    let mut grown = mask.to_vec();
    for i in (0..mask.len()).filter(|i| mask[*i]) {
        neighbours(i, width, mask.len()).for_each(|beside| grown[beside] = true);
    }
    grown
}

/// Row-major positions of the up to eight pixels around `i`.
fn neighbours(i: usize, width: usize, len: usize) -> impl Iterator<Item = usize> {
    let (y, x) = (i / width, i % width);
    let rows = y.saturating_sub(1)..(y + 2).min(len / width);
    rows.flat_map(move |ny| (x.saturating_sub(1)..(x + 2).min(width)).map(move |nx| ny * width + nx))
        .filter(move |n| *n != i)
}

/// Half-open box of pixels.
struct Extent {
    left: usize,
    right: usize,
    top: usize,
    bottom: usize,
}

impl Extent {
    fn longer(&self) -> usize {
        (self.right - self.left).max(self.bottom - self.top)
    }
}

fn bounds(mask: &[bool], width: usize) -> Option<Extent> {
    let mut found: Option<Extent> = None;
    for i in (0..mask.len()).filter(|i| mask[*i]) {
        let (y, x) = (i / width, i % width);
        let e = found.get_or_insert(Extent { left: x, right: x + 1, top: y, bottom: y + 1 });
        (e.left, e.right) = (e.left.min(x), e.right.max(x + 1));
        (e.top, e.bottom) = (e.top.min(y), e.bottom.max(y + 1));
    }
    found
}

/// Whether a 28x28 image is as MNIST's already: ink within 20x20, its centre of mass within one
/// pixel of the middle.
fn is_normalised(values: &[u8], ink: &Extent) -> bool {
    let (x, y) = mass_centre(SIDE, values.len(), |i| f32::from(values[i]));
    let off = |centre: f64| (centre - 0.5 - CENTRE).abs() <= 1.0;
    ink.longer() as f64 <= BOX && off(x) && off(y)
}

/// `(x, y)` of the centre of mass, in pixels from the near edges.
fn mass_centre(width: usize, len: usize, mass: impl Fn(usize) -> f32) -> (f64, f64) {
    let (mut sum, mut x, mut y) = (0.0, 0.0, 0.0);
    for (i, m) in (0..len).map(|i| (i, f64::from(mass(i)))).filter(|(_, m)| *m > 0.0) {
        sum += m;
        x += m * ((i % width) as f64 + 0.5);
        y += m * ((i / width) as f64 + 0.5);
    }
    if sum > 0.0 { (x / sum, y / sum) } else { (0.0, 0.0) }
}

/// Darkness 0-1 as grey levels, the darkest tenth of the ink at full ink: a thin pen is a faint
/// grey after shrinking.
fn stretched(drawn: &[f32]) -> [u8; SIDE * SIDE] {
    let mut inked: Vec<f32> = drawn.iter().copied().filter(|v| *v > 0.02).collect();
    inked.sort_by(f32::total_cmp);
    let full = inked.get(inked.len() * 9 / 10).copied().unwrap_or(1.0);
    let mut pixels = [0; SIDE * SIDE];
    for (pixel, value) in pixels.iter_mut().zip(drawn) {
        *pixel = (value / full * 255.0).round().clamp(0.0, 255.0) as u8;
    }
    pixels
}
