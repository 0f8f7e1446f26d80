//! [`ByProcessingTime`]: an operator whose time is the clock on the wall.
//!
//! Windows over `PROCTIME()` close when the clock passes their end. The operator that keeps them
//! knows watermarks only, so the clock is given to it as one: a row of an epoch carries the
//! epoch's processing time, and the watermark behind the epoch is the millisecond before that. So
//! no row is ever late, for the clock of epochs never goes back.
//!
//! When the input ends, windows that are open close with it.

use crate::batch::Batch;
use crate::operator::{EpochContext, Operator, OperatorError, Output, Readiness};
use crate::snapshot::{Snapshot, SnapshotScope};
use crate::time::Watermark;

/// Runs an operator by the processing time of epochs.
pub struct ByProcessingTime {
    inner: Box<dyn Operator>,
    /// What the last epoch that it has applied ended with.
    watermark: Watermark,
}

impl ByProcessingTime {
    /// `inner` with another clock.
    pub fn new(inner: Box<dyn Operator>) -> Self {
        ByProcessingTime { inner, watermark: Watermark::MIN }
    }

    fn context(&self, context: &EpochContext) -> EpochContext {
        let has_ended = context.watermark_after == Watermark::MAX;
        let now = Watermark(context.now_ms - 1).max(self.watermark);
        EpochContext {
            watermark_before: self.watermark,
            watermark_after: if has_ended { Watermark::MAX } else { now },
            ..*context
        }
    }
}

impl Operator for ByProcessingTime {
    fn prepare(
        &mut self,
        inputs: &[Vec<Batch>],
        context: &EpochContext,
    ) -> Result<Readiness, OperatorError> {
        self.inner.prepare(inputs, &self.context(context))
    }

    fn apply(
        &mut self,
        inputs: Vec<Vec<Batch>>,
        context: &EpochContext,
        output: &mut Output,
    ) -> Result<(), OperatorError> {
        let context = self.context(context);
        self.inner.apply(inputs, &context, output)?;
        self.watermark = context.watermark_after;
        Ok(())
    }

    /// Always: only the operator knows its windows, and to ask it costs little.
    fn due_ms(&self) -> Option<i64> {
        Some(i64::MIN)
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
        let mut operator = ByProcessingTime::new(Box::new(Seen(seen.clone())));
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
}
