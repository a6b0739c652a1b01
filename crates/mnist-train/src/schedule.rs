//! The learning rate as a pure function of the step: nothing to save, nothing to resume.
//!
//! Warm-up and cosine as in SGDR without restarts (arXiv 1608.03983), one-cycle as in Smith & Topin
//! (arXiv 1708.07120) in the form of PyTorch's `OneCycleLR` with cosine annealing.

use std::f64::consts::PI;

use serde::{Deserialize, Serialize};

/// How the learning rate runs over a training.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum ScheduleKind {
    /// Warm-up, then the same for ever.
    Constant,
    /// Warm-up, then half a cosine down to the last rate.
    Cosine,
    /// Half a cosine up, half a cosine down far below the start.
    OneCycle,
}

/// Settings of the schedule.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(default)]
pub struct Schedule {
    /// `constant`, `cosine` or `one-cycle`.
    pub kind: ScheduleKind,
    /// Largest learning rate, per step.
    pub learning_rate: f64,
    /// Share of all steps in which the rate rises, in [0, 1].
    pub warmup: f64,
    /// Rate of the first step of a one-cycle, as a share of the largest.
    pub first: f64,
    /// Rate of the last step (cosine, one-cycle), as a share of the largest.
    pub last: f64,
}

impl Default for Schedule {
    fn default() -> Self {
        Self { kind: ScheduleKind::OneCycle, learning_rate: 3e-3, warmup: 0.25, first: 0.04, last: 1e-3 }
    }
}

impl Schedule {
    /// Learning rate of a step.
    ///
    /// - `step`: in `0..total`; later steps get the last rate
    /// - `total`: number of steps of the whole training
    pub fn lr_at(&self, step: usize, total: usize) -> f64 {
        let peak = self.learning_rate;
        let last_step = total.saturating_sub(1) as f64;
        let at = (step as f64).min(last_step);
        match self.kind {
            ScheduleKind::OneCycle => {
                let top = self.warmup * total as f64 - 1.0; // PyTorch's: the step at which the rate is largest
                if at <= top {
                    half_cosine(self.first * peak, peak, at / top.max(1.0))
                } else {
                    let from = top.max(0.0);
                    half_cosine(peak, self.last * peak, (at - from) / (last_step - from).max(1.0))
                }
            }
            ScheduleKind::Constant | ScheduleKind::Cosine => {
                let rise = (self.warmup * total as f64).floor();
                if at < rise {
                    peak * (at + 1.0) / rise
                } else if self.kind == ScheduleKind::Constant {
                    peak
                } else {
                    half_cosine(peak, self.last * peak, (at - rise) / (last_step - rise).max(1.0))
                }
            }
        }
    }

    /// Whether the settings make sense.
    ///
    /// # Errors
    /// A message that names the setting, what was found and what is wanted.
    pub fn check(&self) -> Result<(), String> {
        if !(self.learning_rate.is_finite() && self.learning_rate > 0.0) {
            return Err(format!("schedule.learning_rate is {}; it has to be above 0", self.learning_rate));
        }
        for (name, value) in [("warmup", self.warmup), ("first", self.first), ("last", self.last)] {
            if !(0.0..=1.0).contains(&value) {
                return Err(format!("schedule.{name} is {value}; it is a share and has to be in 0-1"));
            }
        }
        Ok(())
    }
}

/// From `from` (at 0) to `to` (at 1) along half a cosine.
fn half_cosine(from: f64, to: f64, at: f64) -> f64 {
    to + (from - to) * (1.0 + (PI * at.clamp(0.0, 1.0)).cos()) / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(found: f64, wanted: f64) {
        assert!((found - wanted).abs() < 1e-9 * wanted.abs().max(1e-3), "{found} is not {wanted}");
    }

    // import torch
    // p = torch.nn.Parameter(torch.zeros(1)); o = torch.optim.SGD([p], lr=1.)
    // s = torch.optim.lr_scheduler.OneCycleLR(o, max_lr=1., total_steps=100, pct_start=.3, div_factor=25,
    //                                         final_div_factor=40)
    // r = []
    // for i in range(100): r.append(o.param_groups[0]["lr"]); o.step(); i < 99 and s.step()
    // print([r[i] for i in (0, 1, 10, 29, 30, 60, 98, 99)])
    #[test]
    fn one_cycle_is_pytorch_s() {
        let s = Schedule {
            kind: ScheduleKind::OneCycle,
            learning_rate: 1.0,
            warmup: 0.3,
            first: 0.04,
            last: 1e-3,
        };
        let wanted = [
            (0, 0.04),
            (1, 0.042_813_780_565_907_456),
            (10, 0.295_163_948_464_100_77),
            (29, 1.0),
            (30, 0.999_497_036_737_386_7),
            (60, 0.589_689_168_951_919),
            (98, 0.001_502_963_262_613_362_7),
            (99, 0.001),
        ];
        for (step, lr) in wanted {
            near(s.lr_at(step, 100), lr);
        }
    }

    #[test]
    fn cosine_warms_up_and_ends_at_the_last_rate_without_restart() {
        let s =
            Schedule { kind: ScheduleKind::Cosine, learning_rate: 2.0, warmup: 0.1, first: 0.0, last: 0.25 };
        near(s.lr_at(0, 100), 0.2);
        near(s.lr_at(9, 100), 2.0);
        near(s.lr_at(10, 100), 2.0);
        near(s.lr_at(99, 100), 0.5);
        near(s.lr_at(100_000, 100), 0.5);
        assert!((10..99).all(|i| s.lr_at(i, 100) > s.lr_at(i + 1, 100)));
    }

    #[test]
    fn corners_stay_finite_and_positive() {
        for kind in [ScheduleKind::Constant, ScheduleKind::Cosine, ScheduleKind::OneCycle] {
            for warmup in [0.0, 0.3, 1.0] {
                let s = Schedule { kind, learning_rate: 1e-3, warmup, first: 0.04, last: 0.01 };
                for total in [0, 1, 2, 3, 10] {
                    for step in 0..=total + 1 {
                        let lr = s.lr_at(step, total);
                        assert!(
                            lr > 0.0 && lr <= 1e-3 * (1.0 + 1e-12),
                            "{kind:?} {warmup} {step}/{total}: {lr}"
                        );
                    }
                }
            }
        }
    }
}
