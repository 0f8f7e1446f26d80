//! [`Block`]: sixteen bytes looked at together, and words of eight with digits in them.

/// Sixteen bytes. What is said about them is a mask of bits, the first byte's the lowest.
#[derive(Clone, Copy)]
pub(super) struct Block(Bytes);

#[cfg(target_arch = "x86_64")]
type Bytes = std::arch::x86_64::__m128i;

#[cfg(not(target_arch = "x86_64"))]
type Bytes = [u8; Block::LEN];

impl Block {
    /// How many bytes it has.
    pub(super) const LEN: usize = 16;

    /// The marks of all bytes.
    pub(super) const ALL: u32 = 0xffff;
}

#[cfg(target_arch = "x86_64")]
impl Block {
    #[inline(always)]
    pub(super) fn new(bytes: &[u8; Self::LEN]) -> Self {
        // SAFETY: every x86-64 has SSE2, and there are sixteen bytes to be loaded, from anywhere.
        Block(unsafe { std::arch::x86_64::_mm_loadu_si128(bytes.as_ptr().cast()) })
    }

    /// Where the two agree.
    #[inline(always)]
    pub(super) fn same(self, other: Self) -> u32 {
        use std::arch::x86_64::{_mm_cmpeq_epi8, _mm_movemask_epi8};
        // SAFETY: every x86-64 has SSE2.
        unsafe { _mm_movemask_epi8(_mm_cmpeq_epi8(self.0, other.0)) as u32 }
    }

    /// Where one of the two bytes is.
    #[inline(always)]
    pub(super) fn either(self, a: u8, b: u8) -> u32 {
        use std::arch::x86_64::{_mm_cmpeq_epi8, _mm_movemask_epi8, _mm_or_si128, _mm_set1_epi8};
        // SAFETY: every x86-64 has SSE2.
        unsafe {
            let a = _mm_cmpeq_epi8(self.0, _mm_set1_epi8(a as i8));
            let b = _mm_cmpeq_epi8(self.0, _mm_set1_epi8(b as i8));
            _mm_movemask_epi8(_mm_or_si128(a, b)) as u32
        }
    }
}

#[cfg(not(target_arch = "x86_64"))]
impl Block {
    #[inline(always)]
    pub(super) fn new(bytes: &[u8; Self::LEN]) -> Self {
        Block(*bytes)
    }

    /// Where the two agree.
    #[inline(always)]
    pub(super) fn same(self, other: Self) -> u32 {
        (0..Self::LEN).fold(0, |mask, i| mask | u32::from(self.0[i] == other.0[i]) << i)
    }

    /// Where one of the two bytes is.
    #[inline(always)]
    pub(super) fn either(self, a: u8, b: u8) -> u32 {
        let is_either = |byte| byte == a || byte == b;
        (0..Self::LEN).fold(0, |mask, i| mask | u32::from(is_either(self.0[i])) << i)
    }
}

/// How many digits a word begins with.
#[inline(always)]
pub(super) fn digits_before(word: u64) -> usize {
    let values = word ^ ZEROS;
    // The highest bit of each byte that is greater than nine.
    let others = (((values & LOW_BITS) + (LOW_BITS - 9 * ONES)) | values) & !LOW_BITS;
    others.trailing_zeros() as usize / 8
}

/// The number that the first 1 to 8 bytes of a word mean, all of them digits.
#[inline(always)]
pub(super) fn eight_digits(word: u64, length: usize) -> i64 {
    // The lowest digit goes to the highest byte; zeros come in before the first.
    let digits = (word ^ ZEROS) << (64 - 8 * length);
    let pairs = digits * 10 + (digits >> 8);
    const EVERY_FOURTH: u64 = 0x0000_00ff_0000_00ff;
    const HIGH: u64 = 100 + (1_000_000 << 32);
    const LOW: u64 = 1 + (10_000 << 32);
    let high = (pairs & EVERY_FOURTH).wrapping_mul(HIGH);
    let low = (pairs >> 16 & EVERY_FOURTH).wrapping_mul(LOW);
    (high.wrapping_add(low) >> 32) as i64
}

const ONES: u64 = 0x0101_0101_0101_0101;
const ZEROS: u64 = ONES * b'0' as u64;
const LOW_BITS: u64 = ONES * 0x7f;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_counted_and_read_whatever_stands_behind_them() {
        for text in ["7", "10", "12345678", "00000001", "99999999", "4/", "5:6", "123\u{80}", "x"] {
            let digits = text.bytes().take_while(u8::is_ascii_digit).count();
            for rest in [[0; 8], [b','; 8], [b'/'; 8], [b':'; 8], [0xb5; 8]] {
                let bytes = [text.as_bytes(), &rest].concat();
                let word = u64::from_le_bytes(*bytes.first_chunk().unwrap());
                assert_eq!(digits_before(word), digits, "{text}");
                if digits > 0 {
                    let value: i64 = text[..digits].parse().unwrap();
                    assert_eq!(eight_digits(word, digits), value);
                }
            }
        }
    }

    #[test]
    fn every_byte_of_a_block_has_its_bit() {
        for at in 0..Block::LEN {
            let mut bytes = [b'x'; Block::LEN];
            bytes[at] = b'"';
            let block = Block::new(&bytes);
            assert_eq!(block.either(b'"', b'\\'), 1 << at);
            assert_eq!(block.either(b'\\', b'"'), 1 << at);
            assert_eq!(block.same(Block::new(&[b'x'; 16])), Block::ALL & !(1 << at));
        }
    }
}
