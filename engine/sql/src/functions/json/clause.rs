//! The clauses that follow the path: `RETURNING INT`, `DEFAULT 0 ON EMPTY`, `WITH WRAPPER` …

use arrow::datatypes::DataType;
use datafusion::common::{Result, plan_err};

/// What a call says besides its path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Clauses {
    /// The type of the result.
    pub returning: DataType,
    /// What stands for nothing.
    pub on_empty: Behaviour,
    /// What stands for an error.
    pub on_error: Behaviour,
    /// When a query's result is wrapped.
    pub wrapper: Wrapper,
}

/// What to give where there is no value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Behaviour {
    /// NULL.
    Null,
    /// The failure of the job.
    Fail,
    /// This value, as text.
    Default(String),
}

/// When `JSON_QUERY` puts an array around its result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wrapper {
    /// As the value is.
    Never,
    /// Around what is no object or array.
    IfNeeded,
    /// Around any value.
    Always,
}

impl Clauses {
    /// What a function does without any clause: NULL, but `JSON_EXISTS` says that there is none.
    fn of(function: &str) -> Self {
        let on_error = match function {
            "JSON_EXISTS" => Behaviour::Default("FALSE".to_owned()),
            _ => Behaviour::Null,
        };
        let (on_empty, wrapper) = (Behaviour::Null, Wrapper::Never);
        Clauses { returning: DataType::Utf8, on_empty, on_error, wrapper }
    }

    /// Reads the clauses of a call of `function`.
    pub fn parse(function: &str, text: &str) -> Result<Self> {
        let mut clauses = Clauses::of(function);
        let words = words(text);
        let mut rest = words.as_slice();
        while let [first, after @ ..] = rest {
            rest = match first.to_ascii_uppercase().as_str() {
                "RETURNING" => clauses.returning(function, after)?,
                "WITH" | "WITHOUT" => clauses.wrapper(function, rest)?,
                _ => clauses.behaviour(function, rest)?,
            };
        }
        Ok(clauses)
    }

    fn returning<'w>(&mut self, function: &str, words: &'w [String]) -> Result<&'w [String]> {
        let Some(name) = words.first() else {
            return plan_err!("{function}: RETURNING wants a type");
        };
        self.returning = match name.to_ascii_uppercase().as_str() {
            "STRING" | "VARCHAR" | "CHAR" => DataType::Utf8,
            "BOOLEAN" => DataType::Boolean,
            "INT" | "INTEGER" => DataType::Int32,
            "BIGINT" => DataType::Int64,
            "DOUBLE" => DataType::Float64,
            _ => return plan_err!("{function}: RETURNING {name} isn't supported; CAST the result"),
        };
        // A length, as in VARCHAR(10), cuts nothing here.
        let parameter = words[1..].iter().position(|word| word == ")").map_or(0, |at| at + 1);
        let has_parameter = words.get(1).is_some_and(|word| word == "(");
        Ok(&words[if has_parameter { 1 + parameter } else { 1 }..])
    }

    fn wrapper<'w>(&mut self, function: &str, words: &'w [String]) -> Result<&'w [String]> {
        let Some(end) = words.iter().position(|word| word.eq_ignore_ascii_case("WRAPPER")) else {
            return plan_err!("{function}: '{}' lacks WRAPPER", words.join(" "));
        };
        let has = |wanted: &str| words[..end].iter().any(|word| word.eq_ignore_ascii_case(wanted));
        self.wrapper = match (has("WITH"), has("CONDITIONAL")) {
            (false, _) => Wrapper::Never,
            (true, true) => Wrapper::IfNeeded,
            (true, false) => Wrapper::Always,
        };
        Ok(&words[end + 1..])
    }

    /// `NULL | ERROR | DEFAULT x | EMPTY ARRAY | EMPTY OBJECT | TRUE | FALSE | UNKNOWN`, and when.
    fn behaviour<'w>(&mut self, function: &str, words: &'w [String]) -> Result<&'w [String]> {
        let Some(on) = words.iter().position(|word| word.eq_ignore_ascii_case("ON")) else {
            return plan_err!("{function}: '{}' isn't understood", words.join(" "));
        };
        let said: Vec<String> = words[..on].iter().map(|word| word.to_ascii_uppercase()).collect();
        let said: Vec<&str> = said.iter().map(String::as_str).collect();
        let behaviour = match said.as_slice() {
            ["NULL"] | ["UNKNOWN"] | ["DEFAULT", "NULL"] => Behaviour::Null,
            ["ERROR"] => Behaviour::Fail,
            ["TRUE"] | ["FALSE"] => Behaviour::Default(said[0].to_owned()),
            ["EMPTY", "ARRAY"] => Behaviour::Default("[]".to_owned()),
            ["EMPTY", "OBJECT"] => Behaviour::Default("{}".to_owned()),
            // A sign is a word of its own.
            ["DEFAULT", _, ..] => Behaviour::Default(unquoted(&words[1..on].concat())),
            _ => return plan_err!("{function}: '{}' isn't understood", words[..on].join(" ")),
        };
        match words.get(on + 1).map(|word| word.to_ascii_uppercase()).as_deref() {
            Some("EMPTY") => self.on_empty = behaviour,
            Some("ERROR") => self.on_error = behaviour,
            _ => return plan_err!("{function}: ON EMPTY or ON ERROR is wanted after {}", said[0]),
        }
        Ok(&words[on + 2..])
    }
}

/// The words of a text; a quoted string is one, and so is each parenthesis.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            c if c.is_whitespace() => {}
            '(' | ')' | ',' => words.push(c.to_string()),
            '\'' => {
                let mut word = String::from("'");
                while let Some(c) = chars.next() {
                    word.push(c);
                    if c == '\'' {
                        match chars.next_if_eq(&'\'') {
                            Some(quote) => word.push(quote),
                            None => break,
                        }
                    }
                }
                words.push(word);
            }
            c => {
                let mut word = String::from(c);
                while let Some(c) = chars.next_if(|c| !c.is_whitespace() && !"(),'".contains(*c)) {
                    word.push(c);
                }
                words.push(word);
            }
        }
    }
    words
}

/// What a literal stands for.
fn unquoted(literal: &str) -> String {
    match literal.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\'')) {
        Some(inner) => inner.replace("''", "'"),
        None => literal.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clauses_are_read_in_any_order() {
        let read =
            Clauses::parse("JSON_VALUE", "RETURNING INT DEFAULT 0 ON EMPTY DEFAULT - 1 ON ERROR");
        let expected = Clauses {
            returning: DataType::Int32,
            on_empty: Behaviour::Default("0".to_owned()),
            on_error: Behaviour::Default("-1".to_owned()),
            wrapper: Wrapper::Never,
        };
        assert_eq!(read.unwrap(), expected);
        let read = Clauses::parse("JSON_VALUE", "DEFAULT 'it''s on' ON EMPTY").unwrap();
        assert_eq!(read.on_empty, Behaviour::Default("it's on".to_owned()));
        let read = Clauses::parse("JSON_QUERY", "returning varchar(9) with array wrapper").unwrap();
        assert_eq!(read.wrapper, Wrapper::Always);
        let read = Clauses::parse("JSON_QUERY", "EMPTY ARRAY ON EMPTY ERROR ON ERROR").unwrap();
        assert_eq!(read.on_empty, Behaviour::Default("[]".to_owned()));
        assert_eq!(read.on_error, Behaviour::Fail);
    }

    #[test]
    fn a_wrong_clause_is_refused() {
        for text in ["NULL", "RETURNING", "WITH", "NULL ON SUNDAY", "RETURNING DATE"] {
            assert!(Clauses::parse("JSON_VALUE", text).is_err(), "{text}");
        }
    }
}
