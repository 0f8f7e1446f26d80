//! What Flink's SQL looks like to `sqlparser`.

use sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList, FunctionArguments, Ident,
    ObjectName, UnaryOperator, Value,
};
use sqlparser::dialect::Dialect;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::Token;

use super::tokens::is_word;

/// Flink SQL, with double-quoted identifiers and `::` accepted beside it.
#[derive(Debug, Default)]
pub(crate) struct FlinkDialect;

impl Dialect for FlinkDialect {
    fn is_delimited_identifier_start(&self, ch: char) -> bool {
        ch == '`' || ch == '"'
    }

    fn is_identifier_start(&self, ch: char) -> bool {
        ch.is_alphabetic() || ch == '_' || ch == '$'
    }

    fn is_identifier_part(&self, ch: char) -> bool {
        ch.is_alphanumeric() || ch == '_' || ch == '$'
    }

    fn supports_unicode_string_literal(&self) -> bool {
        true
    }

    fn supports_filter_during_aggregation(&self) -> bool {
        true
    }

    fn supports_group_by_expr(&self) -> bool {
        true
    }

    fn supports_match_recognize(&self) -> bool {
        true
    }

    fn supports_table_versioning(&self) -> bool {
        true
    }

    fn supports_named_fn_args_with_rarrow_operator(&self) -> bool {
        true
    }

    fn require_interval_qualifier(&self) -> bool {
        true
    }

    fn supports_string_literal_concatenation(&self) -> bool {
        true
    }

    fn supports_array_typedef_with_brackets(&self) -> bool {
        true
    }

    fn supports_window_clause_named_window_reference(&self) -> bool {
        true
    }

    fn parse_infix(
        &self,
        parser: &mut Parser<'_>,
        left: &Expr,
        precedence: u8,
    ) -> Option<Result<Expr, ParserError>> {
        let is = |n: usize, word: &str| is_word(&parser.peek_nth_token_ref(n).token, word);
        if !is(0, "IS") {
            return None;
        }
        let negated = is(1, "NOT");
        let kind = 1 + usize::from(negated);
        if is(kind, "JSON") {
            skip(parser, kind + 1);
            Some(Ok(is_json(parser, left, negated)))
        } else if is(kind, "DISTINCT") && is(kind + 1, "FROM") {
            skip(parser, kind + 2);
            Some(is_distinct(parser, left, negated, precedence))
        } else {
            None
        }
    }
}

fn skip(parser: &mut Parser<'_>, tokens: usize) {
    for _ in 0..tokens {
        parser.next_token();
    }
}

/// `x IS [NOT] JSON [VALUE | SCALAR | ARRAY | OBJECT]`, as a call of `IS_JSON`.
fn is_json(parser: &mut Parser<'_>, left: &Expr, negated: bool) -> Expr {
    let mut kind = "VALUE".to_owned();
    if let Token::Word(word) = &parser.peek_token_ref().token {
        let word = word.value.to_ascii_uppercase();
        if ["VALUE", "SCALAR", "ARRAY", "OBJECT"].contains(&word.as_str()) {
            kind = word;
            parser.next_token();
        }
    }
    let call = call("IS_JSON", vec![left.clone(), Expr::value(Value::SingleQuotedString(kind))]);
    if negated { Expr::UnaryOp { op: UnaryOperator::Not, expr: Box::new(call) } } else { call }
}

/// `x IS [NOT] DISTINCT FROM y`, of which `sqlparser` takes for `y` all that follows, and so
/// `AND` and `OR` too.
fn is_distinct(
    parser: &mut Parser<'_>,
    left: &Expr,
    negated: bool,
    precedence: u8,
) -> Result<Expr, ParserError> {
    let (left, right) = (Box::new(left.clone()), Box::new(parser.parse_subexpr(precedence)?));
    Ok(match negated {
        true => Expr::IsNotDistinctFrom(left, right),
        false => Expr::IsDistinctFrom(left, right),
    })
}

fn call(name: &str, args: Vec<Expr>) -> Expr {
    let args = args.into_iter().map(|a| FunctionArg::Unnamed(FunctionArgExpr::Expr(a))).collect();
    Expr::Function(Function {
        name: ObjectName::from(vec![Ident::new(name)]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList {
            duplicate_treatment: None,
            args,
            clauses: Vec::new(),
        }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    })
}
