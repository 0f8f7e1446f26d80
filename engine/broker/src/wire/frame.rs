//! [`Frames`]: one request after another from a connection.
//!
//! A length is believed only as far as bytes have come, and up to a limit; memory for long requests
//! comes out of one budget for all connections, and whoever begins a request must go on with it. So
//! neither many connections nor large claims nor slow senders can take the broker's memory.

use bytes::{Bytes, BytesMut};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// The longest request, as in Apache Kafka.
pub(crate) const FRAME_BYTES_MAX: usize = 100 << 20;

/// Requests up to this length need no part of the budget.
const SMALL_FRAME_BYTES: usize = 256 << 10;

/// A buffer that has grown beyond this is given back after use.
const KEPT_BUFFER_BYTES: usize = 2 << 20;

const READ_BYTES: usize = 16 << 10;

/// How long a connection may say nothing, as in Apache Kafka.
const IDLE_TIMEOUT: Duration = Duration::from_secs(10 * 60);

/// How long a request may make no progress.
const STALL_TIMEOUT: Duration = Duration::from_secs(30);

/// Why no request comes any more.
#[derive(Debug, Error)]
pub(crate) enum FrameError {
    #[error("a request of {0} bytes")]
    Length(i32),
    #[error("nothing has come for too long")]
    Silence,
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// The memory for long requests of all connections together.
#[derive(Clone, Debug)]
pub(crate) struct Budget(Arc<Semaphore>);

impl Budget {
    /// As much as the longest request needs, and a little for others beside it.
    pub(crate) fn new() -> Budget {
        Budget(Arc::new(Semaphore::new(kib(FRAME_BYTES_MAX + (28 << 20)) as usize)))
    }

    async fn take(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        if bytes <= SMALL_FRAME_BYTES {
            return None;
        }
        Arc::clone(&self.0).acquire_many_owned(kib(bytes)).await.ok()
    }
}

fn kib(bytes: usize) -> u32 {
    bytes.div_ceil(1024) as u32
}

/// A request's bytes, with their share of the budget.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) bytes: Bytes,
    _share: Option<OwnedSemaphorePermit>,
}

/// The requests of a connection.
#[derive(Debug)]
pub(crate) struct Frames<R> {
    from: R,
    buffer: BytesMut,
    budget: Budget,
    last_bytes: usize,
}

impl<R: AsyncRead + Unpin> Frames<R> {
    pub(crate) fn new(from: R, budget: Budget) -> Frames<R> {
        Frames { from, buffer: BytesMut::new(), budget, last_bytes: 0 }
    }

    /// The next request; `None` once the other side has closed.
    pub(crate) async fn next(&mut self) -> Result<Option<Frame>, FrameError> {
        if self.last_bytes > KEPT_BUFFER_BYTES {
            self.buffer = BytesMut::from(&self.buffer[..]);
        }
        while self.buffer.len() < 4 {
            let patience = if self.buffer.is_empty() { IDLE_TIMEOUT } else { STALL_TIMEOUT };
            if self.read(READ_BYTES, patience).await? == 0 {
                return Ok(None);
            }
        }
        let length = i32::from_be_bytes(self.buffer[..4].try_into().expect("four bytes"));
        let bytes = usize::try_from(length).map_err(|_| FrameError::Length(length))?;
        if bytes > FRAME_BYTES_MAX {
            return Err(FrameError::Length(length));
        }
        let share = self.budget.take(bytes).await;
        while self.buffer.len() < 4 + bytes {
            // Room for what is missing, but not for more than has come already.
            let missing = 4 + bytes - self.buffer.len();
            let room = missing.min(self.buffer.len().max(SMALL_FRAME_BYTES)).max(READ_BYTES);
            if self.read(room, STALL_TIMEOUT).await? == 0 {
                return Ok(None);
            }
        }
        self.last_bytes = bytes;
        let mut frame = self.buffer.split_to(4 + bytes).freeze();
        Ok(Some(Frame { bytes: frame.split_off(4), _share: share }))
    }

    async fn read(&mut self, room: usize, patience: Duration) -> Result<usize, FrameError> {
        self.buffer.reserve(room);
        let read = timeout(patience, self.from.read_buf(&mut self.buffer)).await;
        Ok(read.map_err(|_| FrameError::Silence)??)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn frames(bytes: &[u8]) -> (Vec<Bytes>, Result<(), FrameError>) {
        let mut frames = Frames::new(bytes, Budget::new());
        let mut seen = Vec::new();
        loop {
            match frames.next().await {
                Ok(Some(frame)) => seen.push(frame.bytes),
                Ok(None) => return (seen, Ok(())),
                Err(error) => return (seen, Err(error)),
            }
        }
    }

    #[tokio::test]
    async fn requests_come_one_by_one_and_a_cut_one_does_not() {
        let (seen, end) = frames(b"\0\0\0\x02ab\0\0\0\0\0\0\0\x03c").await;
        assert_eq!(seen, [&b"ab"[..], &b""[..]]);
        assert!(end.is_ok());
    }

    #[tokio::test]
    async fn lengths_out_of_bounds_end_the_connection() {
        for length in [-1, i32::MIN, i32::MAX, FRAME_BYTES_MAX as i32 + 1] {
            let (_, end) = frames(&length.to_be_bytes()).await;
            assert!(matches!(end, Err(FrameError::Length(l)) if l == length));
        }
    }

    #[tokio::test]
    async fn a_large_claim_takes_no_more_memory_than_its_bytes() {
        let mut bytes = (FRAME_BYTES_MAX as i32).to_be_bytes().to_vec();
        bytes.extend_from_slice(&[7; 100]);
        let mut frames = Frames::new(bytes.as_slice(), Budget::new());
        assert!(frames.next().await.unwrap().is_none());
        assert!(frames.buffer.capacity() < 1 << 20);
    }
}
