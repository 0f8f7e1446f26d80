//! The functions as DataFusion calls them: tables of calls and Flink's answers, each evaluated
//! over constants and over columns.

use super::*;
use arrow::array::{Array, ArrayRef};
use arrow::datatypes::{DataType, Field, FieldRef, TimeUnit};
use cast::{CastSpec, OnFailure, TextLength, cast_udf};
use datafusion::common::config::ConfigOptions;
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::{ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs};

const ROWS: usize = 3;

fn text(value: &str) -> ScalarValue {
    ScalarValue::from(value)
}

fn int(value: i32) -> ScalarValue {
    ScalarValue::from(value)
}

fn big(value: i64) -> ScalarValue {
    ScalarValue::from(value)
}

fn double(value: f64) -> ScalarValue {
    ScalarValue::from(value)
}

fn flag(value: bool) -> ScalarValue {
    ScalarValue::from(value)
}

fn decimal(value: i128, precision: u8, scale: i8) -> ScalarValue {
    ScalarValue::Decimal128(Some(value), precision, scale)
}

fn null() -> ScalarValue {
    ScalarValue::Null
}

fn cast_value(value: ScalarValue, spec: CastSpec) -> Result<ScalarValue> {
    call(&cast_udf(spec), &[value])
}

fn of_type(value: &str, to: DataType) -> ScalarValue {
    cast_value(text(value), CastSpec::new(to, OnFailure::Fail, Tz::UTC)).unwrap()
}

fn ts(value: &str) -> ScalarValue {
    of_type(value, DataType::Timestamp(TimeUnit::Millisecond, None))
}

fn ltz(value: &str) -> ScalarValue {
    of_type(value, DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())))
}

fn date(value: &str) -> ScalarValue {
    of_type(value, DataType::Date32)
}

fn time_of_day(value: &str) -> ScalarValue {
    of_type(value, DataType::Time32(TimeUnit::Millisecond))
}

fn field(data_type: DataType) -> FieldRef {
    Arc::new(Field::new("", data_type, true))
}

/// Plans a call as DataFusion does: coerces the arguments, asks for the type.
fn planned(udf: &ScalarUDF, args: &[ScalarValue]) -> Result<(Vec<ScalarValue>, FieldRef)> {
    let given: Vec<DataType> = args.iter().map(ScalarValue::data_type).collect();
    let wanted = udf.coerce_types(&given).unwrap_or(given);
    let args: Vec<ScalarValue> =
        args.iter().zip(&wanted).map(|(arg, to)| arg.cast_to(to)).collect::<Result<_>>()?;
    let fields: Vec<FieldRef> = wanted.into_iter().map(field).collect();
    let literals: Vec<Option<&ScalarValue>> = args.iter().map(Some).collect();
    let gives = udf.return_field_from_args(ReturnFieldArgs {
        arg_fields: &fields,
        scalar_arguments: &literals,
    })?;
    Ok((args, gives))
}

fn invoke(udf: &ScalarUDF, args: Vec<ColumnarValue>, gives: &FieldRef) -> Result<ArrayRef> {
    let arg_fields = args.iter().map(|arg| field(arg.data_type())).collect();
    let is_constant = args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
    let number_rows = if is_constant { 1 } else { ROWS };
    let result = udf.invoke_with_args(ScalarFunctionArgs {
        args,
        arg_fields,
        number_rows,
        return_field: Arc::clone(gives),
        config_options: Arc::new(ConfigOptions::default()),
    })?;
    let result = result.into_array(number_rows)?;
    assert_eq!(result.data_type(), gives.data_type(), "{}: the promised type", udf.name());
    Ok(result)
}

/// The answer over constants, which the one over columns must equal.
fn call(udf: &ScalarUDF, args: &[ScalarValue]) -> Result<ScalarValue> {
    let (args, gives) = planned(udf, args)?;
    let constants = args.iter().cloned().map(ColumnarValue::Scalar).collect();
    let answer = ScalarValue::try_from_array(&invoke(udf, constants, &gives)?, 0)?;
    if args.is_empty() {
        return Ok(answer);
    }
    let columns = args
        .iter()
        .map(|arg| Ok(ColumnarValue::Array(arg.to_array_of_size(ROWS)?)))
        .collect::<Result<Vec<_>>>()?;
    let answers = invoke(udf, columns, &gives)?;
    for row in 0..ROWS {
        let same = ScalarValue::try_from_array(&answers, row)?;
        assert_eq!(same, answer, "{}: constants and columns", udf.name());
    }
    Ok(answer)
}

/// A value as `CAST(x AS STRING)` shows it.
fn shown(value: ScalarValue) -> String {
    let spec = CastSpec::new(DataType::Utf8, OnFailure::Fail, Tz::UTC);
    match cast_value(value, spec) {
        Ok(ScalarValue::Utf8(Some(text))) => text,
        Ok(_) => "NULL".to_owned(),
        Err(error) => format!("{error}"),
    }
}

fn answer(zone: Tz, name: &str, args: &[ScalarValue]) -> String {
    let udf = Functions::new(zone).scalar(name).unwrap_or_else(|| panic!("no function {name}"));
    match call(&udf, args) {
        Ok(value) => shown(value),
        Err(error) => error.strip_backtrace(),
    }
}

#[track_caller]
fn check(cases: &[(&str, &[ScalarValue], &str)]) {
    for (name, args, expected) in cases {
        assert_eq!(answer(Tz::UTC, name, args), *expected, "{name}({args:?})");
    }
}

#[test]
fn names_are_found_in_any_case() {
    let functions = Functions::new(Tz::UTC);
    assert!(functions.scalar("upper").is_some());
    assert!(functions.scalar("Split_Index").is_some());
    assert!(functions.scalar("nope").is_none());
    assert!(functions.names().contains(&"REGEXP_EXTRACT".to_owned()));
}

#[test]
fn wrong_arguments_are_named() {
    let cases: [(&str, &[ScalarValue], &str); 6] = [
        ("UPPER", &[text("a"), text("b")], "UPPER takes 1 argument (a string), not 2"),
        (
            "SUBSTRING",
            &[text("a"), flag(true)],
            "SUBSTRING: argument 2 must be an integer, not BOOLEAN",
        ),
        ("FLINK_ADD", &[int(1), flag(true)], "'+' can't be applied to INT and BOOLEAN"),
        ("EXTRACT", &[text("FOO"), null()], "EXTRACT: 'FOO' is no unit of time"),
        ("LEAST", &[int(1), text("x")], "LEAST: no common type of INT, STRING"),
        ("DATE_FORMAT", &[null(), text("bbb")], "DATE_FORMAT: 'bbb' is no pattern"),
    ];
    for (name, args, expected) in cases {
        let got = answer(Tz::UTC, name, args);
        assert!(got.contains(expected), "{got}");
    }
}

#[test]
fn null_arguments_give_null() {
    let functions = Functions::new(Tz::UTC);
    let exempt = [
        "CONCAT_WS",
        "IS_ALPHA",
        "IS_DIGIT",
        "IS_DECIMAL",
        "IS_JSON",
        "FLINK_JSON_ARRAY_OF_ALL",
        "JSON_ARRAY",
        "JSON_OBJECT",
        "RAND",
        "TYPEOF",
    ];
    for (name, udf) in &functions.by_name {
        for count in 1..4 {
            let wrong_count = || planned(udf, &vec![null(); count]).is_err();
            if exempt.contains(name) || wrong_count() {
                continue;
            }
            let value = call(udf, &vec![null(); count]).unwrap();
            assert!(value.is_null(), "{name}: {value:?}");
        }
    }
}

#[test]
fn strings() {
    check(&[
        ("UPPER", &[text("größe")], "GRÖSSE"),
        ("LOWER", &[text("ÀB")], "àb"),
        ("INITCAP", &[text("größe")], "GrößE"),
        ("INITCAP", &[text("a,b x")], "A,B X"),
        ("ASCII", &[text("日")], "-26"),
        ("ASCII", &[text("")], "0"),
        ("CHAR_LENGTH", &[text("é")], "1"),
        ("SUBSTRING", &[text("apple"), int(2), int(3)], "ppl"),
        ("SUBSTRING", &[text("apple"), int(0), int(2)], "ap"),
        ("SUBSTRING", &[text("apple"), int(-3), int(2)], "pl"),
        ("SUBSTRING", &[text("apple"), int(50)], ""),
        ("SUBSTRING", &[text("größe"), int(3), int(1)], "ö"),
        ("LEFT", &[text("apple"), int(-1)], ""),
        ("RIGHT", &[text("apple"), int(2)], "le"),
        ("LPAD", &[text("a_b"), int(4), text("*")], "*a_b"),
        ("LPAD", &[text("apple"), int(4), text("*")], "appl"),
        ("RPAD", &[text("apple"), int(8), text("xy")], "applexyx"),
        ("RPAD", &[text("a"), int(-1), text("xy")], "NULL"),
        ("REPEAT", &[text("ab"), int(-2)], ""),
        ("REPLACE", &[text("hello"), text("l"), text("LL")], "heLLLLo"),
        ("OVERLAY", &[text("abcdef"), text("XY"), int(2)], "aXYdef"),
        ("OVERLAY", &[text("abcdef"), text("XY"), int(2), int(4)], "aXYf"),
        ("OVERLAY", &[text("abcdef"), text("XY"), int(9)], "abcdef"),
        ("TRIM", &[text("  x ")], "x"),
        ("RTRIM", &[text("xyx"), text("x")], "xy"),
        ("CONCAT", &[text("a"), null()], "NULL"),
        ("CONCAT_WS", &[text("-"), text("a"), null(), text("b")], "a-b"),
        ("POSITION", &[text("a"), text("https://h.io/p/q?a=1")], "18"),
        ("LOCATE", &[text("a"), text("apple"), int(2)], "0"),
        ("POSITION", &[text(""), text("")], "1"),
        ("INSTR", &[text("abcabc"), text("c")], "3"),
        ("INSTR", &[text("abcabc"), text("c"), int(1), int(2)], "6"),
        ("INSTR", &[text("abcabc"), text("c"), int(-1)], "6"),
        ("SPLIT_INDEX", &[text("https://h.io/p"), int(47), int(2)], "h.io"),
        ("SPLIT_INDEX", &[text("a//b"), text("/"), int(1)], ""),
        ("SPLIT_INDEX", &[text("a/b"), text("/"), int(9)], "NULL"),
        ("SPLIT_INDEX", &[text("a/b"), text("/"), int(-1)], "NULL"),
        ("SPLIT_INDEX", &[text(""), text(","), int(0)], "NULL"),
        ("SPLIT", &[text("a,b,,c"), text(",")], "[a, b, , c]"),
        ("STR_TO_MAP", &[text("k1=v1,k2=v2,k1=v3")], "{k1=v3, k2=v2}"),
        ("ELT", &[int(2), text("a"), text("b")], "b"),
        ("TRANSLATE", &[text("www.x"), text(".w"), text("-")], "-x"),
        ("FROM_BASE64", &[text("YXBwbGU=")], "apple"),
        ("TO_BASE64", &[text("tRuE")], "dFJ1RQ=="),
        ("DECODE", &[text("é"), text("UTF-8")], "é"),
        ("CHR", &[int(65)], "A"),
        (
            "PRINTF",
            &[text("%s: %05d|%-4s|%.2f%%"), text("x"), int(-42), text("é"), double(1.5)],
            "x: -0042|é   |1.50%",
        ),
        (
            "PRINTF",
            &[text("%,d %x %e"), int(1_234_567), int(255), double(0.00012)],
            "1,234,567 ff 1.200000e-04",
        ),
        ("PRINTF", &[text("%d"), text("x")], "NULL"),
        ("PRINTF", &[text("%s"), null()], "null"),
    ]);
}

#[test]
fn hashes() {
    check(&[
        ("MD5", &[text("apple")], "1f3870be274f6c49b3e31a0c6728957f"),
        ("SHA1", &[text("apple")], "d0be2dc421be4fcd0172e5afceea3970e2f3d940"),
        ("SHA256", &[text("")], "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
        (
            "SHA2",
            &[text("apple"), int(224)],
            "b7bbfdf1a1012999b3c466fdeb906a629caa5e3e022428d1eb702281",
        ),
        ("SHA2", &[text("apple"), int(100)], "NULL"),
    ]);
}

#[test]
fn regular_expressions() {
    let words = "([a-z]+)([0-9]+)";
    check(&[
        ("REGEXP", &[text("100%"), text("[0-9]+")], "TRUE"),
        ("REGEXP", &[text("100%"), text("")], "FALSE"),
        ("REGEXP_REPLACE", &[text("AbC123def45"), text("[0-9]+"), text("$1")], "AbC$1def$1"),
        ("REGEXP_EXTRACT", &[text("AbC123def45"), text(words), int(2)], "45"),
        ("REGEXP_EXTRACT", &[text("AbC123def45"), text(words)], "def45"),
        ("REGEXP_EXTRACT", &[text("apple"), text(words), int(2)], "NULL"),
        ("REGEXP_EXTRACT", &[text("a1"), text(words), int(9)], "NULL"),
        ("REGEXP_EXTRACT", &[text("x&channel_id="), text("(&|^)channel_id=([^&]*)"), int(2)], ""),
        ("REGEXP_EXTRACT_ALL", &[text("2024-02-29"), text("[0-9]+"), int(0)], "[2024, 02, 29]"),
        ("REGEXP_EXTRACT_ALL", &[text("a1b2"), text(words)], "[a, b]"),
        ("REGEXP_COUNT", &[text("banana"), text("a")], "3"),
        ("REGEXP_INSTR", &[text("AbC123"), text("[0-9]")], "4"),
        ("REGEXP_SUBSTR", &[text("apple"), text("[0-9]+")], "NULL"),
        ("SIMILAR_TO", &[text("abc"), text("(a|b)%")], "TRUE"),
    ]);
}

#[test]
fn numbers() {
    check(&[
        ("ABS", &[int(i32::MIN)], "-2147483648"),
        ("CEIL", &[double(-0.1)], "-0.0"),
        ("FLOOR", &[decimal(-1234, 6, 2)], "-13"),
        ("CEIL", &[decimal(1201, 6, 2)], "13"),
        ("ROUND", &[decimal(1235, 6, 2), int(1)], "12.4"),
        ("ROUND", &[decimal(1235, 6, 2)], "12"),
        ("ROUND", &[decimal(-1255, 6, 2), int(-1)], "-10"),
        ("ROUND", &[double(2.5)], "3.0"),
        ("ROUND", &[int(155), int(-1)], "160"),
        ("TRUNCATE", &[double(-2.719), int(2)], "-2.71"),
        ("TRUNCATE", &[decimal(1299, 6, 2), int(1)], "12.9"),
        ("SIGN", &[decimal(-5, 6, 2)], "-1.00"),
        ("POWER", &[int(127), int(2)], "16129.0"),
        ("LOG10", &[int(100)], "2.0"),
        ("LOG2", &[int(8)], "3.0"),
        ("LOG", &[int(2), int(8)], "3.0"),
        ("EXP", &[int(0)], "1.0"),
        ("BIN", &[int(127)], "1111111"),
        ("HEX", &[int(127)], "7F"),
        ("HEX", &[text("ab")], "6162"),
        ("UNHEX", &[text("6162")], "ab"),
        ("UNHEX", &[text("6x")], "NULL"),
        ("SQRT", &[double(-1.0)], "NaN"),
    ]);
}

#[test]
fn arithmetic_operators() {
    check(&[
        ("FLINK_ADD", &[int(i32::MAX), int(1)], "-2147483648"),
        ("FLINK_MUL", &[big(i64::MAX), int(2)], "-2"),
        ("FLINK_NEG", &[int(i32::MIN)], "-2147483648"),
        ("FLINK_DIV", &[int(-7), int(2)], "-3"),
        ("FLINK_DIV", &[int(i32::MIN), int(-1)], "-2147483648"),
        ("FLINK_DIV", &[int(1), null()], "NULL"),
        ("FLINK_DIV", &[double(1.0), double(0.0)], "Infinity"),
        ("MOD", &[big(i64::MAX), int(1000)], "807"),
        ("MOD", &[int(-7), int(3)], "-1"),
        ("MOD", &[big(i64::MIN), int(-1)], "0"),
        ("MOD", &[decimal(-75, 3, 1), int(2)], "-1.5"),
        ("FLINK_ADD", &[decimal(2500, 10, 3), int(7)], "9.500"),
        (
            "FLINK_MUL",
            &[decimal(1234567891, 10, 3), big(i64::MAX)],
            "11386878963448174841325813.037",
        ),
        ("FLINK_MUL", &[decimal(908, 4, 3), big(7)], "6.356"),
        ("FLINK_ADD", &[decimal(2500, 10, 3), double(2.5)], "5.0"),
        ("FLINK_DIV", &[int(7), decimal(2500, 10, 3)], "2.80000000000"),
        ("FLINK_DIV", &[decimal(-1, 2, 0), decimal(3, 2, 0)], "-0.333333"),
        ("FLINK_DIV", &[decimal(1, 2, 0), decimal(-600, 5, 2)], "-0.166667"),
        ("FLINK_MUL", &[decimal(10_i128.pow(37), 38, 0), decimal(10_i128.pow(37), 38, 0)], "NULL"),
    ]);
    for zero in [int(0), decimal(0, 3, 1)] {
        let message = answer(Tz::UTC, "FLINK_DIV", &[int(1), zero]);
        assert!(message.contains("division by zero; NULLIF(divisor, 0) avoids it"), "{message}");
    }
}

#[test]
fn time_arithmetic() {
    let millis = |value| ScalarValue::DurationMillisecond(Some(value));
    let months = |value| ScalarValue::IntervalYearMonth(Some(value));
    let mixed = ScalarValue::new_interval_mdn(0, 1, 7_384_005_000_000);
    check(&[
        ("FLINK_TIME_ADD", &[time_of_day("23:59:59"), millis(7_200_000)], "01:59:59"),
        ("FLINK_TIME_SUB", &[time_of_day("00:00:00"), millis(1_800_000)], "23:30:00"),
        ("FLINK_TIME_SUB", &[date("2024-03-31"), months(1)], "2024-02-29"),
        ("FLINK_TIME_ADD", &[date("2024-02-29"), millis(86_400_000)], "2024-03-01"),
        ("FLINK_TIME_ADD", &[ts("2024-02-29 23:59:59.999"), mixed], "2024-03-02 02:03:04.004"),
        ("FLINK_TIME_SUB", &[ts("2024-02-29 23:59:59.999"), months(13)], "2023-01-29 23:59:59.999"),
        ("FLINK_TIME_ADD", &[ts("1969-12-31 23:59:59.999"), millis(1)], "1970-01-01 00:00:00.000"),
        ("FLINK_TIME_ADD", &[ts("1969-12-31 23:59:59.999"), null()], "NULL"),
    ]);
}

#[test]
fn conditions() {
    check(&[
        ("GREATEST", &[double(0.1), double(0.0), int(1)], "1.0"),
        ("GREATEST", &[int(1), null()], "NULL"),
        ("LEAST", &[text("b"), text("a"), text("c")], "a"),
        ("IS_DIGIT", &[null()], "FALSE"),
        ("IS_DECIMAL", &[text("-1.5")], "TRUE"),
    ]);
}

#[test]
fn fields_of_time() {
    let leap = || ts("2024-02-29 23:59:59.999");
    let cases = [
        ("YEAR", "2024"),
        ("QUARTER", "1"),
        ("MONTH", "2"),
        ("WEEK", "9"),
        ("DAY", "29"),
        ("DOY", "60"),
        ("DOW", "5"),
        ("HOUR", "23"),
        ("MINUTE", "59"),
        ("SECOND", "59"),
        ("MILLISECOND", "999"),
    ];
    for (unit, expected) in cases {
        assert_eq!(answer(Tz::UTC, "EXTRACT", &[text(unit), leap()]), expected, "{unit}");
    }
    check(&[
        ("WEEK", &[date("2000-12-31")], "52"),
        ("DAYOFWEEK", &[date("2000-12-31")], "1"),
        ("DAYOFYEAR", &[date("2000-12-31")], "366"),
        ("HOUR", &[time_of_day("06:07:08")], "6"),
        ("FLOOR_TO", &[ts("2000-12-31 06:07:08.09"), text("HOUR")], "2000-12-31 06:00:00.000"),
        ("FLOOR_TO", &[ts("2000-12-31 06:07:08.09"), text("YEAR")], "2000-01-01 00:00:00.000"),
        ("CEIL_TO", &[ts("2000-12-31 06:07:08.09"), text("MONTH")], "2001-01-01 00:00:00.000"),
        ("CEIL_TO", &[ts("2023-03-01 18:30:15.5"), text("MONTH")], "2023-03-01 00:00:00.000"),
        ("CEIL_TO", &[ts("2023-03-01 18:30:15.5"), text("DAY")], "2023-03-02 00:00:00.000"),
        ("FLOOR_TO", &[date("2024-02-29"), text("MONTH")], "2024-02-01"),
    ]);
    let new_york = answer(Tz::America__New_York, "HOUR", &[ltz("2024-02-29 23:59:59")]);
    assert_eq!(new_york, "18");
}

#[test]
fn shifted_time() {
    let epoch = || ts("2000-01-01 00:00:00");
    check(&[
        ("TIMESTAMPADD", &[text("MONTH"), int(12), date("2024-02-29")], "2025-02-28"),
        (
            "TIMESTAMPADD",
            &[text("DAY"), int(1), ts("1969-12-31 23:59:59.999")],
            "1970-01-01 23:59:59.999",
        ),
        ("TIMESTAMPADD", &[text("HOUR"), int(1), date("2024-02-29")], "2024-02-29 01:00:00.000"),
        ("TIMESTAMPDIFF", &[text("SECOND"), ts("2024-02-29 23:59:59.999"), epoch()], "-762566399"),
        ("TIMESTAMPDIFF", &[text("DAY"), ts("2024-02-29 23:59:59.999"), epoch()], "-8825"),
        ("TIMESTAMPDIFF", &[text("YEAR"), date("2023-03-01"), date("2001-02-28")], "-22"),
    ]);
}

#[test]
fn written_and_read_time() {
    check(&[
        ("DATE_FORMAT", &[ts("2024-02-29 23:59:59.999"), text("yyyyMMdd")], "20240229"),
        ("DATE_FORMAT", &[text("2024-02-29 23:59:59.999"), text("HH")], "23"),
        ("TO_TIMESTAMP", &[text("2024-02-29")], "2024-02-29 00:00:00.000"),
        ("TO_TIMESTAMP", &[text("2024-02-29"), text("yyyy-MM-dd")], "2024-02-29 00:00:00.000"),
        ("TO_TIMESTAMP", &[text("apple")], "NULL"),
        ("TO_TIMESTAMP_LTZ", &[big(1500), int(3)], "1970-01-01 00:00:01.500"),
        ("TO_TIMESTAMP_LTZ", &[big(-1), int(0)], "1969-12-31 23:59:59.000"),
        (
            "TO_TIMESTAMP_LTZ",
            &[text("2024-01-01 09:00:00"), text("yyyy-MM-dd HH:mm:ss"), text("Asia/Tokyo")],
            "2024-01-01 00:00:00.000",
        ),
        ("TO_DATE", &[text("2024-02-29")], "2024-02-29"),
        ("TO_DATE", &[text("29/02/2024"), text("dd/MM/yyyy")], "2024-02-29"),
        ("UNIX_TIMESTAMP", &[text("2024-02-29 23:59:59.999")], "1709251199"),
        ("UNIX_TIMESTAMP", &[text("1969-12-31 23:59:59.999")], "-1"),
        ("UNIX_TIMESTAMP", &[text("2024-02-29"), text("yyyy-MM-dd")], "1709164800"),
        ("FROM_UNIXTIME", &[int(-10)], "1969-12-31 23:59:50"),
        ("FROM_UNIXTIME", &[big(127 * 86_400), text("yyyy-MM-dd")], "1970-05-08"),
        (
            "CONVERT_TZ",
            &[text("1970-01-01 00:00:00"), text("UTC"), text("America/Los_Angeles")],
            "1969-12-31 16:00:00",
        ),
    ]);
    let zone = Tz::America__New_York;
    let formatted =
        answer(zone, "DATE_FORMAT", &[ltz("2024-02-29 23:59:59"), text("yyyy-MM-dd HH:mm")]);
    assert_eq!(formatted, "2024-02-29 18:59");
    assert_eq!(answer(zone, "UNIX_TIMESTAMP", &[text("1970-01-01 00:00:00")]), "18000");
}

#[test]
fn the_clock_is_the_epochs() {
    clock::set_now_ms(1_709_251_199_999);
    let zone = Tz::Asia__Tokyo;
    assert_eq!(answer(zone, "NOW", &[]), "2024-02-29 23:59:59.999");
    assert_eq!(answer(zone, "LOCALTIMESTAMP", &[]), "2024-03-01 08:59:59.999");
    assert_eq!(answer(zone, "CURRENT_DATE", &[]), "2024-03-01");
    assert_eq!(answer(zone, "CURRENT_TIME", &[]), "08:59:59");
    assert_eq!(answer(zone, "UNIX_TIMESTAMP", &[]), "1709251199");
}

#[test]
fn casts() {
    use DataType as T;
    let millis = T::Timestamp(TimeUnit::Millisecond, None);
    let cases: [(ScalarValue, T, &str); 24] = [
        (big(i64::MAX), T::Int32, "-1"),
        (int(-10), T::Int8, "-10"),
        (ScalarValue::Int16(Some(32_767)), T::Int8, "-1"),
        (double(1e20), T::Int32, "2147483647"),
        (double(-2.5), T::Decimal128(10, 0), "-3"),
        (double(2.9), T::Int64, "2"),
        (decimal(1234567891, 10, 3), T::Decimal128(10, 2), "1234567.89"),
        (decimal(-5, 10, 3), T::Decimal128(10, 2), "-0.01"),
        (decimal(1234567891, 10, 3), T::Decimal128(5, 2), "NULL"),
        (int(0), T::Boolean, "FALSE"),
        (flag(true), T::Int32, "1"),
        (flag(true), T::Utf8, "TRUE"),
        (text(" 42 "), T::Int32, "42"),
        (text(" 42 "), T::Decimal128(6, 2), "42.00"),
        (text("123456"), T::Decimal128(4, 2), "NULL"),
        (text("yes"), T::Boolean, "TRUE"),
        (text("2024-02-29 1:2:3"), millis.clone(), "2024-02-29 01:02:03.000"),
        (date("2024-02-29"), millis.clone(), "2024-02-29 00:00:00.000"),
        (ts("2024-02-29 23:59:59.999"), T::Date32, "2024-02-29"),
        (ts("1969-12-31 23:59:59.999"), T::Date32, "1969-12-31"),
        (ts("2000-12-31 06:07:08.09"), T::Utf8, "2000-12-31 06:07:08.090"),
        (double(1e10), T::Utf8, "1.0E10"),
        (null(), T::Utf8, "NULL"),
        (null(), T::Int32, "NULL"),
    ];
    for (value, to, expected) in cases {
        let name = format!("{value:?} AS {to}");
        let spec = CastSpec::new(to, OnFailure::Fail, Tz::UTC);
        assert_eq!(cast_value(value, spec).map(shown).unwrap(), expected, "{name}");
    }
}

#[test]
fn casts_know_lengths_precisions_and_zones() {
    let to_text = CastSpec::new(DataType::Utf8, OnFailure::Fail, Tz::America__New_York);
    let varchar = CastSpec { length: TextLength::AtMost(4), ..to_text.clone() };
    let char = CastSpec { length: TextLength::Exactly(6), ..to_text.clone() };
    assert_eq!(cast_value(text("größe"), varchar).unwrap(), text("größ"));
    assert_eq!(cast_value(text("größe"), char).unwrap(), text("größe "));
    let at_second = CastSpec { from_precision: Some(0), ..to_text.clone() };
    assert_eq!(cast_value(ts("2024-01-01"), at_second).unwrap(), text("2024-01-01 00:00:00"));
    let instant = ltz("2024-02-29 23:59:59.999");
    assert_eq!(
        cast_value(instant.clone(), to_text.clone()).unwrap(),
        text("2024-02-29 18:59:59.999")
    );
    let wall = CastSpec {
        to: DataType::Timestamp(TimeUnit::Millisecond, None),
        precision: Some(0),
        ..to_text.clone()
    };
    assert_eq!(cast_value(instant, wall).unwrap(), ts("2024-02-29 18:59:59"));
    let time =
        CastSpec { to: DataType::Time32(TimeUnit::Millisecond), precision: Some(0), ..to_text };
    let got = cast_value(ts("2024-02-29 23:59:59.999"), time).unwrap();
    assert_eq!(got, time_of_day("23:59:59"));
}

#[test]
fn a_cast_without_a_result_fails_or_is_null() {
    let to_int = CastSpec::new(DataType::Int32, OnFailure::Fail, Tz::UTC);
    let failed = cast_value(text("x"), to_int.clone()).unwrap_err().strip_backtrace();
    assert!(failed.contains("CAST: 'x' is no INT; TRY_CAST gives NULL instead"), "{failed}");
    let tried = CastSpec { on_failure: OnFailure::Null, ..to_int };
    assert!(cast_value(text("x"), tried.clone()).unwrap().is_null());
    let impossible = cast_value(ts("2024-01-01"), tried).unwrap_err().strip_backtrace();
    assert!(impossible.contains("TIMESTAMP(3) can't become INT"), "{impossible}");
}

fn texts(values: &[Option<&str>]) -> ScalarValue {
    let values: Vec<ScalarValue> = values.iter().map(|value| ScalarValue::from(*value)).collect();
    ScalarValue::List(ScalarValue::new_list_nullable(&values, &DataType::Utf8))
}

fn ints(values: &[Option<i32>]) -> ScalarValue {
    let values: Vec<ScalarValue> = values.iter().map(|value| ScalarValue::from(*value)).collect();
    ScalarValue::List(ScalarValue::new_list_nullable(&values, &DataType::Int32))
}

fn map(pairs: &str) -> ScalarValue {
    call(&Functions::new(Tz::UTC).scalar("STR_TO_MAP").unwrap(), &[text(pairs)]).unwrap()
}

#[test]
fn arrays() {
    let tags = || texts(&[Some("b"), Some("a"), Some("b")]);
    let holed = || texts(&[None, Some("ü")]);
    let none = || texts(&[]);
    check(&[
        ("CARDINALITY", &[tags()], "3"),
        ("ITEM", &[tags(), int(2)], "a"),
        ("ITEM", &[tags(), int(9)], "NULL"),
        ("ITEM", &[tags(), int(0)], "NULL"),
        ("ELEMENT", &[none()], "NULL"),
        ("ELEMENT", &[texts(&[Some("x")])], "x"),
        ("ARRAY_CONTAINS", &[ints(&[None, Some(5)]), big(5)], "TRUE"),
        ("ARRAY_CONTAINS", &[ints(&[Some(1)]), int(5)], "FALSE"),
        ("ARRAY_CONTAINS", &[ints(&[None]), null()], "TRUE"),
        ("ARRAY_POSITION", &[tags(), text("b")], "1"),
        ("ARRAY_POSITION", &[none(), text("b")], "0"),
        ("ARRAY_DISTINCT", &[tags()], "[b, a]"),
        ("ARRAY_SORT", &[tags()], "[a, b, b]"),
        ("ARRAY_SORT", &[holed()], "[NULL, ü]"),
        ("ARRAY_SORT", &[holed(), flag(false)], "[ü, NULL]"),
        ("ARRAY_SORT", &[holed(), flag(true), flag(false)], "[ü, NULL]"),
        ("ARRAY_REVERSE", &[holed()], "[ü, NULL]"),
        ("ARRAY_JOIN", &[tags(), text("+")], "b+a+b"),
        ("ARRAY_JOIN", &[holed(), text("+")], "ü"),
        ("ARRAY_JOIN", &[holed(), text("+"), text("?")], "?+ü"),
        ("ARRAY_MAX", &[holed()], "ü"),
        ("ARRAY_MIN", &[ints(&[Some(3), Some(-1)])], "-1"),
        ("ARRAY_MAX", &[none()], "NULL"),
        ("ARRAY_APPEND", &[none(), text("x")], "[x]"),
        ("ARRAY_PREPEND", &[tags(), text("x")], "[x, b, a, b]"),
        ("ARRAY_REMOVE", &[tags(), text("b")], "[a]"),
        ("ARRAY_SLICE", &[tags(), int(2)], "[a, b]"),
        ("ARRAY_SLICE", &[tags(), int(-3), int(-2)], "[b, a]"),
        ("ARRAY_CONCAT", &[tags(), holed()], "[b, a, b, NULL, ü]"),
        ("ARRAY_UNION", &[tags(), holed()], "[b, a, NULL, ü]"),
        ("ARRAY_EXCEPT", &[tags(), texts(&[Some("a")])], "[b]"),
        ("ARRAY_INTERSECT", &[tags(), texts(&[Some("a"), None])], "[a]"),
    ]);
    assert!(answer(Tz::UTC, "ELEMENT", &[tags()]).contains("3 elements, not one"));
    let wrong = answer(Tz::UTC, "ARRAY_CONTAINS", &[tags(), int(1)]);
    assert!(wrong.contains("argument 2 must be STRING, as the array's elements are"), "{wrong}");
}

#[test]
fn maps() {
    check(&[
        ("CARDINALITY", &[map("a=1,b=2")], "2"),
        ("ITEM", &[map("a=1,b=2"), text("b")], "2"),
        ("ITEM", &[map("a=1,b=2"), text("c")], "NULL"),
        ("MAP_KEYS", &[map("a=1,b=2")], "[a, b]"),
        ("MAP_VALUES", &[map("a=1,b")], "[1, NULL]"),
        ("MAP_ENTRIES", &[map("a=1")], "[(a, 1)]"),
        ("MAP_UNION", &[map("a=1,b=2"), map("b=3,c=4")], "{a=1, b=3, c=4}"),
        ("MAP_FROM_ARRAYS", &[texts(&[Some("k")]), ints(&[Some(1)])], "{k=1}"),
    ]);
}

#[test]
fn json() {
    let full =
        || text(r#"{"a":1,"b":{"c":"x"},"d":[1, 2,3],"e":null,"f":true,"g":1.50,"h":"\u00fc\n"}"#);
    let path = |path: &str| text(path);
    let both = "RETURNING INT DEFAULT 0 ON EMPTY DEFAULT - 1 ON ERROR";
    check(&[
        ("JSON_VALUE", &[full(), path("$.a")], "1"),
        ("JSON_VALUE", &[full(), path("$.g")], "1.50"),
        ("JSON_VALUE", &[full(), path("$.h")], "ü\n"),
        ("JSON_VALUE", &[full(), path("$.f"), text("RETURNING BOOLEAN")], "TRUE"),
        ("JSON_VALUE", &[full(), path("$.b")], "NULL"),
        ("JSON_VALUE", &[full(), path("$.a"), text(both)], "1"),
        ("JSON_VALUE", &[full(), path("$.z"), text(both)], "-1"),
        ("JSON_VALUE", &[full(), path("lax $.z"), text(both)], "0"),
        ("JSON_VALUE", &[full(), path("$.b"), text(both)], "-1"),
        ("JSON_VALUE", &[full(), path("$.b.c"), text(both)], "-1"),
        ("JSON_VALUE", &[full(), path("$.e"), text(both)], "0"),
        ("JSON_VALUE", &[text("not json"), path("$.a"), text(both)], "-1"),
        ("JSON_VALUE", &[text(""), path("lax $.a"), text(both)], "0"),
        ("JSON_VALUE", &[null(), path("$.a"), text(both)], "NULL"),
        ("JSON_VALUE", &[text("{}"), path("$.a"), text("DEFAULT 'none' ON EMPTY")], "NULL"),
        ("JSON_VALUE", &[text("[10]"), path("$[0]")], "10"),
        ("JSON_QUERY", &[full(), path("$.d")], "[1,2,3]"),
        ("JSON_QUERY", &[full(), path("$.a")], "NULL"),
        ("JSON_QUERY", &[full(), path("$.a"), text("WITH WRAPPER")], "[1]"),
        ("JSON_QUERY", &[full(), path("$.d"), text("WITH CONDITIONAL WRAPPER")], "[1,2,3]"),
        ("JSON_QUERY", &[full(), path("$.d[*]")], "[1,2,3]"),
        ("JSON_QUERY", &[full(), path("lax $.z"), text("EMPTY ARRAY ON EMPTY")], "[]"),
        ("JSON_EXISTS", &[full(), path("$.d[1]")], "TRUE"),
        ("JSON_EXISTS", &[full(), path("$.e")], "TRUE"),
        ("JSON_EXISTS", &[text(""), path("$.d[1]")], "FALSE"),
        ("JSON_EXISTS", &[text(""), path("$.d"), text("TRUE ON ERROR")], "TRUE"),
        ("IS_JSON", &[null()], "FALSE"),
        ("IS_JSON", &[full(), text("OBJECT")], "TRUE"),
        ("IS_JSON", &[text("\"str\""), text("OBJECT")], "FALSE"),
        ("JSON_QUOTE", &[text("a\"b")], "\"a\\\"b\""),
        ("JSON_UNQUOTE", &[text("\"a\\\"b\"")], "a\"b"),
        ("JSON_STRING", &[ints(&[Some(1), None])], "[1,null]"),
        ("JSON_STRING", &[ts("2024-02-29 23:59:59.999")], "\"2024-02-29T23:59:59.999\""),
        (
            "JSON_OBJECT",
            &[text("k"), decimal(150, 3, 2), text("m"), map("a=1"), text("n"), null()],
            r#"{"k":1.50,"m":{"a":"1"},"n":null}"#,
        ),
        ("JSON_OBJECT", &[text("n"), null(), text("ABSENT ON NULL")], "{}"),
        ("JSON_ARRAY", &[int(1), null(), text("x")], "[1,\"x\"]"),
        ("FLINK_JSON_ARRAY_OF_ALL", &[int(1), null(), text("x")], "[1,null,\"x\"]"),
    ]);
    let message = answer(Tz::UTC, "JSON_VALUE", &[full(), path("$.z"), text("ERROR ON ERROR")]);
    assert!(message.contains("the path leads to no scalar value"), "{message}");
    let message = answer(Tz::UTC, "JSON_VALUE", &[full(), path("$..z")]);
    assert!(message.contains("'$..z' is no path"), "{message}");
}
