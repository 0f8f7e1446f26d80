//! Programs as SQL, for the engine and for the batch engine.
//!
//! The two differ where their dialects do, and in nothing else:
//!
//! | | engine | batch |
//! |---|---|---|
//! | `AVG` of integers | an integer | a quotient of `SUM` and `COUNT` |
//! | NULL in an order | the least value | where it is told to be |
//! | `IN` a sub-query | as it is | the `EXISTS` that it stands for |
//! | `ROW_NUMBER` | a `BIGINT` | unsigned, so it is cast |
//! | groups without keys | none before there are rows | one always, so `HAVING` says so |
//! | `OVER` | over `timed`, in the order of `ts` | over those of its rows that are due, in the order of `ts` and arrival |

use super::program::*;
use super::tables::Table;
use std::fmt::Write as _;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    Engine,
    Batch,
}

/// A program in SQL.
pub fn sql(program: &Program, dialect: Dialect) -> String {
    let query = dialect.relation(&program.relation);
    match query.key.clone() {
        Some(key) if program.sink == Sink::ByKey && !key.is_empty() => {
            upsert(&query, &key, dialect)
        }
        _ => query.sql,
    }
}

/// Writes a query's rows into a table by this key.
fn upsert(query: &Query, key: &[usize], dialect: Dialect) -> String {
    let columns: Vec<_> = query.scope("o").0.iter().map(as_declared).collect();
    let known = key.iter().map(|column| format!("o.c{column} IS NOT NULL")).collect();
    let rows =
        Query::new(&columns, &format!("FROM {} {}", query.from("o"), clause("WHERE", known)));
    if dialect == Dialect::Batch {
        return rows.sql;
    }
    let declared =
        (0..).zip(&columns).map(|(i, (_, kind)): (usize, _)| format!("c{i} {}", kind.name()));
    let declared: Vec<String> = declared.collect();
    let key: Vec<String> = key.iter().map(|column| format!("c{column}")).collect();
    format!(
        "CREATE TABLE result ({}, PRIMARY KEY ({}) NOT ENFORCED)\nWITH ('connector' = \
         'upsert-kafka', 'topic' = 'result', 'key.format' = 'json', 'value.format' = 'json', \
         'properties.bootstrap.servers' = 'localhost:1');\nINSERT INTO result {}",
        declared.join(", "),
        key.join(", "),
        rows.sql
    )
}

/// A column in the type that tables declare for its kind.
fn as_declared((sql, kind): &(String, Kind)) -> (String, Kind) {
    let sql = match kind {
        Kind::Number => format!("CAST({sql} AS BIGINT)"),
        Kind::Text | Kind::Truth => sql.clone(),
    };
    (sql, *kind)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Number,
    Text,
    Truth,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Number => "BIGINT",
            Kind::Text => "STRING",
            Kind::Truth => "BOOLEAN",
        }
    }
}

/// A query, whose columns are `c0`, `c1` …
struct Query {
    sql: String,
    kinds: Vec<Kind>,
    /// Columns that no two rows agree in, if it is known for some.
    key: Option<Vec<usize>>,
}

/// Columns of both sides of a join that are carried on, at most.
const JOINED_MAX: usize = 3;

impl Query {
    fn new(selected: &[(String, Kind)], rest: &str) -> Query {
        let named = (0..).zip(selected).map(|(i, (sql, _)): (usize, _)| format!("{sql} AS c{i}"));
        let named: Vec<String> = named.collect();
        let kinds = selected.iter().map(|(_, kind)| *kind).collect();
        Query { sql: format!("SELECT {} {rest}", named.join(", ")), kinds, key: None }
    }

    /// Its rows are some of `other`'s, in the same columns.
    fn keyed_as(self, other: &Query) -> Query {
        Query { key: other.key.clone(), ..self }
    }

    fn keyed(self, key: impl IntoIterator<Item = usize>) -> Query {
        Query { key: Some(key.into_iter().collect()), ..self }
    }

    /// Its columns, where it is called so.
    fn scope(&self, alias: &str) -> Scope {
        let columns = self.kinds.iter().enumerate();
        Scope(columns.map(|(i, &kind)| (format!("{alias}.c{i}"), kind)).collect())
    }

    fn from(&self, alias: &str) -> String {
        format!("({}) AS {alias}", self.sql)
    }
}

/// What an expression can name.
#[derive(Clone)]
struct Scope(Vec<(String, Kind)>);

impl Scope {
    fn and(mut self, other: Scope) -> Scope {
        self.0.extend(other.0);
        self
    }

    fn any(&self, pick: Pick) -> &(String, Kind) {
        &self.0[usize::from(pick) % self.0.len()]
    }

    fn of(&self, kind: Kind, pick: Pick) -> Option<&str> {
        let of_kind: Vec<_> = self.0.iter().filter(|column| column.1 == kind).collect();
        let turn = usize::from(pick).checked_rem(of_kind.len())?;
        Some(&of_kind[turn].0)
    }

    /// The places of different columns.
    fn places(&self, picks: &[Pick]) -> Vec<usize> {
        let mut places = Vec::new();
        for place in picks.iter().map(|&pick| usize::from(pick) % self.0.len()) {
            if !places.contains(&place) {
                places.push(place);
            }
        }
        places
    }

    /// Different columns.
    fn some(&self, picks: &[Pick]) -> Vec<(String, Kind)> {
        self.places(picks).into_iter().map(|place| self.0[place].clone()).collect()
    }
}

fn names(columns: &[(String, Kind)]) -> String {
    columns.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ")
}

/// `WHERE` and the like, if there are conditions.
fn clause(word: &str, conditions: Vec<String>) -> String {
    match conditions.is_empty() {
        true => String::new(),
        false => format!("{word} {}", conditions.join(" AND ")),
    }
}

impl Dialect {
    fn relation(self, relation: &Relation) -> Query {
        match relation {
            Relation::Table(table) => self.table(*table),
            Relation::Over(over) => self.over(over),
            Relation::Constants(rows) => constants(rows),
            Relation::Filter(input, predicate) => {
                let input = self.relation(input);
                let scope = input.scope("a");
                let condition = predicate_sql(predicate, &scope);
                Query::new(&scope.0, &format!("FROM {} WHERE {condition}", input.from("a")))
                    .keyed_as(&input)
            }
            Relation::Project(input, items) => {
                let input = self.relation(input);
                let scope = input.scope("a");
                let items: Vec<_> = items.iter().map(|item| item_sql(item, &scope)).collect();
                Query::new(&items, &format!("FROM {}", input.from("a")))
            }
            Relation::Distinct(input) => {
                let input = self.relation(input);
                let mut query =
                    Query::new(&input.scope("a").0, &format!("FROM {}", input.from("a")));
                query.sql.insert_str("SELECT".len(), " DISTINCT");
                let width = query.kinds.len();
                query.keyed(0..width)
            }
            Relation::Join(join) => self.join(join),
            Relation::Chain(chain) => self.chain(chain),
            Relation::Semi(semi) => self.semi(semi),
            Relation::Aggregate(aggregate) => self.aggregate(aggregate),
            Relation::Ranked(ranked) => self.ranked(ranked),
            Relation::Set(kind, left, right) => {
                self.set(*kind, &self.relation(left), &self.relation(right))
            }
        }
    }

    fn table(self, table: Table) -> Query {
        use Kind::{Number, Text};
        let columns = [("id", Number), ("k", Number), ("v", Number), ("s", Text)];
        let columns = columns.map(|(name, kind)| (name.to_owned(), kind));
        Query::new(&columns, &format!("FROM {}", table.name())).keyed([0])
    }

    fn join(self, join: &Join) -> Query {
        let left = self.relation(&join.left);
        let right = self.relation(join.right.as_ref().unwrap_or(&join.left));
        let (a, b) = (left.scope("a"), right.scope("b"));
        let mut conditions: Vec<String> =
            join.keys.iter().map(|key| equality_sql(key, &a, &b)).collect();
        let both = a.clone().and(b.clone());
        conditions.extend(join.keys.is_empty().then(|| "TRUE".to_owned()));
        conditions.extend(join.condition.iter().map(|p| predicate_sql(p, &both)));
        let carried: Vec<_> =
            [a, b].iter().flat_map(|side| side.0.iter().take(JOINED_MAX).cloned()).collect();
        let (left, right, kind) = (left.from("a"), right.from("b"), join.kind);
        Query::new(&carried, &format!("FROM {left} {kind} {right} {}", clause("ON", conditions)))
    }

    fn chain(self, chain: &Chain) -> Query {
        let first = self.relation(&chain.first);
        let (mut from, mut scope) = (first.from("t0"), first.scope("t0"));
        let mut carried: Vec<_> = scope.0.iter().take(JOINED_MAX).cloned().collect();
        let mut conditions = Vec::new();
        for (number, (relation, key)) in (1..).zip(&chain.others) {
            let (query, alias) = (self.relation(relation), format!("t{number}"));
            let own = query.scope(&alias);
            let (equal, query) = (equality_sql(key, &scope, &own), query.from(&alias));
            match chain.style {
                ChainStyle::Joins => from += &format!(" JOIN {query} ON {equal}"),
                ChainStyle::Commas => {
                    from += &format!(", {query}");
                    conditions.push(equal);
                }
            }
            carried.extend(own.0.iter().take(JOINED_MAX).cloned());
            scope = scope.and(own);
        }
        conditions.extend(chain.condition.iter().map(|p| predicate_sql(p, &scope)));
        Query::new(&carried, &format!("FROM {from} {}", clause("WHERE", conditions)))
    }

    fn semi(self, semi: &Semi) -> Query {
        let (input, query) = (self.relation(&semi.input), self.relation(&semi.query));
        let (a, b) = (input.scope("a"), query.scope("b"));
        let mut conditions: Vec<String> =
            semi.key.iter().map(|key| equality_sql(&key.of(semi.kind), &a, &b)).collect();
        // An aggregate's rows are found by equality alone.
        let scope = match semi.kind {
            SemiKind::Scalar { .. } => b.clone(),
            _ => a.clone().and(b.clone()),
        };
        conditions.extend(semi.condition.iter().map(|p| predicate_sql(p, &scope)));
        let from = query.from("b");
        let exists = |negated: bool, conditions: Vec<String>| {
            let not = if negated { "NOT " } else { "" };
            format!("{not}EXISTS (SELECT 1 FROM {from} {})", clause("WHERE", conditions))
        };
        let condition = match semi.kind {
            SemiKind::Exists { negated } => exists(negated, conditions),
            SemiKind::In { value, column, negated } => {
                let (value, column) = comparable(a.any(value), &b, column);
                match self {
                    Dialect::Engine => {
                        let not = if negated { "NOT " } else { "" };
                        let rows = clause("WHERE", conditions);
                        format!("{value} {not}IN (SELECT {column} FROM {from} {rows})")
                    }
                    // A comparison that is unknown is neither enough for IN nor for NOT IN.
                    Dialect::Batch => {
                        let truth = if negated { "NOT FALSE" } else { "TRUE" };
                        conditions.push(format!("({value} = {column}) IS {truth}"));
                        exists(negated, conditions)
                    }
                }
            }
            SemiKind::Scalar { value, comparison, function, column } => {
                let value = a.of(Kind::Number, value).unwrap_or("1");
                let column = b.of(Kind::Number, column).unwrap_or("1");
                let rows = clause("WHERE", conditions);
                format!("{value} {comparison} (SELECT {function}({column}) FROM {from} {rows})")
            }
        };
        Query::new(&a.0, &format!("FROM {} WHERE {condition}", input.from("a"))).keyed_as(&input)
    }

    fn aggregate(self, aggregate: &Aggregate) -> Query {
        let input = self.relation(&aggregate.input);
        let scope = input.scope("a");
        let keys = scope.some(&aggregate.keys);
        let mut selected = keys.clone();
        selected.extend(aggregate.calls.iter().map(|call| {
            let filter = call.filter.as_ref().map(|filter| predicate_sql(filter, &scope));
            let filter = filter.map_or(String::new(), |f| format!(" FILTER (WHERE {f})"));
            self.call(call.function, call.argument, &scope, &filter)
        }));
        let having = aggregate.having.as_ref();
        let mut having: Vec<String> =
            having.map(|p| predicate_sql(p, &Scope(selected.clone()))).into_iter().collect();
        let group = match (keys.is_empty(), aggregate.grouping) {
            (true, _) => String::new(),
            (false, Grouping::Keys) => format!("GROUP BY {}", names(&keys)),
            (false, Grouping::Rollup) => format!("GROUP BY ROLLUP ({})", names(&keys)),
            (false, Grouping::Cube) => format!("GROUP BY CUBE ({})", names(&keys)),
        };
        let has_keys = !keys.is_empty() && aggregate.grouping == Grouping::Keys;
        if !has_keys && self == Dialect::Batch {
            having.push("COUNT(*) > 0".to_owned());
        }
        let having = clause("HAVING", having);
        let query = Query::new(&selected, &format!("FROM {} {group} {having}", input.from("a")));
        if has_keys { query.keyed(0..keys.len()) } else { query }
    }

    /// An aggregate; `rows` says over which ones.
    fn call(self, function: Function, pick: Pick, scope: &Scope, rows: &str) -> (String, Kind) {
        use Function::*;
        let (any, kind) = scope.any(pick);
        let number = scope.of(Kind::Number, pick).unwrap_or("1");
        let sql = match function {
            CountRows => format!("COUNT(*){rows}"),
            Count => format!("COUNT({any}){rows}"),
            CountDistinct => format!("COUNT(DISTINCT {any}){rows}"),
            Sum => format!("SUM({number}){rows}"),
            SumDistinct => format!("SUM(DISTINCT {number}){rows}"),
            Min => format!("MIN({any}){rows}"),
            Max => format!("MAX({any}){rows}"),
            Avg if self == Dialect::Engine => format!("AVG({number}){rows}"),
            Avg => format!("(SUM({number}){rows} / NULLIF(COUNT({number}){rows}, 0))"),
        };
        (sql, if matches!(function, Min | Max) { *kind } else { Kind::Number })
    }

    fn ranked(self, ranked: &Ranked) -> Query {
        let input = self.relation(&ranked.input);
        let scope = input.scope("a");
        let order = self.order(&ranked.order, &scope);
        let from = input.from("a");
        if let Range::Limit(limit, offset) = ranked.range {
            let rest = format!("FROM {from} ORDER BY {order} LIMIT {limit} OFFSET {offset}");
            return Query::new(&scope.0, &rest).keyed_as(&input);
        }
        let partition = scope.some(&ranked.partition);
        let partition = match partition.is_empty() {
            true => String::new(),
            false => format!("PARTITION BY {} ", names(&partition)),
        };
        let mut columns = scope.0.clone();
        let rank = format!("ROW_NUMBER() OVER ({partition}ORDER BY {order})");
        let rank = match self {
            Dialect::Engine => rank,
            Dialect::Batch => format!("CAST({rank} AS BIGINT)"),
        };
        columns.push((rank, Kind::Number));
        let inner = Query::new(&columns, &format!("FROM {from}"));
        let mut columns = inner.scope("r").0;
        let rank = columns.last().expect("the rank").0.clone();
        if !ranked.shows_rank {
            columns.pop();
        }
        let range = match ranked.range {
            Range::Upto(last) => format!("{rank} <= {last}"),
            Range::Between(first, last) => format!("{rank} BETWEEN {first} AND {last}"),
            Range::Only(only) => format!("{rank} = {only}"),
            Range::Limit(..) => unreachable!("written above"),
        };
        let mut key = scope.places(&ranked.partition);
        key.extend(ranked.shows_rank.then(|| columns.len() - 1));
        let query = Query::new(&columns, &format!("FROM {} WHERE {range}", inner.from("r")));
        match ranked.range {
            Range::Upto(1) | Range::Only(_) => query.keyed(key),
            _ if ranked.shows_rank => query.keyed(key),
            _ => query.keyed_as(&input),
        }
    }

    /// The wanted order, and then all columns, so that only equal rows have equal places.
    fn order(self, wanted: &[SortTerm], scope: &Scope) -> String {
        let mut terms: Vec<String> = Vec::new();
        let mut ordered: Vec<&str> = Vec::new();
        let rest = (0..scope.0.len()).map(|column| SortTerm {
            column: column as Pick,
            descending: false,
            nulls_first: None,
        });
        let all: Vec<SortTerm> = wanted.iter().cloned().chain(rest).collect();
        for term in &all {
            let (column, _) = scope.any(term.column);
            if ordered.contains(&column.as_str()) {
                continue;
            }
            ordered.push(column);
            let direction = if term.descending { " DESC" } else { "" };
            let nulls_first = match self {
                Dialect::Engine => term.nulls_first,
                Dialect::Batch => Some(term.nulls_first.unwrap_or(!term.descending)),
            };
            let nulls = nulls_first.map_or("", |is_first| match is_first {
                true => " NULLS FIRST",
                false => " NULLS LAST",
            });
            terms.push(format!("{column}{direction}{nulls}"));
        }
        terms.join(", ")
    }

    fn set(self, kind: SetKind, left: &Query, right: &Query) -> Query {
        let word = match kind {
            SetKind::UnionAll => "UNION ALL",
            SetKind::Union => "UNION",
            SetKind::Intersect => "INTERSECT",
            SetKind::Except => "EXCEPT",
        };
        let (mut a, mut b) = (left.scope("a").0, right.scope("b").0);
        let width = a.len().min(b.len());
        a.truncate(width);
        b.truncate(width);
        for (a, b) in a.iter_mut().zip(&mut b).filter(|(a, b)| a.1 != b.1) {
            (*a, *b) = (as_text(a), as_text(b));
        }
        let mut query = Query::new(&a, &format!("FROM {}", left.from("a")));
        let other = Query::new(&b, &format!("FROM {}", right.from("b")));
        write!(query.sql, " {word} {}", other.sql).expect("a string");
        query
    }

    fn over(self, over: &Over) -> Query {
        let table = self.table(Table::Timed);
        let own = ["id", "k", "v", "s"].into_iter().zip(&table.kinds);
        let scope = Scope(own.map(|(name, &kind)| (name.to_owned(), kind)).collect());
        let partition = scope.some(&over.partition);
        let partition = match partition.is_empty() {
            true => String::new(),
            false => format!("PARTITION BY {} ", names(&partition)),
        };
        let in_order = match self {
            Dialect::Engine => format!("{partition}ORDER BY ts"),
            Dialect::Batch => format!("{partition}ORDER BY ts, arrival"),
        };
        let window = match over.frame {
            Frame::Rows(preceding) => format!("{in_order} ROWS {}", upto(preceding)),
            Frame::RangeMs(ms) => {
                format!("{partition}ORDER BY ts RANGE {}", self.stretch(ms))
            }
        };
        let mut selected = scope.0.clone();
        for &call in &over.calls {
            let call = self.over_call(call, over.frame, &scope, &window, &in_order);
            selected.push(call);
        }
        let filter = over.filter.as_ref().map(|filter| predicate_sql(filter, &scope));
        let filter = clause("WHERE", filter.into_iter().collect());
        Query::new(
            &selected,
            &match self {
                Dialect::Engine => format!("FROM timed {filter} WINDOW w AS ({window})"),
                Dialect::Batch => format!("FROM due {filter}"),
            },
        )
    }

    fn stretch(self, ms: Option<u16>) -> String {
        match self {
            Dialect::Batch => upto(ms),
            Dialect::Engine => {
                upto(ms.map(|ms| format!("INTERVAL '{}.{:03}' SECOND(2, 3)", ms / 1000, ms % 1000)))
            }
        }
    }

    fn over_call(
        self,
        call: OverCall,
        frame: Frame,
        scope: &Scope,
        window: &str,
        in_order: &str,
    ) -> (String, Kind) {
        let (over, in_order) = match self {
            Dialect::Engine => (" OVER w".to_owned(), " OVER w".to_owned()),
            Dialect::Batch => (format!(" OVER ({window})"), format!(" OVER ({in_order})")),
        };
        let end = |name: &str, pick: Pick| {
            let (column, kind) = scope.any(pick);
            let nulls = if self == Dialect::Batch { " IGNORE NULLS" } else { "" };
            (format!("{name}({column}){nulls}{over}"), *kind)
        };
        let neighbour = |name: &str, (pick, offset, default): (Pick, u8, Option<i8>)| {
            let (column, kind) = scope.any(pick);
            let default = default.filter(|_| *kind == Kind::Number);
            let default = default.map_or(String::new(), |default| format!(", {default}"));
            (format!("{name}({column}, {offset}{default}){in_order}"), *kind)
        };
        let is_rows = matches!(frame, Frame::Rows(_));
        match call {
            OverCall::First(pick) if is_rows => end("FIRST_VALUE", pick),
            OverCall::Last(pick) if is_rows => end("LAST_VALUE", pick),
            OverCall::First(pick) => self.call(Function::Min, pick, scope, &over),
            OverCall::Last(pick) => self.call(Function::Max, pick, scope, &over),
            OverCall::Lag(pick, offset, default) => neighbour("LAG", (pick, offset, default)),
            OverCall::Lead(pick, offset, default) => neighbour("LEAD", (pick, offset, default)),
            OverCall::Aggregate(function, pick) => {
                // DataFusion has no distinct aggregates over frames.
                let function = match function {
                    Function::CountDistinct => Function::Count,
                    Function::SumDistinct => Function::Sum,
                    other => other,
                };
                self.call(function, pick, scope, &over)
            }
        }
    }
}

fn constants(rows: &[Constant]) -> Query {
    use Kind::{Number, Text};
    let number = |value: Option<i8>| value.map_or("NULL".to_owned(), |value| value.to_string());
    let row = |(id, row): (usize, &Constant)| {
        let text = row.s.map_or("NULL".to_owned(), |text| format!("'{text}'"));
        let (k, v) = (number(row.k), number(row.v));
        format!(
            "(CAST({id} AS BIGINT), CAST({k} AS BIGINT), CAST({v} AS INT), CAST({text} AS STRING))"
        )
    };
    let rows: Vec<String> = rows.iter().enumerate().map(row).collect();
    let columns = [("id", Number), ("k", Number), ("v", Number), ("s", Text)];
    let columns = columns.map(|(name, kind)| (name.to_owned(), kind));
    Query::new(&columns, &format!("FROM (VALUES {}) AS t (id, k, v, s)", rows.join(", ")))
        .keyed([0])
}

impl Equality {
    /// As it can be used with this kind of sub-query.
    fn of(&self, kind: SemiKind) -> Equality {
        let is_scalar = matches!(kind, SemiKind::Scalar { .. });
        Equality { null_is_equal: self.null_is_equal && !is_scalar, ..self.clone() }
    }
}

fn upto(preceding: Option<impl std::fmt::Display>) -> String {
    let preceding = preceding.map_or("UNBOUNDED".to_owned(), |preceding| preceding.to_string());
    format!("BETWEEN {preceding} PRECEDING AND CURRENT ROW")
}

fn as_text((sql, kind): &(String, Kind)) -> (String, Kind) {
    let text = match kind {
        Kind::Number => format!("CAST({sql} AS STRING)"),
        Kind::Text => sql.clone(),
        // Flink shouts truth values.
        Kind::Truth => format!("UPPER(CAST({sql} AS STRING))"),
    };
    (text, Kind::Text)
}

/// A column and one of the other side, of one kind.
fn comparable(left: &(String, Kind), right: &Scope, pick: Pick) -> (String, String) {
    match right.of(left.1, pick) {
        Some(right) => (left.0.clone(), right.to_owned()),
        None => (as_text(left).0, as_text(right.any(pick)).0),
    }
}

fn equality_sql(key: &Equality, left: &Scope, right: &Scope) -> String {
    let (a, b) = comparable(left.any(key.left), right, key.right);
    let equal = if key.null_is_equal { "IS NOT DISTINCT FROM" } else { "=" };
    // Parentheses, for DataFusion's parser takes all that follows for the other side of DISTINCT.
    format!("({a} {equal} {b})")
}

fn item_sql(item: &Item, scope: &Scope) -> (String, Kind) {
    match item {
        Item::Number(number) => (number_sql(number, scope), Kind::Number),
        Item::Text(text) => (text_sql(text, scope), Kind::Text),
        Item::Truth(predicate) => (predicate_sql(predicate, scope), Kind::Truth),
    }
}

fn number_sql(number: &Number, scope: &Scope) -> String {
    let of = |number: &Number| number_sql(number, scope);
    match number {
        Number::Column(pick) => scope.of(Kind::Number, *pick).unwrap_or("1").to_owned(),
        Number::Literal(Some(value)) => value.to_string(),
        Number::Literal(None) => "CAST(NULL AS INT)".to_owned(),
        Number::Plus(a, b) => format!("({} + {})", of(a), of(b)),
        Number::Minus(a, b) => format!("({} - ({}))", of(a), of(b)),
        Number::Twice(a) => format!("({} * 2)", of(a)),
        Number::Abs(a) => format!("ABS({})", of(a)),
        Number::Case(p, a, b) => case_sql(p, scope, &of(a), &of(b)),
        Number::Coalesce(a, b) => format!("COALESCE({}, {})", of(a), of(b)),
        Number::NullIf(a, b) => format!("NULLIF({}, {})", of(a), of(b)),
        Number::Length(text) => format!("CHAR_LENGTH({})", text_sql(text, scope)),
    }
}

fn text_sql(text: &Text, scope: &Scope) -> String {
    let of = |text: &Text| text_sql(text, scope);
    match text {
        Text::Column(pick) => scope.of(Kind::Text, *pick).unwrap_or("'a'").to_owned(),
        Text::Literal(text) => format!("'{text}'"),
        Text::Upper(a) => format!("UPPER({})", of(a)),
        Text::Concat(a, b) => format!("({} || {})", of(a), of(b)),
        Text::OfNumber(a) => format!("CAST({} AS STRING)", number_sql(a, scope)),
        Text::Case(p, a, b) => case_sql(p, scope, &of(a), &of(b)),
        Text::Coalesce(a, b) => format!("COALESCE({}, {})", of(a), of(b)),
    }
}

fn case_sql(predicate: &Predicate, scope: &Scope, then: &str, otherwise: &str) -> String {
    let predicate = predicate_sql(predicate, scope);
    format!("CASE WHEN {predicate} THEN {then} ELSE {otherwise} END")
}

fn predicate_sql(predicate: &Predicate, scope: &Scope) -> String {
    let of = |predicate: &Predicate| predicate_sql(predicate, scope);
    let number = |number: &Number| number_sql(number, scope);
    let text = |text: &Text| text_sql(text, scope);
    let not = |negated: bool| if negated { "NOT " } else { "" };
    match predicate {
        Predicate::Column(pick) => match scope.of(Kind::Truth, *pick) {
            Some(column) => column.to_owned(),
            None => format!("({} IS NOT NULL)", scope.any(*pick).0),
        },
        Predicate::Compare(a, comparison, b) => {
            format!("({} {comparison} {})", number(a), number(b))
        }
        Predicate::CompareTexts(a, comparison, b) => {
            format!("({} {comparison} {})", text(a), text(b))
        }
        Predicate::IsNull(pick, negated) => {
            format!("({} IS {}NULL)", scope.any(*pick).0, not(*negated))
        }
        Predicate::Between(a, low, high) => format!("({} BETWEEN {low} AND {high})", number(a)),
        Predicate::InList(a, list, negated) => {
            let list: Vec<String> = list.iter().map(i8::to_string).collect();
            format!("({} {}IN ({}))", number(a), not(*negated), list.join(", "))
        }
        Predicate::Like(a, pattern) => format!("({} LIKE '{pattern}')", text(a)),
        Predicate::IsTruth(a, truth) => format!("({} IS {truth})", of(a)),
        Predicate::And(a, b) => format!("({} AND {})", of(a), of(b)),
        Predicate::Or(a, b) => format!("({} OR {})", of(a), of(b)),
        Predicate::Not(a) => format!("(NOT {})", of(a)),
    }
}
