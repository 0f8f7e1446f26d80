//! Random programs, as trees that always mean something.
//!
//! A program names columns by a [`Pick`]: a number that is taken modulo what there is to choose
//! from. So any tree is a program, whatever its parts are, and shrinking any part of it gives
//! another one.

use super::tables::Table;
use proptest::prelude::*;
use proptest::sample::select;

/// One of some columns, whose number is only known when the program is written as text.
pub type Pick = u8;

/// A relation, and where its rows go.
#[derive(Clone, Debug)]
pub struct Program {
    pub relation: Relation,
    pub sink: Sink,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sink {
    /// Its changes are shown.
    Shown,
    /// A table is upserted by the relation's key, if it has one. Rows whose key is NULL are left
    /// out.
    ByKey,
}

/// A relation.
#[derive(Clone, Debug)]
pub enum Relation {
    Table(Table),
    Over(Over),
    /// Rows that stand in the text.
    Constants(Vec<Constant>),
    Filter(Box<Relation>, Predicate),
    Project(Box<Relation>, Vec<Item>),
    Distinct(Box<Relation>),
    Join(Box<Join>),
    /// Inner joins one after the other.
    Chain(Box<Chain>),
    /// Rows for which a sub-query has, or has no, counterpart.
    Semi(Box<Semi>),
    Aggregate(Box<Aggregate>),
    Ranked(Box<Ranked>),
    Set(SetKind, Box<Relation>, Box<Relation>),
}

#[derive(Clone, Debug)]
pub struct Join {
    pub kind: &'static str,
    pub left: Relation,
    /// The other side; without, the same one again.
    pub right: Option<Relation>,
    pub keys: Vec<Equality>,
    pub condition: Option<Predicate>,
}

/// A row of constants, whose `id` is its place.
#[derive(Clone, Debug)]
pub struct Constant {
    pub k: Option<i8>,
    pub v: Option<i8>,
    pub s: Option<&'static str>,
}

#[derive(Clone, Debug)]
pub struct Chain {
    pub first: Relation,
    /// Each with a column that is equal to one of those before.
    pub others: Vec<(Relation, Equality)>,
    pub condition: Option<Predicate>,
    pub style: ChainStyle,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChainStyle {
    /// `a JOIN b ON …`
    Joins,
    /// `a, b WHERE …`
    Commas,
}

/// Columns of two sides that are equal.
#[derive(Clone, Debug)]
pub struct Equality {
    pub left: Pick,
    pub right: Pick,
    pub null_is_equal: bool,
}

#[derive(Clone, Debug)]
pub struct Semi {
    pub input: Relation,
    pub query: Relation,
    pub kind: SemiKind,
    /// For `EXISTS`, or beside the value of `IN`.
    pub key: Option<Equality>,
    pub condition: Option<Predicate>,
}

#[derive(Clone, Copy, Debug)]
pub enum SemiKind {
    Exists {
        negated: bool,
    },
    In {
        value: Pick,
        column: Pick,
        negated: bool,
    },
    /// Compared with an aggregate of the sub-query.
    Scalar {
        value: Pick,
        comparison: &'static str,
        function: &'static str,
        column: Pick,
    },
}

#[derive(Clone, Debug)]
pub struct Aggregate {
    pub input: Relation,
    pub keys: Vec<Pick>,
    pub grouping: Grouping,
    pub calls: Vec<Call>,
    pub having: Option<Predicate>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grouping {
    Keys,
    Rollup,
    Cube,
}

#[derive(Clone, Debug)]
pub struct Call {
    pub function: Function,
    pub argument: Pick,
    pub filter: Option<Predicate>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Function {
    CountRows,
    Count,
    CountDistinct,
    Sum,
    SumDistinct,
    Min,
    Max,
    Avg,
}

/// `ROW_NUMBER` or `LIMIT`, over an order that decides between all rows that differ.
#[derive(Clone, Debug)]
pub struct Ranked {
    pub input: Relation,
    pub partition: Vec<Pick>,
    pub order: Vec<SortTerm>,
    pub range: Range,
    pub shows_rank: bool,
}

#[derive(Clone, Debug)]
pub struct SortTerm {
    pub column: Pick,
    pub descending: bool,
    pub nulls_first: Option<bool>,
}

/// Which ranks are kept.
#[derive(Clone, Copy, Debug)]
pub enum Range {
    Upto(u8),
    Between(u8, u8),
    Only(u8),
    /// `LIMIT` and `OFFSET`, without ranks.
    Limit(u8, u8),
}

#[derive(Clone, Copy, Debug)]
pub enum SetKind {
    UnionAll,
    Union,
    Intersect,
    Except,
}

/// Window functions over the table `timed`.
#[derive(Clone, Debug)]
pub struct Over {
    pub filter: Option<Predicate>,
    pub partition: Vec<Pick>,
    pub frame: Frame,
    pub calls: Vec<OverCall>,
}

#[derive(Clone, Copy, Debug)]
pub enum Frame {
    Rows(Option<u8>),
    RangeMs(Option<u16>),
}

#[derive(Clone, Copy, Debug)]
pub enum OverCall {
    Aggregate(Function, Pick),
    /// Only over `ROWS`: of rows of equal time, which are one for `RANGE`, any may be the first.
    First(Pick),
    Last(Pick),
    Lag(Pick, u8, Option<i8>),
    Lead(Pick, u8, Option<i8>),
}

/// A column of a projection.
#[derive(Clone, Debug)]
pub enum Item {
    Number(Number),
    Text(Text),
    Truth(Predicate),
}

/// An expression with a numeric value.
#[derive(Clone, Debug)]
pub enum Number {
    Column(Pick),
    Literal(Option<i8>),
    Plus(Box<Number>, Box<Number>),
    Minus(Box<Number>, Box<Number>),
    Twice(Box<Number>),
    Abs(Box<Number>),
    Case(Box<Predicate>, Box<Number>, Box<Number>),
    Coalesce(Box<Number>, Box<Number>),
    NullIf(Box<Number>, Box<Number>),
    Length(Box<Text>),
}

/// An expression with a text as its value.
#[derive(Clone, Debug)]
pub enum Text {
    Column(Pick),
    Literal(&'static str),
    Upper(Box<Text>),
    Concat(Box<Text>, Box<Text>),
    OfNumber(Box<Number>),
    Case(Box<Predicate>, Box<Text>, Box<Text>),
    Coalesce(Box<Text>, Box<Text>),
}

#[derive(Clone, Debug)]
pub enum Predicate {
    Column(Pick),
    Compare(Number, &'static str, Number),
    CompareTexts(Text, &'static str, Text),
    IsNull(Pick, bool),
    Between(Number, i8, i8),
    InList(Number, Vec<i8>, bool),
    Like(Text, &'static str),
    IsTruth(Box<Predicate>, &'static str),
    And(Box<Predicate>, Box<Predicate>),
    Or(Box<Predicate>, Box<Predicate>),
    Not(Box<Predicate>),
}

/// Programs of one to some five levels.
pub fn programs() -> impl Strategy<Value = Program> {
    let tables = select(vec![Table::Grows, Table::Log, Table::Latest]).prop_map(Relation::Table);
    let leaf = prop_oneof![6 => tables, 1 => overs().prop_map(Relation::Over)];
    sunk(leaf.prop_recursive(4, 24, 2, |input| step(input.boxed())))
}

/// Window functions, and what may follow them.
pub fn programs_with_over() -> impl Strategy<Value = Program> {
    let over = || overs().prop_map(Relation::Over).boxed();
    sunk(prop_oneof![2 => over(), 1 => step(over())])
}

fn sunk(relation: impl Strategy<Value = Relation>) -> impl Strategy<Value = Program> {
    let sink = prop_oneof![3 => Just(Sink::Shown), 1 => Just(Sink::ByKey)];
    (relation, sink).prop_map(|(relation, sink)| Program { relation, sink })
}

fn step(input: BoxedStrategy<Relation>) -> BoxedStrategy<Relation> {
    let one = || input.clone().prop_map(Box::new);
    prop_oneof![
        2 => (one(), predicate()).prop_map(|(input, p)| Relation::Filter(input, p)),
        2 => (one(), prop::collection::vec(item(), 1..4))
            .prop_map(|(input, items)| Relation::Project(input, items)),
        1 => one().prop_map(Relation::Distinct),
        4 => join(input.clone()),
        3 => chain(input.clone()),
        3 => semi(input.clone()),
        4 => aggregate(input.clone()),
        3 => ranked(input.clone()),
        2 => (set_kind(), one(), one()).prop_map(|(kind, a, b)| Relation::Set(kind, a, b)),
    ]
    .boxed()
}

fn pick() -> impl Strategy<Value = Pick> {
    0u8..12
}

fn picks(count: std::ops::Range<usize>) -> impl Strategy<Value = Vec<Pick>> {
    prop::collection::vec(pick(), count)
}

fn sometimes<T: std::fmt::Debug>(
    strategy: impl Strategy<Value = T>,
) -> impl Strategy<Value = Option<T>> {
    prop::option::weighted(0.3, strategy)
}

fn set_kind() -> impl Strategy<Value = SetKind> {
    use SetKind::*;
    prop_oneof![3 => Just(UnionAll), 2 => Just(Union), 1 => Just(Intersect), 1 => Just(Except)]
}

fn equality() -> impl Strategy<Value = Equality> {
    (pick(), pick(), prop::bool::weighted(0.15)).prop_map(|(left, right, null_is_equal)| Equality {
        left,
        right,
        null_is_equal,
    })
}

fn join(input: BoxedStrategy<Relation>) -> impl Strategy<Value = Relation> {
    let kind = select(vec!["JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN"]);
    let right = prop::option::weighted(0.8, side(input.clone()));
    // Without keys there may be many pairs.
    let keys = prop_oneof![
        1 => Just(Vec::new()),
        20 => prop::collection::vec(equality(), 1..3),
    ];
    (kind, input, right, keys, sometimes(predicate()), any::<bool>()).prop_map(
        |(kind, left, right, keys, condition, swaps)| {
            let (left, right) = match right {
                Some(right) if swaps => (right, Some(left)),
                right => (left, right),
            };
            Relation::Join(Box::new(Join { kind, left, right, keys, condition }))
        },
    )
}

/// What rows are joined with.
fn side(input: BoxedStrategy<Relation>) -> BoxedStrategy<Relation> {
    prop_oneof![4 => input, 1 => constants()].boxed()
}

fn constants() -> impl Strategy<Value = Relation> {
    let number = || prop::option::weighted(0.8, -1i8..4);
    let text = prop::option::weighted(0.75, select(vec!["a", "b", "ab", ""]));
    let row = (number(), number(), text).prop_map(|(k, v, s)| Constant { k, v, s });
    prop::collection::vec(row, 1..5).prop_map(Relation::Constants)
}

fn chain(input: BoxedStrategy<Relation>) -> impl Strategy<Value = Relation> {
    let tables = select(vec![Table::Grows, Table::Log, Table::Latest]).prop_map(Relation::Table);
    let input = prop_oneof![1 => input, 2 => tables].boxed();
    let equality = equality().prop_map(|equality| Equality { null_is_equal: false, ..equality });
    let others = prop::collection::vec((side(input.clone()), equality), 1..3);
    let style = select(vec![ChainStyle::Joins, ChainStyle::Commas]);
    (input, others, prop::option::of(predicate()), style).prop_map(
        |(first, others, condition, style)| {
            Relation::Chain(Box::new(Chain { first, others, condition, style }))
        },
    )
}

fn semi(input: BoxedStrategy<Relation>) -> impl Strategy<Value = Relation> {
    let scalar = (pick(), comparison(), select(vec!["MIN", "MAX", "SUM"]), pick());
    let kind = prop_oneof![
        2 => any::<bool>().prop_map(|negated| SemiKind::Exists { negated }),
        4 => (pick(), pick(), any::<bool>())
            .prop_map(|(value, column, negated)| SemiKind::In { value, column, negated }),
        2 => scalar.prop_map(|(value, comparison, function, column)| {
            SemiKind::Scalar { value, comparison, function, column }
        }),
    ];
    let query = side(input.clone());
    (input, query, kind, sometimes(equality()), sometimes(predicate())).prop_map(
        |(input, query, kind, key, condition)| {
            Relation::Semi(Box::new(Semi { input, query, kind, key, condition }))
        },
    )
}

fn function() -> impl Strategy<Value = Function> {
    use Function::*;
    select(vec![CountRows, Count, CountDistinct, Sum, SumDistinct, Min, Max, Avg])
}

fn aggregate(input: BoxedStrategy<Relation>) -> impl Strategy<Value = Relation> {
    let call = (function(), pick(), sometimes(predicate()))
        .prop_map(|(function, argument, filter)| Call { function, argument, filter });
    let calls = prop::collection::vec(call, 1..4);
    let grouping = prop_oneof![
        8 => Just(Grouping::Keys), 1 => Just(Grouping::Rollup), 1 => Just(Grouping::Cube),
    ];
    (input, picks(0..3), grouping, calls, sometimes(predicate())).prop_map(
        |(input, keys, grouping, calls, having)| {
            Relation::Aggregate(Box::new(Aggregate { input, keys, grouping, calls, having }))
        },
    )
}

fn ranked(input: BoxedStrategy<Relation>) -> impl Strategy<Value = Relation> {
    let term = (pick(), any::<bool>(), prop::option::of(any::<bool>()))
        .prop_map(|(column, descending, nulls_first)| SortTerm { column, descending, nulls_first });
    let range = prop_oneof![
        3 => (1u8..4).prop_map(Range::Upto),
        2 => (1u8..4, 0u8..3).prop_map(|(first, more)| Range::Between(first, first + more)),
        1 => (1u8..4).prop_map(Range::Only),
        1 => (1u8..5, 0u8..3).prop_map(|(limit, offset)| Range::Limit(limit, offset)),
    ];
    (input, picks(0..3), prop::collection::vec(term, 0..3), range, any::<bool>()).prop_map(
        |(input, partition, order, range, shows_rank)| {
            Relation::Ranked(Box::new(Ranked { input, partition, order, range, shows_rank }))
        },
    )
}

fn overs() -> impl Strategy<Value = Over> {
    let frame = prop_oneof![
        prop::option::weighted(0.8, 0u8..4).prop_map(Frame::Rows),
        prop::option::weighted(0.8, 0u16..12_000).prop_map(Frame::RangeMs),
    ];
    let neighbour = || (pick(), 0u8..4, sometimes(-2i8..4));
    let call = prop_oneof![
        4 => (function(), pick()).prop_map(|(function, pick)| OverCall::Aggregate(function, pick)),
        1 => pick().prop_map(OverCall::First),
        1 => pick().prop_map(OverCall::Last),
        2 => neighbour().prop_map(|(pick, offset, or)| OverCall::Lag(pick, offset, or)),
        2 => neighbour().prop_map(|(pick, offset, or)| OverCall::Lead(pick, offset, or)),
    ];
    (sometimes(predicate()), picks(0..2), frame, prop::collection::vec(call, 1..4))
        .prop_map(|(filter, partition, frame, calls)| Over { filter, partition, frame, calls })
}

fn item() -> impl Strategy<Value = Item> {
    prop_oneof![
        4 => number().prop_map(Item::Number),
        2 => text().prop_map(Item::Text),
        1 => predicate().prop_map(Item::Truth),
    ]
}

fn comparison() -> impl Strategy<Value = &'static str> {
    select(vec!["=", "<>", "<", "<=", ">", ">="])
}

fn number() -> BoxedStrategy<Number> {
    let leaf = prop_oneof![
        6 => pick().prop_map(Number::Column),
        1 => prop::option::weighted(0.8, -2i8..5).prop_map(Number::Literal),
    ];
    let leaf = leaf.boxed();
    let of = leaf.clone().prop_recursive(2, 4, 2, |number| {
        let one = || number.clone().prop_map(Box::new);
        let simple = predicate_over(number.clone(), word().boxed()).prop_map(Box::new);
        prop_oneof![
            (one(), one()).prop_map(|(a, b)| Number::Plus(a, b)),
            (one(), one()).prop_map(|(a, b)| Number::Minus(a, b)),
            one().prop_map(Number::Twice),
            one().prop_map(Number::Abs),
            (simple, one(), one()).prop_map(|(p, a, b)| Number::Case(p, a, b)),
            (one(), one()).prop_map(|(a, b)| Number::Coalesce(a, b)),
            (one(), one()).prop_map(|(a, b)| Number::NullIf(a, b)),
            word().prop_map(|text| Number::Length(Box::new(text))),
        ]
    });
    prop_oneof![2 => leaf, 1 => of].boxed()
}

/// A text without parts.
fn word() -> impl Strategy<Value = Text> {
    prop_oneof![
        3 => pick().prop_map(Text::Column),
        1 => select(vec!["a", "b", "ab", ""]).prop_map(Text::Literal),
    ]
}

fn text() -> BoxedStrategy<Text> {
    let of = word().prop_recursive(2, 4, 2, |text| {
        let one = || text.clone().prop_map(Box::new);
        let simple = predicate_over(number(), text.clone()).prop_map(Box::new);
        prop_oneof![
            one().prop_map(Text::Upper),
            (one(), one()).prop_map(|(a, b)| Text::Concat(a, b)),
            number().prop_map(|number| Text::OfNumber(Box::new(number))),
            (simple, one(), one()).prop_map(|(p, a, b)| Text::Case(p, a, b)),
            (one(), one()).prop_map(|(a, b)| Text::Coalesce(a, b)),
        ]
    });
    prop_oneof![2 => word(), 1 => of].boxed()
}

fn predicate() -> BoxedStrategy<Predicate> {
    let leaf = predicate_over(number(), text());
    leaf.prop_recursive(2, 4, 2, |predicate| {
        let one = || predicate.clone().prop_map(Box::new);
        let truths = vec!["TRUE", "NOT TRUE", "FALSE", "NOT FALSE", "UNKNOWN", "NOT UNKNOWN"];
        prop_oneof![
            (one(), one()).prop_map(|(a, b)| Predicate::And(a, b)),
            (one(), one()).prop_map(|(a, b)| Predicate::Or(a, b)),
            one().prop_map(Predicate::Not),
            (one(), select(truths)).prop_map(|(p, truth)| Predicate::IsTruth(p, truth)),
        ]
    })
    .boxed()
}

/// A predicate that is made of no others.
fn predicate_over(
    number: BoxedStrategy<Number>,
    text: BoxedStrategy<Text>,
) -> BoxedStrategy<Predicate> {
    let distinct = || vec!["IS DISTINCT FROM", "IS NOT DISTINCT FROM"];
    let comparison = || prop_oneof![6 => comparison(), 1 => select(distinct())];
    let list = prop::collection::vec(-2i8..4, 1..4);
    prop_oneof![
        1 => pick().prop_map(Predicate::Column),
        4 => (number.clone(), comparison(), number.clone())
            .prop_map(|(a, comparison, b)| Predicate::Compare(a, comparison, b)),
        1 => (text.clone(), comparison(), text.clone())
            .prop_map(|(a, comparison, b)| Predicate::CompareTexts(a, comparison, b)),
        2 => (pick(), any::<bool>()).prop_map(|(pick, negated)| Predicate::IsNull(pick, negated)),
        1 => (number.clone(), -2i8..3, 0i8..3)
            .prop_map(|(n, low, more)| Predicate::Between(n, low, low + more)),
        1 => (number, list, any::<bool>())
            .prop_map(|(n, list, negated)| Predicate::InList(n, list, negated)),
        1 => (text, select(vec!["a%", "%b", "_", "%"]))
            .prop_map(|(text, pattern)| Predicate::Like(text, pattern)),
    ]
    .boxed()
}
