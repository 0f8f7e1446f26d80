//! [`Texts`]: a column of strings in the making, and the words and letters that are put into it.
//!
//! Nothing is allocated for a row: random text is cut out of a pool that is made once, and copied.

use crate::numbered::random::{below, mix};
use arrow::array::StringArray;
use arrow::buffer::{Buffer, OffsetBuffer, ScalarBuffer};
use std::io::Write;
use std::sync::LazyLock;

/// Random strings are at least so long.
const LENGTH_MIN: u64 = 3;
/// Where a string in a pool may begin.
const POOL_STARTS: u64 = 1 << 16;
/// The longest string that is cut out of one.
const POOL_CUT_MAX: usize = 1 << 10;
/// Of so many characters of a random text one is no letter.
const LETTERS_BETWEEN_OTHERS: u64 = 13;
/// How many channels there are beside the hot ones.
const CHANNELS: u64 = 10_000;
/// Of so many channels one has no number in its URL.
const NUMBERED_CHANNELS_BETWEEN_OTHERS: u64 = 10;
/// Half of all bids come through these.
const HOT_CHANNELS: [&str; 4] = ["Google", "Facebook", "Baidu", "Apple"];

/// Letters without gaps.
static LETTERS: LazyLock<Vec<u8>> = LazyLock::new(|| pool(None));
/// Letters with gaps.
static WORDS: LazyLock<Vec<u8>> = LazyLock::new(|| pool(Some(b' ')));
/// The channels and their URLs, the hot ones first.
static ALL_CHANNELS: LazyLock<(Texts, Texts)> = LazyLock::new(channels);

/// Strings one after the other, and where each ends.
#[derive(Debug)]
pub(super) struct Texts {
    bytes: Vec<u8>,
    offsets: Vec<i32>,
}

impl Texts {
    /// Room for so many strings.
    pub(super) fn with_capacity(texts: usize, bytes: usize) -> Self {
        let mut offsets = Vec::with_capacity(texts + 1);
        offsets.push(0);
        Texts { bytes: Vec::with_capacity(bytes), offsets }
    }

    /// Adds the string that `write` appends to what it is given.
    pub(super) fn push(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        write(&mut self.bytes);
        self.offsets.push(self.bytes.len() as i32);
    }

    /// Adds empty strings until there are so many.
    pub(super) fn pad(&mut self, texts: usize) {
        self.offsets.resize(texts + 1, self.bytes.len() as i32);
    }

    /// One of the strings.
    fn get(&self, text: u64) -> &[u8] {
        let at = |i: usize| self.offsets[i] as usize;
        &self.bytes[at(text as usize)..at(text as usize + 1)]
    }

    /// The column.
    pub(super) fn finish(self) -> StringArray {
        let offsets = OffsetBuffer::new(ScalarBuffer::from(self.offsets));
        StringArray::new(offsets, Buffer::from(self.bytes), None)
    }
}

/// Letters of this length from a place that a random number says.
pub(super) fn letters(random: u64, length: u64) -> &'static [u8] {
    cut(&LETTERS, random, length)
}

/// Letters and gaps of this length.
pub(super) fn words(random: u64, length: u64) -> &'static [u8] {
    cut(&WORDS, random, length)
}

/// A random length of a string that is shorter than `end`.
pub(super) fn length_below(random: u64, end: u64) -> u64 {
    LENGTH_MIN + below(random, end - LENGTH_MIN)
}

/// A length that is on average `mean`, and at most a fifth away from it.
pub(super) fn length_about(random: u64, mean: u64) -> u64 {
    let spread = (mean + 2) / 5;
    mean - spread + below(random, (2 * spread).max(1))
}

fn cut(pool: &'static [u8], random: u64, length: u64) -> &'static [u8] {
    let start = below(random, POOL_STARTS) as usize;
    &pool[start..start + (length as usize).min(POOL_CUT_MAX)]
}

/// Random letters, and `other` now and then.
fn pool(other: Option<u8>) -> Vec<u8> {
    let length = POOL_STARTS + POOL_CUT_MAX as u64;
    (0..length).map(|i| character(u64::from(other.is_some()) << 32 | i, other)).collect()
}

fn character(place: u64, other: Option<u8>) -> u8 {
    let letter = b'a' + below(mix(place), 26) as u8;
    let is_other = below(mix(mix(place)), LETTERS_BETWEEN_OTHERS) == 0;
    other.filter(|_| is_other).unwrap_or(letter)
}

/// The channel of a random number: half of the time one of the hot ones.
fn channel(random: u64) -> u64 {
    let hot = HOT_CHANNELS.len() as u64;
    // The top bit decides, the others choose.
    match (random >> 63, random << 1) {
        (0, rest) => below(rest, hot),
        (_, rest) => hot + below(rest, CHANNELS),
    }
}

/// The name of a channel.
pub(super) fn channel_name(random: u64) -> &'static [u8] {
    ALL_CHANNELS.0.get(channel(random))
}

/// The URL that bids through a channel come from.
pub(super) fn channel_url(random: u64) -> &'static [u8] {
    ALL_CHANNELS.1.get(channel(random))
}

fn channels() -> (Texts, Texts) {
    let count = HOT_CHANNELS.len() + CHANNELS as usize;
    let (mut names, mut urls) = (Texts::with_capacity(count, 0), Texts::with_capacity(count, 0));
    for (i, hot) in (0u64..).zip(HOT_CHANNELS) {
        names.push(|out| out.extend_from_slice(hot.as_bytes()));
        urls.push(|out| write_url(u64::MAX - i, None, out));
    }
    for i in 0..CHANNELS {
        names.push(|out| write!(out, "channel-{i}").expect("memory takes all"));
        let is_numbered = below(mix(i), NUMBERED_CHANNELS_BETWEEN_OTHERS) > 0;
        // Numbers that look random and are all different.
        let number = (i as u32).reverse_bits().cast_signed().unsigned_abs();
        urls.push(|out| write_url(i, is_numbered.then_some(number), out));
    }
    (names, urls)
}

fn write_url(channel: u64, number: Option<u32>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"https://www.nexmark.com/");
    for folder in 0..3u64 {
        let random = mix(mix(channel).wrapping_add(folder));
        let characters = (0..length_below(random, 5)).map(|i| character(random ^ i, Some(b'_')));
        out.extend(characters);
        out.push(b'/');
    }
    out.extend_from_slice(b"item.htm?query=1");
    if let Some(number) = number {
        write!(out, "&channel_id={number}").expect("memory takes all");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: &[u8]) -> &str {
        std::str::from_utf8(bytes).unwrap()
    }

    #[test]
    fn half_of_all_channels_are_hot_and_most_others_are_numbered() {
        let randoms = (0..20_000).map(mix);
        let hot = |&r: &u64| HOT_CHANNELS.contains(&text(channel_name(r)));
        let (hot, others): (Vec<u64>, Vec<u64>) = randoms.partition(hot);
        assert!((9_500..10_500).contains(&hot.len()), "{}", hot.len());
        let is_numbered = |r: &u64| text(channel_url(*r)).contains("&channel_id=");
        assert!(!hot.iter().any(is_numbered));
        let numbered = others.iter().filter(|r| is_numbered(r)).count() as f64;
        assert!((0.88..0.92).contains(&(numbered / others.len() as f64)));
    }

    #[test]
    fn an_url_has_three_folders() {
        for random in (0..100).map(mix) {
            let parts: Vec<&str> = text(channel_url(random)).split('/').collect();
            assert_eq!((parts.len(), parts[2]), (7, "www.nexmark.com"), "{parts:?}");
            assert!(parts[3..6].iter().all(|folder| (3..5).contains(&folder.len())), "{parts:?}");
        }
    }

    #[test]
    fn lengths_keep_to_their_bounds() {
        for random in (0..1000).map(mix) {
            assert!((3..20).contains(&length_below(random, 20)));
            assert!((54..82).contains(&length_about(random, 68)));
            assert_eq!(letters(random, 300).len(), 300);
        }
    }
}
