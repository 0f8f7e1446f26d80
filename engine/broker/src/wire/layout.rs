//! [`check`]: are these bytes a request of this layout?
//!
//! The generated decoders reserve memory for as many elements as a length claims. So each request
//! is first walked through: all lengths must be covered by bytes that are there, and elements are
//! limited in number. A request that has passed needs memory in proportion to its bytes.

use thiserror::Error;

/// The most elements that the arrays of a request may have together.
const ELEMENTS_MAX: usize = 1_000_000;

/// A field of a request, in the versions that have it.
#[derive(Debug)]
pub(crate) struct Field {
    pub(crate) since: i16,
    pub(crate) until: i16,
    pub(crate) shape: Shape,
}

/// How a field is laid out.
#[derive(Debug)]
pub(crate) enum Shape {
    /// So many bytes.
    Fixed(usize),
    /// A text, or none.
    Text,
    /// Bytes, or none.
    Blob,
    /// An array of elements of so many bytes.
    Fixeds(usize),
    /// An array of texts.
    Texts,
    /// An array of structures.
    Structs(&'static [Field]),
}

/// Which encoding of lengths a version uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// Numbers of fixed size.
    Classic,
    /// Numbers of variable size, and tagged fields behind each structure.
    Flexible,
}

/// Bytes that are not what they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(crate) enum LayoutError {
    #[error("the request ends too early")]
    Short,
    #[error("a length is negative or too large")]
    Length,
    #[error("the request has more than {ELEMENTS_MAX} elements")]
    Elements,
}

/// Walks through the body of a request. Bytes may be left over: librdkafka leaves three when it asks
/// for the metadata of all topics.
pub(crate) fn check(
    body: &[u8],
    fields: &[Field],
    version: i16,
    encoding: Encoding,
) -> Result<(), LayoutError> {
    let mut walk = Walk { rest: body, version, encoding, elements: 0 };
    walk.structure(fields)
}

struct Walk<'a> {
    rest: &'a [u8],
    version: i16,
    encoding: Encoding,
    elements: usize,
}

impl Walk<'_> {
    fn structure(&mut self, fields: &[Field]) -> Result<(), LayoutError> {
        let version = self.version;
        for field in fields.iter().filter(|f| (f.since..=f.until).contains(&version)) {
            self.field(&field.shape)?;
        }
        match self.encoding {
            Encoding::Classic => Ok(()),
            Encoding::Flexible => self.tagged_fields(),
        }
    }

    fn field(&mut self, shape: &Shape) -> Result<(), LayoutError> {
        match shape {
            Shape::Fixed(bytes) => self.skip(*bytes),
            Shape::Text => self.text(),
            Shape::Blob => {
                let bytes = self.length(4)?;
                self.skip(bytes)
            }
            Shape::Fixeds(bytes) => {
                let count = self.count()?;
                self.skip(count.checked_mul(*bytes).ok_or(LayoutError::Length)?)
            }
            Shape::Texts => (0..self.count()?).try_for_each(|_| self.text()),
            Shape::Structs(fields) => (0..self.count()?).try_for_each(|_| self.structure(fields)),
        }
    }

    fn text(&mut self) -> Result<(), LayoutError> {
        let bytes = self.length(2)?;
        self.skip(bytes)
    }

    fn count(&mut self) -> Result<usize, LayoutError> {
        let count = self.length(4)?;
        self.elements = self.elements.saturating_add(count);
        if self.elements > ELEMENTS_MAX { Err(LayoutError::Elements) } else { Ok(count) }
    }

    fn tagged_fields(&mut self) -> Result<(), LayoutError> {
        for _ in 0..self.varint()? {
            self.varint()?;
            let bytes = self.varint()?;
            self.skip(bytes)?;
        }
        Ok(())
    }

    /// A length in the encoding of the version: of something absent it is 0.
    fn length(&mut self, classic_bytes: usize) -> Result<usize, LayoutError> {
        if self.encoding == Encoding::Flexible {
            return Ok(self.varint()?.saturating_sub(1));
        }
        let bytes = self.take(classic_bytes)?;
        let number = match *bytes {
            [a, b] => i64::from(i16::from_be_bytes([a, b])),
            [a, b, c, d] => i64::from(i32::from_be_bytes([a, b, c, d])),
            _ => unreachable!("lengths have two or four bytes"),
        };
        match number {
            -1 => Ok(0),
            _ => usize::try_from(number).map_err(|_| LayoutError::Length),
        }
    }

    fn varint(&mut self) -> Result<usize, LayoutError> {
        let mut number = 0u64;
        for shift in (0..35).step_by(7) {
            let byte = self.take(1)?[0];
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return u32::try_from(number).map(|n| n as usize).map_err(|_| LayoutError::Length);
            }
        }
        Err(LayoutError::Length)
    }

    fn skip(&mut self, bytes: usize) -> Result<(), LayoutError> {
        self.take(bytes).map(drop)
    }

    fn take(&mut self, bytes: usize) -> Result<&[u8], LayoutError> {
        let (taken, rest) = self.rest.split_at_checked(bytes).ok_or(LayoutError::Short)?;
        self.rest = rest;
        Ok(taken)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A request of this layout: all numbers 0, all texts "x", one element in each array.
    pub(crate) fn example(fields: &[Field], version: i16, encoding: Encoding) -> Vec<u8> {
        let mut body = Vec::new();
        put_structure(&mut body, fields, version, encoding);
        body
    }

    fn put_structure(to: &mut Vec<u8>, fields: &[Field], version: i16, encoding: Encoding) {
        for field in fields.iter().filter(|f| (f.since..=f.until).contains(&version)) {
            put_field(to, &field.shape, version, encoding);
        }
        if encoding == Encoding::Flexible {
            to.push(0);
        }
    }

    fn put_field(to: &mut Vec<u8>, shape: &Shape, version: i16, encoding: Encoding) {
        match shape {
            Shape::Fixed(bytes) => to.resize(to.len() + bytes, 0),
            Shape::Text => put_text(to, encoding),
            Shape::Blob => put_length(to, 0, 4, encoding),
            Shape::Fixeds(bytes) => {
                put_length(to, 1, 4, encoding);
                to.resize(to.len() + bytes, 0);
            }
            Shape::Texts => {
                put_length(to, 1, 4, encoding);
                put_text(to, encoding);
            }
            Shape::Structs(fields) => {
                put_length(to, 1, 4, encoding);
                put_structure(to, fields, version, encoding);
            }
        }
    }

    fn put_text(to: &mut Vec<u8>, encoding: Encoding) {
        put_length(to, 1, 2, encoding);
        to.push(b'x');
    }

    fn put_length(to: &mut Vec<u8>, length: u8, classic_bytes: usize, encoding: Encoding) {
        match encoding {
            Encoding::Flexible => to.push(length + 1),
            Encoding::Classic => {
                to.resize(to.len() + classic_bytes - 1, 0);
                to.push(length);
            }
        }
    }

    const FIELDS: &[Field] = &[
        Field { since: 0, until: 9, shape: Shape::Text },
        Field { since: 2, until: 9, shape: Shape::Fixeds(4) },
    ];

    fn classic(body: &[u8], version: i16) -> Result<(), LayoutError> {
        check(body, FIELDS, version, Encoding::Classic)
    }

    #[test]
    fn fields_of_other_versions_are_not_there() {
        assert_eq!(classic(&[0, 1, b'x'], 0), Ok(()));
        assert_eq!(classic(&[0, 1, b'x'], 2), Err(LayoutError::Short));
        assert_eq!(classic(&[0, 1, b'x', 0, 0, 0, 1, 9, 9, 9, 9], 2), Ok(()));
        assert_eq!(classic(&[0, 1, b'x', 0], 0), Ok(()), "bytes left over");
    }

    #[test]
    fn a_length_that_claims_more_than_is_there_is_found_out() {
        assert_eq!(classic(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff], 2), Ok(()), "both absent");
        assert_eq!(classic(&[0, 0, 0x7f, 0xff, 0xff, 0xff], 2), Err(LayoutError::Elements));
        assert_eq!(classic(&[0, 0, 0x80, 0, 0, 0], 2), Err(LayoutError::Length));
        let flexible = check(&[1, 0x80, 0x80, 0x3c], FIELDS, 2, Encoding::Flexible);
        assert_eq!(flexible, Err(LayoutError::Short));
    }

    #[test]
    fn tagged_fields_are_stepped_over() {
        let body = [2, b'x', 1, 1, 7, 2, 9, 9];
        assert_eq!(check(&body, FIELDS, 2, Encoding::Flexible), Ok(()));
    }
}
