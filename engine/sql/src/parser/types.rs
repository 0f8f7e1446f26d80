//! The names of types.

use super::tokens::is_word;
use crate::error::{At, ErrorKind, Planned, Refusal, did_you_mean};
use crate::types::SqlType;
use sqlparser::parser::Parser;
use sqlparser::tokenizer::Token;

const NAMES: [&str; 24] = [
    "BOOLEAN",
    "TINYINT",
    "SMALLINT",
    "INT",
    "INTEGER",
    "BIGINT",
    "FLOAT",
    "DOUBLE",
    "DECIMAL",
    "NUMERIC",
    "CHAR",
    "VARCHAR",
    "STRING",
    "BINARY",
    "VARBINARY",
    "BYTES",
    "DATE",
    "TIME",
    "TIMESTAMP",
    "TIMESTAMP_LTZ",
    "ARRAY",
    "MAP",
    "MULTISET",
    "ROW",
];

/// Parses a type at the parser's place. `types` are those behind the words `__type_N`.
pub(crate) fn parse_type(
    parser: &mut Parser<'_>,
    types: &[SqlType],
    file: usize,
) -> Planned<SqlType> {
    TypeParser { parser, types, file }.parse()
}

struct TypeParser<'p, 'd> {
    parser: &'p mut Parser<'d>,
    types: &'p [SqlType],
    file: usize,
}

impl TypeParser<'_, '_> {
    fn at(&self) -> At {
        let start = self.parser.peek_token_ref().span.start;
        At { file: self.file, line: start.line, column: start.column }
    }

    fn accept(&mut self, word: &str) -> bool {
        let found = is_word(&self.parser.peek_token_ref().token, word);
        if found {
            self.parser.next_token();
        }
        found
    }

    fn expect(&mut self, token: &Token) -> Planned<()> {
        let at = self.at();
        if self.parser.consume_token(token) {
            return Ok(());
        }
        let found = self.parser.peek_token_ref().token.to_string();
        Err(Refusal::new(ErrorKind::Parse, at, format!("expected '{token}', found '{found}'")))
    }

    fn number(&mut self) -> Planned<u64> {
        let at = self.at();
        self.parser
            .parse_literal_uint()
            .map_err(|_| Refusal::new(ErrorKind::Parse, at, "expected a whole number"))
    }

    /// `(n)`, if it stands here.
    fn length(&mut self) -> Planned<Option<u64>> {
        if !self.parser.consume_token(&Token::LParen) {
            return Ok(None);
        }
        let number = self.number()?;
        self.expect(&Token::RParen)?;
        Ok(Some(number))
    }

    fn parse(&mut self) -> Planned<SqlType> {
        let at = self.at();
        let token = self.parser.next_token().token;
        let Token::Word(word) = &token else {
            let message = format!("expected a type, found '{token}'");
            return Err(Refusal::new(ErrorKind::Parse, at, message));
        };
        let name = word.value.to_ascii_uppercase();
        if let Some(number) = name.strip_prefix("__TYPE_").and_then(|n| n.parse::<usize>().ok()) {
            return Ok(self.types[number].clone());
        }
        let parsed = match name.as_str() {
            "BOOLEAN" | "BOOL" => SqlType::Boolean,
            "TINYINT" => SqlType::TinyInt,
            "SMALLINT" => SqlType::SmallInt,
            "INT" | "INTEGER" => SqlType::Int,
            "BIGINT" => SqlType::BigInt,
            "FLOAT" | "REAL" => SqlType::Float,
            "DOUBLE" => {
                self.accept("PRECISION");
                SqlType::Double
            }
            "DECIMAL" | "DEC" | "NUMERIC" => self.decimal(at)?,
            "CHAR" | "CHARACTER" => SqlType::Char(self.length()?.unwrap_or(1) as u32),
            "VARCHAR" => match self.length()? {
                Some(n) if n < i32::MAX as u64 => SqlType::Varchar(n as u32),
                Some(_) => SqlType::String,
                // As Flink takes it, whatever its documentation says of a length of one.
                None => SqlType::String,
            },
            "STRING" | "TEXT" => SqlType::String,
            "BYTES" | "BINARY" | "VARBINARY" => {
                self.length()?;
                SqlType::Bytes
            }
            "DATE" => SqlType::Date,
            "TIME" => {
                self.length()?;
                self.zone()?;
                SqlType::Time
            }
            "TIMESTAMP" => {
                let precision = self.precision(at)?;
                if self.zone()? {
                    SqlType::TimestampLtz(precision)
                } else {
                    SqlType::Timestamp(precision)
                }
            }
            "TIMESTAMP_LTZ" => SqlType::TimestampLtz(self.precision(at)?),
            "ARRAY" => SqlType::Array(Box::new(self.only_argument()?)),
            "MULTISET" => SqlType::Multiset(Box::new(self.only_argument()?)),
            "MAP" => {
                self.expect(&Token::Lt)?;
                let key = self.parse()?;
                self.expect(&Token::Comma)?;
                let value = self.parse()?;
                self.expect(&Token::Gt)?;
                SqlType::Map(Box::new(key), Box::new(value))
            }
            "ROW" => self.row()?,
            _ => {
                let refusal = Refusal::new(
                    ErrorKind::UnknownType,
                    at,
                    format!("there is no type '{}'", word.value),
                );
                return Err(match did_you_mean(&name, NAMES) {
                    Some(known) => refusal.hint(format!("did you mean {known}?")),
                    None => refusal.hint(format!("types: {}", NAMES.join(", "))),
                });
            }
        };
        self.nullability();
        Ok(parsed)
    }

    /// `NULL` and `NOT NULL` inside a type say nothing that the dataflow keeps.
    fn nullability(&mut self) {
        if self.accept("NULL") {
            return;
        }
        let next = self.parser.peek_nth_token_ref(1).token.clone();
        let inside = matches!(self.parser.peek_nth_token_ref(2).token, Token::Comma | Token::Gt);
        if inside && is_word(&self.parser.peek_token_ref().token, "NOT") && is_word(&next, "NULL") {
            self.parser.next_token();
            self.parser.next_token();
        }
    }

    fn decimal(&mut self, at: At) -> Planned<SqlType> {
        let (mut precision, mut scale) = (10, 0);
        if self.parser.consume_token(&Token::LParen) {
            precision = self.number()?;
            if self.parser.consume_token(&Token::Comma) {
                scale = self.number()?;
            }
            self.expect(&Token::RParen)?;
        }
        if !(1..=38).contains(&precision) || scale > precision {
            let message = format!("DECIMAL({precision}, {scale}) is out of range");
            return Err(Refusal::new(ErrorKind::UnknownType, at, message)
                .hint("1 to 38 digits, of which at most as many behind the point"));
        }
        Ok(SqlType::Decimal(precision as u8, scale as i8))
    }

    fn precision(&mut self, at: At) -> Planned<u8> {
        match self.length()?.unwrap_or(6) {
            n @ 0..=9 => Ok(n as u8),
            n => Err(Refusal::new(
                ErrorKind::UnknownType,
                at,
                format!("a timestamp has 0 to 9 digits of a second, not {n}"),
            )),
        }
    }

    /// `WITH LOCAL TIME ZONE` (true) or `WITHOUT TIME ZONE` or nothing (false).
    fn zone(&mut self) -> Planned<bool> {
        let at = self.at();
        let local = if is_word(&self.parser.peek_token_ref().token, "WITHOUT") {
            self.parser.next_token();
            false
        } else if is_word(&self.parser.peek_token_ref().token, "WITH")
            && matches!(&self.parser.peek_nth_token_ref(1).token, t if is_word(t, "LOCAL") || is_word(t, "TIME"))
        {
            self.parser.next_token();
            if !self.accept("LOCAL") {
                return Err(Refusal::new(
                    ErrorKind::UnknownType,
                    at,
                    "TIMESTAMP WITH TIME ZONE is not supported",
                )
                .hint("write TIMESTAMP_LTZ for an instant"));
            }
            true
        } else {
            return Ok(false);
        };
        let (time, zone) = (self.accept("TIME"), self.accept("ZONE"));
        if time && zone {
            return Ok(local);
        }
        Err(Refusal::new(ErrorKind::Parse, at, "expected TIME ZONE"))
    }

    fn only_argument(&mut self) -> Planned<SqlType> {
        self.expect(&Token::Lt)?;
        let inner = self.parse()?;
        self.expect(&Token::Gt)?;
        Ok(inner)
    }

    fn row(&mut self) -> Planned<SqlType> {
        let close = if self.parser.consume_token(&Token::LParen) {
            Token::RParen
        } else {
            self.expect(&Token::Lt)?;
            Token::Gt
        };
        let mut fields = Vec::new();
        loop {
            let at = self.at();
            let name = self
                .parser
                .parse_identifier()
                .map_err(|_| Refusal::new(ErrorKind::Parse, at, "expected a field name"))?;
            fields.push((name.value, self.parse()?));
            if let Token::SingleQuotedString(_) = self.parser.peek_token_ref().token {
                self.parser.next_token(); // a comment
            }
            if !self.parser.consume_token(&Token::Comma) {
                break;
            }
        }
        self.expect(&close)?;
        Ok(SqlType::Row(fields))
    }
}
