//! Base64 with the standard alphabet: how text formats hold `BYTES`.

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Values of the alphabet's characters; 64 elsewhere.
const VALUES: [u8; 256] = {
    let mut values = [64; 256];
    let mut i = 0;
    while i < 64 {
        values[ALPHABET[i] as usize] = i as u8;
        i += 1;
    }
    values
};

/// Appends the bytes that `text` stands for; padding may be missing. On failure `out` may hold a
/// part of them.
pub(crate) fn decode(text: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let unpadded = match text {
        [rest @ .., b'=', b'='] | [rest @ .., b'='] if text.len().is_multiple_of(4) => rest,
        _ => text,
    };
    for chunk in unpadded.chunks(4) {
        let mut bits = 0u32;
        for &byte in chunk {
            let value = VALUES[usize::from(byte)];
            if value == 64 {
                return None;
            }
            bits = bits << 6 | u32::from(value);
        }
        bits <<= 6 * (4 - chunk.len());
        let [_, a, b, c] = bits.to_be_bytes();
        match chunk.len() {
            4 => out.extend([a, b, c]),
            3 => out.extend([a, b]),
            2 => out.push(a),
            _ => return None,
        }
    }
    Some(())
}

/// Appends the text for `bytes`, padded.
pub(crate) fn encode(bytes: &[u8], out: &mut Vec<u8>) {
    for chunk in bytes.chunks(3) {
        let byte = |i: usize| u32::from(chunk.get(i).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for i in 0..4 {
            let symbol = ALPHABET[(bits >> (18 - 6 * i) & 63) as usize];
            out.push(if i <= chunk.len() { symbol } else { b'=' });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_comes_back_with_and_without_padding() {
        for (bytes, text) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")]
        {
            let (mut there, mut back, mut bare) = (vec![], vec![], vec![]);
            encode(bytes.as_bytes(), &mut there);
            assert_eq!(there, text.as_bytes());
            decode(&there, &mut back).unwrap();
            decode(text.trim_end_matches('=').as_bytes(), &mut bare).unwrap();
            assert_eq!((back.as_slice(), bare), (bytes.as_bytes(), back.clone()));
        }
        assert_eq!(decode(b"a", &mut vec![]), None);
        assert_eq!(decode(b"ab=c", &mut vec![]), None);
    }
}
