//! [`Cache`]: the answers that one worker has got, for as long as they may be used.
//!
//! The least recently used go first when there are too many rows. A cache decides how often a
//! table is asked, never what is joined: an epoch holds on to its own answers until it is applied.

use super::options::CacheLimits;
use arrow::array::RecordBatch;
use lru::LruCache;
use std::sync::Arc;

/// A key as JSON: what is asked for, and what answers are known by.
pub(crate) type Key = Arc<[u8]>;

/// Answers by key.
pub(super) struct Cache {
    limits: CacheLimits,
    answers: LruCache<Key, Answer>,
    rows: usize,
    bytes: usize,
}

struct Answer {
    rows: RecordBatch,
    written_ms: i64,
    used_ms: i64,
}

impl Answer {
    /// A key without rows takes a place too.
    fn places(&self) -> usize {
        self.rows.num_rows().max(1)
    }

    fn bytes(&self) -> usize {
        self.rows.get_array_memory_size()
    }
}

impl Cache {
    pub(super) fn new(limits: CacheLimits) -> Self {
        Cache { limits, answers: LruCache::unbounded(), rows: 0, bytes: 0 }
    }

    /// The rows of a key, if they are known and not too old.
    pub(super) fn get(&mut self, key: &[u8], now_ms: i64) -> Option<RecordBatch> {
        let limits = self.limits;
        let answer = self.answers.get_mut(key)?;
        let is_fresh = now_ms.saturating_sub(answer.written_ms) < limits.after_write_ms
            && now_ms.saturating_sub(answer.used_ms) < limits.after_access_ms;
        if is_fresh {
            answer.used_ms = now_ms;
            return Some(answer.rows.clone());
        }
        let old = self.answers.pop(key);
        self.forget(old);
        None
    }

    /// Keeps the rows of a key.
    pub(super) fn put(&mut self, key: Key, rows: RecordBatch, now_ms: i64) {
        if rows.num_rows() == 0 && !self.limits.has_missing_keys {
            return;
        }
        let answer = Answer { rows, written_ms: now_ms, used_ms: now_ms };
        self.rows += answer.places();
        self.bytes += answer.bytes();
        let old = self.answers.put(key, answer);
        self.forget(old);
        while self.rows > self.limits.rows_max {
            let Some((_, oldest)) = self.answers.pop_lru() else { break };
            self.forget(Some(oldest));
        }
    }

    fn forget(&mut self, answer: Option<Answer>) {
        if let Some(answer) = answer {
            self.rows -= answer.places();
            self.bytes -= answer.bytes();
        }
    }

    /// Bytes held, roughly.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::Int64Array;
    use arrow::datatypes::{DataType, Field, Schema};

    fn rows(count: i64) -> RecordBatch {
        let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, true)]));
        RecordBatch::try_new(schema, vec![Arc::new(Int64Array::from_iter_values(0..count))])
            .unwrap()
    }

    fn cache(rows_max: usize, after_write_ms: i64, after_access_ms: i64) -> Cache {
        Cache::new(CacheLimits {
            rows_max,
            after_write_ms,
            after_access_ms,
            has_missing_keys: true,
        })
    }

    fn put(cache: &mut Cache, key: &str, count: i64, now_ms: i64) {
        cache.put(key.as_bytes().into(), rows(count), now_ms);
    }

    fn known(cache: &mut Cache, key: &str, now_ms: i64) -> bool {
        cache.get(key.as_bytes(), now_ms).is_some()
    }

    #[test]
    fn the_least_recently_used_go_first() {
        let mut cache = cache(3, i64::MAX, i64::MAX);
        put(&mut cache, "a", 1, 0);
        put(&mut cache, "b", 0, 0);
        put(&mut cache, "c", 1, 0);
        assert!(known(&mut cache, "a", 0));
        put(&mut cache, "d", 2, 0);
        let all = ["a", "b", "c", "d"].map(|key| known(&mut cache, key, 0));
        assert_eq!(all, [true, false, false, true]);
        put(&mut cache, "e", 9, 0);
        assert!(!known(&mut cache, "e", 0), "it has more rows than there may be");
        assert_eq!((cache.rows, cache.bytes), (0, 0));
    }

    #[test]
    fn answers_grow_old() {
        let mut cache = cache(usize::MAX, 100, 30);
        put(&mut cache, "a", 1, 0);
        put(&mut cache, "b", 1, 0);
        assert!([20, 40, 60, 80].into_iter().all(|now| known(&mut cache, "a", now)));
        assert!(!known(&mut cache, "b", 40), "nobody used it");
        assert!(!known(&mut cache, "a", 100), "it was written long ago");
        put(&mut cache, "a", 1, 100);
        assert!(known(&mut cache, "a", 110));
    }
}
