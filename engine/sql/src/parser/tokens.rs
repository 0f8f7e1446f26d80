//! From text to the tokens that `sqlparser` understands.
//!
//! Flink's grammar has a few forms that `sqlparser` does not know. Each of them is rewritten
//! here, token by token, into a form that it does; every token keeps its place in the text.
//!
//! | Flink | becomes |
//! |---|---|
//! | `TUMBLE(TABLE t PARTITION BY a, b, DESCRIPTOR(ts), …)` | `TUMBLE(t, PARTITION_BY => (a, b), DESCRIPTOR(ts), …)` |
//! | `CAST(x AS ROW<a INT>)`, `MAP<…>`, `ARRAY<…>`, `MULTISET<…>` | `CAST(x AS __type_0)`, with the type kept aside |
//! | `TIMESTAMP(3) WITH LOCAL TIME ZONE` | `__type_1` |
//! | `MAP['a', 1]` | `MAP('a', 1)` |
//! | `t /*+ OPTIONS('a' = 'b') */` | the name `t/*+OPTIONS('a' = 'b')` |
//! | `PATTERN (…) WITHIN INTERVAL '5' SECOND DEFINE …` | `PATTERN (…) DEFINE __within AS INTERVAL '5' SECOND, …` |
//! | `AFTER MATCH SKIP TO a` | `AFTER MATCH SKIP TO LAST a` |
//! | `JSON_VALUE(j, '$.a' RETURNING INT NULL ON EMPTY)` | `JSON_VALUE(j, '$.a', 'RETURNING INT NULL ON EMPTY')` |
//! | `JSON_OBJECT(KEY 'a' VALUE x ABSENT ON NULL)` | `JSON_OBJECT('a', x, 'ABSENT ON NULL')` |
//! | `JSON_ARRAY(x, y NULL ON NULL)` | `FLINK_JSON_ARRAY_OF_ALL(x, y)` |

use super::dialect::FlinkDialect;
use super::hint::{self, Behind, StateTtl};
use super::types::parse_type;
use crate::error::{At, ErrorKind, Planned, Refusal};
use crate::types::SqlType;
use sqlparser::ast::{Ident, Value};
use sqlparser::keywords::Keyword;
use sqlparser::parser::Parser;
use sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer, Whitespace, Word};

/// The symbol under which `WITHIN` stands among those that `DEFINE` defines.
pub(crate) const WITHIN: &str = "__within";

/// `JSON_ARRAY(… NULL ON NULL)`.
const JSON_ARRAY_OF_ALL: &str = "FLINK_JSON_ARRAY_OF_ALL";

/// The tokens of one file.
pub(crate) struct Tokens {
    pub tokens: Vec<TokenWithSpan>,
    /// The types behind the words `__type_N`.
    pub types: Vec<SqlType>,
    /// What hints say behind the `SELECT` at a place.
    pub lifetimes: Vec<(At, Vec<StateTtl>)>,
}

/// Reads the tokens of a text.
pub(crate) fn tokenize(text: &str, file: usize) -> Planned<Tokens> {
    let all = Tokenizer::new(&FlinkDialect, text).tokenize_with_location().map_err(|e| {
        let at = At { file, line: e.location.line, column: e.location.column };
        Refusal::new(ErrorKind::Parse, at, e.message.clone())
    })?;
    let mut plain: Vec<TokenWithSpan> = Vec::with_capacity(all.len());
    let mut lifetimes = Vec::new();
    for token in all {
        match token.token {
            Token::Whitespace(Whitespace::MultiLineComment(comment)) => {
                let Some(text) = hint::text(&comment) else { continue };
                let start = token.span.start;
                let at = At { file, line: start.line, column: start.column };
                let before = plain.last().map_or(start, |token| token.span.start);
                let select = At { file, line: before.line, column: before.column };
                let heeded = hint::attach(text, hinted(plain.last_mut()), at)?;
                lifetimes.extend(Some((select, heeded)).filter(|(_, heeded)| !heeded.is_empty()));
            }
            Token::Whitespace(_) => {}
            // `ROW<a ARRAY<INT>>` ends in two brackets; SQL has no shift.
            Token::ShiftRight => {
                plain.push(TokenWithSpan { token: Token::Gt, span: token.span });
                plain.push(TokenWithSpan { token: Token::Gt, span: token.span });
            }
            _ => plain.push(token),
        }
    }
    let mut rewriter = Rewriter { input: plain, output: Vec::new(), types: Vec::new(), file };
    rewriter.rewrite(0, usize::MAX)?;
    Ok(Tokens { tokens: rewriter.output, types: rewriter.types, lifetimes })
}

/// What a hint behind this token is about.
fn hinted(before: Option<&mut TokenWithSpan>) -> Behind<'_> {
    let Some(TokenWithSpan { token: Token::Word(word), .. }) = before else {
        return Behind::Other;
    };
    match word.keyword {
        Keyword::SELECT if word.quote_style.is_none() => Behind::Select,
        _ => Behind::Name(&mut word.value),
    }
}

/// Whether a token is the given unquoted word.
pub(crate) fn is_word(token: &Token, word: &str) -> bool {
    matches!(token, Token::Word(w) if w.quote_style.is_none() && w.value.eq_ignore_ascii_case(word))
}

struct Rewriter {
    input: Vec<TokenWithSpan>,
    output: Vec<TokenWithSpan>,
    types: Vec<SqlType>,
    file: usize,
}

impl Rewriter {
    fn token(&self, index: usize) -> &Token {
        self.input.get(index).map_or(&Token::EOF, |t| &t.token)
    }

    fn word_is(&self, index: usize, word: &str) -> bool {
        is_word(self.token(index), word)
    }

    fn push(&mut self, token: Token, like: usize) {
        let span = self.input[like.min(self.input.len() - 1)].span;
        self.output.push(TokenWithSpan { token, span });
    }

    fn keep(&mut self, index: usize) {
        self.output.push(self.input[index].clone());
    }

    /// Copies the tokens from `at` up to `end`, rewriting what it meets.
    fn rewrite(&mut self, mut at: usize, end: usize) -> Planned<()> {
        let end = end.min(self.input.len());
        while at < end {
            at = self.step(at)?;
        }
        Ok(())
    }

    /// Handles what stands at `at` and gives the place behind it.
    fn step(&mut self, at: usize) -> Planned<usize> {
        let Token::Word(word) = self.token(at) else {
            self.keep(at);
            return Ok(at + 1);
        };
        if word.quote_style.is_some() {
            self.keep(at);
            return Ok(at + 1);
        }
        let name = word.value.to_ascii_uppercase();
        let next = self.token(at + 1).clone();
        match (name.as_str(), next) {
            ("TUMBLE" | "HOP" | "CUMULATE" | "SESSION", Token::LParen) => self.window_function(at),
            ("ROW" | "MAP" | "ARRAY" | "MULTISET", Token::Lt) => self.named_type(at),
            ("TIMESTAMP", _) if self.is_local_timestamp(at) => self.named_type(at),
            ("MAP", Token::LBracket) => self.map_literal(at),
            ("MATCH_RECOGNIZE", Token::LParen) => self.match_recognize(at),
            ("JSON_VALUE" | "JSON_QUERY" | "JSON_EXISTS", Token::LParen) => self.json_function(at),
            ("JSON_OBJECT" | "JSON_ARRAY", Token::LParen) => self.json_constructor(at),
            _ => {
                self.keep(at);
                Ok(at + 1)
            }
        }
    }

    fn is_local_timestamp(&self, at: usize) -> bool {
        let behind = if self.token(at + 1) == &Token::LParen { at + 4 } else { at + 1 };
        self.word_is(behind, "WITH") && self.word_is(behind + 1, "LOCAL")
    }

    fn named_type(&mut self, at: usize) -> Planned<usize> {
        let mut parser =
            Parser::new(&FlinkDialect).with_tokens_with_locations(self.input[at..].to_vec());
        let data_type = parse_type(&mut parser, &self.types, self.file)?;
        let name = format!("__type_{}", self.types.len());
        self.types.push(data_type);
        let word = Word { value: name, quote_style: None, keyword: Keyword::NoKeyword };
        self.push(Token::Word(word), at);
        Ok(at + parser.index())
    }

    fn closing(&self, open: usize) -> usize {
        let mut depth = 0usize;
        for index in open..self.input.len() {
            match self.token(index) {
                Token::LParen | Token::LBracket => depth += 1,
                Token::RParen | Token::RBracket => {
                    depth -= 1;
                    if depth == 0 {
                        return index;
                    }
                }
                _ => {}
            }
        }
        self.input.len()
    }

    fn match_recognize(&mut self, at: usize) -> Planned<usize> {
        if at > 0 && self.token(at - 1) == &Token::RParen {
            let message = "MATCH_RECOGNIZE behind a sub-query is not supported";
            return Err(Refusal::new(ErrorKind::Unsupported, self.place(at), message)
                .hint("name it: WITH t AS (…) SELECT … FROM t MATCH_RECOGNIZE (…)"));
        }
        let close = self.closing(at + 1);
        self.keep(at);
        let mut index = at + 1;
        while index < close {
            let skips = self.words_are(index, &["AFTER", "MATCH", "SKIP", "TO"]);
            let target = index + 4;
            if skips && !["NEXT", "FIRST", "LAST"].iter().any(|word| self.word_is(target, word)) {
                (index..target).for_each(|index| self.keep(index));
                self.push_word("LAST", Keyword::LAST, target);
                index = target;
            } else if self.word_is(index, "PATTERN") && self.token(index + 1) == &Token::LParen {
                let behind = self.closing(index + 1) + 1;
                (index..behind.min(close)).for_each(|index| self.keep(index));
                index = self.within(behind, close)?;
            } else {
                index = self.step(index)?;
            }
        }
        Ok(index)
    }

    /// What may stand between a pattern and its definitions.
    fn within(&mut self, at: usize, close: usize) -> Planned<usize> {
        let define = (at..close).find(|&index| self.word_is(index, "DEFINE"));
        if self.word_is(at, "SUBSET") || define.is_some_and(|d| self.has_word(at..d, "SUBSET")) {
            let message = "SUBSET is not supported";
            return Err(Refusal::new(ErrorKind::Unsupported, self.place(at), message)
                .hint("give a group of variables one name, and tell its rows apart by a column"));
        }
        let Some(define) = define.filter(|_| self.word_is(at, "WITHIN")) else { return Ok(at) };
        self.keep(define);
        self.push_word(WITHIN, Keyword::NoKeyword, at);
        self.push_word("AS", Keyword::AS, at);
        self.rewrite(at + 1, define)?;
        self.push(Token::Comma, define);
        Ok(define + 1)
    }

    fn place(&self, at: usize) -> At {
        let start = self.input[at.min(self.input.len() - 1)].span.start;
        At { file: self.file, line: start.line, column: start.column }
    }

    fn words_are(&self, at: usize, words: &[&str]) -> bool {
        words.iter().enumerate().all(|(n, word)| self.word_is(at + n, word))
    }

    fn has_word(&self, mut range: std::ops::Range<usize>, word: &str) -> bool {
        range.any(|index| self.word_is(index, word))
    }

    fn push_word(&mut self, value: &str, keyword: Keyword, like: usize) {
        let word = Word { value: value.to_owned(), quote_style: None, keyword };
        self.push(Token::Word(word), like);
    }

    fn map_literal(&mut self, at: usize) -> Planned<usize> {
        let close = self.closing(at + 1);
        self.keep(at);
        self.push(Token::LParen, at + 1);
        self.rewrite(at + 2, close)?;
        self.push(Token::RParen, close);
        Ok((close + 1).min(self.input.len()))
    }

    fn window_function(&mut self, at: usize) -> Planned<usize> {
        let close = self.closing(at + 1);
        self.keep(at);
        self.keep(at + 1);
        let (mut index, mut starts_argument) = (at + 2, true);
        while index < close {
            let is_table = starts_argument
                && self.word_is(index, "TABLE")
                && matches!(self.token(index + 1), Token::Word(_));
            if is_table {
                index = self.table_argument(index + 1, close);
                starts_argument = false;
                continue;
            }
            starts_argument = matches!(self.token(index), Token::Comma | Token::RArrow);
            index = self.step(index)?;
        }
        Ok(index)
    }

    /// Copies `t PARTITION BY a, b` as `t, PARTITION_BY => (a, b)`.
    fn table_argument(&mut self, mut at: usize, close: usize) -> usize {
        while at < close && !self.word_is(at, "PARTITION") && self.token(at) != &Token::Comma {
            self.keep(at);
            at += 1;
        }
        if !(self.word_is(at, "PARTITION") && self.word_is(at + 1, "BY")) {
            return at;
        }
        let word =
            Word { value: "PARTITION_BY".into(), quote_style: None, keyword: Keyword::NoKeyword };
        self.push(Token::Comma, at);
        self.push(Token::Word(word), at);
        self.push(Token::RArrow, at);
        self.push(Token::LParen, at);
        let mut index = at + 2;
        while index < close {
            // The keys end where an argument begins that is none.
            let ends = self.token(index) == &Token::Comma
                && (self.word_is(index + 1, "DESCRIPTOR")
                    && self.token(index + 2) == &Token::LParen
                    || self.token(index + 2) == &Token::RArrow);
            if ends {
                break;
            }
            self.keep(index);
            index += 1;
        }
        self.push(Token::RParen, index);
        index
    }

    /// `JSON_OBJECT([KEY] k VALUE v, … [NULL | ABSENT ON NULL])`, and `JSON_ARRAY(v, …)` with the same
    /// clause, where a function of its own stands for `NULL ON NULL`: a text behind the values would be
    /// one of them.
    fn json_constructor(&mut self, at: usize) -> Planned<usize> {
        let close = self.closing(at + 1);
        let clause = close.saturating_sub(3).max(at + 2);
        let has = |word| {
            clause + 3 == close
                && self.word_is(clause, word)
                && self.word_is(clause + 1, "ON")
                && self.word_is(clause + 2, "NULL")
        };
        let is_array = self.word_is(at, "JSON_ARRAY");
        let (keeps_nulls, drops_nulls) = (has("NULL"), has("ABSENT"));
        let end = if keeps_nulls || drops_nulls { clause } else { close };
        match is_array && keeps_nulls {
            true => {
                let (value, quote_style) = (JSON_ARRAY_OF_ALL.to_owned(), None);
                let word = Word { value, quote_style, keyword: Keyword::NoKeyword };
                self.push(Token::Word(word), at);
            }
            false => self.keep(at),
        }
        self.keep(at + 1);
        self.json_pairs(at + 2, end)?;
        if !is_array && end < close {
            if end > at + 2 {
                self.push(Token::Comma, clause);
            }
            let clause_text = if drops_nulls { "ABSENT ON NULL" } else { "NULL ON NULL" };
            self.push(Token::SingleQuotedString(clause_text.to_owned()), clause);
        }
        Ok(close)
    }

    /// Copies arguments, without their `KEY` and with a comma for their `VALUE`.
    fn json_pairs(&mut self, from: usize, end: usize) -> Planned<()> {
        let (mut depth, mut begins, mut copied) = (0, true, from);
        for index in from..end {
            match self.token(index) {
                Token::LParen | Token::LBracket => depth += 1,
                Token::RParen | Token::RBracket => depth -= 1,
                _ => {}
            }
            let is_key = begins && self.word_is(index, "KEY") && !self.word_is(index + 1, "VALUE");
            let is_value = !begins && depth == 0 && self.word_is(index, "VALUE");
            if is_key || is_value {
                self.rewrite(copied, index)?;
                copied = index + 1;
            }
            if is_value {
                self.push(Token::Comma, index);
            }
            begins = depth == 0 && self.token(index) == &Token::Comma;
        }
        self.rewrite(copied, end)
    }

    fn json_function(&mut self, at: usize) -> Planned<usize> {
        const CLAUSES: [&str; 10] = [
            "RETURNING",
            "NULL",
            "ERROR",
            "DEFAULT",
            "WITH",
            "WITHOUT",
            "TRUE",
            "FALSE",
            "UNKNOWN",
            "EMPTY",
        ];
        let close = self.closing(at + 1);
        let (mut depth, mut commas, mut clause) = (0, 0, close);
        for index in at + 1..close {
            match self.token(index) {
                Token::LParen => depth += 1,
                Token::RParen => depth -= 1,
                Token::Comma if depth == 1 => commas += 1,
                Token::Word(_)
                    if depth == 1
                        && commas == 1
                        && CLAUSES.iter().any(|c| self.word_is(index, c)) =>
                {
                    clause = index;
                    break;
                }
                _ => {}
            }
        }
        self.keep(at);
        self.rewrite(at + 1, clause)?;
        if clause < close {
            let words: Vec<String> =
                self.input[clause..close].iter().map(|t| t.token.to_string()).collect();
            self.push(Token::Comma, clause);
            self.push(Token::SingleQuotedString(words.join(" ")), clause);
        }
        Ok(close)
    }
}

/// The text of a string literal, if the value is one.
pub(crate) fn string_value(value: &Value) -> Option<&str> {
    match value {
        Value::SingleQuotedString(s)
        | Value::UnicodeStringLiteral(s)
        | Value::NationalStringLiteral(s) => Some(s),
        _ => None,
    }
}

/// Where an identifier stands.
pub(crate) fn place(ident: &Ident, file: usize) -> At {
    At { file, line: ident.span.start.line, column: ident.span.start.column }
}
