//! Two classifiers on the same examples: McNemar's test (1947) on those that only one of them got right, in the exact
//! form and with Edwards' continuity correction (1948), as in statsmodels; and the paired interval of the difference.

/// How two classifiers differ.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Difference {
    /// Examples that only the first got right.
    pub first_only: u64,
    /// Examples that only the second got right.
    pub second_only: u64,
    /// Accuracy of the first minus that of the second, -1 to 1.
    pub difference: f64,
    /// Its 95 % interval (Wald's, for paired shares), `[low, high]`.
    pub interval: [f64; 2],
    /// Two-sided p of the exact test.
    pub exact: f64,
    /// Statistic of the test with continuity correction.
    pub statistic: f64,
    /// Its p, by the chi-squared distribution with one degree of freedom.
    pub corrected: f64,
}

impl Difference {
    /// The difference of two lists that say of each example whether it was right; they are of the same length.
    pub fn of(first: &[bool], second: &[bool]) -> Self {
        let only =
            |a: bool, b: bool| first.iter().zip(second).filter(|pair| *pair == (&a, &b)).count() as u64;
        Self::of_counts(only(true, false), only(false, true), first.len() as u64)
    }

    /// The same from counts: right by one alone, right by the other alone, examples.
    pub fn of_counts(first_only: u64, second_only: u64, examples: u64) -> Self {
        let (b, c, n) = (first_only as f64, second_only as f64, examples.max(1) as f64);
        let difference = (b - c) / n;
        let error = (b + c - (b - c).powi(2) / n).max(0.0).sqrt() / n;
        let apart = first_only + second_only;
        let (exact, statistic) = match apart {
            0 => (1.0, 0.0),
            _ => (binomial(first_only.min(second_only), apart), ((b - c).abs() - 1.0).powi(2) / (b + c)),
        };
        Self {
            first_only,
            second_only,
            difference,
            interval: [difference - Z_95 * error, difference + Z_95 * error],
            exact,
            statistic,
            corrected: erfc((statistic / 2.0).sqrt()),
        }
    }
}

/// 97.5 % quantile of the standard normal.
const Z_95: f64 = 1.959_963_984_540_054;

/// Twice the chance of `least` or fewer heads in `tosses` of a fair coin, at most 1.
fn binomial(least: u64, tosses: u64) -> f64 {
    let mut log = -(tosses as f64) * std::f64::consts::LN_2; // of no head
    let mut sum = log.exp();
    for k in 1..=least {
        log += ((tosses - k + 1) as f64).ln() - (k as f64).ln();
        sum += log.exp();
    }
    (2.0 * sum).min(1.0)
}

/// Complement of the error function for `x` of 0 or more, relative error 1e-12 or less: its series, then, far out, its
/// continued fraction (Abramowitz & Stegun 7.1.6, 7.1.14).
fn erfc(x: f64) -> f64 {
    let outer = (-x * x).exp() / std::f64::consts::PI.sqrt();
    if x < 2.0 {
        let (mut term, mut sum) = (2.0 * x, 2.0 * x);
        for n in 1..200 {
            term *= 2.0 * x * x / f64::from(2 * n + 1);
            sum += term;
        }
        return 1.0 - outer * sum;
    }
    let fraction = (1..200).rev().fold(x, |below, n| x + f64::from(n) / 2.0 / below);
    outer / fraction
}

#[cfg(test)]
mod tests {
    use super::*;

    /// ```python
    /// from scipy.stats import binom, chi2       # statsmodels.stats.contingency_tables.mcnemar
    /// exact = min(1, 2 * binom.cdf(min(b, c), b + c, .5))
    /// statistic = (abs(b - c) - 1) ** 2 / (b + c); corrected = chi2.sf(statistic, 1)
    /// ```
    #[test]
    fn tests_are_those_of_statsmodels() {
        for (b, c, exact, statistic, corrected) in [
            (30, 12, 0.007_915_897_334_896_727, 6.880_952_380_952_381, 0.008_711_912_962_379_598),
            (5, 0, 0.0625, 3.2, 0.073_638_270_120_302_66),
            (0, 0, 1.0, 0.0, 1.0),
            (7, 7, 1.0, 0.071_428_571_428_571_42, 0.789_268_026_134_281_3),
            (101, 121, 0.202_134_320_659_958_73, 1.626_126_126_126_126_2, 0.202_239_698_086_649_5),
            (1500, 1300, 0.000_168_411_622_643_761_2, 14.143_214_285_714_286, 0.000_169_407_038_972_913_2),
        ] {
            let found = Difference::of_counts(b, c, 10_000);
            for (found, wanted) in
                [(found.exact, exact), (found.statistic, statistic), (found.corrected, corrected)]
            {
                assert!((found - wanted).abs() <= 1e-9 * wanted.max(1e-12), "{b} {c}: {found} {wanted}");
            }
        }
    }

    #[test]
    fn counts_come_from_pairs_and_the_interval_is_walds() {
        let found = Difference::of(&[true, true, false, true], &[true, false, true, false]);
        assert_eq!((found.first_only, found.second_only, found.difference), (2, 1, 0.25));
        // scipy.stats.norm.ppf(.975) * sqrt(2 + 1 - 1 / 4) / 4
        assert!((found.interval[1] - 0.25 - 0.812_558_142_416_161_2).abs() < 1e-12, "{found:?}");
    }
}
