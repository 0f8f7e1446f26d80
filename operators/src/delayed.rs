//! [`Delayed`]: an operator whose input lags behind its sources' watermark.
//!
//! An interval join gives a pair when the later of its rows comes, so the earlier one's time may
//! lie behind the watermark by the length of the interval. What stands behind the join therefore
//! sees the watermark that much later; then no row of the join is late because of the join.

use crate::batch::Batch;
use crate::operator::{EpochContext, Operator, OperatorError, Output, Readiness};
use crate::snapshot::{Snapshot, SnapshotScope};
use crate::time::Watermark;

/// Runs an operator by a watermark that is behind by a fixed time.
pub struct Delayed {
    inner: Box<dyn Operator>,
    delay_ms: i64,
}

impl Delayed {
    /// `inner` behind by `delay_ms`; itself if there is no delay.
    pub fn by(delay_ms: i64, inner: Box<dyn Operator>) -> Box<dyn Operator> {
        if delay_ms == 0 { inner } else { Box::new(Delayed { inner, delay_ms }) }
    }

    fn context(&self, context: &EpochContext) -> EpochContext {
        EpochContext {
            watermark_before: self.delay(context.watermark_before),
            watermark_after: self.delay(context.watermark_after),
            ..*context
        }
    }

    /// Neither "nothing is known" nor "the input has ended" is a time that could be delayed.
    fn delay(&self, watermark: Watermark) -> Watermark {
        match watermark {
            Watermark::MIN | Watermark::MAX => watermark,
            Watermark(ms) => Watermark(ms.saturating_sub(self.delay_ms)),
        }
    }
}

impl Operator for Delayed {
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
        self.inner.apply(inputs, &self.context(context), output)
    }

    fn due_ms(&self) -> Option<i64> {
        self.inner.due_ms()
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

    struct Seen(Rc<RefCell<Vec<Watermark>>>);

    impl Operator for Seen {
        fn apply(
            &mut self,
            _: Vec<Vec<Batch>>,
            context: &EpochContext,
            _: &mut Output,
        ) -> Result<(), OperatorError> {
            self.0.borrow_mut().push(context.watermark_after);
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
    fn a_watermark_is_seen_later_but_the_end_is_the_end() {
        let seen = Rc::new(RefCell::new(Vec::new()));
        let mut operator = Delayed::by(100, Box::new(Seen(seen.clone())));
        for watermark in [Watermark::MIN, Watermark(1_000), Watermark::MAX] {
            let context = EpochContext {
                epoch: 0,
                now_ms: 0,
                watermark_before: Watermark::MIN,
                watermark_after: watermark,
            };
            operator.apply(vec![], &context, &mut Output::default()).unwrap();
        }
        assert_eq!(*seen.borrow(), [Watermark::MIN, Watermark(900), Watermark::MAX]);
    }
}
