//! [`Lines`]: a file as a sequence of blocks of whole lines.
//!
//! The invariant: the blocks given so far are exactly the first `line - 1` lines of the file, so
//! a position is a line number, whether the file is compressed or not.

use super::paths::InputFile;
use crate::source::ConnectorError;
use flate2::read::MultiGzDecoder;
use std::fs::File;
use std::io::{self, Read};

/// About how many bytes a block has at most.
const BLOCK_BYTES: usize = 256 * 1024;

/// A line longer than this is an error: a file without line ends would fill the memory.
const LINE_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Whole lines of one file.
#[derive(Debug, Default)]
pub(crate) struct Block {
    /// The lines, with their ends; the last line of a file may lack its own.
    pub bytes: Vec<u8>,
    /// Number of the first line; a file's first is 1.
    pub first_line: i64,
    /// How many lines there are.
    pub lines: i64,
}

/// A file being read.
pub(crate) struct Lines {
    file: InputFile,
    input: Option<Box<dyn Read + Send>>,
    /// What was read; `start..` has not been given yet.
    buffer: Vec<u8>,
    start: usize,
    next_line: i64,
    skip_to_line: i64,
    is_at_end: bool,
}

impl Lines {
    /// The file from a line on. It is opened when the first block is asked for.
    pub(crate) fn new(file: InputFile, from_line: i64) -> Self {
        Lines {
            file,
            input: None,
            buffer: vec![],
            start: 0,
            next_line: 1,
            skip_to_line: from_line,
            is_at_end: false,
        }
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
        while self.next_line < self.skip_to_line && !self.is_finished() {
            let behind = (self.skip_to_line - self.next_line) as usize;
            self.give(behind, block)?;
        }
        self.give(max_lines, block)
    }

    fn give(&mut self, max_lines: usize, block: &mut Block) -> Result<(), ConnectorError> {
        block.bytes.clear();
        block.lines = 0;
        block.first_line = self.next_line;
        let (mut end, mut lines) = self.whole_lines(max_lines);
        if lines == 0 && !self.is_at_end {
            self.fill().map_err(|e| self.failed(&e.to_string()))?;
            (end, lines) = self.whole_lines(max_lines);
        }
        block.bytes.extend_from_slice(&self.buffer[self.start..end]);
        block.lines = lines;
        self.start = end;
        self.next_line += lines;
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
            self.input = Some(open(&self.file)?);
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
                    self.next_line
                )));
            }
        }
    }

    fn failed(&self, cause: &str) -> ConnectorError {
        let path = self.file.path.display();
        ConnectorError { what: format!("reading '{path}'"), cause: cause.to_owned() }
    }
}

/// Opens a file, decompressing by its ending.
fn open(file: &InputFile) -> io::Result<Box<dyn Read + Send>> {
    let input = File::open(&file.path)?;
    Ok(match file.path.extension().and_then(|e| e.to_str()) {
        Some("gz" | "gzip") => Box::new(MultiGzDecoder::new(input)),
        Some("zst" | "zstd") => Box::new(zstd::Decoder::new(input)?),
        _ => Box::new(input),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Write;
    use std::path::Path;

    fn all_lines(path: &Path, from: i64, max_lines: usize) -> Vec<(i64, Vec<u8>)> {
        let mut lines = Lines::new(InputFile { path: path.to_owned(), size: 0 }, from);
        let (mut block, mut all) = (Block::default(), vec![]);
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
            ends in any::<bool>(), from in 1i64..8, max_lines in 1usize..20,
        ) {
            let text = lines.join("\n") + if ends { "\n" } else { "" };
            let expected: Vec<(i64, Vec<u8>)> = (1..)
                .zip(text.as_bytes().split_inclusive(|&b| b == b'\n').map(<[u8]>::to_vec))
                .filter(|(number, _)| *number >= from)
                .collect();
            let dir = tempfile::tempdir().unwrap();
            let plain = dir.path().join("a.txt");
            std::fs::write(&plain, &text).unwrap();
            prop_assert_eq!(&all_lines(&plain, from, max_lines), &expected);

            let gz = dir.path().join("a.gz");
            let mut encoder = flate2::write::GzEncoder::new(
                File::create(&gz).unwrap(), flate2::Compression::fast());
            encoder.write_all(text.as_bytes()).unwrap();
            encoder.finish().unwrap();
            prop_assert_eq!(&all_lines(&gz, from, max_lines), &expected);

            let zst = dir.path().join("a.zst");
            std::fs::write(&zst, zstd::encode_all(text.as_bytes(), 1).unwrap()).unwrap();
            prop_assert_eq!(&all_lines(&zst, from, max_lines), &expected);
        }
    }

    #[test]
    fn a_line_longer_than_a_block_stays_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("long");
        let long = "x".repeat(3 * BLOCK_BYTES + 17);
        std::fs::write(&path, format!("a\n{long}\nb")).unwrap();
        let lines = all_lines(&path, 1, 10);
        let lengths: Vec<usize> = lines.iter().map(|(_, line)| line.len()).collect();
        assert_eq!(lengths, [2, long.len() + 1, 1]);
    }
}
