//! The statements of a session.

use super::function::CreateFunction;
use super::refusal;
use super::tokens::{is_word, place};
use super::types::parse_type;
use crate::error::{At, ErrorKind, Planned, Refusal};
use crate::types::SqlType;
use sqlparser::ast::{Expr, Ident, Query};
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::Token;

/// A statement and where it begins.
#[derive(Debug, Clone)]
pub(crate) struct Statement {
    pub kind: StatementKind,
    pub at: At,
}

#[derive(Debug, Clone)]
pub(crate) enum StatementKind {
    CreateTable(Box<CreateTable>),
    CreateView(CreateView),
    CreateFunction(Box<CreateFunction>),
    Drop {
        what: &'static str,
        name: Name,
        if_exists: bool,
    },
    Insert(Insert),
    Set {
        key: String,
        value: String,
        at: At,
    },
    Reset {
        key: Option<String>,
    },
    /// A bare query: its changelog is printed.
    Query(Box<Query>),
    Explain(Box<Statement>),
    Show(Show),
    Describe(Name),
}

#[derive(Debug, Clone)]
pub(crate) enum Show {
    Tables,
    Views,
    Functions,
    CreateTable(Name),
    Jobs,
}

/// The last part of a possibly qualified name, and where it stands.
#[derive(Debug, Clone)]
pub(crate) struct Name {
    pub text: String,
    pub at: At,
}

#[derive(Debug, Clone)]
pub(crate) struct CreateTable {
    pub name: Name,
    pub if_not_exists: bool,
    pub columns: Vec<ColumnDefinition>,
    pub watermark: Option<(Name, Expr)>,
    pub primary_key: Vec<Name>,
    pub partitioned_by: Vec<Name>,
    pub like: Option<Like>,
    pub options: Vec<OptionPair>,
}

#[derive(Debug, Clone)]
pub(crate) struct Like {
    pub name: Name,
    /// Clauses such as `EXCLUDING OPTIONS`, upper-case.
    pub clauses: Vec<String>,
}

#[derive(Debug, Clone)]
pub(crate) struct OptionPair {
    pub key: String,
    pub value: String,
    pub at: At,
}

#[derive(Debug, Clone)]
pub(crate) struct ColumnDefinition {
    pub name: Name,
    pub kind: ColumnKind,
}

#[derive(Debug, Clone)]
pub(crate) enum ColumnKind {
    Physical { data_type: SqlType, not_null: bool },
    Metadata { data_type: SqlType, key: Option<String>, is_virtual: bool },
    Computed(Box<Expr>),
}

#[derive(Debug, Clone)]
pub(crate) struct CreateView {
    pub name: Name,
    pub if_not_exists: bool,
    pub or_replace: bool,
    pub columns: Vec<Name>,
    pub query: Box<Query>,
}

#[derive(Debug, Clone)]
pub(crate) struct Insert {
    pub target: Name,
    pub columns: Vec<Name>,
    pub query: Box<Query>,
}

pub(super) struct StatementParser<'a, 'd> {
    pub parser: Parser<'d>,
    pub types: &'a [SqlType],
    pub file: usize,
    /// Where the text ends.
    pub end: At,
}

impl<'d> StatementParser<'_, 'd> {
    /// All statements up to the end of the file.
    pub fn parse_all(&mut self) -> Planned<Vec<Statement>> {
        let mut statements = Vec::new();
        loop {
            while self.parser.consume_token(&Token::SemiColon) {}
            if self.parser.peek_token_ref().token == Token::EOF {
                return Ok(statements);
            }
            if self.set_of_statements(&mut statements)? {
                continue;
            }
            let statement = self.statement()?;
            statements.push(statement);
            self.end_of_statement()?;
        }
    }

    pub fn end_of_statement(&mut self) -> Planned<()> {
        match &self.parser.peek_token_ref().token {
            Token::EOF | Token::SemiColon => Ok(()),
            token => {
                let message = format!("expected the end of the statement, found '{token}'");
                Err(Refusal::new(ErrorKind::Parse, self.at(), message)
                    .hint("statements are separated by ';'"))
            }
        }
    }

    /// `EXECUTE STATEMENT SET BEGIN … END` or `BEGIN STATEMENT SET; … END`: its inserts are
    /// statements like others, for all inserts of a session are one job anyway.
    fn set_of_statements(&mut self, statements: &mut Vec<Statement>) -> Planned<bool> {
        let executed = self.words(&["EXECUTE", "STATEMENT", "SET"]);
        if !executed && !self.words(&["BEGIN", "STATEMENT", "SET"]) {
            return Ok(false);
        }
        if executed {
            self.expect_word("BEGIN")?;
        }
        loop {
            while self.parser.consume_token(&Token::SemiColon) {}
            if self.word("END") {
                self.end_of_statement()?;
                return Ok(true);
            }
            if !self.peek_word("INSERT") {
                return self.unexpected("INSERT or END");
            }
            statements.push(self.statement()?);
            if !self.peek_word("END") {
                self.end_of_statement()?;
            }
        }
    }

    fn statement(&mut self) -> Planned<Statement> {
        let at = self.at();
        let kind = self.kind()?;
        Ok(Statement { kind, at })
    }

    fn kind(&mut self) -> Planned<StatementKind> {
        if self.word("CREATE") {
            return self.create();
        }
        if self.word("DROP") {
            return self.drop();
        }
        if self.word("INSERT") {
            return Ok(StatementKind::Insert(self.insert()?));
        }
        if self.words(&["EXECUTE", "INSERT"]) {
            return Ok(StatementKind::Insert(self.insert()?));
        }
        if self.word("SET") {
            return self.set();
        }
        if self.word("RESET") {
            let at_end =
                matches!(self.parser.peek_token_ref().token, Token::SemiColon | Token::EOF);
            let key = if at_end { None } else { Some(self.option_word()?) };
            return Ok(StatementKind::Reset { key });
        }
        if self.word("EXPLAIN") {
            for detail in ["ESTIMATED_COST", "CHANGELOG_MODE", "JSON_EXECUTION_PLAN", "PLAN_ADVICE"]
            {
                if self.word(detail) && self.parser.consume_token(&Token::Comma) {
                    continue;
                }
            }
            self.words(&["PLAN", "FOR"]);
            return Ok(StatementKind::Explain(Box::new(self.statement()?)));
        }
        if self.word("SHOW") {
            return self.show();
        }
        if self.word("DESCRIBE") || self.word("DESC") {
            return Ok(StatementKind::Describe(self.name()?));
        }
        let query = ["SELECT", "WITH", "VALUES"].iter().any(|w| self.peek_word(w))
            || self.parser.peek_token_ref().token == Token::LParen;
        if query {
            return Ok(StatementKind::Query(self.query()?));
        }
        let token = self.parser.peek_token_ref().token.to_string();
        Err(Refusal::new(ErrorKind::Parse, self.at(), format!("no statement begins with '{token}'"))
            .hint("statements: CREATE, DROP, INSERT INTO, EXECUTE STATEMENT SET, SET, EXPLAIN, SHOW, DESCRIBE, SELECT"))
    }

    fn create(&mut self) -> Planned<StatementKind> {
        let or_replace = self.words(&["OR", "REPLACE"]);
        let materialized = self.word("MATERIALIZED");
        if !materialized {
            self.word("TEMPORARY");
        }
        self.word("SYSTEM");
        if self.word("VIEW") {
            return self.create_view(or_replace);
        }
        if self.word("TABLE") && !materialized {
            return self.create_table();
        }
        if self.word("FUNCTION") {
            let create = self.create_function(or_replace)?;
            return Ok(StatementKind::CreateFunction(Box::new(create)));
        }
        self.unexpected("TABLE, VIEW or FUNCTION")
    }

    fn create_view(&mut self, or_replace: bool) -> Planned<StatementKind> {
        let if_not_exists = self.words(&["IF", "NOT", "EXISTS"]);
        let name = self.name()?;
        let mut columns = Vec::new();
        if self.parser.consume_token(&Token::LParen) {
            columns = self.names()?;
            self.expect(&Token::RParen)?;
        }
        self.comment()?;
        self.expect_word("AS")?;
        let query = self.query()?;
        Ok(StatementKind::CreateView(CreateView {
            name,
            if_not_exists,
            or_replace,
            columns,
            query,
        }))
    }

    fn create_table(&mut self) -> Planned<StatementKind> {
        let if_not_exists = self.words(&["IF", "NOT", "EXISTS"]);
        let mut table = CreateTable {
            name: self.name()?,
            if_not_exists,
            columns: Vec::new(),
            watermark: None,
            primary_key: Vec::new(),
            partitioned_by: Vec::new(),
            like: None,
            options: Vec::new(),
        };
        if self.parser.consume_token(&Token::LParen) {
            loop {
                self.table_element(&mut table)?;
                if !self.parser.consume_token(&Token::Comma) {
                    break;
                }
            }
            self.expect(&Token::RParen)?;
        }
        self.comment()?;
        if self.words(&["PARTITIONED", "BY"]) {
            self.expect(&Token::LParen)?;
            table.partitioned_by = self.names()?;
            self.expect(&Token::RParen)?;
        }
        if self.word("WITH") {
            table.options = self.options()?;
        }
        if self.word("LIKE") {
            table.like = Some(self.like()?);
        }
        if self.peek_word("AS") {
            return Err(Refusal::new(
                ErrorKind::Unsupported,
                self.at(),
                "CREATE TABLE … AS SELECT is not supported",
            )
            .hint("declare the table's columns and use INSERT INTO"));
        }
        Ok(StatementKind::CreateTable(Box::new(table)))
    }

    fn like(&mut self) -> Planned<Like> {
        let name = self.name()?;
        let mut clauses = Vec::new();
        if self.parser.consume_token(&Token::LParen) {
            while !self.parser.consume_token(&Token::RParen) {
                let (verb, what) = (self.parser.next_token().token, self.parser.next_token().token);
                clauses.push(format!("{verb} {what}").to_ascii_uppercase());
            }
        }
        Ok(Like { name, clauses })
    }

    fn table_element(&mut self, table: &mut CreateTable) -> Planned<()> {
        if self.words(&["WATERMARK", "FOR"]) {
            let column = self.name()?;
            self.expect_word("AS")?;
            table.watermark = Some((column, self.expression()?));
            return Ok(());
        }
        if self.word("CONSTRAINT") {
            self.name()?;
        }
        if self.words(&["PRIMARY", "KEY"]) {
            self.expect(&Token::LParen)?;
            table.primary_key = self.names()?;
            self.expect(&Token::RParen)?;
            return self.not_enforced();
        }
        let name = self.name()?;
        let kind = if self.word("AS") {
            ColumnKind::Computed(Box::new(self.expression()?))
        } else {
            self.typed_column(table, &name)?
        };
        self.comment()?;
        table.columns.push(ColumnDefinition { name, kind });
        Ok(())
    }

    fn typed_column(&mut self, table: &mut CreateTable, name: &Name) -> Planned<ColumnKind> {
        let data_type = parse_type(&mut self.parser, self.types, self.file)?;
        if self.word("METADATA") {
            let key = match self.word("FROM") {
                true => Some(self.string()?),
                false => None,
            };
            return Ok(ColumnKind::Metadata { data_type, key, is_virtual: self.word("VIRTUAL") });
        }
        let mut not_null = false;
        loop {
            if self.words(&["NOT", "NULL"]) {
                not_null = true;
            } else if self.words(&["PRIMARY", "KEY"]) {
                not_null = true;
                table.primary_key = vec![name.clone()];
                self.not_enforced()?;
            } else if !self.word("NULL") {
                return Ok(ColumnKind::Physical { data_type, not_null });
            }
        }
    }

    fn not_enforced(&mut self) -> Planned<()> {
        let at = self.at();
        if self.words(&["NOT", "ENFORCED"]) {
            return Ok(());
        }
        self.word("ENFORCED");
        Err(Refusal::new(
            ErrorKind::MissingPrimaryKey,
            at,
            "a primary key can only be declared, not enforced: the data belongs to others",
        )
        .hint("write PRIMARY KEY (…) NOT ENFORCED"))
    }

    pub fn options(&mut self) -> Planned<Vec<OptionPair>> {
        self.expect(&Token::LParen)?;
        let mut options = Vec::new();
        loop {
            let at = self.at();
            let key = self.string()?;
            self.expect(&Token::Eq)?;
            let value = self.string()?;
            options.push(OptionPair { key, value, at });
            if !self.parser.consume_token(&Token::Comma) {
                break;
            }
        }
        self.expect(&Token::RParen)?;
        Ok(options)
    }

    fn drop(&mut self) -> Planned<StatementKind> {
        self.word("TEMPORARY");
        self.word("MATERIALIZED");
        let what = match () {
            () if self.word("TABLE") => "table",
            () if self.word("VIEW") => "view",
            () if self.word("FUNCTION") => "function",
            () => return self.unexpected("TABLE, VIEW or FUNCTION"),
        };
        let if_exists = self.words(&["IF", "EXISTS"]);
        Ok(StatementKind::Drop { what, name: self.name()?, if_exists })
    }

    fn insert(&mut self) -> Planned<Insert> {
        if self.peek_word("OVERWRITE") {
            return Err(Refusal::new(
                ErrorKind::Unsupported,
                self.at(),
                "INSERT OVERWRITE is for batch jobs",
            )
            .hint("write INSERT INTO"));
        }
        self.expect_word("INTO")?;
        let target = self.name()?;
        let mut columns = Vec::new();
        let is_list = self.parser.peek_token_ref().token == Token::LParen
            && !is_word(&self.parser.peek_nth_token_ref(1).token, "SELECT")
            && !is_word(&self.parser.peek_nth_token_ref(1).token, "WITH");
        if is_list {
            self.parser.next_token();
            columns = self.names()?;
            self.expect(&Token::RParen)?;
        }
        Ok(Insert { target, columns, query: self.query()? })
    }

    fn set(&mut self) -> Planned<StatementKind> {
        let at = self.at();
        let key = self.option_word()?;
        self.expect(&Token::Eq)?;
        let value = self.option_word()?;
        Ok(StatementKind::Set { key, value, at })
    }

    /// A string, or bare words joined by dots and dashes, as Flink's client takes them.
    fn option_word(&mut self) -> Planned<String> {
        if let Token::SingleQuotedString(_) = self.parser.peek_token_ref().token {
            return self.string();
        }
        let mut text = String::new();
        loop {
            match &self.parser.peek_token_ref().token {
                Token::Word(w) => text.push_str(&w.value),
                Token::Number(n, _) => text.push_str(n),
                Token::Period => text.push('.'),
                Token::Minus => text.push('-'),
                _ if text.is_empty() => return self.unexpected("a string"),
                _ => return Ok(text),
            }
            self.parser.next_token();
        }
    }

    fn show(&mut self) -> Planned<StatementKind> {
        Ok(StatementKind::Show(match () {
            () if self.word("TABLES") => Show::Tables,
            () if self.word("VIEWS") => Show::Views,
            () if self.word("FUNCTIONS") => Show::Functions,
            () if self.word("JOBS") => Show::Jobs,
            () if self.words(&["CREATE", "TABLE"]) || self.words(&["CREATE", "VIEW"]) => {
                Show::CreateTable(self.name()?)
            }
            () => return self.unexpected("TABLES, VIEWS, FUNCTIONS or CREATE TABLE"),
        }))
    }

    fn comment(&mut self) -> Planned<()> {
        if self.word("COMMENT") {
            self.string()?;
        }
        Ok(())
    }

    fn names(&mut self) -> Planned<Vec<Name>> {
        let mut names = vec![self.name()?];
        while self.parser.consume_token(&Token::Comma) {
            names.push(self.name()?);
        }
        Ok(names)
    }

    /// A name, of which catalog and database are dropped: there is one of each.
    pub(super) fn name(&mut self) -> Planned<Name> {
        let mut ident: Ident = self.checked(Parser::parse_identifier)?;
        while self.parser.consume_token(&Token::Period) {
            ident = self.checked(Parser::parse_identifier)?;
        }
        let at = place(&ident, self.file);
        Ok(Name { text: ident.value, at })
    }

    pub(super) fn expression(&mut self) -> Planned<Expr> {
        self.checked(Parser::parse_expr)
    }

    fn query(&mut self) -> Planned<Box<Query>> {
        self.checked(Parser::parse_query)
    }

    pub(super) fn string(&mut self) -> Planned<String> {
        self.checked(Parser::parse_literal_string)
    }

    fn checked<T>(
        &mut self,
        parse: impl FnOnce(&mut Parser<'d>) -> Result<T, ParserError>,
    ) -> Planned<T> {
        let at = self.at();
        parse(&mut self.parser).map_err(|e| refusal(e, self.file, at, self.end))
    }

    pub(super) fn at(&self) -> At {
        let start = self.parser.peek_token_ref().span.start;
        At { file: self.file, line: start.line, column: start.column }
    }

    pub(super) fn peek_word(&self, word: &str) -> bool {
        is_word(&self.parser.peek_token_ref().token, word)
    }

    pub(super) fn word(&mut self, word: &str) -> bool {
        let found = self.peek_word(word);
        if found {
            self.parser.next_token();
        }
        found
    }

    /// All of the words, or none.
    pub(super) fn words(&mut self, words: &[&str]) -> bool {
        let all = words
            .iter()
            .enumerate()
            .all(|(i, word)| is_word(&self.parser.peek_nth_token_ref(i).token, word));
        if all {
            words.iter().for_each(|_| drop(self.parser.next_token()));
        }
        all
    }

    pub(super) fn expect_word(&mut self, word: &str) -> Planned<()> {
        if self.word(word) { Ok(()) } else { self.unexpected(word) }
    }

    pub(super) fn expect(&mut self, token: &Token) -> Planned<()> {
        if self.parser.consume_token(token) {
            return Ok(());
        }
        self.unexpected(&format!("'{token}'"))
    }

    fn unexpected<T>(&self, expected: &str) -> Planned<T> {
        let found = match &self.parser.peek_token_ref().token {
            Token::EOF => "the end of the file".to_owned(),
            token => format!("'{token}'"),
        };
        let message = format!("expected {expected}, found {found}");
        Err(Refusal::new(ErrorKind::Parse, self.at(), message))
    }
}
