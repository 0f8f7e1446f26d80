//! Hashes, as hexadecimal text in lower case.

use super::function::{Definition, Kind, Takes, gives_text};
use super::sha1::sha1;
use super::values::Call;
use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, StringBuilder};
use arrow::datatypes::{DataType, Field};
use datafusion::common::config::ConfigOptions;
use datafusion::common::{Result, ScalarValue, internal_err};
use datafusion::functions::crypto;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs};
use std::sync::Arc;

const ONE: Takes = Takes::Fixed(&[Kind::TextOrBytes], &[]);

/// The functions of this family.
pub(super) const DEFINITIONS: &[Definition] = &[
    Definition::new("MD5", ONE, gives_text, |call| digest(call, "md5")).by_datafusion(),
    Definition::new("SHA1", ONE, gives_text, sha1_hex),
    Definition::new("SHA224", ONE, gives_text, |call| digest(call, "sha224")).by_datafusion(),
    Definition::new("SHA256", ONE, gives_text, |call| digest(call, "sha256")).by_datafusion(),
    Definition::new("SHA384", ONE, gives_text, |call| digest(call, "sha384")).by_datafusion(),
    Definition::new("SHA512", ONE, gives_text, |call| digest(call, "sha512")).by_datafusion(),
    Definition::new(
        "SHA2",
        Takes::Fixed(&[Kind::TextOrBytes, Kind::Integer], &[]),
        gives_text,
        sha2,
    )
    .by_datafusion(),
];

/// DataFusion's digests of a column.
fn digests(column: ArrayRef, algorithm: &str) -> Result<ArrayRef> {
    let algorithm = ScalarValue::from(algorithm);
    let rows = column.len();
    let field = |data_type: &DataType| Arc::new(Field::new("", data_type.clone(), true));
    let result = crypto::digest().invoke_with_args(ScalarFunctionArgs {
        arg_fields: vec![field(column.data_type()), field(&algorithm.data_type())],
        args: vec![ColumnarValue::Array(column), ColumnarValue::Scalar(algorithm)],
        number_rows: rows,
        return_field: field(&DataType::Binary),
        config_options: Arc::new(ConfigOptions::default()),
    })?;
    result.into_array(rows)
}

fn push_hex(bytes: &[u8], out: &mut String) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in bytes {
        out.push(char::from(DIGITS[usize::from(byte >> 4)]));
        out.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
}

fn digest(call: &Call<'_>, algorithm: &str) -> Result<ArrayRef> {
    hex(&digests(call.column(0)?, algorithm)?)
}

fn hex(hashes: &ArrayRef) -> Result<ArrayRef> {
    let Some(hashes) = hashes.as_binary_opt::<i32>() else {
        return internal_err!("a hash came as {}", hashes.data_type());
    };
    let mut built = StringBuilder::with_capacity(hashes.len(), hashes.values().len() * 2);
    let mut text = String::new();
    for hash in hashes {
        text.clear();
        built.append_option(hash.map(|hash| {
            push_hex(hash, &mut text);
            &text
        }));
    }
    Ok(Arc::new(built.finish()))
}

fn sha1_hex(call: &Call<'_>) -> Result<ArrayRef> {
    let bytes = call.bytes(0)?;
    Ok(call.texts(|row, out| {
        push_hex(&sha1(bytes.get(row)?), out);
        Some(())
    }))
}

/// `SHA2(s, bits)`; NULL for a length that doesn't exist.
fn sha2(call: &Call<'_>) -> Result<ArrayRef> {
    let (bytes, bits) = (call.bytes(0)?, call.integers(1)?);
    let mut hashes: Vec<Option<Vec<u8>>> = vec![None; call.rows];
    for (length, algorithm) in [(224, "sha224"), (256, "sha256"), (384, "sha384"), (512, "sha512")]
    {
        let is_wanted = |row| bits.get(row) == Some(length);
        if !(0..call.rows).any(is_wanted) {
            continue;
        }
        let wanted = |row| if is_wanted(row) { bytes.get(row) } else { None };
        let column: BinaryArray = (0..call.rows).map(wanted).collect();
        let digests = digests(Arc::new(column), algorithm)?;
        let Some(digests) = digests.as_binary_opt::<i32>() else {
            return internal_err!("a hash came as {}", digests.data_type());
        };
        for (hash, digest) in hashes.iter_mut().zip(digests) {
            if let Some(digest) = digest {
                *hash = Some(digest.to_vec());
            }
        }
    }
    hex(&(Arc::new(hashes.iter().map(Option::as_deref).collect::<BinaryArray>()) as ArrayRef))
}
