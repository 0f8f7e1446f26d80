//! The pages of `docs` are true: their SQL plans, their examples give what they show, and the
//! reference names what the code knows, no more and no less.
//!
//! * The SQL of a page is one session, in order. A block ` ```csv orders.csv ` is a file beside it.
//! * A block of SQL with a block of text right behind it is run, behind the declarations above it,
//!   and gives those rows, in any order.
//! * In the page of functions an expression with an arrow behind it gives what follows the arrow;
//!   an aggregate does so over the values before the arrow; what fails says why. Whose kernel
//!   computes a function is what its examples are planned to run on.

use crate::pages::{Block, blocks, first_cells, page, pages, sections};
use crate::suite::in_parallel;
use crate::support::{finish, tidemill};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;
use tempfile::TempDir;
use tidemill_connectors::{ENGINE_OPTIONS, Registry, connectors};
use tidemill_formats::registry::{NAMES, options};
use tidemill_sql::functions::Kernel;

const PATIENCE: Duration = Duration::from_secs(120);

/// Runs the binary in a folder.
fn run(folder: &Path, arguments: &[&str]) -> Output {
    let mut command: Command = tidemill();
    command.args(arguments).current_dir(folder);
    finish(command, PATIENCE).unwrap_or_else(|error| panic!("{arguments:?}: {error}"))
}

/// Runs the binary, which must succeed, and gives what it wrote.
fn written(folder: &Path, arguments: &[&str]) -> String {
    let output = run(folder, arguments);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A page whose blocks lie in a folder as files.
struct Laid<'a> {
    folder: TempDir,
    blocks: Vec<Block<'a>>,
}

impl<'a> Laid<'a> {
    fn out(text: &'a str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let blocks = blocks(text);
        for (number, block) in blocks.iter().enumerate() {
            let name = match block.language {
                "sql" => file_name(number, block),
                _ if !block.name.is_empty() => block.name.to_owned(),
                _ => continue,
            };
            fs::write(folder.path().join(name), block.text).expect("written");
        }
        Laid { folder, blocks }
    }

    /// The names of the files of SQL that `wanted` wants.
    fn sql(&self, wanted: impl Fn(usize, &Block) -> bool) -> Vec<String> {
        let all = self.blocks.iter().enumerate();
        let sql = all.filter(|(number, block)| block.language == "sql" && wanted(*number, block));
        sql.map(|(number, block)| file_name(number, block)).collect()
    }

    /// The blocks of SQL that show what they give, by number, with that.
    fn shown(&self) -> Vec<(usize, &'a str)> {
        let pairs = self.blocks.windows(2).enumerate();
        let shown = pairs.filter_map(|(number, pair)| match pair {
            [sql, text] if sql.language == "sql" && text.language == "text" && text.follows => {
                Some((number, text.text))
            }
            _ => None,
        });
        shown.collect()
    }
}

/// A name that says where the block stands.
fn file_name(number: usize, block: &Block) -> String {
    format!("{number:03}-line-{}.sql", block.line)
}

/// Whether a block only declares.
fn declares(sql: &str) -> bool {
    let statements = sql.split(";\n").map(str::trim).filter(|statement| !statement.is_empty());
    statements.into_iter().all(|statement| statement.starts_with("CREATE "))
}

fn sorted(text: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    lines
}

#[test]
fn the_sql_of_each_page_can_be_planned() {
    let pages = pages("docs");
    let failures = in_parallel(&pages, |path| {
        let text = page(path);
        let laid = Laid::out(&text);
        let files = laid.sql(|_, _| true);
        if files.is_empty() {
            return None;
        }
        let files: Vec<&str> = files.iter().map(String::as_str).collect();
        let output = run(laid.folder.path(), &[&["check"], files.as_slice()].concat());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (!output.status.success()).then(|| format!("{path}: {said}"))
    });
    let failures: Vec<String> = failures.into_iter().flatten().collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn queries_give_what_the_pages_show() {
    let texts: Vec<(String, String)> =
        pages("docs").into_iter().map(|path| (path.clone(), page(&path))).collect();
    let laid: Vec<(&str, Laid)> =
        texts.iter().map(|(path, text)| (path.as_str(), Laid::out(text))).collect();
    let shown: Vec<(&str, &Laid, usize, &str)> = laid
        .iter()
        .flat_map(|(path, laid)| {
            laid.shown().into_iter().map(move |(number, text)| (*path, laid, number, text))
        })
        .collect();
    assert!(!shown.is_empty(), "some pages show what queries give");
    let failures = in_parallel(&shown, |(path, laid, number, text)| {
        let is_before =
            |at: usize, block: &Block| at == *number || (at < *number && declares(block.text));
        let files = laid.sql(is_before);
        let mut arguments = vec!["run", "--workers", "1"];
        arguments.extend(files.iter().map(String::as_str));
        let output = run(laid.folder.path(), &arguments);
        let (rows, said) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        let is_right = output.status.success() && sorted(&rows) == sorted(text);
        let line = laid.blocks[*number].line;
        (!is_right).then(|| format!("{path}:{line} gives\n{rows}{said}instead of\n{text}"))
    });
    let failures: Vec<String> = failures.into_iter().flatten().collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// What the page of functions says that an expression gives.
#[derive(Debug)]
struct Example {
    expression: String,
    /// The values of an aggregate's argument.
    over: Option<String>,
    gives: String,
}

/// The pieces of code around each `mark`, which begins and ends with their quotes.
fn around<'a>(text: &'a str, mark: &str) -> Vec<(&'a str, &'a str)> {
    let places = text.match_indices(mark);
    let pairs = places.map(|(at, _)| {
        let (before, behind) = (&text[..at], &text[at + mark.len()..]);
        let start = before.rfind('`').expect("a quote begins the code") + 1;
        (&before[start..], behind.split('`').next().expect("a quote ends the code"))
    });
    pairs.collect()
}

fn examples(text: &str) -> Vec<Example> {
    let aggregates = around(text, "` over `");
    let mut aggregates = aggregates.into_iter().peekable();
    let examples = around(text, "` → `").into_iter().map(|(before, gives)| {
        let is_next = |(_, values): &(&str, &str)| *values == before;
        let aggregate = aggregates.next_if(is_next);
        let (expression, over) = match aggregate {
            Some((expression, values)) => (expression, Some(values.to_owned())),
            None => (before, None),
        };
        let expression = expression.replace("\\|", "|");
        let gives = gives.replace("\\|", "|");
        Example { expression, over, gives }
    });
    examples.collect()
}

/// The examples over the same values: one query.
fn groups(examples: &[Example]) -> BTreeMap<Option<&str>, Vec<&Example>> {
    let mut groups: BTreeMap<Option<&str>, Vec<&Example>> = BTreeMap::new();
    for example in examples {
        groups.entry(example.over.as_deref()).or_default().push(example);
    }
    groups
}

/// A job that writes what a group's expressions give, as text, in one row.
fn job(number: usize, over: Option<&str>, examples: &[&Example]) -> String {
    let columns: Vec<String> = (0..examples.len()).map(|n| format!("c{n} STRING")).collect();
    let values: Vec<String> = examples
        .iter()
        .map(|example| format!("CAST(({}) AS STRING)", example.expression))
        .collect();
    let from = over.map_or_else(String::new, |values| {
        let rows: Vec<String> = values.split(", ").map(|value| format!("({value})")).collect();
        format!("\nFROM (VALUES {}) AS t (x)", rows.join(", "))
    });
    format!(
        "CREATE TABLE out{number} ({}) WITH ('connector' = 'filesystem', 'path' = 'out{number}', \
         'format' = 'debezium-json');\nINSERT INTO out{number} SELECT\n{}{from};\n",
        columns.join(", "),
        values.join(",\n"),
    )
}

/// The last row that was written.
fn last_row(folder: &Path) -> Value {
    let parts = fs::read_dir(folder).expect("it was written");
    let texts = parts.map(|part| fs::read_to_string(part.expect("a part").path()).expect("text"));
    let text: String = texts.collect();
    let line = text.lines().rfind(|line| !line.contains("\"after\":null")).expect("a row");
    let mut change: Value = serde_json::from_str(line).expect("JSON");
    change["after"].take()
}

#[test]
fn functions_give_what_their_examples_say() {
    let text = page("docs/sql/functions.md");
    let examples = examples(&text);
    assert!(examples.len() > 250, "{} examples", examples.len());
    let folder = tempfile::tempdir().unwrap();
    let groups = groups(&examples);
    let jobs = groups.iter().enumerate().map(|(n, (over, examples))| job(n, *over, examples));
    fs::write(folder.path().join("job.sql"), jobs.collect::<String>()).unwrap();
    written(folder.path(), &["run", "job.sql", "--workers", "1"]);
    let mut wrong = Vec::new();
    for (number, examples) in groups.values().enumerate() {
        let row = last_row(&folder.path().join(format!("out{number}")));
        for (column, example) in examples.iter().enumerate() {
            let gives = match &row[format!("c{column}")] {
                Value::String(text) if text.is_empty() => "''",
                Value::String(text) => text,
                _ => "NULL",
            };
            if gives != example.gives {
                wrong.push(format!("{example:?} gives {gives}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn expressions_fail_as_the_page_of_functions_says() {
    let text = page("docs/sql/functions.md");
    let failing = around(&text, "` fails: `");
    assert!(!failing.is_empty());
    let folder = tempfile::tempdir().unwrap();
    for (number, (expression, reason)) in failing.into_iter().enumerate() {
        let file = format!("{number}.sql");
        fs::write(folder.path().join(&file), format!("SELECT {expression};")).unwrap();
        let output = run(folder.path(), &["run", &file]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(reason), "{expression}: {said}");
    }
}

/// What has a function's form and is none.
const SYNTAX: [&str; 5] = ["ARRAY", "CASE", "CAST", "NOT", "TRY_CAST"];

#[test]
fn the_page_of_functions_has_all_functions_and_no_other() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("show.sql"), "SHOW FUNCTIONS;").unwrap();
    let listed = written(folder.path(), &["run", "show.sql"]);
    let known: BTreeSet<&str> = listed.lines().collect();
    let text = page("docs/sql/functions.md");
    let is_part = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    let names = first_cells(&text).into_iter().map(|cell| cell.split(|c| !is_part(c)).next());
    let names: BTreeSet<&str> =
        names.flatten().filter(|name| name.len() > 1 || *name == "E").collect();
    let named = &names - &BTreeSet::from(SYNTAX);
    assert_eq!(&known - &named, BTreeSet::new(), "functions that the page lacks");
    assert_eq!(&named - &known, BTreeSet::new(), "functions that there are not");
}

/// What aggregates and window functions are computed by: the crate of the operators, which knows no
/// DataFusion.
const OPERATORS: [&str; 2] = ["Aggregates", "Window functions"];

#[test]
fn the_page_of_functions_says_whose_kernels_compute_them() {
    let operators = page("operators/Cargo.toml");
    assert!(!operators.contains("datafusion"), "aggregates would not all be ours");
    let text = page("docs/sql/functions.md");
    let (mut wrong, mut checked) = (Vec::new(), 0);
    for (heading, section) in sections(&text, "## ") {
        for row in section.lines().filter(|line| line.starts_with("| ")) {
            let cells: Vec<&str> = row.split(" | ").collect();
            let said = cells[1];
            if said == "kernel" {
                continue;
            }
            for (what, serves) in serving(heading, row, cells[0]) {
                checked += 1;
                if said != serves {
                    wrong.push(format!("{what}: the page says '{said}', it is '{serves}'"));
                }
            }
        }
    }
    assert!(checked > 200, "{checked} functions");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Whose kernel computes each function of a row, or the operator that it is about.
fn serving(heading: &str, row: &str, names: &str) -> Vec<(String, &'static str)> {
    let is_part = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    let code = names.split('`').skip(1).step_by(2);
    let names = code.filter_map(|code| code.split(|c| !is_part(c)).next());
    let is_name = |name: &&str| (name.len() > 1 || *name == "E") && *name != "NOT";
    let named: BTreeSet<&str> = names.filter(is_name).collect();
    if OPERATORS.contains(&heading) {
        return named.into_iter().map(|name| (name.to_owned(), "ours")).collect();
    }
    let examples: Vec<String> = examples(row).into_iter().map(|e| e.expression).collect();
    let first = examples.first().unwrap_or_else(|| panic!("no example in {row}"));
    if named.is_empty() {
        return vec![(first.clone(), outermost(first))];
    }
    let of = |name: &str| {
        let by_name = examples.iter().find_map(|example| called(example, name));
        let begins = || examples.iter().find(|example| example.starts_with(name));
        let serves = by_name.or_else(|| begins().map(|example| outermost(example)));
        (name.to_owned(), serves.unwrap_or_else(|| panic!("no example of {name}")))
    };
    named.into_iter().map(of).collect()
}

/// Names and kernels of what an expression is planned to run on, outermost first.
fn kernels(expression: &str) -> Vec<(String, &'static str)> {
    let parts = tidemill_sql::kernels_of(expression, &Registry);
    let parts = parts.unwrap_or_else(|error| panic!("{error}"));
    let named = parts.into_iter().map(|(name, kernel)| match kernel {
        Kernel::Ours => (name, "ours"),
        Kernel::DataFusion => (name, "DataFusion"),
    });
    named.collect()
}

fn outermost(expression: &str) -> &'static str {
    kernels(expression).first().unwrap_or_else(|| panic!("{expression} computes nothing")).1
}

/// Whose kernel computes the function of this name, if the expression calls it.
fn called(expression: &str, name: &str) -> Option<&'static str> {
    let is_called = |(part, _): &(String, &'static str)| part.split(' ').next() == Some(name);
    kernels(expression).into_iter().find(is_called).map(|(_, kernel)| kernel)
}

fn section<'a>(text: &'a str, depth: &str, heading: &str) -> &'a str {
    let found = sections(text, depth).into_iter().find(|(known, _)| *known == heading);
    found.unwrap_or_else(|| panic!("no section '{heading}'")).1
}

/// Options that name formats: whichever the connector, they belong to the format.
const FORMAT_OPTIONS: [&str; 3] = ["format", "key.format", "value.format"];

#[test]
fn the_page_of_connectors_has_all_options_and_no_other() {
    let text = page("docs/sql/connectors.md");
    let shared = first_cells(section(&text, "## ", "Options of every table"));
    assert_eq!(BTreeSet::from_iter(shared), BTreeSet::from_iter(ENGINE_OPTIONS.iter().copied()));
    let idle = section(&text, "## ", "Options without effect");
    for (connector, known) in connectors() {
        let section = section(&text, "## ", connector);
        let named: BTreeSet<&str> = first_cells(section).into_iter().collect();
        let is_known = |option: &str| {
            known.keys.contains(&option)
                || known.prefixes.iter().any(|prefix| option.starts_with(prefix))
                || FORMAT_OPTIONS.contains(&option)
        };
        for option in &named {
            assert!(is_known(option), "'{connector}' has no option '{option}'");
        }
        // It says where its options stand.
        if connector == "upsert-kafka" {
            continue;
        }
        let has = |option: &str| named.contains(option) || idle.contains(&format!("`{option}`"));
        for option in known.keys {
            assert!(has(option), "the page lacks '{option}' of '{connector}'");
        }
        for prefix in known.prefixes {
            assert!(named.iter().any(|option| option.starts_with(prefix)), "'{prefix}' is lacking");
        }
    }
}

#[test]
fn the_page_of_connectors_has_the_options_of_fields() {
    let text = page("docs/sql/connectors.md");
    let folder = tempfile::tempdir().unwrap();
    let job = "CREATE TABLE t (a INT) WITH ('connector' = 'datagen', 'fields.a.unheardof' = '');
               SELECT * FROM t;";
    fs::write(folder.path().join("job.sql"), job).unwrap();
    let said = String::from_utf8(run(folder.path(), &["check", "job.sql"]).stderr).unwrap();
    let (_, known) = said.split_once("write one of ").expect(&said);
    let known: BTreeSet<String> =
        known.trim().split(", ").map(|option| format!("fields.NAME.{option}")).collect();
    let named = first_cells(section(&text, "## ", "datagen")).into_iter();
    let named: BTreeSet<String> =
        named.filter(|option| option.starts_with("fields.")).map(str::to_owned).collect();
    assert_eq!(named, known);
}

#[test]
fn the_page_of_connectors_has_all_options_of_formats_and_no_other() {
    let text = page("docs/sql/connectors.md");
    for format in NAMES {
        let named: BTreeSet<String> =
            first_cells(section(&text, "### ", format)).into_iter().map(str::to_owned).collect();
        let known = options(format).iter().map(|option| format!("{format}.{option}"));
        assert_eq!(named, known.collect(), "{format}");
    }
}

#[test]
fn the_page_of_settings_has_all_options_and_no_other() {
    let text = page("docs/sql/settings.md");
    let named: BTreeSet<&str> = first_cells(&text).into_iter().collect();
    let renamed = tidemill_sql::RENAMED_OPTIONS.iter().map(|(new, _)| *new);
    let known: BTreeSet<&str> = tidemill_sql::OPTIONS.iter().copied().chain(renamed).collect();
    assert_eq!(named, known);
}

#[test]
fn the_page_of_metrics_has_all_metrics_and_no_other() {
    let text = page("docs/metrics.md");
    // A counter's name gets its ending where it is served.
    let named = first_cells(&text).into_iter().map(|name| name.trim_end_matches("_total"));
    let source = include_str!("../../src/exposition.rs");
    let (source, _) = source.split_once("#[cfg(test)]").expect("it has tests");
    let quoted = source.split('"').skip(1).step_by(2);
    let known = quoted.filter(|name| name.starts_with("tidemill_") || name.starts_with("process_"));
    assert_eq!(named.collect::<BTreeSet<_>>(), known.collect());
}
