//! Functions over strings. Positions count characters from 1, as in SQL; where Flink's answer is
//! surprising, a comment says so.

use super::function::{
    Definition, Kind, Shape, Takes, gives_boolean, gives_bytes, gives_int, gives_text, gives_texts,
};
use super::values::Call;
use arrow::array::{ArrayRef, BinaryBuilder, ListBuilder, MapBuilder, StringBuilder};
use arrow::datatypes::{DataType, Field, Int32Type};
use datafusion::common::{Result, exec_err};
use std::fmt::Write;
use std::sync::Arc;

use Kind::{Any, Integer, Text, TextOrBytes, TextOrInteger};

const ONE: Takes = Takes::Fixed(&[Text], &[]);
const TWO: Takes = Takes::Fixed(&[Text, Text], &[]);
const WITH_SET: Takes = Takes::Fixed(&[Text], &[Text]);
const SUBSTRING: Takes = Takes::Fixed(&[Text, Integer], &[Integer]);
const PAD: Takes = Takes::Fixed(&[Text, Integer, Text], &[]);

/// The functions of this family.
pub(super) const DEFINITIONS: &[Definition] = &[
    Definition::new("UPPER", ONE, gives_text, upper),
    Definition::new("LOWER", ONE, gives_text, lower),
    Definition::new("INITCAP", ONE, gives_text, initcap),
    Definition::new("REVERSE", ONE, gives_text, reverse),
    Definition::new("CHAR_LENGTH", ONE, gives_int, char_length),
    Definition::new("CHARACTER_LENGTH", ONE, gives_int, char_length),
    Definition::new("LENGTH", ONE, gives_int, char_length),
    Definition::new("OCTET_LENGTH", Takes::Fixed(&[TextOrBytes], &[]), gives_int, octet_length),
    Definition::new("ASCII", ONE, gives_int, ascii),
    Definition::new("CHR", Takes::Fixed(&[Integer], &[]), gives_text, chr),
    Definition::new("TRIM", WITH_SET, gives_text, trim),
    Definition::new("BTRIM", WITH_SET, gives_text, trim),
    Definition::new("LTRIM", WITH_SET, gives_text, ltrim),
    Definition::new("RTRIM", WITH_SET, gives_text, rtrim),
    Definition::new("SUBSTRING", SUBSTRING, gives_text, substring),
    Definition::new("SUBSTR", SUBSTRING, gives_text, substring),
    Definition::new("LEFT", Takes::Fixed(&[Text, Integer], &[]), gives_text, left),
    Definition::new("RIGHT", Takes::Fixed(&[Text, Integer], &[]), gives_text, right),
    Definition::new("LPAD", PAD, gives_text, lpad),
    Definition::new("RPAD", PAD, gives_text, rpad),
    Definition::new("REPEAT", Takes::Fixed(&[Text, Integer], &[]), gives_text, repeat),
    Definition::new("REPLACE", Takes::Fixed(&[Text, Text, Text], &[]), gives_text, replace),
    Definition::new(
        "OVERLAY",
        Takes::Fixed(&[Text, Text, Integer], &[Integer]),
        gives_text,
        overlay,
    ),
    Definition::new("TRANSLATE", Takes::Fixed(&[Text, Text, Text], &[]), gives_text, translate),
    Definition::new("CONCAT", Takes::Many(&[Text], Text), gives_text, concat),
    Definition::new("CONCAT_WS", Takes::Many(&[Text], Text), gives_text, concat_ws),
    Definition::new("POSITION", Takes::Fixed(&[Text, Text], &[Integer]), gives_int, position),
    Definition::new("LOCATE", Takes::Fixed(&[Text, Text], &[Integer]), gives_int, position),
    Definition::new("INSTR", Takes::Fixed(&[Text, Text], &[Integer, Integer]), gives_int, instr),
    Definition::new("STARTSWITH", TWO, gives_boolean, starts_with),
    Definition::new("ENDSWITH", TWO, gives_boolean, ends_with),
    Definition::new(
        "SPLIT_INDEX",
        Takes::Fixed(&[Text, TextOrInteger, Integer], &[]),
        gives_text,
        split_index,
    ),
    Definition::new("SPLIT", TWO, gives_texts, split),
    Definition::new("STR_TO_MAP", Takes::Fixed(&[Text], &[Text, Text]), gives_map, str_to_map),
    Definition::new("ELT", Takes::Many(&[Integer, Text], Text), gives_text, elt),
    Definition::new("TO_BASE64", Takes::Fixed(&[TextOrBytes], &[]), gives_text, to_base64),
    Definition::new("FROM_BASE64", ONE, gives_text, from_base64),
    Definition::new("ENCODE", TWO, gives_bytes, encode),
    Definition::new("DECODE", Takes::Fixed(&[TextOrBytes, Text], &[]), gives_text, decode),
    Definition::new("UUID", Takes::Fixed(&[], &[]), gives_text, uuid).changing(),
    Definition::new("TYPEOF", Takes::Fixed(&[Any], &[Any]), gives_text, type_of),
];

fn gives_map(_: &Shape<'_>) -> Result<DataType> {
    Ok(text_map_type())
}

/// `MAP<STRING, STRING>`, with the field names of arrow's own builder.
fn text_map_type() -> DataType {
    let entries = DataType::Struct(
        vec![Field::new("keys", DataType::Utf8, false), Field::new("values", DataType::Utf8, true)]
            .into(),
    );
    DataType::Map(Arc::new(Field::new("entries", entries, false)), false)
}

fn upper(call: &Call<'_>) -> Result<ArrayRef> {
    let text = call.text(0)?;
    Ok(call.texts(|row, out| {
        let text = text.get(row)?;
        if text.is_ascii() {
            out.push_str(text);
            out.make_ascii_uppercase();
        } else {
            out.extend(text.chars().flat_map(char::to_uppercase));
        }
        Some(())
    }))
}

fn lower(call: &Call<'_>) -> Result<ArrayRef> {
    let text = call.text(0)?;
    Ok(call.texts(|row, out| {
        let text = text.get(row)?;
        if text.is_ascii() {
            out.push_str(text);
            out.make_ascii_lowercase();
        } else {
            // Whole words, because a final sigma depends on its neighbours.
            out.push_str(&text.to_lowercase());
        }
        Some(())
    }))
}

/// As in Flink, only ASCII letters and digits make a word: any other character ends it.
fn initcap(call: &Call<'_>) -> Result<ArrayRef> {
    let text = call.text(0)?;
    Ok(call.texts(|row, out| {
        let mut in_word = false;
        for c in text.get(row)?.chars() {
            out.push(if in_word { c.to_ascii_lowercase() } else { c.to_ascii_uppercase() });
            in_word = c.is_ascii_alphanumeric();
        }
        Some(())
    }))
}

fn reverse(call: &Call<'_>) -> Result<ArrayRef> {
    let text = call.text(0)?;
    Ok(call.texts(|row, out| {
        out.extend(text.get(row)?.chars().rev());
        Some(())
    }))
}

fn char_length(call: &Call<'_>) -> Result<ArrayRef> {
    let text = call.text(0)?;
    Ok(call.collect::<Int32Type>(|row| Some(count_chars(text.get(row)?) as i32)))
}

fn octet_length(call: &Call<'_>) -> Result<ArrayRef> {
    let bytes = call.bytes(0)?;
    Ok(call.collect::<Int32Type>(|row| Some(bytes.get(row)?.len() as i32)))
}

/// The first byte, signed, as in Flink.
fn ascii(call: &Call<'_>) -> Result<ArrayRef> {
    let text = call.text(0)?;
    Ok(call.collect::<Int32Type>(|row| {
        Some(text.get(row)?.as_bytes().first().map_or(0, |byte| i32::from(byte.cast_signed())))
    }))
}

fn chr(call: &Call<'_>) -> Result<ArrayRef> {
    let code = call.integers(0)?;
    Ok(call.texts(|row, out| {
        let code = code.get(row)?;
        if code >= 0 {
            out.push(char::from((code & 0xFF) as u8));
        }
        Some(())
    }))
}

/// Trims with `cut` and the set of characters in argument 2, or spaces.
fn trim_with(call: &Call<'_>, cut: impl for<'t> Fn(&'t str, &str) -> &'t str) -> Result<ArrayRef> {
    let (text, set) = (call.text(0)?, call.text_or(1, " ")?);
    Ok(call.slices(|row| Some(cut(text.get(row)?, set.get(row)?))))
}

fn trim(call: &Call<'_>) -> Result<ArrayRef> {
    trim_with(call, |text, set| text.trim_matches(|c| set.contains(c)))
}

fn ltrim(call: &Call<'_>) -> Result<ArrayRef> {
    trim_with(call, |text, set| text.trim_start_matches(|c| set.contains(c)))
}

fn rtrim(call: &Call<'_>) -> Result<ArrayRef> {
    trim_with(call, |text, set| text.trim_end_matches(|c| set.contains(c)))
}

/// Position 0 counts as 1, a negative one counts from the end; a negative length gives NULL.
fn substring(call: &Call<'_>) -> Result<ArrayRef> {
    let (text, start) = (call.text(0)?, call.integers(1)?);
    let length = call.integers_or(2, i64::MAX)?;
    Ok(call.slices(|row| {
        let (text, start, length) = (text.get(row)?, start.get(row)?, length.get(row)?);
        if length < 0 {
            return None;
        }
        let start = match start {
            0 => 0,
            1.. => start - 1,
            _ => match count_chars(text) as i64 + start {
                from @ 0.. => from,
                _ => return Some(""),
            },
        };
        Some(chars(text, start as usize, start.saturating_add(length) as usize))
    }))
}

fn left(call: &Call<'_>) -> Result<ArrayRef> {
    let (text, count) = (call.text(0)?, call.integers(1)?);
    Ok(call.slices(|row| Some(chars(text.get(row)?, 0, count.get(row)?.max(0) as usize))))
}

fn right(call: &Call<'_>) -> Result<ArrayRef> {
    let (text, count) = (call.text(0)?, call.integers(1)?);
    Ok(call.slices(|row| {
        let (text, count) = (text.get(row)?, count.get(row)?.max(0) as usize);
        Some(chars(text, count_chars(text).saturating_sub(count), usize::MAX))
    }))
}

/// Pads or cuts to exactly the wanted number of characters; `None` if the padding can't.
fn padding<'p>(text: &str, length: i64, pad: &'p str) -> Option<impl Iterator<Item = char> + 'p> {
    if length < 0 || pad.is_empty() {
        return None;
    }
    Some(pad.chars().cycle().take((length as usize).saturating_sub(count_chars(text))))
}

/// No function makes a longer text of a shorter one: a mistaken length must not take all memory.
const MADE_BYTES_MAX: u64 = 16 << 20;

fn check_length(call: &Call<'_>, bytes: u64) -> Result<()> {
    match bytes > MADE_BYTES_MAX {
        true => exec_err!(
            "{}: a text of {bytes} bytes is too long; {MADE_BYTES_MAX} may be made",
            call.name
        ),
        false => Ok(()),
    }
}

/// The text, the length and the padding of a row, if none of them is NULL.
fn pad(
    call: &Call<'_>,
    put: impl Fn(&str, i64, &str, &mut String) -> Option<()>,
) -> Result<ArrayRef> {
    let (text, length, pad) = (call.text(0)?, call.integers(1)?, call.text(2)?);
    call.try_texts(|row, out| {
        let (Some(text), Some(length), Some(pad)) = (text.get(row), length.get(row), pad.get(row))
        else {
            return Ok(None);
        };
        check_length(call, length.max(0).unsigned_abs())?;
        Ok(put(text, length, pad, out))
    })
}

fn lpad(call: &Call<'_>) -> Result<ArrayRef> {
    pad(call, |text, length, pad, out| {
        out.extend(padding(text, length, pad)?);
        out.push_str(chars(text, 0, length as usize));
        Some(())
    })
}

fn rpad(call: &Call<'_>) -> Result<ArrayRef> {
    pad(call, |text, length, pad, out| {
        let padding = padding(text, length, pad)?;
        out.push_str(chars(text, 0, length as usize));
        out.extend(padding);
        Some(())
    })
}

fn repeat(call: &Call<'_>) -> Result<ArrayRef> {
    let (text, times) = (call.text(0)?, call.integers(1)?);
    call.try_texts(|row, out| {
        let (Some(text), Some(times)) = (text.get(row), times.get(row)) else { return Ok(None) };
        let times = times.max(0).unsigned_abs();
        check_length(call, times.saturating_mul(text.len() as u64))?;
        if !text.is_empty() {
            (0..times).for_each(|_| out.push_str(text));
        }
        Ok(Some(()))
    })
}

fn replace(call: &Call<'_>) -> Result<ArrayRef> {
    let (text, from, to) = (call.text(0)?, call.text(1)?, call.text(2)?);
    Ok(call.texts(|row, out| {
        let (text, from, to) = (text.get(row)?, from.get(row)?, to.get(row)?);
        let mut copied = 0;
        for (at, found) in text.match_indices(from) {
            out.push_str(&text[copied..at]);
            out.push_str(to);
            copied = at + found.len();
        }
        out.push_str(&text[copied..]);
        Some(())
    }))
}

fn overlay(call: &Call<'_>) -> Result<ArrayRef> {
    let (text, with, start) = (call.text(0)?, call.text(1)?, call.integers(2)?);
    let length = if call.count() > 3 { Some(call.integers(3)?) } else { None };
    Ok(call.texts(|row, out| {
        let (text, with, start) = (text.get(row)?, with.get(row)?, start.get(row)?);
        let length = match &length {
            Some(length) => length.get(row)?,
            None => count_chars(with) as i64,
        };
        if start <= 0 || start > count_chars(text) as i64 {
            out.push_str(text);
            return Some(());
        }
        out.push_str(chars(text, 0, start as usize - 1));
        out.push_str(with);
        if length > 0 {
            out.push_str(chars(text, start.saturating_add(length) as usize - 1, usize::MAX));
        }
        Some(())
    }))
}

fn translate(call: &Call<'_>) -> Result<ArrayRef> {
    let (text, from, to) = (call.text(0)?, call.text(1)?, call.text(2)?);
    Ok(call.texts(|row, out| {
        let (text, from, to) = (text.get(row)?, from.get(row)?, to.get(row).unwrap_or(""));
        out.extend(text.chars().filter_map(|c| match from.chars().position(|f| f == c) {
            Some(at) => to.chars().nth(at),
            None => Some(c),
        }));
        Some(())
    }))
}

fn concat(call: &Call<'_>) -> Result<ArrayRef> {
    let parts = (0..call.count()).map(|i| call.text(i)).collect::<Result<Vec<_>>>()?;
    Ok(call.texts(|row, out| {
        for part in &parts {
            out.push_str(part.get(row)?);
        }
        Some(())
    }))
}

/// NULLs among the parts are skipped.
fn concat_ws(call: &Call<'_>) -> Result<ArrayRef> {
    let separator = call.text(0)?;
    let parts = (1..call.count()).map(|i| call.text(i)).collect::<Result<Vec<_>>>()?;
    Ok(call.texts(|row, out| {
        let mut between = "";
        let separator = separator.get(row)?;
        for part in parts.iter().filter_map(|part| part.get(row)) {
            out.push_str(between);
            out.push_str(part);
            between = separator;
        }
        Some(())
    }))
}

fn position(call: &Call<'_>) -> Result<ArrayRef> {
    let (wanted, text, from) = (call.text(0)?, call.text(1)?, call.integers_or(2, 1)?);
    Ok(call.collect::<Int32Type>(|row| {
        let (wanted, text, from) = (wanted.get(row)?, text.get(row)?, from.get(row)?);
        Some(find(text, wanted, from))
    }))
}

/// The position of `wanted` in `text` at or after position `from`; 0 if there is none.
fn find(text: &str, wanted: &str, from: i64) -> i32 {
    let skipped = byte_of_char(text, from.saturating_sub(1).max(0) as usize);
    match text[skipped..].find(wanted) {
        Some(at) => count_chars(&text[..skipped + at]) as i32 + 1,
        None => 0,
    }
}

/// With a negative start, searches backwards from the end.
fn instr(call: &Call<'_>) -> Result<ArrayRef> {
    let (text, wanted) = (call.text(0)?, call.text(1)?);
    let (start, nth) = (call.integers_or(2, 1)?, call.integers_or(3, 1)?);
    call.try_collect::<Int32Type>(|row| {
        let (Some(text), Some(wanted), Some(start), Some(nth)) =
            (text.get(row), wanted.get(row), start.get(row), nth.get(row))
        else {
            return Ok(None);
        };
        if nth <= 0 {
            return exec_err!("INSTR: argument 4 must be positive, not {nth}");
        }
        Ok(Some(match start {
            0 => 0,
            1.. => find_nth(text, wanted, start, nth),
            _ => {
                let reversed = |text: &str| text.chars().rev().collect::<String>();
                let wanted_chars = count_chars(wanted) as i32;
                match find_nth(&reversed(text), &reversed(wanted), start.saturating_neg(), nth) {
                    0 => 0,
                    at => count_chars(text) as i32 + 2 - at - wanted_chars,
                }
            }
        }))
    })
}

fn find_nth(text: &str, wanted: &str, start: i64, nth: i64) -> i32 {
    let (mut from, mut at) = (start, 0);
    for _ in 0..nth {
        at = find(text, wanted, from);
        if at == 0 {
            return 0;
        }
        from = i64::from(at) + 1;
    }
    at
}

fn starts_with(call: &Call<'_>) -> Result<ArrayRef> {
    let (text, part) = (call.bytes(0)?, call.bytes(1)?);
    Ok(call.collect_booleans(|row| Some(text.get(row)?.starts_with(part.get(row)?))))
}

fn ends_with(call: &Call<'_>) -> Result<ArrayRef> {
    let (text, part) = (call.bytes(0)?, call.bytes(1)?);
    Ok(call.collect_booleans(|row| Some(text.get(row)?.ends_with(part.get(row)?))))
}

/// Counts from 0; a separator may be given as a character's code; an empty string has no parts.
fn split_index(call: &Call<'_>) -> Result<ArrayRef> {
    let (text, index) = (call.text(0)?, call.integers(2)?);
    if call.data_type(1).is_integer() {
        let code = call.integers(1)?;
        return Ok(call.slices(|row| {
            let code = u8::try_from(code.get(row)?).ok().filter(|code| *code > 0)?;
            let (text, index) = (text.get(row)?, usize::try_from(index.get(row)?).ok()?);
            if text.is_empty() { None } else { text.split(char::from(code)).nth(index) }
        }));
    }
    let separator = call.text(1)?;
    Ok(call.slices(|row| {
        let (text, separator) = (text.get(row)?, separator.get(row)?);
        let index = usize::try_from(index.get(row)?).ok()?;
        if text.is_empty() {
            return None;
        }
        match single_char(separator) {
            Some(c) => text.split(c).nth(index),
            None if separator.is_empty() => text.split(char::is_whitespace).nth(index),
            None => text.split(separator).nth(index),
        }
    }))
}

/// The only character of `text`: searching for a character is much faster than for a string.
fn single_char(text: &str) -> Option<char> {
    let mut chars = text.chars();
    let first = chars.next()?;
    chars.next().is_none().then_some(first)
}

/// An empty separator splits into characters.
fn split(call: &Call<'_>) -> Result<ArrayRef> {
    let (text, separator) = (call.text(0)?, call.text(1)?);
    let mut built = ListBuilder::new(StringBuilder::new());
    for row in 0..call.rows {
        let parts = text.get(row).zip(separator.get(row));
        if let Some((text, separator)) = parts {
            if separator.is_empty() {
                let mut buffer = [0; 4];
                text.chars().for_each(|c| built.values().append_value(c.encode_utf8(&mut buffer)));
            } else {
                text.split(separator).for_each(|part| built.values().append_value(part));
            }
        }
        built.append(parts.is_some());
    }
    Ok(Arc::new(built.finish()))
}

/// A later entry for the same key wins, but keeps the first one's place.
fn str_to_map(call: &Call<'_>) -> Result<ArrayRef> {
    let (text, pairs, values) = (call.text(0)?, call.text_or(1, ",")?, call.text_or(2, "=")?);
    let mut built = MapBuilder::new(None, StringBuilder::new(), StringBuilder::new());
    for row in 0..call.rows {
        let (Some(text), Some(between_pairs), Some(before_value)) =
            (text.get(row), pairs.get(row), values.get(row))
        else {
            built.append(false)?;
            continue;
        };
        let mut entries: Vec<(&str, Option<&str>)> = Vec::new();
        for pair in text.split(between_pairs).filter(|_| !text.is_empty()) {
            let (key, value) = match pair.split_once(before_value) {
                Some((key, value)) => (key, Some(value)),
                None => (pair, None),
            };
            match entries.iter_mut().find(|entry| entry.0 == key) {
                Some(entry) => entry.1 = value,
                None => entries.push((key, value)),
            }
        }
        for (key, value) in entries {
            built.keys().append_value(key);
            built.values().append_option(value);
        }
        built.append(true)?;
    }
    Ok(Arc::new(built.finish()))
}

fn elt(call: &Call<'_>) -> Result<ArrayRef> {
    let index = call.integers(0)?;
    let texts = (1..call.count()).map(|i| call.text(i)).collect::<Result<Vec<_>>>()?;
    Ok(call.slices(|row| {
        let index = usize::try_from(index.get(row)?).ok()?.checked_sub(1)?;
        texts.get(index)?.get(row)
    }))
}

fn to_base64(call: &Call<'_>) -> Result<ArrayRef> {
    let bytes = call.bytes(0)?;
    Ok(call.texts(|row, out| {
        write_base64(bytes.get(row)?, out);
        Some(())
    }))
}

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn write_base64(bytes: &[u8], out: &mut String) {
    for chunk in bytes.chunks(3) {
        let byte = |index: usize| u32::from(chunk.get(index).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for place in 0..4 {
            if place <= chunk.len() {
                out.push(char::from(BASE64[(bits >> (18 - 6 * place) & 63) as usize]));
            } else {
                out.push('=');
            }
        }
    }
}

/// The bytes of a Base64 text; `None` if it isn't one.
fn read_base64(text: &str) -> Option<Vec<u8>> {
    let digits = text.trim_end_matches('=').as_bytes();
    if digits.len() % 4 == 1 {
        return None;
    }
    let mut bytes = Vec::with_capacity(digits.len() * 3 / 4);
    for chunk in digits.chunks(4) {
        let mut bits = 0_u32;
        for digit in chunk {
            bits = bits << 6 | BASE64.iter().position(|d| d == digit)? as u32;
        }
        bits <<= 6 * (4 - chunk.len());
        bytes.extend_from_slice(&bits.to_be_bytes()[1..chunk.len()]);
    }
    Some(bytes)
}

fn from_base64(call: &Call<'_>) -> Result<ArrayRef> {
    let text = call.text(0)?;
    Ok(call.texts(|row, out| {
        out.push_str(&String::from_utf8_lossy(&read_base64(text.get(row)?)?));
        Some(())
    }))
}

/// The character sets that Flink names, as far as they differ from one another here.
#[derive(Clone, Copy)]
enum Charset {
    Ascii,
    Latin1,
    Utf8,
    Utf16Be,
    Utf16Le,
    Utf16,
}

fn charset(call: &Call<'_>, name: &str) -> Result<Charset> {
    Ok(match name.to_ascii_uppercase().as_str() {
        "US-ASCII" => Charset::Ascii,
        "ISO-8859-1" => Charset::Latin1,
        "UTF-8" => Charset::Utf8,
        "UTF-16BE" => Charset::Utf16Be,
        "UTF-16LE" => Charset::Utf16Le,
        "UTF-16" => Charset::Utf16,
        _ => {
            return exec_err!(
                "{}: '{name}' is no character set; known are US-ASCII, ISO-8859-1, UTF-8, \
                 UTF-16BE, UTF-16LE and UTF-16",
                call.name
            );
        }
    })
}

fn encode(call: &Call<'_>) -> Result<ArrayRef> {
    let (text, name) = (call.text(0)?, call.text(1)?);
    let mut built = BinaryBuilder::with_capacity(call.rows, call.rows * 16);
    let mut bytes = Vec::new();
    for row in 0..call.rows {
        let (Some(text), Some(name)) = (text.get(row), name.get(row)) else {
            built.append_null();
            continue;
        };
        bytes.clear();
        let narrow = |most: u32| {
            text.chars().map(move |c| if u32::from(c) <= most { c as u8 } else { b'?' })
        };
        match charset(call, name)? {
            Charset::Ascii => bytes.extend(narrow(0x7F)),
            Charset::Latin1 => bytes.extend(narrow(0xFF)),
            Charset::Utf8 => bytes.extend_from_slice(text.as_bytes()),
            Charset::Utf16Le => bytes.extend(text.encode_utf16().flat_map(u16::to_le_bytes)),
            Charset::Utf16Be => bytes.extend(text.encode_utf16().flat_map(u16::to_be_bytes)),
            Charset::Utf16 => {
                bytes.extend_from_slice(&[0xFE, 0xFF]);
                bytes.extend(text.encode_utf16().flat_map(u16::to_be_bytes));
            }
        }
        built.append_value(&bytes);
    }
    Ok(Arc::new(built.finish()))
}

fn decode(call: &Call<'_>) -> Result<ArrayRef> {
    let (bytes, name) = (call.bytes(0)?, call.text(1)?);
    call.try_texts(|row, out| {
        let (Some(bytes), Some(name)) = (bytes.get(row), name.get(row)) else {
            return Ok(None);
        };
        let wide = |bytes: &[u8], unit: fn([u8; 2]) -> u16| {
            let units = bytes.chunks_exact(2).map(|pair| unit([pair[0], pair[1]]));
            char::decode_utf16(units)
                .map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER))
                .collect::<String>()
        };
        match charset(call, name)? {
            Charset::Ascii => out.extend(bytes.iter().map(|byte| match byte {
                0..=0x7F => char::from(*byte),
                _ => char::REPLACEMENT_CHARACTER,
            })),
            Charset::Latin1 => out.extend(bytes.iter().map(|byte| char::from(*byte))),
            Charset::Utf8 => out.push_str(&String::from_utf8_lossy(bytes)),
            Charset::Utf16Le => out.push_str(&wide(bytes, u16::from_le_bytes)),
            Charset::Utf16Be => out.push_str(&wide(bytes, u16::from_be_bytes)),
            Charset::Utf16 => match bytes {
                [0xFF, 0xFE, rest @ ..] => out.push_str(&wide(rest, u16::from_le_bytes)),
                [0xFE, 0xFF, rest @ ..] => out.push_str(&wide(rest, u16::from_be_bytes)),
                _ => out.push_str(&wide(bytes, u16::from_be_bytes)),
            },
        }
        Ok(Some(()))
    })
}

/// A random (version 4) UUID for each row.
fn uuid(call: &Call<'_>) -> Result<ArrayRef> {
    Ok(call.texts(|_, out| {
        let bits = u128::from(super::numeric::random_bits()) << 64
            | u128::from(super::numeric::random_bits());
        let bits = bits & !(0xF << 76 | 0x3 << 62) | 0x4 << 76 | 0x2 << 62;
        let hex = format!("{bits:032x}");
        let (a, b, c, d, e) = (&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]);
        write!(out, "{a}-{b}-{c}-{d}-{e}").ok()
    }))
}

fn type_of(call: &Call<'_>) -> Result<ArrayRef> {
    let name = super::function::sql_type_name(&call.data_type(0));
    Ok(call.slices(|_| Some(name.as_str())))
}

/// How many characters `text` has.
pub(super) fn count_chars(text: &str) -> usize {
    if text.is_ascii() { text.len() } else { text.chars().count() }
}

/// The characters of `text` from `start` up to `end`, as far as there are any.
fn chars(text: &str, start: usize, end: usize) -> &str {
    let from = byte_of_char(text, start);
    let to = from + byte_of_char(&text[from..], end.saturating_sub(start));
    &text[from..to]
}

/// Where character `index` begins; the end of `text` if it has fewer.
pub(super) fn byte_of_char(text: &str, index: usize) -> usize {
    if index >= text.len() {
        return text.len();
    }
    if text.as_bytes()[..index].is_ascii() {
        return index;
    }
    text.char_indices().nth(index).map_or(text.len(), |(at, _)| at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn base64_reads_back_what_it_wrote(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let mut text = String::new();
            write_base64(&bytes, &mut text);
            prop_assert_eq!(read_base64(&text), Some(bytes));
        }

        #[test]
        fn characters_are_cut_as_by_counting(text in "[aß日]{0,8}", start in 0_usize..10, count in 0_usize..10) {
            let expected: String = text.chars().skip(start).take(count).collect();
            prop_assert_eq!(chars(&text, start, start + count), expected);
        }
    }
}
