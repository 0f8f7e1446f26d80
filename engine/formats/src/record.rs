//! The traits of all formats: [`Decoder`] and [`Encoder`].

use tidemill_operators::Batch;

/// Why a record could not be decoded. Short, without the record itself: the caller has it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct BadRecord {
    /// For example ``field `price`: expected a number, found "abc"``.
    pub reason: String,
}

/// Turns records into rows. One decoder serves one reader on one thread.
pub trait Decoder: Send {
    /// Appends the rows of one record and says how many there were: usually one; none for an
    /// empty record or one that the options say to ignore; two for an update in a changelog.
    ///
    /// # Errors
    /// If the record is malformed. No row of it remains.
    fn decode(&mut self, record: &[u8]) -> Result<usize, BadRecord>;

    /// Number of rows appended since the last [`Decoder::finish`].
    fn rows(&self) -> usize;

    /// Hands over the rows appended so far, in the decoder's output schema, and starts anew.
    fn finish(&mut self) -> Batch;
}

/// Records on their way out: one contiguous buffer and where each record ends in it.
#[derive(Debug, Default)]
pub struct Encoded {
    /// All records, one behind the other, without separators.
    pub bytes: Vec<u8>,
    /// End of each record in `bytes`.
    pub ends: Vec<usize>,
}

impl Encoded {
    /// Forgets the records and keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }

    /// The records, in order.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, &end)| &self.bytes[start..end])
    }

    /// Marks the bytes written since the last record as one record.
    pub fn end_record(&mut self) {
        self.ends.push(self.bytes.len());
    }
}

/// Turns rows into records. A row of weight `n` becomes `n` records (or `n` deletions).
pub trait Encoder: Send {
    /// Appends the records of all rows of `batch`, in order.
    ///
    /// # Errors
    /// If the format can't express a value, or a deletion reaches an append-only format.
    fn encode(&mut self, batch: &Batch, out: &mut Encoded) -> Result<(), BadRecord>;
}
