//! [`Lines`]: a file as a sequence of blocks of whole lines.
//!
//! The invariant: the blocks given so far are exactly what stands before the last one's
//! [`Block::after`], so that reading can go on there another time. A file that is not compressed needn't be read up to there.

use super::paths::InputFile;
use super::place::Place;
use crate::source::ConnectorError;
use flate2::read::MultiGzDecoder;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::sync::Arc;

/// About how many bytes a block has at most.
const BLOCK_BYTES: usize = 256 * 1024;

/// A line longer than this is an error: a file without line ends would fill the memory.
const LINE_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Whole lines of one file.
#[derive(Debug)]
pub(crate) struct Block {
    /// The lines, with their ends; the last line of a file may lack its own.
    pub bytes: Vec<u8>,
    /// Number of the first line; a file's first is 1.
    pub first_line: i64,
    /// How many lines there are.
    pub lines: i64,
    /// Where the file goes on.
    pub after: Place,
}

impl Default for Block {
    fn default() -> Self {
        Block { bytes: vec![], first_line: 1, lines: 0, after: Place::START }
    }
}

/// A file being read.
pub(crate) struct Lines {
    file: Arc<InputFile>,
    input: Option<Box<dyn Read + Send>>,
    /// What was read; `start..` has not been given yet.
    buffer: Vec<u8>,
    start: usize,
    next: Place,
    is_at_end: bool,
}

impl Lines {
    /// The file from a place on. It is opened when the first block is asked for.
    pub(crate) fn new(file: Arc<InputFile>, from: Place) -> Self {
        Lines { file, input: None, buffer: vec![], start: 0, next: from, is_at_end: false }
    }

    /// Whether everything was given. Known after the last block, not only at the next attempt.
    pub(crate) fn is_finished(&self) -> bool {
        self.is_at_end && self.start == self.buffer.len()
    }

    /// Gives up to `max_lines` lines; none only if the file is finished.
    pub(crate) fn next(
        &mut self,
        max_lines: usize,
        block: &mut Block,
    ) -> Result<(), ConnectorError> {
        block.bytes.clear();
        block.first_line = self.next.line;
        let (mut end, mut lines) = self.whole_lines(max_lines);
        if lines == 0 && !self.is_at_end {
            self.fill().map_err(|e| self.failed(&e.to_string()))?;
            (end, lines) = self.whole_lines(max_lines);
        }
        block.bytes.extend_from_slice(&self.buffer[self.start..end]);
        block.lines = lines;
        self.start = end;
        self.next.line += lines;
        self.next.byte += block.bytes.len() as u64;
        block.after = self.next;
        Ok(())
    }

    /// Where up to `max_lines` whole lines of the buffer end, and how many they are.
    fn whole_lines(&self, max_lines: usize) -> (usize, i64) {
        let rest = &self.buffer[self.start..];
        let (mut end, mut lines) = (0, 0);
        for newline in memchr::memchr_iter(b'\n', rest).take(max_lines) {
            end = newline + 1;
            lines += 1;
        }
        let ends_without_newline = self.is_at_end && (lines as usize) < max_lines;
        if ends_without_newline && end < rest.len() {
            (self.buffer.len(), lines + 1)
        } else {
            (self.start + end, lines)
        }
    }

    /// Moves the unfinished line to the front and reads on until there is a whole one.
    fn fill(&mut self) -> io::Result<()> {
        self.buffer.drain(..self.start);
        self.start = 0;
        if self.input.is_none() {
            self.input = Some(open(&self.file, self.next.byte)?);
        }
        let input = self.input.as_mut().expect("just opened");
        let mut unfinished = self.buffer.len();
        loop {
            let target = unfinished + BLOCK_BYTES;
            let wanted = (target - self.buffer.len()) as u64;
            let read = input.by_ref().take(wanted).read_to_end(&mut self.buffer)?;
            if (read as u64) < wanted {
                self.is_at_end = true;
                self.input = None;
                return Ok(());
            }
            if memchr::memrchr(b'\n', &self.buffer[unfinished..]).is_some() {
                return Ok(());
            }
            unfinished = self.buffer.len();
            if unfinished > LINE_BYTES_MAX {
                return Err(io::Error::other(format!(
                    "line {} is longer than {LINE_BYTES_MAX} bytes",
                    self.next.line
                )));
            }
        }
    }

    fn failed(&self, cause: &str) -> ConnectorError {
        let path = self.file.path.display();
        ConnectorError { what: format!("reading '{path}'"), cause: cause.to_owned() }
    }
}

/// Opens a file, decompressing by its ending, behind so many bytes.
fn open(file: &InputFile, skip_bytes: u64) -> io::Result<Box<dyn Read + Send>> {
    let mut plain = File::open(&file.path)?;
    let mut input: Box<dyn Read + Send> = match file.path.extension().and_then(|e| e.to_str()) {
        Some("gz" | "gzip") => Box::new(MultiGzDecoder::new(plain)),
        Some("zst" | "zstd") => Box::new(zstd::Decoder::new(plain)?),
        _ => {
            let there_are = plain.metadata()?.len();
            refuse_shorter(skip_bytes, there_are)?;
            plain.seek(SeekFrom::Start(skip_bytes))?;
            return Ok(Box::new(plain));
        }
    };
    let skipped = io::copy(&mut input.by_ref().take(skip_bytes), &mut io::sink())?;
    refuse_shorter(skip_bytes, skipped)?;
    Ok(input)
}

fn refuse_shorter(read_before: u64, there_are: u64) -> io::Result<()> {
    if there_are >= read_before {
        return Ok(());
    }
    Err(io::Error::other(format!(
        "{read_before} bytes of it were read before the job's last checkpoint, and only \
         {there_are} are there: the file was cut or replaced; put it back, or start anew"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Write;
    use std::path::Path;

    fn open_lines(path: &Path, from: Place) -> Lines {
        Lines::new(Arc::new(InputFile { path: path.to_owned(), size: 0 }), from)
    }

    /// All lines, the first `skipped` of them read by another hand.
    fn all_lines(path: &Path, skipped: usize, max_lines: usize) -> Vec<(i64, Vec<u8>)> {
        let (mut before, mut block) = (open_lines(path, Place::START), Block::default());
        for _ in 0..skipped {
            before.next(1, &mut block).unwrap();
        }
        let mut lines = open_lines(path, block.after);
        let mut all = vec![];
        while !lines.is_finished() {
            lines.next(max_lines, &mut block).unwrap();
            assert!(block.lines as usize <= max_lines);
            let parts = block.bytes.split_inclusive(|&b| b == b'\n');
            let numbered = (block.first_line..).zip(parts.map(<[u8]>::to_vec));
            assert_eq!(numbered.clone().take(1_000_000).count(), block.lines as usize);
            all.extend(numbered.take(block.lines as usize));
        }
        all
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn blocks_are_the_lines_of_the_file_whatever_their_size(
            lines in prop::collection::vec("[a-z]{0,40}", 0..60),
            ends in any::<bool>(), skipped in 0usize..7, max_lines in 1usize..20,
        ) {
            let text = lines.join("\n") + if ends { "\n" } else { "" };
            let expected: Vec<(i64, Vec<u8>)> = (1..)
                .zip(text.as_bytes().split_inclusive(|&b| b == b'\n').map(<[u8]>::to_vec))
                .skip(skipped)
                .collect();
            let dir = tempfile::tempdir().unwrap();
            let plain = dir.path().join("a.txt");
            std::fs::write(&plain, &text).unwrap();
            prop_assert_eq!(&all_lines(&plain, skipped, max_lines), &expected);

            let gz = dir.path().join("a.gz");
            let mut encoder = flate2::write::GzEncoder::new(
                File::create(&gz).unwrap(), flate2::Compression::fast());
            encoder.write_all(text.as_bytes()).unwrap();
            encoder.finish().unwrap();
            prop_assert_eq!(&all_lines(&gz, skipped, max_lines), &expected);

            let zst = dir.path().join("a.zst");
            std::fs::write(&zst, zstd::encode_all(text.as_bytes(), 1).unwrap()).unwrap();
            prop_assert_eq!(&all_lines(&zst, skipped, max_lines), &expected);
        }
    }

    #[test]
    fn a_line_longer_than_a_block_stays_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("long");
        let long = "x".repeat(3 * BLOCK_BYTES + 17);
        std::fs::write(&path, format!("a\n{long}\nb")).unwrap();
        let lines = all_lines(&path, 0, 10);
        let lengths: Vec<usize> = lines.iter().map(|(_, line)| line.len()).collect();
        assert_eq!(lengths, [2, long.len() + 1, 1]);
    }

    #[test]
    fn a_file_that_ends_before_the_place_where_it_goes_on_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        for (name, bytes) in
            [("a", b"a\n".to_vec()), ("a.zst", zstd::encode_all(&b"a\n"[..], 1).unwrap())]
        {
            let path = dir.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            let mut at_end = open_lines(&path, Place { line: 2, byte: 2 });
            let mut block = Block::default();
            at_end.next(9, &mut block).unwrap();
            assert!(block.lines == 0 && at_end.is_finished());
            let mut behind = open_lines(&path, Place { line: 2, byte: 3 });
            let error = behind.next(9, &mut block).unwrap_err().to_string();
            assert!(error.contains(name) && error.contains("only 2 are there"), "{error}");
        }
    }
}
