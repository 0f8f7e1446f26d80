//! [`Choice`]: a `CASE` that chooses between constants.
//!
//! ```text
//! CASE WHEN a THEN 'x' WHEN b THEN 'y' ELSE 'z' END      a, b ─► number of the first that holds
//!                                                             ─► the constant of that number
//! ```
//!
//! DataFusion's `CASE` gives each condition only the rows that the ones before it left open, and copies
//! them for that. Where no condition can fail and each costs less than such a copy, all are evaluated for
//! all rows, and a call that stands in several of them once.

use super::expr::{Expr, ExprKind};
use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DataFusionError, ScalarValue};
use datafusion::logical_expr::ColumnarValue;
use datafusion::physical_expr::expressions::{Column, Literal};
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};
use std::any::Any;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, OnceLock};

/// Functions that cost little for a row.
const CHEAP: [&str; 2] = ["GREATEST", "LEAST"];

/// Whether an expression costs little for a row, and fails for none.
pub(super) fn is_cheap(expr: &Expr) -> bool {
    !expr.any(&mut |part| match &part.kind {
        ExprKind::Column(_)
        | ExprKind::Literal(_)
        | ExprKind::Binary(..)
        | ExprKind::Not(_)
        | ExprKind::IsNull(_)
        | ExprKind::Widen(_) => false,
        ExprKind::Call(function, _) => !CHEAP.contains(&function.name()),
        _ => true,
    })
}

/// A condition, and what stands for it.
pub(super) type Branch = (Arc<dyn PhysicalExpr>, Arc<dyn PhysicalExpr>);

/// See the [module](self).
#[derive(Debug, Clone)]
pub(super) struct Choice {
    conditions: Vec<Arc<dyn PhysicalExpr>>,
    /// What stands for each condition, and behind them what stands for none.
    values: Vec<ScalarValue>,
    /// The same.
    column: ArrayRef,
    data_type: DataType,
    /// How the conditions are evaluated; there with the first rows, for only they say how many columns
    /// there are.
    reading: OnceLock<Reading>,
}

impl Choice {
    /// Chooses the value beside the first condition that holds, or the last value if none does. `None`
    /// if a value is no constant.
    ///
    /// # Errors
    /// If the values are not of one type.
    pub(super) fn of(
        branches: &[Branch],
        otherwise: Option<&Arc<dyn PhysicalExpr>>,
        data_type: &DataType,
    ) -> Result<Option<Self>, DataFusionError> {
        let results = branches.iter().map(|(_, value)| Some(value)).chain([otherwise]);
        let values: Option<Vec<ScalarValue>> = results
            .map(|value| match value {
                Some(value) => (value.as_ref() as &dyn Any).downcast_ref().map(constant),
                None => ScalarValue::try_from(data_type).ok(),
            })
            .collect();
        let Some(values) = values else { return Ok(None) };
        Ok(Some(Choice {
            conditions: branches.iter().map(|(condition, _)| condition.clone()).collect(),
            column: ScalarValue::iter_to_array(values.iter().cloned())?,
            values,
            data_type: data_type.clone(),
            reading: OnceLock::new(),
        }))
    }

    fn reading(&self, rows: &RecordBatch) -> Result<&Reading, DataFusionError> {
        match self.reading.get() {
            Some(reading) => Ok(reading),
            None => {
                let reading = Reading::of(&self.conditions, &rows.schema())?;
                Ok(self.reading.get_or_init(|| reading))
            }
        }
    }
}

/// Conditions that read what several of them have in common as columns.
#[derive(Debug, Clone)]
struct Reading {
    conditions: Vec<Arc<dyn PhysicalExpr>>,
    /// The columns behind those of the input.
    shared: Vec<Arc<dyn PhysicalExpr>>,
    /// All columns.
    schema: SchemaRef,
}

impl Reading {
    fn of(conditions: &[Arc<dyn PhysicalExpr>], input: &Schema) -> Result<Self, DataFusionError> {
        let shared = shared(conditions)?;
        let width = input.fields().len();
        let reading = |condition: &Arc<dyn PhysicalExpr>| reading(condition, &shared, width);
        let conditions = conditions.iter().map(reading).collect::<Result<_, _>>()?;
        let nullable = |field: &FieldRef| Arc::new(Field::clone(field).with_nullable(true));
        let mut fields: Vec<FieldRef> = input.fields().iter().map(nullable).collect();
        for (place, expr) in shared.iter().enumerate() {
            fields.push(Arc::new(Field::new(name(place), expr.data_type(input)?, true)));
        }
        Ok(Reading { conditions, shared, schema: Arc::new(Schema::new(fields)) })
    }

    /// The rows with all columns.
    fn extended(&self, rows: &RecordBatch) -> Result<RecordBatch, DataFusionError> {
        if self.shared.is_empty() {
            return Ok(rows.clone());
        }
        let mut columns = rows.columns().to_vec();
        for expr in &self.shared {
            columns.push(expr.evaluate(rows)?.into_array(rows.num_rows())?);
        }
        Ok(RecordBatch::try_new(self.schema.clone(), columns)?)
    }
}

fn constant(literal: &Literal) -> ScalarValue {
    literal.value().clone()
}

fn name(place: usize) -> String {
    format!("__shared{place}")
}

/// Calls that stand in several places, none of them within another.
fn shared(
    conditions: &[Arc<dyn PhysicalExpr>],
) -> Result<Vec<Arc<dyn PhysicalExpr>>, DataFusionError> {
    let mut calls: Vec<(Arc<dyn PhysicalExpr>, usize)> = Vec::new();
    for condition in conditions {
        condition.apply(|part| {
            if !is_call(part) {
                return Ok(TreeNodeRecursion::Continue);
            }
            match calls.iter_mut().find(|(call, _)| call == part) {
                Some((_, times)) => *times += 1,
                None => calls.push((part.clone(), 1)),
            }
            Ok(TreeNodeRecursion::Jump)
        })?;
    }
    Ok(calls.into_iter().filter(|&(_, times)| times > 1).map(|(call, _)| call).collect())
}

fn is_call(expr: &Arc<dyn PhysicalExpr>) -> bool {
    (expr.as_ref() as &dyn Any).is::<ScalarFunctionExpr>()
}

/// A condition that reads columns in the place of what is shared.
fn reading(
    condition: &Arc<dyn PhysicalExpr>,
    shared: &[Arc<dyn PhysicalExpr>],
    width: usize,
) -> Result<Arc<dyn PhysicalExpr>, DataFusionError> {
    let read = condition.clone().transform_down(|part| {
        Ok(match shared.iter().position(|shared| shared == &part) {
            None => Transformed::no(part),
            Some(place) => {
                let column: Arc<dyn PhysicalExpr> =
                    Arc::new(Column::new(&name(place), width + place));
                Transformed::new(column, true, TreeNodeRecursion::Jump)
            }
        })
    })?;
    Ok(read.data)
}

impl PhysicalExpr for Choice {
    fn data_type(&self, _schema: &Schema) -> Result<DataType, DataFusionError> {
        Ok(self.data_type.clone())
    }

    fn nullable(&self, _schema: &Schema) -> Result<bool, DataFusionError> {
        Ok(self.values.iter().any(ScalarValue::is_null))
    }

    fn evaluate(&self, rows: &RecordBatch) -> Result<ColumnarValue, DataFusionError> {
        let reading = self.reading(rows)?;
        let extended = reading.extended(rows)?;
        let mut chosen = vec![self.conditions.len() as u32; rows.num_rows()];
        // The first that holds has the last word.
        for (number, condition) in reading.conditions.iter().enumerate().rev() {
            let holds = condition.evaluate(&extended)?.into_array(rows.num_rows())?;
            for row in holding(holds.as_boolean()) {
                chosen[row] = number as u32;
            }
        }
        let chosen = UInt32Array::from(chosen);
        Ok(ColumnarValue::Array(take(self.column.as_ref(), &chosen, None)?))
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        self.conditions.iter().collect()
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn PhysicalExpr>>,
    ) -> Result<Arc<dyn PhysicalExpr>, DataFusionError> {
        let reading = OnceLock::new();
        Ok(Arc::new(Choice { conditions: children, reading, ..Choice::clone(&self) }))
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The rows for which a condition holds; for those where it is NULL it does not.
fn holding(condition: &BooleanArray) -> impl Iterator<Item = usize> + '_ {
    let rows = condition.values().set_indices();
    rows.filter(|&row| condition.nulls().is_none_or(|nulls| nulls.is_valid(row)))
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CASE")?;
        for (condition, value) in self.conditions.iter().zip(&self.values) {
            write!(f, " WHEN {condition} THEN {value}")?;
        }
        write!(f, " ELSE {} END", self.values[self.conditions.len()])
    }
}

impl PartialEq for Choice {
    fn eq(&self, other: &Self) -> bool {
        self.conditions == other.conditions && self.values == other.values
    }
}

impl Eq for Choice {}

impl Hash for Choice {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.conditions.hash(state);
        self.values.hash(state);
    }
}
