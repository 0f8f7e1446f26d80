//! [`SqlType`]: Flink's types, and how they map to Arrow's.
//!
//! Arrow's types forget what SQL distinguishes (`CHAR(3)` and `STRING`, `TIMESTAMP(0)` and
//! `TIMESTAMP(3)`), so the planner works with these and leaves Arrow to the batches. The mapping
//! is the one written at [`tidemill_formats::Table::schema`].

use arrow::datatypes::{DataType, Field, Fields, IntervalUnit, TimeUnit};
use std::fmt;
use std::sync::Arc;

/// A type of Flink SQL. Nullability is not part of it: every column of a dataflow may be NULL.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // the names are SQL's
pub enum SqlType {
    /// The type of a bare `NULL`: fits everything.
    Null,
    Boolean,
    TinyInt,
    SmallInt,
    Int,
    BigInt,
    Float,
    Double,
    /// Precision and scale.
    Decimal(u8, i8),
    Char(u32),
    Varchar(u32),
    /// `VARCHAR` of unlimited length.
    String,
    Bytes,
    Date,
    Time,
    /// Wall-clock time with this many digits of a second.
    Timestamp(u8),
    /// An instant with this many digits of a second.
    TimestampLtz(u8),
    /// A number of months.
    IntervalYearMonth,
    /// A number of milliseconds.
    IntervalDayTime,
    Array(Box<SqlType>),
    Map(Box<SqlType>, Box<SqlType>),
    /// Values and how often each occurs.
    Multiset(Box<SqlType>),
    Row(Vec<(String, SqlType)>),
}

impl SqlType {
    /// The Arrow type that carries it.
    pub fn arrow(&self) -> DataType {
        let nullable = |name: &str, t: &SqlType| Field::new(name, t.arrow(), true);
        match self {
            SqlType::Null => DataType::Null,
            SqlType::Boolean => DataType::Boolean,
            SqlType::TinyInt => DataType::Int8,
            SqlType::SmallInt => DataType::Int16,
            SqlType::Int => DataType::Int32,
            SqlType::BigInt => DataType::Int64,
            SqlType::Float => DataType::Float32,
            SqlType::Double => DataType::Float64,
            SqlType::Decimal(p, s) => DataType::Decimal128(*p, *s),
            SqlType::Char(_) | SqlType::Varchar(_) | SqlType::String => DataType::Utf8,
            SqlType::Bytes => DataType::Binary,
            SqlType::Date => DataType::Date32,
            SqlType::Time => DataType::Time32(TimeUnit::Millisecond),
            SqlType::Timestamp(p) => DataType::Timestamp(unit(*p), None),
            SqlType::TimestampLtz(p) => DataType::Timestamp(unit(*p), Some("UTC".into())),
            SqlType::IntervalYearMonth => DataType::Interval(IntervalUnit::YearMonth),
            SqlType::IntervalDayTime => DataType::Duration(TimeUnit::Millisecond),
            SqlType::Array(item) => DataType::List(Arc::new(nullable("item", item))),
            SqlType::Map(key, value) => map(key, value.arrow()),
            SqlType::Multiset(item) => map(item, DataType::Int32),
            SqlType::Row(fields) => {
                DataType::Struct(fields.iter().map(|(n, t)| nullable(n, t)).collect::<Fields>())
            }
        }
    }

    /// The SQL type of an Arrow type, as functions return them.
    pub fn of(data_type: &DataType) -> SqlType {
        match data_type {
            DataType::Boolean => SqlType::Boolean,
            DataType::Int8 => SqlType::TinyInt,
            DataType::Int16 | DataType::UInt8 => SqlType::SmallInt,
            DataType::Int32 | DataType::UInt16 => SqlType::Int,
            DataType::Int64 | DataType::UInt32 | DataType::UInt64 => SqlType::BigInt,
            DataType::Float16 | DataType::Float32 => SqlType::Float,
            DataType::Float64 => SqlType::Double,
            DataType::Decimal128(p, s) => SqlType::Decimal(*p, *s),
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => SqlType::String,
            DataType::Binary | DataType::LargeBinary | DataType::BinaryView => SqlType::Bytes,
            DataType::Date32 | DataType::Date64 => SqlType::Date,
            DataType::Time32(_) | DataType::Time64(_) => SqlType::Time,
            DataType::Timestamp(unit, zone) => {
                let precision = match unit {
                    TimeUnit::Second => 0,
                    TimeUnit::Millisecond => 3,
                    TimeUnit::Microsecond => 6,
                    TimeUnit::Nanosecond => 9,
                };
                match zone {
                    None => SqlType::Timestamp(precision),
                    Some(_) => SqlType::TimestampLtz(precision),
                }
            }
            DataType::Interval(IntervalUnit::YearMonth) => SqlType::IntervalYearMonth,
            DataType::Interval(_) | DataType::Duration(_) => SqlType::IntervalDayTime,
            DataType::List(item) | DataType::LargeList(item) => {
                SqlType::Array(Box::new(SqlType::of(item.data_type())))
            }
            DataType::Map(entries, _) => match entries.data_type() {
                DataType::Struct(fields) => SqlType::Map(
                    Box::new(SqlType::of(fields[0].data_type())),
                    Box::new(SqlType::of(fields[1].data_type())),
                ),
                _ => SqlType::Null,
            },
            DataType::Struct(fields) => SqlType::Row(
                fields.iter().map(|f| (f.name().clone(), SqlType::of(f.data_type()))).collect(),
            ),
            _ => SqlType::Null,
        }
    }

    /// Whether it is a number.
    pub fn is_numeric(&self) -> bool {
        self.is_integer() || matches!(self, SqlType::Float | SqlType::Double | SqlType::Decimal(..))
    }

    /// Whether it is a whole number of fixed width.
    pub fn is_integer(&self) -> bool {
        matches!(self, SqlType::TinyInt | SqlType::SmallInt | SqlType::Int | SqlType::BigInt)
    }

    /// Whether it is text.
    pub fn is_string(&self) -> bool {
        matches!(self, SqlType::Char(_) | SqlType::Varchar(_) | SqlType::String)
    }

    /// Whether it is a point in time with a date.
    pub fn is_timestamp(&self) -> bool {
        matches!(self, SqlType::Timestamp(_) | SqlType::TimestampLtz(_))
    }

    /// Whether it is a length of time.
    pub fn is_interval(&self) -> bool {
        matches!(self, SqlType::IntervalYearMonth | SqlType::IntervalDayTime)
    }

    /// The decimal that holds every value of an exact number.
    pub fn as_decimal(&self) -> Option<(u8, i8)> {
        match self {
            SqlType::TinyInt => Some((3, 0)),
            SqlType::SmallInt => Some((5, 0)),
            SqlType::Int => Some((10, 0)),
            SqlType::BigInt => Some((19, 0)),
            SqlType::Decimal(p, s) => Some((*p, *s)),
            _ => None,
        }
    }

    /// The type that values of both types are brought to before they are compared, put into one
    /// column or chosen between. None if there is none.
    pub fn common(&self, other: &SqlType) -> Option<SqlType> {
        use SqlType::*;
        if self == other {
            return Some(self.clone());
        }
        Some(match (self, other) {
            (Null, t) | (t, Null) => t.clone(),
            (a, b) if a.is_integer() && b.is_integer() => {
                if a.rank() >= b.rank() {
                    a.clone()
                } else {
                    b.clone()
                }
            }
            (Double, b) if b.is_numeric() => Double,
            (a, Double) if a.is_numeric() => Double,
            (Float, Float) => Float,
            (Float, b) | (b, Float) if b.is_numeric() => Double,
            (a, b) if a.is_numeric() && b.is_numeric() => {
                let ((p1, s1), (p2, s2)) = (a.as_decimal()?, b.as_decimal()?);
                let scale = s1.max(s2);
                let whole = (p1 as i8 - s1).max(p2 as i8 - s2);
                Decimal((whole + scale).min(38) as u8, scale)
            }
            (Char(a), Char(b))
            | (Char(a), Varchar(b))
            | (Varchar(a), Char(b))
            | (Varchar(a), Varchar(b)) => Varchar(*a.max(b)),
            (a, b) if a.is_string() && b.is_string() => String,
            (Timestamp(a), Timestamp(b)) => Timestamp(*a.max(b)),
            (TimestampLtz(a), TimestampLtz(b))
            | (TimestampLtz(a), Timestamp(b))
            | (Timestamp(a), TimestampLtz(b)) => TimestampLtz(*a.max(b)),
            (Date, t @ (Timestamp(_) | TimestampLtz(_)))
            | (t @ (Timestamp(_) | TimestampLtz(_)), Date) => t.clone(),
            (Array(a), Array(b)) => Array(Box::new(a.common(b)?)),
            (Map(ka, va), Map(kb, vb)) => Map(Box::new(ka.common(kb)?), Box::new(va.common(vb)?)),
            (Row(a), Row(b)) if a.len() == b.len() => Row(a
                .iter()
                .zip(b)
                .map(|((name, a), (_, b))| Some((name.clone(), a.common(b)?)))
                .collect::<Option<_>>()?),
            _ => return None,
        })
    }

    fn rank(&self) -> u8 {
        match self {
            SqlType::TinyInt => 1,
            SqlType::SmallInt => 2,
            SqlType::Int => 3,
            _ => 4,
        }
    }
}

fn unit(precision: u8) -> TimeUnit {
    match precision {
        0..=3 => TimeUnit::Millisecond,
        4..=6 => TimeUnit::Microsecond,
        _ => TimeUnit::Nanosecond,
    }
}

fn map(key: &SqlType, value: DataType) -> DataType {
    let entries = Fields::from(vec![
        Field::new("keys", key.arrow(), false),
        Field::new("values", value, true),
    ]);
    DataType::Map(Arc::new(Field::new("entries", DataType::Struct(entries), false)), false)
}

impl fmt::Display for SqlType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SqlType::Null => f.write_str("NULL"),
            SqlType::Boolean => f.write_str("BOOLEAN"),
            SqlType::TinyInt => f.write_str("TINYINT"),
            SqlType::SmallInt => f.write_str("SMALLINT"),
            SqlType::Int => f.write_str("INT"),
            SqlType::BigInt => f.write_str("BIGINT"),
            SqlType::Float => f.write_str("FLOAT"),
            SqlType::Double => f.write_str("DOUBLE"),
            SqlType::Decimal(p, s) => write!(f, "DECIMAL({p}, {s})"),
            SqlType::Char(n) => write!(f, "CHAR({n})"),
            SqlType::Varchar(n) => write!(f, "VARCHAR({n})"),
            SqlType::String => f.write_str("STRING"),
            SqlType::Bytes => f.write_str("BYTES"),
            SqlType::Date => f.write_str("DATE"),
            SqlType::Time => f.write_str("TIME(0)"),
            SqlType::Timestamp(p) => write!(f, "TIMESTAMP({p})"),
            SqlType::TimestampLtz(p) => write!(f, "TIMESTAMP_LTZ({p})"),
            SqlType::IntervalYearMonth => f.write_str("INTERVAL YEAR TO MONTH"),
            SqlType::IntervalDayTime => f.write_str("INTERVAL DAY TO SECOND"),
            SqlType::Array(item) => write!(f, "ARRAY<{item}>"),
            SqlType::Map(key, value) => write!(f, "MAP<{key}, {value}>"),
            SqlType::Multiset(item) => write!(f, "MULTISET<{item}>"),
            SqlType::Row(fields) => {
                f.write_str("ROW<")?;
                for (i, (name, data_type)) in fields.iter().enumerate() {
                    let comma = if i == 0 { "" } else { ", " };
                    write!(f, "{comma}{name} {data_type}")?;
                }
                f.write_str(">")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_meet_in_the_type_that_holds_both() {
        use SqlType::*;
        assert_eq!(Int.common(&BigInt), Some(BigInt));
        assert_eq!(Int.common(&Decimal(8, 2)), Some(Decimal(12, 2)));
        assert_eq!(Float.common(&Int), Some(Double));
        assert_eq!(Null.common(&Date), Some(Date));
        assert_eq!(Int.common(&Boolean), None);
        assert_eq!(Int.common(&String), None);
    }
}
