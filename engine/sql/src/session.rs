//! A session: statements in order, their options, and the one plan of all inserts.

use crate::catalog::Entry;
use crate::error::{
    At, ErrorKind, Planned as PlannedOr, Refusal, SqlError, SqlWarning, did_you_mean,
};
use crate::explain;
use crate::functions::Kernel;
use crate::options::{self, ZONE};
use crate::parser::{Show, Statement, StatementKind, parse};
use crate::plan::Plan;
use crate::planner::bind::{Context, Names};
use crate::planner::expr::Expr;
use crate::planner::relation::Op;
use crate::planner::{BoundInsert, Planner, Surprise, kernels, lower, surprises};
use crate::text::{SourceText, Text};
use chrono_tz::Tz;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry::Vacant;
use tidemill_formats::{Connectors, Table};

/// A planned session.
#[derive(Debug)]
pub struct Planned {
    /// The dataflow of all inserts and bare queries. Without any, it has no nodes.
    pub plan: Plan,
    /// What `SHOW`, `DESCRIBE` and `EXPLAIN` answered, in order.
    pub outputs: Vec<String>,
    /// What is probably not meant, in the order of the text.
    pub warnings: Vec<SqlWarning>,
}

impl Planned {
    /// The dataflow as text.
    pub fn explain(&self) -> String {
        explain::explain(&self.plan)
    }
}

/// Plans the statements of `files`, in order, as one session.
///
/// `variables` replace `${NAME}`; those whose name has a dot are session options, as `SET` would
/// set them.
///
/// # Errors
/// The first mistake, with its place. Nothing of the session may run then.
pub fn plan_session(
    files: Vec<SourceText>,
    variables: &BTreeMap<String, String>,
    connectors: &dyn Connectors,
) -> Result<Planned, SqlError> {
    let texts = substituted(files, variables)?;
    let mut session = Session::new(variables, connectors);
    session.run(&texts).map_err(|refusal| locate(*refusal, &texts))
}

/// What reads back the tables that a session writes.
#[derive(Debug)]
pub struct Results {
    /// A sink for each of these tables, of the same name, that is given the table's changelog.
    /// Kafka topics are read from where the table's options say.
    pub plan: Plan,
    /// The tables that are written and can't be read, such as those that are printed.
    pub unreadable: Vec<String>,
}

/// Plans to read the tables that the statements of `files` write, without those statements.
///
/// # Errors
/// As [`plan_session`].
pub fn plan_results(
    files: Vec<SourceText>,
    variables: &BTreeMap<String, String>,
    connectors: &dyn Connectors,
) -> Result<Results, SqlError> {
    let texts = substituted(files, variables)?;
    let mut session = Session::new(variables, connectors);
    session.read_back(&texts).map_err(|refusal| locate(*refusal, &texts))
}

/// Whose kernels compute an expression without columns: its parts that compute something,
/// outermost first, with their names if they are functions.
///
/// # Errors
/// If it is none.
pub fn kernels_of(
    expression: &str,
    connectors: &dyn Connectors,
) -> Result<Vec<(String, Kernel)>, SqlError> {
    let file = SourceText { name: "expression".to_owned(), text: format!("SELECT {expression}") };
    let texts = substituted(vec![file], &BTreeMap::new())?;
    let mut session = Session::new(&BTreeMap::new(), connectors);
    let bound = session.selected(&texts[0]).map_err(|refusal| locate(*refusal, &texts))?;
    Ok(bound.first().map(kernels).unwrap_or_default())
}

/// The texts of a session, with their variables replaced.
fn substituted(
    files: Vec<SourceText>,
    variables: &BTreeMap<String, String>,
) -> Result<Vec<Text>, SqlError> {
    let mut texts: Vec<Text> = Vec::new();
    for (number, file) in files.into_iter().enumerate() {
        let original = file.clone();
        match Text::substitute(file, number, variables) {
            Ok(text) => texts.push(text),
            Err(refusal) => {
                let (line, column) = (refusal.at.line as usize, refusal.at.column as usize);
                let text = original.text.lines().nth(line.max(1) - 1).unwrap_or("").to_owned();
                return Err(error(*refusal, original.name, line, column, text));
            }
        }
    }
    Ok(texts)
}

/// Leads a refusal's place back to what the user wrote.
fn locate(refusal: Refusal, texts: &[Text]) -> SqlError {
    let (file, line, column, text) = original(refusal.at, texts);
    error(refusal, file, line, column, text)
}

fn warning(surprise: Surprise, texts: &[Text]) -> SqlWarning {
    let (file, line, column, text) = original(surprise.at, texts);
    let Surprise { message, hint, .. } = surprise;
    SqlWarning { file, line, column, text, message, hint }
}

/// The file of a place, its line and column there, and the line's text, as the user wrote them.
fn original(at: At, texts: &[Text]) -> (String, usize, usize, String) {
    let Some(text) = texts.get(at.file) else {
        return (String::new(), 1, 1, String::new());
    };
    if at.line == 0 {
        // It stands in no line: an option of the command line, for instance.
        return (text.source.name.clone(), 1, 1, String::new());
    }
    let (line, column) = text.original(at.line, at.column);
    (text.source.name.clone(), line, column, text.line(line).to_owned())
}

fn error(refusal: Refusal, file: String, line: usize, column: usize, text: String) -> SqlError {
    let Refusal { kind, message, hint, .. } = refusal;
    SqlError { kind, file, line, column, text, message, hint }
}

struct Session<'a> {
    planner: Planner<'a>,
    connectors: &'a dyn Connectors,
    options: BTreeMap<String, String>,
    inserts: Vec<BoundInsert>,
    outputs: Vec<String>,
}

impl<'a> Session<'a> {
    fn new(variables: &BTreeMap<String, String>, connectors: &'a dyn Connectors) -> Self {
        let options = variables.iter().filter(|(name, _)| name.contains('.'));
        Session {
            planner: Planner::new(connectors),
            connectors,
            options: options.map(|(k, v)| (options::old_name(k).to_owned(), v.clone())).collect(),
            inserts: Vec::new(),
            outputs: Vec::new(),
        }
    }

    fn run(&mut self, texts: &[Text]) -> PlannedOr<Planned> {
        self.statements(texts)?;
        let inserts = std::mem::take(&mut self.inserts);
        let found = std::mem::take(&mut self.planner.surprises);
        let surprises = surprises(found, inserts.iter().map(|insert| &insert.relation));
        let warnings = surprises.into_iter().map(|surprise| warning(surprise, texts)).collect();
        let plan = lower(inserts, &self.planner.windows, self.options.clone())?;
        Ok(Planned { plan, outputs: std::mem::take(&mut self.outputs), warnings })
    }

    fn read_back(&mut self, texts: &[Text]) -> PlannedOr<Results> {
        self.statements(texts)?;
        let (mut reads, mut unreadable) = (BTreeMap::new(), Vec::new());
        for insert in std::mem::take(&mut self.inserts) {
            let table = insert.table;
            let described = self.connectors.describe(&table).ok();
            if described.is_none_or(|known| known.source.is_none()) {
                unreadable.push(table.name);
            } else if let Vacant(unread) = reads.entry(table.name.clone()) {
                unread.insert(self.read_all(&table, texts.len())?);
            }
        }
        unreadable.sort();
        unreadable.dedup();
        let reads = reads.into_values().collect();
        let plan = lower(reads, &self.planner.windows, self.options.clone())?;
        Ok(Results { plan, unreadable })
    }

    /// A query of all columns that are written of a table, as file `number` of the session.
    fn read_all(&mut self, table: &Table, number: usize) -> PlannedOr<BoundInsert> {
        let quoted = |name: &str| format!("`{}`", name.replace('`', "``"));
        let columns: Vec<String> =
            table.schema.fields().iter().map(|field| quoted(field.name())).collect();
        let query = format!("SELECT {} FROM {}", columns.join(", "), quoted(&table.name));
        let parsed = parse(&query, number)?;
        self.planner.types.truncate(number);
        self.planner.learn(parsed.types, parsed.lifetimes);
        for statement in parsed.statements {
            self.statement(statement)?;
        }
        let mut read = self.inserts.pop().expect("a query is an insert into what is printed");
        read.table.name = table.name.clone();
        Ok(read)
    }

    /// The expressions that a text of one query selects.
    fn selected(&mut self, text: &Text) -> PlannedOr<Vec<Expr>> {
        let parsed = parse(&text.substituted, 0)?;
        self.planner.learn(parsed.types, parsed.lifetimes);
        let names = Names::default();
        let context = Context { file: 0, names: &names, outer: None };
        match parsed.statements.into_iter().next().map(|statement| statement.kind) {
            Some(StatementKind::Query(query)) => match self.planner.query(&query, context)?.op {
                Op::Project { exprs, .. } => Ok(exprs),
                _ => Ok(Vec::new()),
            },
            _ => Ok(Vec::new()),
        }
    }

    fn statements(&mut self, texts: &[Text]) -> PlannedOr<()> {
        for (key, value) in &self.options {
            options::check(key, value, At::default())?;
            self.planner.surprises.extend(options::unheeded(key, At::default()));
        }
        if let Some(zone) = self.options.get(ZONE).cloned() {
            self.set_zone(&zone, At::default())?;
        }
        for (number, text) in texts.iter().enumerate() {
            let parsed = parse(&text.substituted, number)?;
            self.planner.learn(parsed.types, parsed.lifetimes);
            for statement in parsed.statements {
                self.statement(statement).map_err(|mut refusal| {
                    // Better the file than nowhere.
                    if refusal.at.line == 0 {
                        refusal.at = At { file: number, line: 1, column: 1 };
                    }
                    refusal
                })?;
            }
        }
        Ok(())
    }

    fn statement(&mut self, statement: Statement) -> PlannedOr<()> {
        let at = statement.at;
        match statement.kind {
            StatementKind::CreateTable(create) => self.planner.catalog.create_table(*create),
            StatementKind::CreateView(create) => {
                let names = (create.name.clone(), create.query.clone());
                self.planner.catalog.create_view(create)?;
                // A view is checked where it is created, not where it is first used.
                let context_names = Names::default();
                let context = Context { file: names.0.at.file, names: &context_names, outer: None };
                self.planner.query(&names.1, context).map(drop)
            }
            StatementKind::CreateFunction(create) => self.planner.create_function(&create),
            StatementKind::Drop { what: "function", name, if_exists } => {
                self.planner.user_functions.drop(&name, if_exists)
            }
            StatementKind::Drop { what, name, if_exists } => {
                self.planner.forget(&name.text);
                self.planner.catalog.drop(what, &name, if_exists)
            }
            StatementKind::Insert(insert) => {
                let bound = self.planner.insert(&insert)?;
                self.inserts.push(bound);
                Ok(())
            }
            StatementKind::Query(query) => {
                let bound = self.planner.print(&query, at)?;
                self.inserts.push(bound);
                Ok(())
            }
            StatementKind::Set { key, value, at } => {
                options::check(&key, &value, at)?;
                self.planner.surprises.extend(options::unheeded(&key, at));
                if key == ZONE {
                    self.set_zone(&value, at)?;
                }
                self.options.insert(options::old_name(&key).to_owned(), value);
                Ok(())
            }
            StatementKind::Reset { key } => {
                match key {
                    Some(key) => drop(self.options.remove(options::old_name(&key))),
                    None => self.options.clear(),
                }
                let zone = self.options.get(ZONE).map_or("default", String::as_str).to_owned();
                self.set_zone(&zone, at)
            }
            StatementKind::Explain(inner) => self.explain(*inner),
            StatementKind::Show(show) => self.show(show),
            StatementKind::Describe(name) => {
                let relation = match self.planner.catalog.get(&name.text, name.at)?.clone() {
                    Entry::Table(table) => crate::describe::table(&table),
                    Entry::View(_) => {
                        let columns = self.planner.view_columns(&name.text, name.at)?;
                        crate::describe::view(&columns)
                    }
                };
                self.outputs.push(relation);
                Ok(())
            }
        }
    }

    fn explain(&mut self, statement: Statement) -> PlannedOr<()> {
        let bound = match statement.kind {
            StatementKind::Insert(insert) => self.planner.insert(&insert)?,
            StatementKind::Query(query) => self.planner.print(&query, statement.at)?,
            _ => {
                let message = "EXPLAIN takes a query or an INSERT";
                return Err(Refusal::new(ErrorKind::Unsupported, statement.at, message));
            }
        };
        let plan = lower(vec![bound], &self.planner.windows, self.options.clone())?;
        self.outputs.push(explain::explain(&plan));
        Ok(())
    }

    fn show(&mut self, show: Show) -> PlannedOr<()> {
        let names = |views: bool| {
            let entries = self.planner.catalog.entries();
            let wanted = entries.filter(|(_, e)| views == matches!(e, Entry::View(_)));
            wanted.map(|(n, _)| n.to_owned()).collect::<Vec<_>>().join("\n")
        };
        let output = match show {
            Show::Tables => names(false),
            Show::Views => names(true),
            Show::Functions => {
                let mut names = self.planner.function_names();
                names.extend(self.planner.user_functions.names());
                names.sort();
                names.join("\n")
            }
            Show::Jobs => String::new(),
            Show::CreateTable(name) => match self.planner.catalog.get(&name.text, name.at)? {
                Entry::Table(table) => crate::describe::create_table(table),
                Entry::View(view) => {
                    format!("CREATE VIEW `{}` AS\n{};", view.name, view.query)
                }
            },
        };
        self.outputs.push(output);
        Ok(())
    }

    fn set_zone(&mut self, name: &str, at: At) -> PlannedOr<()> {
        let zone: Option<Tz> = match name {
            "default" => Some(Tz::UTC),
            name => name.parse().ok().or_else(|| fixed_offset(name)),
        };
        let Some(zone) = zone else {
            let known = chrono_tz::TZ_VARIANTS.iter().map(|z| z.name());
            let refusal =
                Refusal::new(ErrorKind::BadOption, at, format!("there is no time zone '{name}'"));
            return Err(match did_you_mean(name, known) {
                Some(near) => refusal.hint(format!("did you mean '{near}'?")),
                None => refusal.hint("write a name such as 'Europe/Berlin' or 'UTC'"),
            });
        };
        self.planner.set_zone(zone);
        Ok(())
    }
}

/// `GMT+2`, `UTC-05:00`: a fixed distance in whole hours.
fn fixed_offset(name: &str) -> Option<Tz> {
    let rest = name.strip_prefix("GMT").or_else(|| name.strip_prefix("UTC"))?;
    let (sign, digits) = match rest.split_at_checked(1)? {
        ("+", digits) => ('-', digits),
        ("-", digits) => ('+', digits),
        _ => return None,
    };
    let hours = digits.split(':').next()?.parse::<u8>().ok()?;
    if digits.contains(':') && !digits.ends_with(":00") {
        return None;
    }
    // The zone database counts the other way round.
    format!("Etc/GMT{sign}{hours}").parse().ok()
}
