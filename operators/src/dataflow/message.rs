//! [`Message`]: a [`Batch`] as timely ships it.

use crate::batch::Batch;
use timely::Accountable;
use timely::bytes::arc::Bytes;
use timely::dataflow::channels::ContainerBytes;

/// A batch on its way between operators.
///
/// It counts as its rows, and as one if it has none: timely drops a container that counts as
/// empty without a word. `None` is only what remains of a message that was taken.
#[derive(Clone, Debug, Default)]
pub struct Message(Option<Batch>);

impl Message {
    /// Takes the batch out.
    pub fn take(&mut self) -> Option<Batch> {
        self.0.take()
    }
}

impl From<Batch> for Message {
    fn from(batch: Batch) -> Self {
        Message(Some(batch))
    }
}

impl Accountable for Message {
    fn record_count(&self) -> i64 {
        self.0.as_ref().map_or(1, |batch| batch.len().max(1) as i64)
    }
}

/// Workers of one process hand batches over by pointer ([`super::seats`]), never as bytes.
impl ContainerBytes for Message {
    fn from_bytes(_: Bytes) -> Self {
        unreachable!("batches do not leave the process")
    }

    fn length_in_bytes(&self) -> usize {
        unreachable!("batches do not leave the process")
    }

    fn into_bytes<W: std::io::Write>(&self, _: &mut W) {
        unreachable!("batches do not leave the process")
    }
}
