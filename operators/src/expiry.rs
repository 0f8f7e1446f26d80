//! [`Expiry`]: what nobody has used for some time is forgotten, so that state does not grow for
//! ever (`table.exec.state.ttl`).
//!
//! The clock is the epoch's processing time, which is the same on all workers. Nothing is emitted
//! for what is forgotten: what was said of it stands, and the next row finds nothing. When each
//! number was last used is part of a snapshot, so a lifetime goes on through a restart.

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Int64Type};
use std::sync::Arc;

/// Name of the column of a snapshot that says when something was last used.
pub(crate) const USED: &str = "used_ms";

/// When what is held under each number was last used. See the [module](self).
#[derive(Debug)]
pub(crate) struct Expiry {
    ttl_ms: i64,
    used_ms: Vec<i64>,
    next_sweep_ms: i64,
}

impl Expiry {
    pub(crate) fn new(ttl_ms: i64) -> Self {
        Expiry { ttl_ms, used_ms: Vec::new(), next_sweep_ms: i64::MIN }
    }

    /// Notes that a number is used.
    #[inline]
    pub(crate) fn used(&mut self, now_ms: i64, number: u32) {
        let number = number as usize;
        if self.used_ms.len() <= number {
            self.used_ms.resize(number + 1, now_ms);
        }
        self.used_ms[number] = now_ms;
    }

    /// Which of the numbers that are `held` are to be forgotten. Looks at all of them, but only some
    /// ten times within a lifetime.
    pub(crate) fn idle(&mut self, now_ms: i64, held: impl FnOnce() -> Vec<u32>) -> Vec<u32> {
        if now_ms < self.next_sweep_ms {
            return Vec::new();
        }
        self.next_sweep_ms = now_ms.saturating_add(self.ttl_ms / 10);
        let used_ms = |n: &u32| self.used_ms.get(*n as usize);
        let is_over = |used_ms: &i64| now_ms.saturating_sub(*used_ms) >= self.ttl_ms;
        let is_idle = |n: &u32| used_ms(n).is_some_and(is_over);
        held().into_iter().filter(is_idle).collect()
    }

    /// The field and the column of a snapshot, for these numbers.
    pub(crate) fn column(&self, numbers: &[u32]) -> (Field, ArrayRef) {
        let used: Int64Array = numbers.iter().map(|&n| Some(self.used_ms[n as usize])).collect();
        (Field::new(USED, DataType::Int64, true), Arc::new(used))
    }

    /// Takes back what a snapshot says of these numbers, if it says so.
    pub(crate) fn restore(&mut self, snapshot: &RecordBatch, numbers: &[u32]) {
        let Some(used) = snapshot.column_by_name(USED) else { return };
        let used = used.as_primitive::<Int64Type>().values();
        numbers.iter().zip(used).for_each(|(&number, &used)| self.used(used, number));
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> usize {
        self.used_ms.capacity() * size_of::<i64>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_idle_for_a_lifetime_is_to_be_forgotten() {
        let mut expiry = Expiry::new(100);
        expiry.used(0, 3);
        expiry.used(50, 1);
        let held = || vec![1, 3];
        assert_eq!(expiry.idle(99, held), [] as [u32; 0]);
        assert_eq!(expiry.idle(100, held), [] as [u32; 0], "looked a moment ago");
        assert_eq!(expiry.idle(109, held), [3]);
        expiry.used(120, 1);
        assert_eq!(expiry.idle(150, held), [3], "used since");
    }

    #[test]
    fn a_snapshot_takes_the_times_along() {
        let mut before = Expiry::new(100);
        before.used(7, 0);
        before.used(8, 1);
        let (field, column) = before.column(&[1, 0]);
        let batch = RecordBatch::try_from_iter([(field.name().clone(), column)]).unwrap();
        let mut after = Expiry::new(100);
        after.restore(&batch, &[5, 4]);
        assert_eq!(after.idle(108, || vec![4, 5]), [4, 5]);
        assert_eq!(after.used_ms[4], 7);
    }
}
