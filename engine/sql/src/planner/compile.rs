//! [`Compiled`]: an expression that can be evaluated over batches.
//!
//! DataFusion's physical expressions do the work; each instance is shared by all workers.

use super::choice::{self, Branch, Choice};
use super::constant::always_gives_the_same;
use super::expr::{Expr, ExprKind};
use super::typing::{reason, return_field};
use crate::error::{ErrorKind, Planned, Refusal};
use crate::functions::clock;
use crate::types::SqlType;
use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, Schema};
use datafusion::common::config::ConfigOptions;
use datafusion::common::{DataFusionError, ScalarValue};
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::expressions::{
    BinaryExpr, CaseExpr, CastExpr, Column, IsNullExpr, LikeExpr, Literal, NotExpr, in_list,
};
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};
use std::fmt;
use std::sync::Arc;
use tidemill_operators::{Expression, RowError};

/// An expression over the columns of one schema.
pub(crate) struct Compiled {
    expr: Arc<dyn PhysicalExpr>,
    /// Set if it is nothing but a column.
    column: Option<usize>,
    data_type: DataType,
    text: String,
}

impl Compiled {
    /// Compiles for batches of `schema`.
    pub fn new(expr: &Expr, schema: &Schema) -> Planned<Compiled> {
        let name = |i: usize| schema.field(i).name().clone();
        let text = expr.describe(&name).to_string();
        let physical = physical(expr, schema)?;
        let data_type = expr.data_type.arrow();
        Ok(Compiled { expr: physical, column: expr.as_column(), data_type, text })
    }
}

impl fmt::Debug for Compiled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Expression for Compiled {
    fn evaluate(&self, rows: &RecordBatch, now_ms: i64) -> Result<ArrayRef, RowError> {
        if let Some(column) = self.column {
            return Ok(rows.column(column).clone());
        }
        clock::set_now_ms(now_ms);
        let failed = |reason: String| RowError { expression: self.text.clone(), reason };
        let value = self.expr.evaluate(rows).map_err(|e| failed(reason(&e)))?;
        let array = value.into_array(rows.num_rows()).map_err(|e| failed(reason(&e)))?;
        if *array.data_type() == self.data_type {
            return Ok(array);
        }
        arrow::compute::cast(&array, &self.data_type).map_err(|e| failed(e.to_string()))
    }

    fn describe(&self) -> String {
        self.text.clone()
    }
}

/// An expression as DataFusion evaluates it. What is constant in it is computed here, once, unless it
/// fails: then it does so for the first row.
fn physical(expr: &Expr, schema: &Schema) -> Planned<Arc<dyn PhysicalExpr>> {
    let physical = as_written(expr, schema)?;
    let is_literal = matches!(expr.kind, ExprKind::Literal(_));
    let is_constant = !is_literal && reads_nothing(expr) && always_gives_the_same(expr);
    let constant = is_constant.then(|| computed(physical.as_ref()).ok()).flatten();
    Ok(match constant {
        Some(value) => Arc::new(Literal::new(typed(&value, &expr.data_type.arrow()))),
        None => physical,
    })
}

fn reads_nothing(expr: &Expr) -> bool {
    let mut reads_nothing = true;
    expr.columns(&mut |_| reads_nothing = false);
    reads_nothing
}

/// The value of an expression that reads nothing.
fn computed(expr: &dyn PhysicalExpr) -> Result<ScalarValue, DataFusionError> {
    let one_row = RecordBatchOptions::new().with_row_count(Some(1));
    let row = RecordBatch::try_new_with_options(Arc::new(Schema::empty()), Vec::new(), &one_row)?;
    ScalarValue::try_from_array(&expr.evaluate(&row)?.into_array(1)?, 0)
}

fn as_written(expr: &Expr, schema: &Schema) -> Planned<Arc<dyn PhysicalExpr>> {
    let refuse = |reason: String| Refusal::new(ErrorKind::Unsupported, expr.at, reason);
    let of = |e: &Expr| physical(e, schema);
    Ok(match &expr.kind {
        ExprKind::Column(index) => Arc::new(Column::new(schema.field(*index).name(), *index)),
        ExprKind::Literal(value) => Arc::new(Literal::new(typed(value, &expr.data_type.arrow()))),
        ExprKind::Call(udf, args) => {
            let field = return_field(udf, args).map_err(refuse)?;
            let args = args.iter().map(of).collect::<Planned<Vec<_>>>()?;
            let config = Arc::new(ConfigOptions::default());
            Arc::new(ScalarFunctionExpr::new(udf.name(), udf.clone(), args, field, config))
        }
        ExprKind::Binary(op @ (Operator::And | Operator::Or), a, b) if may_fail(b) => {
            guarded(of(a)?, *op, of(b)?).map_err(|e| refuse(reason(&e)))?
        }
        ExprKind::Binary(op, a, b) => Arc::new(BinaryExpr::new(of(a)?, *op, of(b)?)),
        ExprKind::Not(e) => Arc::new(NotExpr::new(of(e)?)),
        ExprKind::IsNull(e) => Arc::new(IsNullExpr::new(of(e)?)),
        ExprKind::Widen(e) => Arc::new(CastExpr::new(of(e)?, expr.data_type.arrow(), None)),
        ExprKind::Case { branches, otherwise } => {
            let are_cheap = branches.iter().all(|(when, _)| choice::is_cheap(when));
            let branches = (branches.iter())
                .map(|(when, then)| Ok((of(when)?, of(then)?)))
                .collect::<Planned<Vec<_>>>()?;
            let otherwise = otherwise.as_deref().map(of).transpose()?;
            case(branches, otherwise, are_cheap.then_some(&expr.data_type.arrow()))
                .map_err(|e| refuse(reason(&e)))?
        }
        ExprKind::Like { negated, case_insensitive, text, pattern } => {
            Arc::new(LikeExpr::new(*negated, *case_insensitive, of(text)?, of(pattern)?))
        }
        ExprKind::In { negated, value, list } => {
            let list = list.iter().map(of).collect::<Planned<Vec<_>>>()?;
            in_list(of(value)?, list, negated, schema).map_err(|e| refuse(reason(&e)))?
        }
        ExprKind::Outer(_) | ExprKind::Aggregate(_) | ExprKind::Over(_) | ExprKind::Subquery(_) => {
            return Err(refuse("a sub-query or aggregate can't stand here".into()));
        }
    })
}

/// A `CASE`, that of a given type as a [`Choice`] if it is one.
fn case(
    branches: Vec<Branch>,
    otherwise: Option<Arc<dyn PhysicalExpr>>,
    as_choice: Option<&DataType>,
) -> Result<Arc<dyn PhysicalExpr>, DataFusionError> {
    if let Some(data_type) = as_choice {
        let choice = Choice::of(&branches, otherwise.as_ref(), data_type)?;
        if let Some(choice) = choice {
            return Ok(Arc::new(choice));
        }
    }
    Ok(Arc::new(CaseExpr::try_new(None, branches, otherwise)?))
}

/// `AND` and `OR` as Flink evaluates them: the right side only for rows that the left one leaves
/// open. DataFusion promises that for its `CASE`, and does so here only where few rows are left.
fn guarded(
    left: Arc<dyn PhysicalExpr>,
    op: Operator,
    right: Arc<dyn PhysicalExpr>,
) -> Result<Arc<dyn PhysicalExpr>, DataFusionError> {
    let literal = |value: bool| -> Arc<dyn PhysicalExpr> {
        Arc::new(Literal::new(ScalarValue::Boolean(Some(value))))
    };
    let decides = op == Operator::Or;
    let is_open = BinaryExpr::new(left.clone(), Operator::IsDistinctFrom, literal(decides));
    let branches = vec![(Arc::new(is_open) as Arc<dyn PhysicalExpr>, right)];
    let right = CaseExpr::try_new(None, branches, Some(literal(!decides)))?;
    Ok(Arc::new(BinaryExpr::new(left, op, Arc::new(right))))
}

/// Functions that fail on some values, and have no NULL for them.
const FAILING: [&str; 11] = [
    "COUNT_CHAR",
    "ELEMENT",
    "INSTR",
    "JSON_EXISTS",
    "JSON_OBJECT",
    "JSON_QUERY",
    "JSON_VALUE",
    "LPAD",
    "MAP_FROM_ARRAYS",
    "REPEAT",
    "RPAD",
];

/// Functions that fail on a pattern or a unit that is none: one that is written out fails for every row
/// or for none.
const READS_PATTERN: [&str; 8] = [
    "CEIL_TO",
    "DATE_FORMAT",
    "FLOOR_TO",
    "SIMILAR_TO",
    "TO_DATE",
    "TO_TIMESTAMP",
    "TO_TIMESTAMP_LTZ",
    "UNIX_TIMESTAMP",
];

/// Whether a value can make an expression fail.
pub(crate) fn may_fail(expr: &Expr) -> bool {
    expr.any(&mut |e| {
        let ExprKind::Call(udf, args) = &e.kind else { return false };
        let is_float = matches!(e.data_type, SqlType::Float | SqlType::Double);
        match udf.name() {
            "FLINK_DIV" | "FLINK_MOD" | "MOD" => !is_float && !is_nonzero(&args[1]),
            name if FAILING.contains(&name) => true,
            name if name.starts_with("REGEXP") || READS_PATTERN.contains(&name) => {
                args.iter().skip(1).any(|arg| arg.as_literal().is_none())
            }
            name => {
                name.starts_with("CAST AS")
                    && args[0].data_type.is_string()
                    && !e.data_type.is_string()
            }
        }
    })
}

fn is_nonzero(expr: &Expr) -> bool {
    let zero = |value: &ScalarValue| ScalarValue::new_zero(&value.data_type()).ok();
    expr.as_literal().is_some_and(|value| zero(value).is_some_and(|zero| zero != *value))
}

/// A constant in exactly the type that its column has.
pub(super) fn typed(value: &ScalarValue, data_type: &DataType) -> ScalarValue {
    if value.data_type() == *data_type {
        return value.clone();
    }
    let other =
        if value.is_null() { ScalarValue::try_from(data_type) } else { value.cast_to(data_type) };
    other.unwrap_or_else(|_| value.clone())
}
