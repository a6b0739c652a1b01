//! Which numbers of a text claim to be measured.
//!
//! The rule: a number with a decimal point, or one behind which (or behind the list of its like that it stands in) a unit
//! of measurement stands, or a whole number in a column or row of a table whose head is such a unit. Not looked at: code,
//! but for blocks that show what a program printed (`text`), formulas, targets of links, numbers with an exponent
//! (settings, tolerances), versions, clock rates, arXiv's numbers, and the 95 % of an interval.

use super::prose::{HIDDEN, prose};

/// A number as it is written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Number {
    /// Without its sign.
    pub(super) value: f64,
    /// Digits behind the point.
    pub(super) decimals: usize,
}

impl Number {
    /// Whether a value, rounded as this is, is this.
    pub(super) fn rounds(self, value: f64) -> bool {
        let unit = 0.1_f64.powi(i32::try_from(self.decimals).unwrap_or(i32::MAX));
        (value.abs() - self.value).abs() <= 0.5 * unit + 1e-9 * value.abs().max(1.0)
    }
}

/// A figure of a text.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Quoted {
    /// From 1.
    pub(super) line: usize,
    /// As it is written.
    pub(super) text: String,
    /// The number.
    pub(super) number: Number,
    /// What stands behind ±.
    pub(super) half: Option<Number>,
    /// Whether the number itself stands behind ±: `better by 1.67 points (± 0.86)`.
    pub(super) is_half: bool,
    /// One of the second column of [`UNITS`], or empty.
    pub(super) unit: &'static str,
}

/// How units are written, and what they are.
const UNITS: [(&str, &str); 22] = [
    ("images/s", "/s"),
    ("examples/s", "/s"),
    ("a second", "/s"),
    ("图/秒", "/s"),
    ("milliseconds", "ms"),
    ("seconds", "s"),
    ("minutes", "min"),
    ("points", "points"),
    ("nats", "nats"),
    ("nat", "nats"),
    ("bits", BITS),
    ("bit", BITS),
    ("比特", BITS),
    ("MiB", "MiB"),
    ("min", "min"),
    ("ms", "ms"),
    ("毫秒", "ms"),
    ("分钟", "min"),
    ("个点", "points"),
    ("秒", "s"),
    ("s", "s"),
    ("%", "%"),
];

/// A whole number of bits is a width, not a measurement.
const BITS: &str = "bits";

/// Units that head columns and rows of whole numbers.
const HEADS: [&str; 4] = ["images/s", "图/秒", "seconds", "秒"];

/// What stands before a number that is a version or a place in a paper.
const NAMES: [&str; 9] =
    ["Burn", "CUDA", "License", "PyTorch", "Python", "Rust", "Ubuntu", "driver", "section"];

/// What stands between numbers that share the unit behind the last of them.
const BETWEEN: [&str; 14] =
    [",", "and", "to", "or", "against", "-", "–", ", and", "、", "，", "到", "至", "和", "对"];

/// The figures of a Markdown file.
pub(super) fn of_markdown(text: &str) -> Vec<Quoted> {
    figures(&prose(text))
}

/// The figures of the comment that a recipe opens with.
pub(super) fn of_recipe(text: &str) -> Vec<Quoted> {
    let lines = text.lines().take_while(|line| line.starts_with('#'));
    let comment: Vec<String> = lines.map(|line| line.replacen('#', " ", 1)).collect();
    figures(&prose(&comment.join("\n")))
}

/// A number, where it stands, and what was found behind it.
struct Token {
    start: usize,
    /// Behind number, half and unit.
    end: usize,
    number: Number,
    half: Option<Number>,
    is_half: bool,
    unit: Option<&'static str>,
    left_out: bool,
}

/// The figures of a text in which all else is hidden.
fn figures(text: &[char]) -> Vec<Quoted> {
    let mut tokens = tokens(text);
    for i in (1..tokens.len()).rev() {
        let between = text.get(tokens[i - 1].end..tokens[i].start).unwrap_or_default();
        let alike = tokens[i - 1].number.decimals == tokens[i].number.decimals;
        if tokens[i - 1].unit.is_none() && alike && !tokens[i].left_out && is_between(between) {
            tokens[i - 1].unit = tokens[i].unit;
        }
    }
    let cells = headed_cells(text);
    let mut found = Vec::new();
    let (mut line, mut at) = (1, 0);
    for token in tokens {
        let skipped = text.get(at..token.start).unwrap_or_default();
        line += skipped.iter().filter(|c| **c == '\n').count();
        at = token.start;
        let measured = token.unit.is_some_and(|unit| unit != BITS);
        let in_table = cells.iter().any(|&(start, end)| start <= token.start && token.end <= end);
        if token.left_out || !(token.number.decimals > 0 || measured || in_table) {
            continue;
        }
        let text: String = text[token.start..token.end].iter().collect();
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let unit = token.unit.unwrap_or_default();
        let Token { number, half, is_half, .. } = token;
        found.push(Quoted { line, text, number, half, is_half, unit });
    }
    found
}

/// All numbers that may be figures.
fn tokens(text: &[char]) -> Vec<Token> {
    let at = |i: usize| text.get(i).copied().unwrap_or(HIDDEN);
    let mut tokens = Vec::new();
    let mut i = 0;
    while i < text.len() {
        if !at(i).is_ascii_digit() {
            i += 1;
            continue;
        }
        let (start, before) = (i, if i == 0 { HIDDEN } else { at(i - 1) });
        let before_that = if start > 1 { at(start - 2) } else { HIDDEN };
        // ResNet-18, 3:13 minutes.
        let part = (before == '-' && before_that.is_ascii_alphabetic())
            || (before == ':' && before_that.is_ascii_digit());
        let parsed = if is_word(before) || before == '.' || part { None } else { number(text, start) };
        let Some((parsed, end)) = parsed else {
            while is_word(at(i)) || (at(i) == '.' && is_word(at(i + 1))) {
                i += 1;
            }
            continue;
        };
        i = end;
        let is_half = ["±", "+-"].iter().any(|sign| ends_with(text, start, sign));
        let left_out = is_named(text, start);
        let mut token = Token { start, end, number: parsed, half: None, is_half, unit: None, left_out };
        let mut behind = spaces(text, i);
        let sign =
            if at(behind) == '±' { 1 } else { 2 * usize::from(at(behind) == '+' && at(behind + 1) == '-') };
        if sign > 0
            && let Some((half, end)) = number(text, spaces(text, behind + sign))
        {
            (token.half, token.end, i) = (Some(half), end, end);
            behind = spaces(text, end);
        }
        if let Some((unit, end)) = unit(text, behind) {
            token.unit = Some(unit);
            token.end = end;
            i = end;
        } else if ends_with(text, start, "每秒") {
            token.unit = Some("/s");
        }
        let rest: String = text[behind..].iter().take(24).collect();
        token.left_out |= rest.starts_with("GHz");
        let interval = rest.trim_start_matches('%').trim_start();
        let of_interval = interval.starts_with("interval") || interval.starts_with("区间");
        token.left_out |= token.number.value == 95.0 && of_interval;
        tokens.push(token);
    }
    tokens
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// Where blanks and ends of lines from `i` on end.
fn spaces(text: &[char], i: usize) -> usize {
    i + text.get(i..).unwrap_or_default().iter().take_while(|c| c.is_whitespace()).count()
}

/// The number at `start` and where it ends; none for versions, exponents and arXiv's numbers.
fn number(text: &[char], start: usize) -> Option<(Number, usize)> {
    let at = |i: usize| text.get(i).copied().unwrap_or(HIDDEN);
    let digits = |from: usize| (from..).take_while(|&i| at(i).is_ascii_digit()).count();
    let mut end = start + digits(start);
    while at(end) == ',' && digits(end + 1) == 3 {
        end += 4;
    }
    let whole = end - start;
    let decimals = if at(end) == '.' { digits(end + 1) } else { 0 };
    if decimals > 0 {
        end += 1 + decimals;
    }
    let version = at(end) == '.' && at(end + 1).is_ascii_digit();
    let archived = whole == 4 && (4..=5).contains(&decimals);
    if whole == 0 || version || archived || is_word(at(end)) {
        return None;
    }
    let written: String = text[start..end].iter().filter(|c| **c != ',').collect();
    Some((Number { value: written.parse().ok()?, decimals }, end))
}

/// The unit at `i` and where it ends, also behind a word: `495 requests a second`.
fn unit(text: &[char], i: usize) -> Option<(&'static str, usize)> {
    let rest: String = text.get(i..)?.iter().take(40).collect();
    let starts = |rest: &str, written: &str| {
        let behind = rest.strip_prefix(written).map(|behind| behind.chars().next().unwrap_or(HIDDEN));
        behind.is_some_and(|next| !written.is_ascii() || written == "%" || !is_word(next))
    };
    let found = UNITS.iter().find(|(written, _)| starts(&rest, written));
    if let Some((written, unit)) = found {
        return Some((unit, i + written.chars().count()));
    }
    let (word, behind) = rest.split_once(' ')?;
    let rate = !word.is_empty() && word.chars().all(|c| c.is_ascii_lowercase()) && starts(behind, "a second");
    rate.then(|| ("/s", i + word.len() + 1 + "a second".len()))
}

/// Whether the number at `start` is a version or the like, by the word before it.
fn is_named(text: &[char], start: usize) -> bool {
    NAMES.iter().any(|name| ends_with(text, start, name))
}

/// Whether `word` stands before `start`, blanks aside.
fn ends_with(text: &[char], start: usize, word: &str) -> bool {
    let blanks = text[..start].iter().rev().take_while(|c| c.is_whitespace()).count();
    let before = text[..start - blanks].iter().rev();
    before.take(word.chars().count()).copied().eq(word.chars().rev())
}

/// Whether no more than a comma, an `and` or the like, and a sign, stand between two numbers.
fn is_between(between: &[char]) -> bool {
    let text: String = between.iter().collect();
    let text = text.trim();
    let unsigned = text.trim_end_matches(['+', '-', '−']).trim_end();
    BETWEEN.contains(&text) || BETWEEN.contains(&unsigned)
}

/// The cells of tables, from one place to another, whose whole numbers have a unit above or left of them.
fn headed_cells(text: &[char]) -> Vec<(usize, usize)> {
    let mut cells = Vec::new();
    let mut heads: Vec<bool> = Vec::new();
    let mut start = 0;
    for line in text.split(|c| *c == '\n') {
        if line.first() == Some(&'|') {
            let (mut at, mut row) = (start + 1, false);
            let first_row = heads.is_empty();
            for (column, cell) in line[1..].split(|c| *c == '|').enumerate() {
                let shown: String = cell.iter().collect();
                let shown = shown.trim();
                if first_row {
                    heads.push(HEADS.iter().any(|unit| shown.contains(unit)));
                } else if row || heads.get(column) == Some(&true) {
                    cells.push((at, at + cell.len()));
                }
                row |= column == 0 && HEADS.contains(&shown);
                at += cell.len() + 1;
            }
        } else {
            heads.clear();
        }
        start += line.len() + 1;
    }
    cells
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is found in a text: as it is written, and the unit.
    fn found(text: &str) -> Vec<(String, &'static str)> {
        of_markdown(text).into_iter().map(|figure| (figure.text, figure.unit)).collect()
    }

    #[test]
    fn measured_figures_are_found() {
        let cases: &[(&str, &[(&str, &str)])] = &[
            ("Accuracy 99.54 % (seed 1).", &[("99.54 %", "%")]),
            ("97.66 ± 0.31 %, 97.51 +- 0.33 %", &[("97.66 ± 0.31 %", "%"), ("97.51 +- 0.33 %", "%")]),
            ("27, 29 and 30 s", &[("27", "s"), ("29", "s"), ("30 s", "s")]),
            (
                "absolute error 0.278, 97.1 %, seed 1, 98.2 %",
                &[("0.278", ""), ("97.1 %", "%"), ("98.2 %", "%")],
            ),
            ("44 to 86 minutes", &[("44", "min"), ("86 minutes", "min")]),
            ("-0.06 to +1.14 points", &[("0.06", "points"), ("1.14 points", "points")]),
            ("80.05 nats an image", &[("80.05 nats", "nats")]),
            ("Frechet distance 11.46, floor 0.21.", &[("11.46", ""), ("0.21", "")]),
            ("at most 2,480 MiB", &[("2,480 MiB", "MiB")]),
            (
                "of 1,000 requests a second, 495 a second",
                &[("1,000 requests a second", "/s"), ("495 a second", "/s")],
            ),
            ("每秒 495 个，27、29 秒", &[("495", "/s"), ("27", "s"), ("29 秒", "s")]),
            ("97.66\n± 0.31\n%", &[("97.66 ± 0.31 %", "%")]),
            ("| n | images/s |\n|---|---|\n| 3 | 1,490 |", &[("1,490", "")]),
            ("| way | a | b |\n|---|---|---|\n| seconds | 42 | 55 |", &[("42", ""), ("55", "")]),
            ("```text\nloss 0.25 27 s\n```", &[("0.25", ""), ("27 s", "s")]),
        ];
        for (text, wanted) in cases {
            let wanted: Vec<(String, &str)> = wanted.iter().map(|(t, u)| ((*t).to_owned(), *u)).collect();
            assert_eq!(found(text), wanted, "{text}");
        }
    }

    #[test]
    fn other_numbers_are_not() {
        for text in [
            "seeds 1, 2 and 3, 55,000 images, 28x28, ResNet-18, commit 3fb4112",
            "`--set x=0.5`, $0.5$, $$ 0.5 $$, <!-- 0.5 -->, [a](v0.5.md)",
            "`a\nb 0.5` and $a\n0.5$",
            "```sh\necho 0.5\n```\n\n```toml\na = 0.5\n```",
            "arXiv 1810.04805, 1906.08237; rate 1.5e-3; Burn 0.21, PyTorch 2.9, 0.22.1, 2.5 GHz, section 3.4",
            "with its 95 % interval, 95 %\nintervals, 95 % 区间",
            "8 bits a pixel, top-2, 20 steps, 3:13 minutes",
            "| seeds | test |\n|---|---|\n| 3 | 4 |",
        ] {
            assert_eq!(found(text), [], "{text}");
        }
    }

    #[test]
    fn a_recipe_has_its_opening_comment() {
        let text = "# A net.\n#\n# measured: 98.88 %, peak\n#           247 MiB; 97.22 +-\n#     5.81 %\n\nrate = 0.5 # 0.25\n";
        let found: Vec<_> = of_recipe(text).into_iter().map(|f| (f.line, f.text)).collect();
        assert_eq!(found, [(3, "98.88 %".into()), (4, "247 MiB".into()), (4, "97.22 +- 5.81 %".into())]);
    }

    #[test]
    fn rounding_is_that_of_the_quotation() {
        let number = |value, decimals| Number { value, decimals };
        assert!(
            number(97.7, 1).rounds(97.66) && number(97.66, 2).rounds(97.66) && number(98.0, 0).rounds(97.66)
        );
        assert!(
            number(4.09, 2).rounds(-4.0943) && number(0.5, 1).rounds(0.45) && number(0.5, 1).rounds(0.55)
        );
        assert!(!number(97.6, 1).rounds(97.66) && !number(97.67, 2).rounds(97.66));
    }
}
