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

    /// `x IS [NOT] JSON [VALUE | SCALAR | ARRAY | OBJECT]`, as a call of `IS_JSON`.
    fn parse_infix(
        &self,
        parser: &mut Parser<'_>,
        left: &Expr,
        _precedence: u8,
    ) -> Option<Result<Expr, ParserError>> {
        let is = |n: usize, word: &str| is_word(&parser.peek_nth_token_ref(n).token, word);
        if !is(0, "IS") {
            return None;
        }
        let negated = is(1, "NOT");
        if !is(1 + usize::from(negated), "JSON") {
            return None;
        }
        for _ in 0..2 + usize::from(negated) {
            parser.next_token();
        }
        let mut kind = "VALUE".to_owned();
        if let Token::Word(word) = &parser.peek_token_ref().token {
            let word = word.value.to_ascii_uppercase();
            if ["VALUE", "SCALAR", "ARRAY", "OBJECT"].contains(&word.as_str()) {
                kind = word;
                parser.next_token();
            }
        }
        let call =
            call("IS_JSON", vec![left.clone(), Expr::value(Value::SingleQuotedString(kind))]);
        Some(Ok(if negated {
            Expr::UnaryOp { op: UnaryOperator::Not, expr: Box::new(call) }
        } else {
            call
        }))
    }
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
