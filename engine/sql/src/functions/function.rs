//! [`Definition`], a function as data, and the DataFusion function made from it.
//!
//! Arguments are checked in one place: [`Function::coerce_types`] only says what it would like
//! (so that DataFusion inserts the casts and never wraps our message), and the check itself, with
//! a message that says which argument is wrong and what is wanted, comes with the return type.

use super::Kernel;
use super::values::Call;
use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, Field, FieldRef};
use chrono_tz::Tz;
use datafusion::common::{Result, ScalarValue, internal_err, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// A scalar function.
#[derive(Debug, Clone, Copy)]
pub(super) struct Definition {
    /// Its name, in upper case.
    pub name: &'static str,
    /// Its arguments.
    pub takes: Takes,
    /// The type of its result.
    pub gives: fn(&Shape<'_>) -> Result<DataType>,
    /// Its kernel.
    pub run: fn(&Call<'_>) -> Result<ArrayRef>,
    /// Whether its result changes from call to call, so that it is no constant.
    pub changes: Changes,
    /// Whose kernel that is.
    pub kernel: Kernel,
}

/// Whether a function's result depends on more than its arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Changes {
    /// The same arguments give the same result.
    Never,
    /// The clock or chance have a say.
    Always,
}

impl Definition {
    /// A function of its arguments alone.
    pub const fn new(
        name: &'static str,
        takes: Takes,
        gives: fn(&Shape<'_>) -> Result<DataType>,
        run: fn(&Call<'_>) -> Result<ArrayRef>,
    ) -> Self {
        Definition { name, takes, gives, run, changes: Changes::Never, kernel: Kernel::Ours }
    }

    /// The same, but its result is different each time.
    pub const fn changing(self) -> Self {
        Definition { changes: Changes::Always, ..self }
    }

    /// The same, but its kernel hands the columns on to one of DataFusion's.
    pub const fn by_datafusion(self) -> Self {
        Definition { kernel: Kernel::DataFusion, ..self }
    }
}

/// What arguments a function takes.
#[derive(Debug, Clone, Copy)]
pub(super) enum Takes {
    /// These, and then as many of those as wanted.
    Fixed(&'static [Kind], &'static [Kind]),
    /// These, and then any number of the last.
    Many(&'static [Kind], Kind),
    /// What the function says: the types it wants for those it is given.
    Custom(fn(&str, &[DataType]) -> Result<Vec<DataType>>),
}

/// What one argument may be, and what type the kernel sees it as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A string, as `Utf8`.
    Text,
    /// A string or bytes, as given.
    TextOrBytes,
    /// An integer, as `Int64`.
    Integer,
    /// A string, as `Utf8`, or an integer, as `Int64`.
    TextOrInteger,
    /// Any number, as given.
    Number,
    /// Any number, as `Float64`.
    Double,
    /// A boolean.
    Boolean,
    /// A date, time or timestamp, as given.
    Moment,
    /// A date or timestamp, as given, or a string.
    MomentOrText,
    /// An array, as given.
    Array,
    /// A map, as given.
    Map,
    /// An array or a map, as given.
    Collection,
    /// Anything, as given.
    Any,
}

impl Kind {
    /// The type the kernel sees for an argument of type `given`; what is wanted, if it doesn't
    /// fit.
    fn accept(self, given: &DataType) -> Result<DataType, &'static str> {
        use DataType as T;
        let text = matches!(given, T::Utf8 | T::LargeUtf8 | T::Utf8View);
        let bytes =
            matches!(given, T::Binary | T::LargeBinary | T::BinaryView | T::FixedSizeBinary(_));
        let list = matches!(given, T::List(_));
        let null = given.is_null();
        match self {
            Kind::Text if text || null => Ok(T::Utf8),
            Kind::Text => Err("a string"),
            Kind::TextOrBytes if text || null => Ok(T::Utf8),
            Kind::TextOrBytes if bytes => Ok(T::Binary),
            Kind::TextOrBytes => Err("a string or bytes"),
            Kind::Integer if given.is_integer() || null => Ok(T::Int64),
            Kind::Integer => Err("an integer"),
            Kind::TextOrInteger if text || null => Ok(T::Utf8),
            Kind::TextOrInteger if given.is_integer() => Ok(T::Int64),
            Kind::TextOrInteger => Err("a string or an integer"),
            Kind::Number if given.is_numeric() => Ok(given.clone()),
            Kind::Number if null => Ok(T::Int32),
            Kind::Number => Err("a number"),
            Kind::Double if given.is_numeric() || null => Ok(T::Float64),
            Kind::Double => Err("a number"),
            Kind::Boolean if null || *given == T::Boolean => Ok(T::Boolean),
            Kind::Boolean => Err("a boolean"),
            Kind::Moment | Kind::MomentOrText if is_moment(given) => Ok(given.clone()),
            Kind::Moment if null => Ok(T::Timestamp(arrow::datatypes::TimeUnit::Millisecond, None)),
            Kind::Moment => Err("a date, a time or a timestamp"),
            Kind::MomentOrText if text || null => Ok(T::Utf8),
            Kind::MomentOrText => Err("a timestamp or a string"),
            Kind::Array if list => Ok(given.clone()),
            Kind::Array => Err("an array"),
            Kind::Map if matches!(given, T::Map(..)) => Ok(given.clone()),
            Kind::Map => Err("a map"),
            Kind::Collection if list || matches!(given, T::Map(..)) => Ok(given.clone()),
            Kind::Collection => Err("an array or a map"),
            Kind::Any => Ok(given.clone()),
        }
    }

    fn describe(self) -> &'static str {
        match self {
            Kind::Text => "a string",
            Kind::TextOrBytes => "a string or bytes",
            Kind::Integer => "an integer",
            Kind::TextOrInteger => "a string or an integer",
            Kind::Number | Kind::Double => "a number",
            Kind::Boolean => "a boolean",
            Kind::Moment => "a date, a time or a timestamp",
            Kind::MomentOrText => "a timestamp or a string",
            Kind::Array => "an array",
            Kind::Map => "a map",
            Kind::Collection => "an array or a map",
            Kind::Any => "any value",
        }
    }
}

fn is_moment(given: &DataType) -> bool {
    use DataType as T;
    matches!(given, T::Date32 | T::Time32(_) | T::Time64(_) | T::Timestamp(..))
}

impl Takes {
    /// The types the kernel wants for those given.
    fn coerce(&self, name: &str, given: &[DataType]) -> Result<Vec<DataType>> {
        if let Takes::Custom(coerce) = self {
            return coerce(name, given);
        }
        if !self.fits(given.len()) {
            return plan_err!("{name} takes {}, not {}", self.describe(), given.len());
        }
        let accept = |(index, given): (usize, &DataType)| match self.kind(index).accept(given) {
            Ok(wanted) => Ok(wanted),
            Err(wanted) => plan_err!(
                "{name}: argument {} must be {wanted}, not {}",
                index + 1,
                sql_type_name(given)
            ),
        };
        given.iter().enumerate().map(accept).collect()
    }

    fn fits(&self, count: usize) -> bool {
        match self {
            Takes::Fixed(required, optional) => {
                (required.len()..=required.len() + optional.len()).contains(&count)
            }
            Takes::Many(required, _) => count >= required.len(),
            Takes::Custom(_) => true,
        }
    }

    fn kind(&self, index: usize) -> Kind {
        match self {
            Takes::Fixed(required, optional) if index >= required.len() => {
                optional[index - required.len()]
            }
            Takes::Fixed(required, _) => required[index],
            Takes::Many(required, rest) => required.get(index).copied().unwrap_or(*rest),
            Takes::Custom(_) => Kind::Any,
        }
    }

    /// `2 or 3 arguments (a string, an integer, an integer)`.
    fn describe(&self) -> String {
        let (count, kinds): (String, Vec<Kind>) = match self {
            Takes::Fixed([], []) => return "no arguments".to_owned(),
            Takes::Fixed(required, []) => (required.len().to_string(), required.to_vec()),
            Takes::Fixed(required, optional) => {
                let most = required.len() + optional.len();
                let word = if optional.len() == 1 { "or" } else { "to" };
                (format!("{} {word} {most}", required.len()), [*required, *optional].concat())
            }
            Takes::Many(required, rest) => {
                (format!("{} or more", required.len()), [*required, &[*rest]].concat())
            }
            Takes::Custom(_) => ("other".to_owned(), Vec::new()),
        };
        let word = if count == "1" { "argument" } else { "arguments" };
        let kinds: Vec<&str> = kinds.into_iter().map(Kind::describe).collect();
        format!("{count} {word} ({})", kinds.join(", "))
    }
}

/// The arguments of a call, as known when it is planned.
pub(super) struct Shape<'a> {
    /// The function's name.
    pub name: &'a str,
    /// The types of the arguments, as the kernel will see them.
    pub types: &'a [DataType],
    /// The values of those arguments that are constants.
    pub literals: &'a [Option<&'a ScalarValue>],
}

impl Shape<'_> {
    /// Argument `index` as a constant string.
    pub fn text(&self, index: usize) -> Option<&str> {
        self.literals.get(index).copied().flatten().and_then(|value| value.try_as_str().flatten())
    }

    /// Argument `index` as a constant integer.
    pub fn integer(&self, index: usize) -> Option<i64> {
        match self.literals.get(index).copied().flatten()? {
            ScalarValue::Int64(value) => *value,
            ScalarValue::Int32(value) => value.map(i64::from),
            ScalarValue::Int16(value) => value.map(i64::from),
            ScalarValue::Int8(value) => value.map(i64::from),
            _ => None,
        }
    }
}

/// A [`Definition`] in a session's time zone, as DataFusion sees it.
#[derive(Debug)]
pub(super) struct Function {
    definition: &'static Definition,
    zone: Tz,
    signature: Signature,
}

impl Function {
    /// The function for DataFusion.
    pub fn udf(definition: &'static Definition, zone: Tz) -> ScalarUDF {
        let volatility = match definition.changes {
            Changes::Never => Volatility::Immutable,
            Changes::Always => Volatility::Volatile,
        };
        let signature = Signature::user_defined(volatility);
        ScalarUDF::new_from_impl(Function { definition, zone, signature })
    }
}

impl Function {
    /// Whose kernel computes it.
    pub fn kernel(&self) -> Kernel {
        self.definition.kernel
    }
}

impl PartialEq for Function {
    fn eq(&self, other: &Self) -> bool {
        self.definition.name == other.definition.name && self.zone == other.zone
    }
}

impl Eq for Function {}

impl Hash for Function {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.definition.name.hash(state);
        self.zone.hash(state);
    }
}

impl ScalarUDFImpl for Function {
    fn name(&self) -> &str {
        self.definition.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        let coerced = self.definition.takes.coerce(self.definition.name, given);
        Ok(coerced.unwrap_or_else(|_| given.to_vec()))
    }

    fn return_type(&self, _given: &[DataType]) -> Result<DataType> {
        internal_err!("{}: the result's type needs the arguments", self.definition.name)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let name = self.definition.name;
        let given: Vec<DataType> =
            args.arg_fields.iter().map(|field| field.data_type().clone()).collect();
        let types = self.definition.takes.coerce(name, &given)?;
        let shape = Shape { name, types: &types, literals: args.scalar_arguments };
        let gives = (self.definition.gives)(&shape)?;
        Ok(Arc::new(Field::new(name, gives, true)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let is_constant = self.definition.changes == Changes::Never
            && args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let call = Call {
            name: self.definition.name,
            args: &args.args,
            rows: if is_constant { 1 } else { args.number_rows },
            zone: self.zone,
            gives: args.return_field.data_type(),
        };
        let result = (self.definition.run)(&call)?;
        debug_assert_eq!(result.len(), call.rows, "{}: rows", call.name);
        if is_constant {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&result, 0)?));
        }
        Ok(ColumnarValue::Array(result))
    }
}

/// A type as the user wrote it.
pub(super) fn sql_type_name(data_type: &DataType) -> String {
    use DataType as T;
    use arrow::datatypes::TimeUnit;
    let digits = |unit: &TimeUnit| match unit {
        TimeUnit::Second => 0,
        TimeUnit::Millisecond => 3,
        TimeUnit::Microsecond => 6,
        TimeUnit::Nanosecond => 9,
    };
    match data_type {
        T::Null => "NULL".to_owned(),
        T::Boolean => "BOOLEAN".to_owned(),
        T::Int8 => "TINYINT".to_owned(),
        T::Int16 => "SMALLINT".to_owned(),
        T::Int32 => "INT".to_owned(),
        T::Int64 => "BIGINT".to_owned(),
        T::Float32 => "FLOAT".to_owned(),
        T::Float64 => "DOUBLE".to_owned(),
        T::Decimal128(precision, scale) => format!("DECIMAL({precision}, {scale})"),
        T::Utf8 | T::LargeUtf8 | T::Utf8View => "STRING".to_owned(),
        T::Binary | T::LargeBinary | T::BinaryView => "BYTES".to_owned(),
        T::Date32 => "DATE".to_owned(),
        T::Time32(_) | T::Time64(_) => "TIME".to_owned(),
        T::Timestamp(unit, None) => format!("TIMESTAMP({})", digits(unit)),
        T::Timestamp(unit, Some(_)) => format!("TIMESTAMP_LTZ({})", digits(unit)),
        T::Interval(_) | T::Duration(_) => "INTERVAL".to_owned(),
        T::List(item) => format!("ARRAY<{}>", sql_type_name(item.data_type())),
        T::Map(..) => "MAP".to_owned(),
        T::Struct(_) => "ROW".to_owned(),
        other => other.to_string(),
    }
}

/// The result is a string.
pub(super) fn gives_text(_: &Shape<'_>) -> Result<DataType> {
    Ok(DataType::Utf8)
}

/// The result is bytes.
pub(super) fn gives_bytes(_: &Shape<'_>) -> Result<DataType> {
    Ok(DataType::Binary)
}

/// The result is an `INT`.
pub(super) fn gives_int(_: &Shape<'_>) -> Result<DataType> {
    Ok(DataType::Int32)
}

/// The result is a `BIGINT`.
pub(super) fn gives_bigint(_: &Shape<'_>) -> Result<DataType> {
    Ok(DataType::Int64)
}

/// The result is a `DOUBLE`.
pub(super) fn gives_double(_: &Shape<'_>) -> Result<DataType> {
    Ok(DataType::Float64)
}

/// The result is a boolean.
pub(super) fn gives_boolean(_: &Shape<'_>) -> Result<DataType> {
    Ok(DataType::Boolean)
}

/// The result is an array of strings.
pub(super) fn gives_texts(_: &Shape<'_>) -> Result<DataType> {
    Ok(DataType::new_list(DataType::Utf8, true))
}

/// The result has the type of the first argument.
pub(super) fn gives_first(shape: &Shape<'_>) -> Result<DataType> {
    Ok(shape.types[0].clone())
}
