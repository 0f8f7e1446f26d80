//! [`Retimed`]: an operator that runs by another time than its sources' watermark.
//!
//! **Behind an interval join.** The join gives a pair when the later of its rows comes, so the
//! earlier one's time may lie behind the watermark by the length of the interval. What stands behind
//! the join therefore sees the watermark that much later; then no row of the join is late because
//! of the join.
//!
//! **By the clock on the wall.** Windows over `PROCTIME()` close when the clock passes their end. The
//! operator that keeps them knows watermarks only, so the clock is given to it as one: a row of an
//! epoch carries the epoch's processing time, and the watermark behind the epoch is the millisecond
//! before that. So no row is ever late, for the clock of epochs never goes back. When the input
//! ends, windows that are open close with it.

use crate::batch::Batch;
use crate::operator::{EpochContext, Operator, OperatorError, Output, Readiness};
use crate::snapshot::{Snapshot, SnapshotScope};
use crate::time::Watermark;
use std::rc::Rc;

/// Gives an operator another time.
pub struct Retimed {
    inner: Box<dyn Operator>,
    time: Time,
}

enum Time {
    /// The watermark, so many milliseconds later.
    Behind { delay_ms: i64 },
    /// Epochs' processing time; `reached` with the last one that was applied.
    Processing { reached: Watermark },
}

impl Retimed {
    /// `inner` behind by `delay_ms`; itself if there is no delay.
    pub fn behind(delay_ms: i64, inner: Box<dyn Operator>) -> Box<dyn Operator> {
        let time = Time::Behind { delay_ms };
        if delay_ms == 0 { inner } else { Box::new(Retimed { inner, time }) }
    }

    /// `inner` by the processing time of epochs.
    pub fn by_processing_time(inner: Box<dyn Operator>) -> Box<dyn Operator> {
        Box::new(Retimed { inner, time: Time::Processing { reached: Watermark::MIN } })
    }
}

impl Time {
    fn context(&self, context: &EpochContext) -> EpochContext {
        let EpochContext { watermark_before, watermark_after, now_ms, .. } = *context;
        let (watermark_before, watermark_after) = match *self {
            Time::Behind { delay_ms } => {
                (delayed(watermark_before, delay_ms), delayed(watermark_after, delay_ms))
            }
            Time::Processing { reached } if watermark_after == Watermark::MAX => {
                (reached, Watermark::MAX)
            }
            Time::Processing { reached } => (reached, Watermark(now_ms - 1).max(reached)),
        };
        EpochContext { watermark_before, watermark_after, ..*context }
    }
}

/// A watermark as it is seen [behind](Retimed::behind) by so much. Neither "nothing is known" nor
/// "the input has ended" is a time that could be delayed.
pub fn delayed(watermark: Watermark, delay_ms: i64) -> Watermark {
    match watermark {
        Watermark::MIN | Watermark::MAX => watermark,
        Watermark(ms) => Watermark(ms.saturating_sub(delay_ms)),
    }
}

impl Operator for Retimed {
    fn woken_by(&mut self, wake: Rc<dyn Fn()>) {
        self.inner.woken_by(wake);
    }

    fn prepare(
        &mut self,
        inputs: &[Vec<Batch>],
        context: &EpochContext,
    ) -> Result<Readiness, OperatorError> {
        self.inner.prepare(inputs, &self.time.context(context))
    }

    fn apply(
        &mut self,
        inputs: Vec<Vec<Batch>>,
        context: &EpochContext,
        output: &mut Output,
    ) -> Result<(), OperatorError> {
        let context = self.time.context(context);
        self.inner.apply(inputs, &context, output)?;
        if let Time::Processing { reached } = &mut self.time {
            *reached = context.watermark_after;
        }
        Ok(())
    }

    fn due_ms(&self) -> Option<i64> {
        match self.time {
            Time::Behind { .. } => self.inner.due_ms(),
            // Always: only the operator knows its windows, and to ask it costs little.
            Time::Processing { .. } => Some(i64::MIN),
        }
    }

    fn snapshot(&mut self, scope: SnapshotScope) -> Result<Snapshot, OperatorError> {
        self.inner.snapshot(scope)
    }

    fn restore(&mut self, snapshot: &Snapshot) -> Result<(), OperatorError> {
        self.inner.restore(snapshot)
    }

    fn state_bytes(&self) -> usize {
        self.inner.state_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::rc::Rc;

    struct Seen(Rc<RefCell<Vec<(Watermark, Watermark)>>>);

    impl Operator for Seen {
        fn apply(
            &mut self,
            _: Vec<Vec<Batch>>,
            context: &EpochContext,
            _: &mut Output,
        ) -> Result<(), OperatorError> {
            self.0.borrow_mut().push((context.watermark_before, context.watermark_after));
            Ok(())
        }

        fn snapshot(&mut self, _: SnapshotScope) -> Result<Snapshot, OperatorError> {
            Ok(Snapshot::default())
        }

        fn restore(&mut self, _: &Snapshot) -> Result<(), OperatorError> {
            Ok(())
        }

        fn state_bytes(&self) -> usize {
            0
        }
    }

    #[test]
    fn the_clock_is_the_watermark_until_the_input_ends() {
        let seen = Rc::new(RefCell::new(Vec::new()));
        let mut operator = Retimed::by_processing_time(Box::new(Seen(seen.clone())));
        let ends = [Watermark::MIN, Watermark(77), Watermark::MAX];
        for (now_ms, watermark_after) in [1_000, 1_000, 2_000].into_iter().zip(ends) {
            let watermark_before = Watermark::MIN;
            let context = EpochContext { epoch: 0, now_ms, watermark_before, watermark_after };
            operator.apply(vec![], &context, &mut Output::default()).unwrap();
        }
        let clock = |ms: i64| Watermark(ms - 1);
        let expected = [
            (Watermark::MIN, clock(1_000)),
            (clock(1_000), clock(1_000)),
            (clock(1_000), Watermark::MAX),
        ];
        assert_eq!(*seen.borrow(), expected);
    }

    #[test]
    fn a_watermark_is_seen_later_but_the_end_is_the_end() {
        let seen = Rc::new(RefCell::new(Vec::new()));
        let mut operator = Retimed::behind(100, Box::new(Seen(seen.clone())));
        for watermark in [Watermark::MIN, Watermark(1_000), Watermark::MAX] {
            let context = EpochContext {
                epoch: 0,
                now_ms: 0,
                watermark_before: Watermark::MIN,
                watermark_after: watermark,
            };
            operator.apply(vec![], &context, &mut Output::default()).unwrap();
        }
        let after: Vec<Watermark> = seen.borrow().iter().map(|seen| seen.1).collect();
        assert_eq!(after, [Watermark::MIN, Watermark(900), Watermark::MAX]);
    }
}
