//! Aggregates by name, with the types of their results, and the functions that only the planner
//! knows.

use crate::error::{ErrorKind, Planned, Refusal};
use crate::planner::expr::Expr;
use crate::types::SqlType;
use arrow::array::{Array, ArrayRef};
use arrow::datatypes::DataType;
use datafusion::common::{Result, exec_err};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use std::sync::{Arc, LazyLock};
use tidemill_operators::aggregate::AggregateFunction;

/// Aggregates as SQL names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AggregateName {
    ApproxCountDistinct,
    Count,
    Sum,
    Avg,
    Min,
    Max,
    First,
    Last,
    ListAgg,
    ArrayAgg,
    Collect,
    VarPop,
    VarSamp,
    StddevPop,
    StddevSamp,
    SingleValue,
}

/// Aggregates by name.
const AGGREGATES: &[(&str, AggregateName)] = &[
    ("APPROX_COUNT_DISTINCT", AggregateName::ApproxCountDistinct),
    ("ARRAY_AGG", AggregateName::ArrayAgg),
    ("AVG", AggregateName::Avg),
    ("COLLECT", AggregateName::Collect),
    ("COUNT", AggregateName::Count),
    ("FIRST_VALUE", AggregateName::First),
    ("LAST_VALUE", AggregateName::Last),
    ("LISTAGG", AggregateName::ListAgg),
    ("MAX", AggregateName::Max),
    ("MIN", AggregateName::Min),
    ("SINGLE_VALUE", AggregateName::SingleValue),
    ("STDDEV", AggregateName::StddevSamp),
    ("STDDEV_POP", AggregateName::StddevPop),
    ("STDDEV_SAMP", AggregateName::StddevSamp),
    ("STRING_AGG", AggregateName::ListAgg),
    ("SUM", AggregateName::Sum),
    ("VARIANCE", AggregateName::VarSamp),
    ("VAR_POP", AggregateName::VarPop),
    ("VAR_SAMP", AggregateName::VarSamp),
];

/// What only the planner knows: window functions, constructors, what evaluates only the arguments
/// that it needs, and what grouping sets are asked.
const OTHERS: &[&str] = &[
    "COALESCE",
    "DENSE_RANK",
    "GROUPING",
    "GROUPING_ID",
    "GROUP_ID",
    "IF",
    "IFNULL",
    "LAG",
    "LEAD",
    "MAP",
    "NULLIF",
    "NVL",
    "RANK",
    "ROW",
    "ROW_NUMBER",
];

/// The names of all functions but the scalar ones.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    AGGREGATES.iter().map(|(name, _)| *name).chain(OTHERS.iter().copied())
}

/// The aggregate called `name` (upper case).
pub(crate) fn aggregate_named(name: &str) -> Option<AggregateName> {
    AGGREGATES.iter().find(|(known, _)| *known == name).map(|(_, aggregate)| *aggregate)
}

impl AggregateName {
    /// The operator's function.
    pub fn function(self, separator: Option<String>) -> AggregateFunction {
        match self {
            AggregateName::ApproxCountDistinct => AggregateFunction::ApproxCountDistinct,
            AggregateName::Count => AggregateFunction::Count,
            AggregateName::Sum => AggregateFunction::Sum,
            AggregateName::Avg => AggregateFunction::Avg,
            AggregateName::Min => AggregateFunction::Min,
            AggregateName::Max => AggregateFunction::Max,
            AggregateName::First => AggregateFunction::First,
            AggregateName::Last => AggregateFunction::Last,
            AggregateName::ListAgg => {
                AggregateFunction::ListAgg { separator: separator.unwrap_or_else(|| ",".into()) }
            }
            AggregateName::ArrayAgg => AggregateFunction::ArrayAgg,
            AggregateName::Collect => AggregateFunction::Collect,
            AggregateName::VarPop => AggregateFunction::VarPop,
            AggregateName::VarSamp => AggregateFunction::VarSamp,
            AggregateName::StddevPop => AggregateFunction::StddevPop,
            AggregateName::StddevSamp => AggregateFunction::StddevSamp,
            AggregateName::SingleValue => AggregateFunction::SingleValue,
        }
    }
}

/// Whether the function's result depends on the order in which rows came.
pub(crate) fn needs_arrival(function: &AggregateFunction) -> bool {
    matches!(
        function,
        AggregateFunction::First
            | AggregateFunction::Last
            | AggregateFunction::ListAgg { .. }
            | AggregateFunction::ArrayAgg
    )
}

/// The type of an aggregate's result: Flink's rules. Sums and averages stay in the type of what
/// they sum, decimals grow to 38 digits.
pub(crate) fn aggregate_type(
    function: AggregateName,
    name: &str,
    argument: &Expr,
) -> Planned<SqlType> {
    use AggregateName::*;
    let of = &argument.data_type;
    let numeric = |result: SqlType| {
        if of.is_numeric() || *of == SqlType::Null {
            return Ok(result);
        }
        let message = format!("{name} takes a number, not a {of}");
        Err(Refusal::new(ErrorKind::WrongArguments, argument.at, message)
            .hint("CAST the argument to a number"))
    };
    let average = match of {
        SqlType::Decimal(_, scale) => SqlType::Decimal(38, (*scale).max(6)),
        SqlType::Null => SqlType::Int,
        other => other.clone(),
    };
    match function {
        Count => Ok(SqlType::BigInt),
        ApproxCountDistinct if is_nested(of) => {
            let message = format!("{name} takes a single value, not a {of}");
            Err(Refusal::new(ErrorKind::WrongArguments, argument.at, message)
                .hint("CAST it to a STRING, or count exactly: COUNT(DISTINCT …)"))
        }
        ApproxCountDistinct => Ok(SqlType::BigInt),
        Sum => numeric(match of {
            SqlType::Decimal(_, scale) => SqlType::Decimal(38, *scale),
            SqlType::Null => SqlType::Int,
            other => other.clone(),
        }),
        Avg | VarPop | VarSamp | StddevPop | StddevSamp => numeric(average),
        Min | Max | First | Last | SingleValue => Ok(match of {
            SqlType::Null => SqlType::Int,
            SqlType::Char(_) | SqlType::Varchar(_) => SqlType::String,
            other => other.clone(),
        }),
        ListAgg => Ok(SqlType::String),
        ArrayAgg => Ok(SqlType::Array(Box::new(of.clone()))),
        Collect => Ok(SqlType::Multiset(Box::new(of.clone()))),
    }
}

fn is_nested(data_type: &SqlType) -> bool {
    use SqlType::{Array, Map, Multiset, Row};
    matches!(data_type, Array(_) | Map(..) | Multiset(_) | Row(_))
}

/// What `GROUPING(…)` is bound to until the select knows its grouping sets.
pub(crate) fn grouping_marker() -> Arc<ScalarUDF> {
    static MARKER: LazyLock<Arc<ScalarUDF>> =
        LazyLock::new(|| Arc::new(ScalarUDF::from(Passing::new("grouping", false))));
    MARKER.clone()
}

/// `not_null(value, column)`: the value, or a failure that names the column.
pub(crate) fn not_null() -> Arc<ScalarUDF> {
    static NOT_NULL: LazyLock<Arc<ScalarUDF>> =
        LazyLock::new(|| Arc::new(ScalarUDF::from(Passing::new("not_null", true))));
    NOT_NULL.clone()
}

/// Passes its first argument through.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Passing {
    name: &'static str,
    refuses_null: bool,
    signature: Signature,
}

impl Passing {
    fn new(name: &'static str, refuses_null: bool) -> Passing {
        Passing { name, refuses_null, signature: Signature::variadic_any(Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for Passing {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        Ok(types.first().cloned().unwrap_or(DataType::Int64))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let value: ArrayRef = args.args[0].to_array(args.number_rows)?;
        if self.refuses_null && value.null_count() > 0 {
            let ColumnarValue::Scalar(column) = &args.args[1] else {
                return exec_err!("a NOT NULL column is NULL");
            };
            return exec_err!(
                "column '{column}' is NOT NULL and a NULL is written into it; filter such rows \
                 with WHERE … IS NOT NULL, or give a value with COALESCE"
            );
        }
        Ok(ColumnarValue::Array(value))
    }
}
