//! When trainings are killed: a pure function of the seed and the uninterrupted wall time.

use std::time::Duration;

use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};

/// Threads of a training: from 1 to this.
const MOST_THREADS: usize = 4;

/// One trial: how long each start lives, and its threads.
#[derive(Debug, PartialEq)]
pub(super) struct Plan {
    /// Time from each start to its kill.
    pub(super) delays: Vec<Duration>,
    /// `--threads` of each start; one more than kills, for the last resume.
    pub(super) threads: Vec<usize>,
}

/// `trials` plans for a training that takes `wall`.
///
/// The first kill is uniform over the wall time. Of ten trials, six have one kill, three two, and
/// one three; a later kill is uniform over what is left, or a tenth of the wall time if that is more.
pub(super) fn plans(seed: u64, trials: u32, wall: Duration) -> Vec<Plan> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..trials).map(|_| plan(&mut rng, wall)).collect()
}

fn plan(rng: &mut ChaCha8Rng, wall: Duration) -> Plan {
    let kills = match rng.random_range(0..10) {
        0..6 => 1,
        6..9 => 2,
        _ => 3,
    };
    let mut left = wall;
    let mut delays = Vec::with_capacity(kills);
    for _ in 0..kills {
        let delay = left.mul_f64(rng.random::<f64>());
        left = (left - delay).max(wall / 10);
        delays.push(delay);
    }
    let threads = (0..=kills).map(|_| rng.random_range(1..=MOST_THREADS)).collect();
    Plan { delays, threads }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WALL: Duration = Duration::from_secs(10);

    #[test]
    fn plans_are_a_function_of_the_seed() {
        assert_eq!(plans(1, 20, WALL), plans(1, 20, WALL));
        assert_ne!(plans(1, 20, WALL), plans(2, 20, WALL));
        assert_eq!(plans(1, 20, WALL)[..5], plans(1, 5, WALL)[..]);
    }

    #[test]
    fn kills_cover_the_wall_time() {
        let plans = plans(1, 1000, WALL);
        let first: Vec<f64> = plans.iter().map(|plan| plan.delays[0].as_secs_f64()).collect();
        let mean = first.iter().sum::<f64>() / 1000.0;
        assert!((mean - 5.0).abs() < 0.3, "mean of the first kills {mean}");
        for tenth in 0..10 {
            let bounds = f64::from(tenth)..f64::from(tenth + 1);
            let count = first.iter().filter(|moment| bounds.contains(moment)).count();
            assert!((60..140).contains(&count), "{count} kills in second {tenth}");
        }
    }

    #[test]
    fn one_to_three_kills_with_threads_for_each_start() {
        let plans = plans(3, 1000, WALL);
        let with = |kills: usize| plans.iter().filter(|plan| plan.delays.len() == kills).count();
        assert!((520..680).contains(&with(1)));
        assert!((230..370).contains(&with(2)));
        assert_eq!(with(1) + with(2) + with(3), 1000);
        for plan in &plans {
            assert_eq!(plan.threads.len(), plan.delays.len() + 1);
            assert!(plan.threads.iter().all(|threads| (1..=4).contains(threads)));
            assert!(plan.delays.iter().all(|delay| *delay < WALL));
        }
    }
}
