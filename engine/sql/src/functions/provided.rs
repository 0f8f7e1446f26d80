//! Functions that are compiled in and that a job file brings in under a name of its own:
//! `CREATE FUNCTION f AS 'class'`.
//!
//! The class is the name under which the same job file finds the function elsewhere, so that the
//! file runs in both places unchanged. A new one is an entry in `PROVIDED` and its kernel.

use super::function::{Definition, Kind, Takes, gives_bigint};
use super::values::Call;
use arrow::array::ArrayRef;
use arrow::datatypes::Int64Type;
use datafusion::common::{Result, exec_err};

/// Classes and the functions that they stand for.
pub(super) const PROVIDED: &[(&str, Definition)] = &[(
    "com.github.nexmark.flink.udf.CountChar",
    Definition::new(
        "COUNT_CHAR",
        Takes::Fixed(&[Kind::Text, Kind::Text], &[]),
        gives_bigint,
        count_char,
    ),
)];

/// How often the first byte of the second argument stands in the first; never in NULL.
fn count_char(call: &Call<'_>) -> Result<ArrayRef> {
    let (texts, wanted) = (call.text(0)?, call.text(1)?);
    call.try_collect::<Int64Type>(|row| {
        let Some(text) = texts.get(row) else { return Ok(Some(0)) };
        let Some(&wanted) = wanted.get(row).and_then(|wanted| wanted.as_bytes().first()) else {
            return exec_err!("COUNT_CHAR: argument 2 must hold a character");
        };
        Ok(Some(text.bytes().filter(|&byte| byte == wanted).count() as i64))
    })
}
