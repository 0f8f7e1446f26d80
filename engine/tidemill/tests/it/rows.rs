//! Rows as other engines write them down, and the changelogs that ours writes, in one spelling.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// Says where two bags of rows differ.
pub fn compare(actual: &BTreeMap<Row, i64>, expected: &BTreeMap<Row, i64>) -> Result<(), String> {
    let show = |row: &Row| {
        row.iter().map(|c| c.as_deref().unwrap_or("NULL")).collect::<Vec<_>>().join(",")
    };
    let mut differences = Vec::new();
    for row in actual.keys().chain(expected.keys()).collect::<BTreeSet<_>>() {
        let (have, want) =
            (actual.get(row).copied().unwrap_or(0), expected.get(row).copied().unwrap_or(0));
        if have != want {
            differences.push(format!("[{}] {have} instead of {want}", show(row)));
        }
    }
    if differences.is_empty() {
        return Ok(());
    }
    let count = differences.len();
    differences.truncate(4);
    Err(format!("{count} row(s) differ: {}", differences.join("; ")))
}

/// A row's cells in canonical form; none is NULL.
pub type Row = Vec<Option<String>>;

/// Names and types of a table's columns, from the text that creates it.
pub fn columns_of(sql: &str, table: &str) -> Vec<(String, String)> {
    let create = format!("CREATE TABLE {table} (");
    let start = sql.find(&create).expect("the table is created") + create.len();
    let (mut depth, mut columns, mut column) = (0, Vec::new(), String::new());
    for c in sql[start..].chars() {
        depth += i32::from(matches!(c, '(' | '<')) - i32::from(matches!(c, ')' | '>'));
        if depth < 0 || (depth == 0 && c == ',') {
            columns.push(std::mem::take(&mut column));
        } else {
            column.push(c);
        }
        if depth < 0 {
            break;
        }
    }
    let split = |column: String| {
        let column = column.trim();
        let (name, kind) = match column.strip_prefix('`') {
            Some(quoted) => quoted.split_once("` ").expect("a quoted name and a type"),
            None => column.split_once(' ').expect("a name and a type"),
        };
        (name.replace("``", "`"), kind.trim().to_uppercase())
    };
    columns.into_iter().map(split).collect()
}

/// Adds up the changelog that the sink's files hold.
pub fn fold(folder: &Path, columns: &[(String, String)]) -> Result<BTreeMap<Row, i64>, String> {
    let mut rows: BTreeMap<Row, i64> = BTreeMap::new();
    for file in fs::read_dir(folder).map_err(|e| e.to_string())?.flatten() {
        if file.file_name().to_string_lossy().starts_with('.') {
            return Err(format!("{} is left behind", file.path().display()));
        }
        let text = fs::read_to_string(file.path()).map_err(|e| e.to_string())?;
        for line in text.lines() {
            let message: Value = serde_json::from_str(line).map_err(|e| format!("{e}: {line}"))?;
            let (side, weight) = match message["op"].as_str() {
                Some("c") => (&message["after"], 1),
                Some("d") => (&message["before"], -1),
                _ => return Err(format!("no insertion and no deletion: {line}")),
            };
            let row = columns
                .iter()
                .map(|(name, kind)| match kind.starts_with("DECIMAL") && side[name].is_number() {
                    true => Some(canonical(number_in(line, name), kind)),
                    false => json_cell(&side[name], kind),
                })
                .collect();
            *rows.entry(row).or_default() += weight;
        }
    }
    rows.retain(|_, count| *count != 0);
    Ok(rows)
}

/// The digits of a number in a line of JSON, of which a parser would keep seventeen.
fn number_in<'l>(line: &'l str, name: &str) -> &'l str {
    let key = format!("\"{name}\":");
    let start = line.find(&key).expect("the parser found it") + key.len();
    let rest = line[start..].trim_start();
    &rest[..rest.find([',', '}']).unwrap_or(rest.len())]
}

fn json_cell(value: &Value, kind: &str) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(canonical(text, kind)),
        Value::Object(_) | Value::Array(_) => Some(canonical(&value.to_string(), kind)),
        other => Some(canonical(&other.to_string(), kind)),
    }
}

/// The rows that a CSV with a header holds.
pub fn expected_rows(text: &str, columns: &[(String, String)]) -> BTreeMap<Row, i64> {
    let mut rows = BTreeMap::new();
    for record in csv_records(text).into_iter().skip(1) {
        let cells = record.into_iter().zip(columns);
        let row = cells.map(|(cell, (_, kind))| cell.map(|text| canonical(&text, kind)));
        *rows.entry(row.collect()).or_default() += 1;
    }
    rows
}

/// Records of CSV in which only an unquoted nothing is NULL.
fn csv_records(text: &str) -> Vec<Row> {
    let (mut records, mut record, mut cell) = (Vec::new(), Vec::new(), String::new());
    let (mut quoted, mut inside) = (false, false);
    let mut chars = text.chars().peekable();
    let end_cell = |cell: &mut String, quoted: &mut bool, record: &mut Row| {
        let text = std::mem::take(cell);
        record.push((*quoted || !text.is_empty()).then_some(text));
        *quoted = false;
    };
    while let Some(c) = chars.next() {
        match c {
            '"' if inside && chars.peek() == Some(&'"') => {
                chars.next();
                cell.push('"');
            }
            '"' => (inside, quoted) = (!inside, true),
            ',' if !inside => end_cell(&mut cell, &mut quoted, &mut record),
            '\n' if !inside => {
                end_cell(&mut cell, &mut quoted, &mut record);
                records.push(std::mem::take(&mut record));
            }
            c => cell.push(c),
        }
    }
    records
}

/// One spelling for each value of a type.
fn canonical(text: &str, kind: &str) -> String {
    let is = |prefixes: &[&str]| prefixes.iter().any(|p| kind.starts_with(p));
    if is(&["ARRAY", "MAP", "ROW", "MULTISET"]) {
        let value: Value = serde_json::from_str(text).unwrap_or(Value::String(text.to_owned()));
        // Objects of serde_json are sorted by key, so a map has one spelling; the fields of a
        // row lose their order, which their names still tell apart.
        return value.to_string();
    }
    if is(&["FLOAT"]) {
        return text.parse::<f32>().map_or(text.to_owned(), |v| format!("{v:?}"));
    }
    if is(&["DOUBLE"]) {
        return text.parse::<f64>().map_or(text.to_owned(), |v| format!("{v:?}"));
    }
    if is(&["DECIMAL"]) {
        let scale =
            kind.split(',').nth(1).and_then(|s| s.trim_end_matches(')').trim().parse().ok());
        return decimal(text, scale.unwrap_or(0));
    }
    if is(&["TIMESTAMP"]) {
        let text = text.replace('T', " ");
        let (seconds, fraction) = split_fraction(text.trim_end_matches('Z'));
        let digits = if fraction.len() <= 3 { 3 } else { fraction.len() };
        let fraction = format!("{fraction:0<digits$}");
        return format!("{seconds}.{}", trim_fraction(&fraction));
    }
    if is(&["TIME"]) {
        let (seconds, fraction) = split_fraction(text);
        let seconds = if seconds.len() == 5 { format!("{seconds}:00") } else { seconds.to_owned() };
        return format!("{seconds}.{fraction:0<3}");
    }
    text.to_owned()
}

fn split_fraction(text: &str) -> (&str, &str) {
    text.split_once('.').unwrap_or((text, ""))
}

/// At least three digits, no zeros behind them.
fn trim_fraction(fraction: &str) -> &str {
    let trimmed = fraction.trim_end_matches('0').len().max(3);
    &fraction[..trimmed.min(fraction.len())]
}

/// A decimal with all digits of its scale, whichever way it is written.
fn decimal(text: &str, scale: usize) -> String {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((m, e)) => (m, e.parse::<i64>().unwrap_or(0)),
        None => (text, 0),
    };
    let (sign, digits) = match mantissa.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", mantissa),
    };
    let (whole, fraction) = split_fraction(digits);
    let all = format!("{whole}{fraction}");
    let point = (whole.len() as i64 + exponent).max(0) as usize;
    let all = format!("{all:0<point$}");
    let (whole, fraction) = all.split_at(point.min(all.len()));
    let whole = whole.trim_start_matches('0');
    let whole = if whole.is_empty() { "0" } else { whole };
    let fraction = format!("{fraction:0<scale$}");
    let zero = whole == "0" && fraction.bytes().all(|b| b == b'0');
    let point = if scale == 0 { "" } else { "." };
    format!("{}{whole}{point}{}", if zero { "" } else { sign }, &fraction[..scale])
}

#[test]
fn values_are_compared_in_one_spelling() {
    assert_eq!(canonical("1E+2", "DECIMAL(10, 2)"), "100.00");
    assert_eq!(canonical("-0.50", "DECIMAL(10, 1)"), "-0.5");
    assert_eq!(canonical("1e+16", "DOUBLE"), canonical("10000000000000000", "DOUBLE"));
    assert_eq!(canonical("2020-01-01T00:00:00Z", "TIMESTAMP_LTZ(3)"), "2020-01-01 00:00:00.000");
    assert_eq!(canonical("10:30", "TIME"), "10:30:00.000");
    assert_eq!(
        csv_records("a,b\n,\"\"\n"),
        [vec![Some("a".into()), Some("b".into())], vec![None, Some(String::new())]]
    );
    let sql = "CREATE TABLE t (a INT, `b c` ROW<x INT, y DECIMAL(3, 1)>) WITH (";
    let columns = [("a", "INT"), ("b c", "ROW<X INT, Y DECIMAL(3, 1)>")];
    assert_eq!(columns_of(sql, "t"), columns.map(|(a, b)| (a.to_owned(), b.to_owned())));
}
