//! [`Gain`]: whether to combine, learnt from what it gave.
//!
//! Combining costs a look-up for each row, on this worker, and saves one for each row but the first of
//! its key, on the owner's, and the way there. So it pays from some two rows a key on. Where an epoch
//! had fewer, rows pass for a while, and then another epoch is tried. How long that is counts in rows of
//! the epoch that was tried, so that trying costs a small share of the work whatever the size of
//! epochs; and each time that it didn't help it is longer.

use crate::time::Epoch;

/// When rows are combined before the exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// In every epoch.
    Always,
    /// For as long as it helps.
    Helpful,
}

/// Combining helps from so many rows a key on.
const ROWS_PER_KEY_MIN: usize = 2;
/// After an epoch in which it didn't help, so many times its rows pass …
const PATIENCE_MIN: usize = 16;
/// … and at most so many, if it didn't help again and again: then to try is under one percent of the work.
const PATIENCE_MAX: usize = 128;

/// Whether to combine. See the [module](self).
#[derive(Debug)]
pub(super) struct Gain {
    when: When,
    /// So many rows more pass.
    passing: usize,
    /// How many times an epoch's rows pass next.
    patience: usize,
    /// The latest epoch, and whether its rows are combined: all of them, or none.
    epoch: Option<(Epoch, bool)>,
}

impl Gain {
    pub(super) fn new(when: When) -> Self {
        Gain { when, passing: 0, patience: PATIENCE_MIN, epoch: None }
    }

    /// Whether some rows are combined.
    pub(super) fn takes(&mut self, epoch: Epoch, rows: usize) -> bool {
        if self.when == When::Always {
            return true;
        }
        let takes = match self.epoch {
            // Rows of an epoch that is not the latest any more go with those of the latest.
            Some((latest, takes)) if epoch <= latest => takes,
            _ => self.epoch.insert((epoch, self.passing == 0)).1,
        };
        if !takes {
            self.passing = self.passing.saturating_sub(rows);
        }
        takes
    }

    /// Takes note of what rows of an epoch became. While rows pass already, it is one that was under
    /// way when that was decided, and says nothing new unless it helped.
    pub(super) fn combined(&mut self, rows: usize, keys: usize) {
        if rows == 0 {
            return;
        }
        if rows >= keys * ROWS_PER_KEY_MIN {
            (self.passing, self.patience) = (0, PATIENCE_MIN);
        } else if self.passing == 0 {
            self.passing = rows * self.patience;
            self.patience = (self.patience * 2).min(PATIENCE_MAX);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Which epochs are combined, if each has 100 rows of so many keys, and each is seen to its end
    /// before the next one.
    fn combined(when: When, keys: impl Fn(Epoch) -> usize, epochs: Epoch) -> Vec<Epoch> {
        let mut gain = Gain::new(when);
        let takes = |epoch: &Epoch| {
            let takes = gain.takes(*epoch, 60);
            assert_eq!(gain.takes(*epoch, 40), takes, "an epoch is not divided");
            if takes {
                gain.combined(100, keys(*epoch));
            }
            takes
        };
        (0..epochs).filter(takes).collect()
    }

    #[test]
    fn rows_of_few_keys_are_combined_in_every_epoch() {
        assert_eq!(combined(When::Helpful, |_| 50, 30), (0..30).collect::<Vec<_>>());
    }

    #[test]
    fn rows_of_many_keys_pass_and_are_tried_ever_less_often() {
        let tried = combined(When::Helpful, |_| 51, 500);
        assert_eq!(tried, [0, 17, 50, 115, 244, 373]);
    }

    #[test]
    fn keys_that_become_few_are_noticed_at_the_next_try() {
        let tried = combined(When::Helpful, |epoch| if epoch < 20 { 100 } else { 1 }, 60);
        assert_eq!(tried, [0, 17].into_iter().chain(50..60).collect::<Vec<_>>());
    }

    #[test]
    fn who_asked_for_it_gets_it_whatever_it_costs() {
        assert_eq!(combined(When::Always, |_| 100, 30), (0..30).collect::<Vec<_>>());
    }

    #[test]
    fn epochs_under_way_at_a_try_are_no_reason_to_wait_longer() {
        let mut gain = Gain::new(When::Helpful);
        assert!(gain.takes(1, 10) && gain.takes(2, 10));
        gain.combined(10, 10);
        assert!(!gain.takes(3, 150), "the first has been seen");
        gain.combined(10, 10);
        assert!(!gain.takes(4, 10) && gain.takes(5, 10));
    }
}
