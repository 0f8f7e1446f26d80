//! Functions over JSON text.
//!
//! A value is found by skipping through the text, once it is known to be JSON: nothing is built
//! that isn't asked for, and numbers keep the digits they are written with. As in Flink, a path
//! without `lax` or `strict` is strict: a member that isn't there is an error, not empty.

mod clause;
mod path;
mod text;
mod write;

use super::cast::{parse_boolean, parse_double, parse_integer};
use super::function::{Definition, Kind, Shape, Takes, gives_boolean, gives_text, sql_type_name};
use super::values::{Call, Text};
use arrow::array::{ArrayRef, ArrowPrimitiveType, BooleanArray};
use arrow::datatypes::{DataType, Float64Type, Int32Type, Int64Type};
use clause::{Behaviour, Clauses, Wrapper};
use datafusion::common::{DataFusionError, Result, exec_err, plan_err};
use path::{Found, Mode, Path};
use std::sync::Arc;
use text::{is_json, push_compact, push_unescaped, quote, unquote};

const PATH: Takes = Takes::Fixed(&[Kind::Text, Kind::Text], &[Kind::Text]);
const ONE: Takes = Takes::Fixed(&[Kind::Text], &[]);

/// The functions of this family. The clauses of the SQL standard (`RETURNING INT NULL ON EMPTY`)
/// come as one more argument of text.
pub(super) const DEFINITIONS: &[Definition] = &[
    Definition::new("JSON_VALUE", PATH, gives_value, json_value),
    Definition::new("JSON_QUERY", PATH, gives_query, json_query),
    Definition::new("JSON_EXISTS", PATH, gives_exists, json_exists),
    Definition::new(
        "IS_JSON",
        Takes::Fixed(&[Kind::Text], &[Kind::Text]),
        gives_boolean,
        is_json_kind,
    ),
    Definition::new("JSON_QUOTE", ONE, gives_text, json_quote),
    Definition::new("JSON_UNQUOTE", ONE, gives_text, json_unquote),
    Definition::new("JSON_STRING", Takes::Fixed(&[Kind::Any], &[]), gives_text, write::json_string),
    Definition::new("JSON_OBJECT", Takes::Many(&[], Kind::Any), gives_object, write::json_object),
    Definition::new("JSON_ARRAY", Takes::Many(&[], Kind::Any), gives_text, write::json_array),
    Definition::new(
        "FLINK_JSON_ARRAY_OF_ALL",
        Takes::Many(&[], Kind::Any),
        gives_text,
        write::json_array_of_all,
    ),
    Definition::new("FLINK_JSON", ONE, write::gives_json, write::json),
];

/// Checks constants when a call is planned: the path, and the clauses, which must be constant.
fn planned(shape: &Shape<'_>) -> Result<Clauses> {
    if let Some(text) = shape.text(1) {
        path_of(shape.name, text)?;
    }
    match (shape.types.len(), shape.text(2)) {
        (3, Some(text)) => Clauses::parse(shape.name, text),
        (3, None) => plan_err!("{}: argument 3 must be a constant", shape.name),
        _ => Clauses::parse(shape.name, ""),
    }
}

/// Pairs of a key and a value; what is left over is the clause.
fn gives_object(shape: &Shape<'_>) -> Result<DataType> {
    let clause = shape.text(shape.types.len().saturating_sub(1)).map(str::to_ascii_uppercase);
    match (shape.types.len() % 2, clause.as_deref()) {
        (0, _) | (1, Some("NULL ON NULL" | "ABSENT ON NULL")) => Ok(DataType::Utf8),
        _ => plan_err!(
            "JSON_OBJECT takes keys with their values, and then 'NULL ON NULL' or 'ABSENT ON NULL'"
        ),
    }
}

fn gives_value(shape: &Shape<'_>) -> Result<DataType> {
    let clauses = planned(shape)?;
    match &clauses.returning {
        DataType::Utf8
        | DataType::Boolean
        | DataType::Int32
        | DataType::Int64
        | DataType::Float64 => Ok(clauses.returning),
        other => plan_err!(
            "JSON_VALUE gives STRING, BOOLEAN, INT, BIGINT or DOUBLE, not {}; CAST it",
            sql_type_name(other)
        ),
    }
}

fn gives_query(shape: &Shape<'_>) -> Result<DataType> {
    match planned(shape)?.returning {
        DataType::Utf8 => Ok(DataType::Utf8),
        other => plan_err!("JSON_QUERY gives STRING, not {}", sql_type_name(&other)),
    }
}

fn gives_exists(shape: &Shape<'_>) -> Result<DataType> {
    planned(shape)?;
    Ok(DataType::Boolean)
}

fn path_of(name: &str, text: &str) -> Result<Path> {
    Path::parse(text)
        .map_err(|problem| DataFusionError::Plan(format!("{name}: '{text}' is no path: {problem}")))
}

/// The documents, paths and clauses of a call.
struct Lookup<'a> {
    name: &'a str,
    documents: Text<'a>,
    paths: Text<'a>,
    current: Option<(&'a str, Path)>,
    clauses: Clauses,
}

/// What a path leads to.
enum Outcome<'a> {
    /// The document or the path is NULL.
    Null,
    /// One value, as it stands in the text.
    One(&'a str),
    /// Several, because the path asks for all of some.
    Many(Vec<&'a str>),
    /// Nothing.
    Empty,
    /// The document is no JSON, or lacks what a strict path names.
    Error,
}

impl<'a> Lookup<'a> {
    fn new(call: &Call<'a>) -> Result<Self> {
        let clauses = Clauses::parse(call.name, call.text_or(2, "")?.get(0).unwrap_or(""))?;
        let (documents, paths) = (call.text(0)?, call.text(1)?);
        Ok(Lookup { name: call.name, documents, paths, current: None, clauses })
    }

    fn get(&mut self, row: usize) -> Result<(Outcome<'a>, Mode)> {
        let (Some(document), Some(path)) = (self.documents.get(row), self.paths.get(row)) else {
            return Ok((Outcome::Null, Mode::Lax));
        };
        let path = match &mut self.current {
            Some((text, parsed)) if *text == path => parsed,
            current => &current.insert((path, path_of(self.name, path)?)).1,
        };
        let failed = match path.mode {
            Mode::Lax => Outcome::Empty,
            Mode::Strict => Outcome::Error,
        };
        if !is_json(document) {
            return Ok((failed, path.mode));
        }
        let outcome = match path.find(document) {
            Found::One(value) => Outcome::One(value),
            Found::Many(values) => Outcome::Many(values),
            Found::Nothing => failed,
        };
        Ok((outcome, path.mode))
    }

    /// What stands for a missing value: a text, or NULL.
    fn instead(&self, behaviour: &Behaviour, what: &str) -> Result<Option<String>> {
        match behaviour {
            Behaviour::Null => Ok(None),
            Behaviour::Default(text) => Ok(Some(text.clone())),
            Behaviour::Fail => {
                exec_err!("{}: {what}, and the job asks to fail then (ERROR ON …)", self.name)
            }
        }
    }

    /// Writes the scalar that a row's path leads to, if `accept` accepts it.
    fn scalar(
        &mut self,
        row: usize,
        out: &mut String,
        accept: impl Fn(&str) -> bool,
    ) -> Result<Option<()>> {
        let (outcome, mode) = self.get(row)?;
        let is_empty = match outcome {
            Outcome::Null => return Ok(None),
            Outcome::One("null") | Outcome::Empty => true,
            Outcome::One(value) if !value.starts_with(['{', '[']) => {
                push_unescaped(value, out);
                if accept(out) {
                    return Ok(Some(()));
                }
                false
            }
            Outcome::One(_) | Outcome::Many(_) => mode == Mode::Lax,
            Outcome::Error => false,
        };
        let instead = if is_empty {
            self.instead(&self.clauses.on_empty, "the path leads to nothing")?
        } else {
            self.instead(&self.clauses.on_error, "the path leads to no scalar value")?
        };
        out.clear();
        Ok(instead.map(|text| out.push_str(&text)))
    }
}

fn json_value(call: &Call<'_>) -> Result<ArrayRef> {
    let mut lookup = Lookup::new(call)?;
    match call.gives {
        DataType::Int32 => {
            numbers::<Int32Type>(call, lookup, |text| i32::try_from(parse_integer(text)?).ok())
        }
        DataType::Int64 => numbers::<Int64Type>(call, lookup, parse_integer),
        DataType::Float64 => numbers::<Float64Type>(call, lookup, parse_double),
        DataType::Boolean => {
            let mut text = String::new();
            let value = |row| {
                text.clear();
                let found =
                    lookup.scalar(row, &mut text, |text| matches!(text, "true" | "false"))?;
                Ok(found.and_then(|()| parse_boolean(&text)))
            };
            let values = (0..call.rows).map(value).collect::<Result<BooleanArray>>()?;
            Ok(Arc::new(values))
        }
        _ => call.try_texts(|row, out| lookup.scalar(row, out, |_| true)),
    }
}

fn numbers<T: ArrowPrimitiveType>(
    call: &Call<'_>,
    mut lookup: Lookup<'_>,
    parse: impl Fn(&str) -> Option<T::Native>,
) -> Result<ArrayRef> {
    let mut text = String::new();
    call.try_collect::<T>(|row| {
        text.clear();
        let found = lookup.scalar(row, &mut text, |text| parse(text).is_some())?;
        Ok(found.and_then(|()| parse(&text)))
    })
}

/// Whether a query without a wrapper may give this value.
fn is_nested(value: &str) -> bool {
    value.starts_with(['{', '['])
}

fn json_query(call: &Call<'_>) -> Result<ArrayRef> {
    let mut lookup = Lookup::new(call)?;
    call.try_texts(|row, out| {
        let (outcome, mode) = lookup.get(row)?;
        let wrapper = lookup.clauses.wrapper;
        let is_empty = match outcome {
            Outcome::Null => return Ok(None),
            Outcome::One("null") | Outcome::Empty => true,
            Outcome::One(value) if wrapper == Wrapper::Always => {
                push_array(&[value], out);
                return Ok(Some(()));
            }
            Outcome::One(value) if is_nested(value) => {
                push_compact(value, out);
                return Ok(Some(()));
            }
            Outcome::One(value) if wrapper == Wrapper::IfNeeded => {
                push_array(&[value], out);
                return Ok(Some(()));
            }
            Outcome::Many(values) => {
                push_array(&values, out);
                return Ok(Some(()));
            }
            Outcome::One(_) => mode == Mode::Lax,
            Outcome::Error => false,
        };
        let instead = if is_empty {
            lookup.instead(&lookup.clauses.on_empty, "the path leads to nothing")?
        } else {
            lookup.instead(&lookup.clauses.on_error, "the path leads to no object or array")?
        };
        Ok(instead.map(|text| out.push_str(&text)))
    })
}

fn push_array(values: &[&str], out: &mut String) {
    out.push('[');
    for (at, value) in values.iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        push_compact(value, out);
    }
    out.push(']');
}

fn json_exists(call: &Call<'_>) -> Result<ArrayRef> {
    let mut lookup = Lookup::new(call)?;
    let exists = |row| {
        Ok(match lookup.get(row)?.0 {
            Outcome::Null => None,
            Outcome::One(_) => Some(true),
            Outcome::Many(values) => Some(!values.is_empty()),
            Outcome::Empty => Some(false),
            Outcome::Error => {
                let instead =
                    lookup.instead(&lookup.clauses.on_error, "the path leads to nothing")?;
                instead.and_then(|text| parse_boolean(&text))
            }
        })
    };
    let exists = (0..call.rows).map(exists).collect::<Result<BooleanArray>>()?;
    Ok(Arc::new(exists))
}

/// `x IS JSON [VALUE | SCALAR | ARRAY | OBJECT]`; NULL is none.
fn is_json_kind(call: &Call<'_>) -> Result<ArrayRef> {
    let (documents, kinds) = (call.text(0)?, call.text_or(1, "VALUE")?);
    Ok(call.collect_booleans(|row| {
        let Some(document) = documents.get(row) else { return Some(false) };
        let first = document.trim_start().chars().next();
        let is_kind = match kinds.get(row)? {
            "OBJECT" => first == Some('{'),
            "ARRAY" => first == Some('['),
            "SCALAR" => !matches!(first, Some('{' | '[')),
            _ => true,
        };
        Some(is_kind && is_json(document))
    }))
}

fn json_quote(call: &Call<'_>) -> Result<ArrayRef> {
    let text = call.text(0)?;
    Ok(call.texts(|row, out| {
        quote(text.get(row)?, out);
        Some(())
    }))
}

/// What is no quoted text stays as it is.
fn json_unquote(call: &Call<'_>) -> Result<ArrayRef> {
    let text = call.text(0)?;
    Ok(call.texts(|row, out| {
        unquote(text.get(row)?, out);
        Some(())
    }))
}
