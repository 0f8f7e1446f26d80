//! `CREATE FUNCTION`: a compiled-in function under a name of its own, or an expression.

use super::statement::{Name, StatementParser};
use super::types::parse_type;
use crate::error::{At, ErrorKind, Planned, Refusal};
use crate::types::SqlType;
use sqlparser::ast::Expr;
use sqlparser::tokenizer::Token;

#[derive(Debug, Clone)]
pub(crate) struct CreateFunction {
    pub name: Name,
    pub or_replace: bool,
    pub if_not_exists: bool,
    pub body: FunctionBody,
}

#[derive(Debug, Clone)]
pub(crate) enum FunctionBody {
    /// `AS 'class'`
    Class { name: String, at: At },
    /// `(x BIGINT, …) RETURNS BIGINT RETURN expression`
    Expression { parameters: Vec<(Name, SqlType)>, returns: SqlType, value: Box<Expr> },
}

impl StatementParser<'_, '_> {
    pub(super) fn create_function(&mut self, or_replace: bool) -> Planned<CreateFunction> {
        let if_not_exists = self.words(&["IF", "NOT", "EXISTS"]);
        let name = self.name()?;
        let body = match self.parser.consume_token(&Token::LParen) {
            true => self.expression_body()?,
            false => self.class_body()?,
        };
        Ok(CreateFunction { name, or_replace, if_not_exists, body })
    }

    fn expression_body(&mut self) -> Planned<FunctionBody> {
        let mut parameters = Vec::new();
        while !self.parser.consume_token(&Token::RParen) {
            if !parameters.is_empty() {
                self.expect(&Token::Comma)?;
            }
            let name = self.name()?;
            parameters.push((name, parse_type(&mut self.parser, self.types, self.file)?));
        }
        self.expect_word("RETURNS")?;
        let returns = parse_type(&mut self.parser, self.types, self.file)?;
        self.words(&["LANGUAGE", "SQL"]);
        self.expect_word("RETURN")?;
        let value = Box::new(self.expression()?);
        Ok(FunctionBody::Expression { parameters, returns, value })
    }

    /// What a class is written in, and where it is packed, is of no concern: only its name is.
    fn class_body(&mut self) -> Planned<FunctionBody> {
        self.expect_word("AS")?;
        let at = self.at();
        let name = self.string()?;
        if self.word("LANGUAGE")
            && !["JAVA", "SCALA", "PYTHON", "RUST"].iter().any(|language| self.word(language))
        {
            return Err(Refusal::new(
                ErrorKind::Unsupported,
                self.at(),
                "a function AS 'class' is written in JAVA, SCALA, PYTHON or RUST",
            )
            .hint("a function in SQL: CREATE FUNCTION f(x BIGINT) RETURNS BIGINT RETURN x * 2"));
        }
        if self.word("USING") {
            loop {
                self.expect_word("JAR")?;
                self.string()?;
                if !self.parser.consume_token(&Token::Comma) {
                    break;
                }
            }
        }
        Ok(FunctionBody::Class { name, at })
    }
}
