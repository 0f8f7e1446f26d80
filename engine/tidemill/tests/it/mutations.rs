//! No text whatsoever makes the SQL front panic: right jobs are bent at random, token by token.
//!
//! The seed is fixed, so that a run says the same each time. `TIDEMILL_TEST_SCALE=100` tries as
//! many times more of them.

use crate::suite::suite;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use tidemill_connectors::Registry;
use tidemill_sql::{SourceText, plan_session};

const MUTATIONS_DEFAULT: u32 = 1500;

/// As much as the main thread of a program has.
const STACK_BYTES: usize = 8 << 20;

/// Tokens that are worth a try anywhere.
const ODD_TOKENS: [&str; 40] = [
    "NULL",
    "0",
    "-",
    "1e400",
    "99999999999999999999",
    "''",
    "'\u{1f980}'",
    "`",
    "'",
    "\"",
    "(",
    ")",
    ",",
    ";",
    "*",
    ".",
    "=>",
    "DESCRIPTOR",
    "INTERVAL",
    "OVER",
    "CAST",
    "AS",
    "FROM",
    "SELECT",
    "GROUP BY",
    "ROW",
    "ARRAY",
    "DISTINCT",
    "FILTER",
    "CASE",
    "END",
    "PRIMARY KEY",
    "WATERMARK FOR",
    "METADATA",
    "INT",
    "DECIMAL(99, 99)",
    "EXECUTE STATEMENT SET BEGIN",
    "--",
    "/*",
    "${",
];

fn sql_files(folder: PathBuf, texts: &mut Vec<String>) {
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            sql_files(path, texts);
        } else if path.extension().is_some_and(|extension| extension == "sql") {
            texts.push(fs::read_to_string(path).expect("a text"));
        }
    }
}

/// All jobs there are, in an order that stays.
fn jobs() -> Vec<Vec<String>> {
    let mut texts: Vec<String> =
        tidemill_jobs::all().iter().map(|job| job.sql.to_owned()).collect();
    sql_files(suite().join("cases"), &mut texts);
    sql_files(suite().join("errors"), &mut texts);
    texts.sort();
    texts.iter().map(|text| tokens(text)).collect()
}

/// Words, strings, single signs, and what is between them.
fn tokens(text: &str) -> Vec<String> {
    let mut tokens: Vec<String> = Vec::new();
    let mut quote = None;
    let mut before = ' ';
    for c in text.chars() {
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        let goes_on = match quote {
            Some(_) => true,
            None => is_word(c) && is_word(before) || c.is_whitespace() && before.is_whitespace(),
        };
        match (quote, c) {
            (Some(open), c) if open == c => quote = None,
            (None, '\'' | '`' | '"') => quote = Some(c),
            _ => {}
        }
        match tokens.last_mut() {
            Some(last) if goes_on => last.push(c),
            _ => tokens.push(c.to_string()),
        }
        // What follows a closing quote is another token.
        before = c;
    }
    tokens
}

#[derive(Clone, Debug)]
enum Mutation {
    Delete(Index),
    Repeat(Index),
    Swap(Index, Index),
    /// Puts a token of another job in the place of one.
    Borrow(Index, Index, Index),
    /// Says one name for another of the same job, which is often a job, too.
    Rename(Index, Index),
    Odd(Index, usize),
    /// Cuts a token short.
    Cut(Index, Index),
    End(Index),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let at = any::<Index>;
    prop_oneof![
        3 => at().prop_map(Mutation::Delete),
        2 => at().prop_map(Mutation::Repeat),
        3 => (at(), at()).prop_map(|(a, b)| Mutation::Swap(a, b)),
        3 => (at(), at(), at()).prop_map(|(a, job, b)| Mutation::Borrow(a, job, b)),
        6 => (at(), at()).prop_map(|(a, b)| Mutation::Rename(a, b)),
        3 => (at(), 0..ODD_TOKENS.len()).prop_map(|(a, odd)| Mutation::Odd(a, odd)),
        1 => (at(), at()).prop_map(|(a, b)| Mutation::Cut(a, b)),
        1 => at().prop_map(Mutation::End),
    ]
}

fn mutate(tokens: &mut Vec<String>, mutation: &Mutation, jobs: &[Vec<String>]) {
    // Blanks are not worth a change.
    let solid: Vec<usize> = (0..tokens.len()).filter(|&i| !tokens[i].trim().is_empty()).collect();
    if solid.is_empty() {
        return;
    }
    let at = |index: &Index| solid[index.index(solid.len())];
    match mutation {
        Mutation::Delete(a) => drop(tokens.remove(at(a))),
        Mutation::Repeat(a) => {
            let token = tokens[at(a)].clone();
            tokens.insert(at(a), format!("{token} "));
        }
        Mutation::Swap(a, b) => tokens.swap(at(a), at(b)),
        Mutation::Borrow(a, job, b) => {
            let other = &jobs[job.index(jobs.len())];
            tokens[at(a)] = other[b.index(other.len())].clone();
        }
        Mutation::Rename(a, b) => {
            let is_name = |token: &str| token.starts_with(|c: char| c.is_alphabetic() || c == '`');
            let names: Vec<usize> =
                solid.iter().copied().filter(|&i| is_name(&tokens[i])).collect();
            if let [_, ..] = names[..] {
                let name = tokens[names[b.index(names.len())]].clone();
                tokens[names[a.index(names.len())]] = name;
            }
        }
        Mutation::Odd(a, odd) => tokens.insert(at(a), format!("{} ", ODD_TOKENS[*odd])),
        Mutation::Cut(a, b) => {
            let token = &mut tokens[at(a)];
            let keep = b.index(token.chars().count());
            *token = token.chars().take(keep).collect();
        }
        Mutation::End(a) => tokens.truncate(at(a)),
    }
}

/// Plans a text; whatever it says, there must be a plan or a refusal with a place.
/// Says whether it was a plan.
fn plan(text: &str) -> Result<bool, String> {
    let variables = [("DATA", "/data"), ("OUT", "/out"), ("BROKERS", "localhost:1")];
    let variables: BTreeMap<String, String> =
        variables.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    let source = SourceText { name: "job.sql".to_owned(), text: text.to_owned() };
    let planned = || plan_session(vec![source], &variables, &Registry).map(|p| p.explain());
    match catch_unwind(AssertUnwindSafe(planned)) {
        Ok(Ok(_)) => Ok(true),
        Ok(Err(error)) if error.to_string().starts_with("job.sql:") => Ok(false),
        Ok(Err(error)) => Err(format!("no place: {error}")),
        Err(panic) => {
            let said = panic.downcast_ref::<String>().cloned();
            let said = said.or(panic.downcast_ref::<&str>().map(|s| (*s).to_owned()));
            Err(format!("panic: {}", said.unwrap_or_default()))
        }
    }
}

fn with_stack<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(STACK_BYTES);
        let handle = thread.spawn_scoped(scope, work).expect("a thread");
        handle.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

#[test]
fn bent_jobs_are_planned_or_refused_with_a_place() {
    let scale = std::env::var("TIDEMILL_TEST_SCALE").ok().and_then(|n| n.parse::<u32>().ok());
    let cases = MUTATIONS_DEFAULT * scale.unwrap_or(1);
    let jobs = jobs();
    with_stack(|| {
        let plans = Cell::new(0);
        let config = Config { cases, failure_persistence: None, ..Config::default() };
        let seed = TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]);
        let strategy = (any::<Index>(), prop::collection::vec(mutation(), 1..4));
        let outcome = TestRunner::new_with_rng(config, seed).run(&strategy, |(job, mutations)| {
            let mut tokens = jobs[job.index(jobs.len())].clone();
            mutations.iter().for_each(|mutation| mutate(&mut tokens, mutation, &jobs));
            let text = tokens.concat();
            let is_plan = plan(&text);
            let is_plan = is_plan.map_err(|e| TestCaseError::fail(format!("{e}\n{text}")))?;
            plans.set(plans.get() + u32::from(is_plan));
            Ok(())
        });
        if let Err(error) = outcome {
            panic!("{error}");
        }
        // Otherwise the jobs are bent so much that planning is never reached.
        assert!(plans.get() > cases / 50, "{} of {cases} are plans", plans.get());
    });
}

#[test]
fn very_long_and_very_deep_texts_are_planned_or_refused() {
    let table = "CREATE TABLE t (a INT) WITH ('connector' = 'datagen');";
    let texts = [
        format!("{table} SELECT {}1{} FROM t;", "(".repeat(5000), ")".repeat(5000)),
        format!("{table} SELECT a{} FROM t;", " + 1".repeat(2000)),
        format!("{table} SELECT a FROM t WHERE a = 1{};", " OR a = 1".repeat(2000)),
        format!("{table} SELECT {}a FROM t;", "- ".repeat(5000)),
        format!("{table} SELECT a FROM t WHERE {}TRUE;", "NOT ".repeat(5000)),
        format!("{table} {}SELECT a FROM t{};", "SELECT a FROM (".repeat(1000), ")".repeat(1000)),
        format!("{table} SELECT a FROM t{};", " UNION ALL SELECT a FROM t".repeat(1000)),
        format!("{table} SELECT CASE {} END FROM t;", "WHEN a = 1 THEN 1 ".repeat(1000)),
        format!("CREATE TABLE t (a {}INT{});", "ARRAY<".repeat(3000), ">".repeat(3000)),
        format!("{table} SELECT '{}' FROM t;", "x".repeat(1 << 20)),
        "(".repeat(100_000),
        "/*".repeat(100_000),
        "\u{0}".repeat(100),
    ];
    with_stack(|| {
        for text in texts {
            let start: String = text.chars().take(120).collect();
            plan(&text).unwrap_or_else(|error| panic!("{error}\n{start}"));
        }
    });
}
