//! `MATCH_RECOGNIZE`.

use super::{Lowered, Lowering, field_of};
use crate::error::Planned;
use crate::plan::NodeKind;
use crate::planner::compile::Compiled;
use crate::planner::formula::formula;
use crate::planner::relation::{
    Ordering, PatternOperand, PatternReading, PatternSearch, PatternTest, Relation,
};
use arrow::datatypes::{Field, Schema};
use std::collections::BTreeSet;
use std::sync::Arc;
use tidemill_operators::pattern::{
    Condition, Measure, Operand, PatternSpec, Reading, Test, Variable,
};
use tidemill_operators::top_n::SortTerm;

impl Lowering<'_> {
    pub(super) fn pattern(
        &mut self,
        relation: &Relation,
        input: &Relation,
        (partition, time, ties): (&[usize], usize, &[Ordering]),
        search: &PatternSearch,
        needed: &BTreeSet<usize>,
    ) -> Planned<Lowered> {
        let keys = partition.len();
        let is_shown = |number: &usize| needed.contains(&(keys + number));
        let mut shown: Vec<usize> = (0..search.measures.len()).filter(is_shown).collect();
        if keys == 0 && shown.is_empty() {
            // Rows need a column to be rows.
            shown.push(0);
        }
        let measures = || shown.iter().map(|&number| &search.measures[number]);
        let mut below: BTreeSet<usize> = partition.iter().copied().chain([time]).collect();
        below.extend(ties.iter().map(|tie| tie.column));
        measures().for_each(|operand| below.extend(read_by(operand)));
        for variable in &search.variables {
            match &variable.test {
                PatternTest::Always => {}
                PatternTest::Column(column) => drop(below.insert(*column)),
                PatternTest::Row(condition) => condition.columns(&mut |column| {
                    below.insert(column);
                }),
                PatternTest::Condition { operands, .. } => {
                    operands.iter().for_each(|operand| below.extend(read_by(operand)));
                }
            }
        }
        let lowered = self.lower_narrow(input, &below, true, true)?;
        let mut variables = Vec::with_capacity(search.variables.len());
        for variable in &search.variables {
            let test = match &variable.test {
                PatternTest::Always => Test::Always,
                PatternTest::Column(column) => Test::Column(lowered.at(*column)),
                PatternTest::Row(condition) => {
                    let condition = condition.remap(&|column| lowered.at(column));
                    Test::Row(Arc::new(Compiled::new(&condition, &self.node(lowered.node).schema)?))
                }
                PatternTest::Condition { operands, condition } => {
                    let operand = |operand| self.operand(operand, input, &lowered);
                    Test::Condition(Condition {
                        operands: operands.iter().filter_map(operand).collect(),
                        expression: Arc::new(Compiled::new(condition, &operand_schema(operands))?),
                        formula: formula(condition),
                    })
                }
            };
            variables.push(Variable { name: variable.name.clone(), test });
        }
        let measure = |operand: &PatternOperand| {
            let name = operand.name.clone();
            match self.operand(operand, input, &lowered) {
                Some(operand) => Measure::Operand { name, operand },
                None => Measure::Time { name },
            }
        };
        let tie = |tie: &Ordering| SortTerm {
            column: lowered.at(tie.column),
            descending: tie.descending,
            nulls_first: tie.nulls_first,
        };
        let spec = PatternSpec {
            partition: lowered.all(partition),
            time: lowered.at(time),
            ties: ties.iter().map(tie).collect(),
            arrival: lowered.arrival,
            variables,
            pattern: search.pattern.clone(),
            within_ms: search.within_ms,
            skip: search.skip,
            measures: measures().map(measure).collect(),
        };
        let columns = &relation.columns;
        let mut fields: Vec<Field> = columns[..keys].iter().map(field_of).collect();
        fields.extend(shown.iter().map(|number| field_of(&columns[keys + number])));
        let schema = Arc::new(Schema::new(fields));
        let node = self.add(NodeKind::Pattern(spec), vec![lowered.node], schema, false);
        self.nodes[node].by_processing_time = search.by_processing_time;
        let place = |number: usize| match number.checked_sub(keys) {
            None => Some(number),
            Some(measure) => shown.iter().position(|&s| s == measure).map(|place| keys + place),
        };
        Ok(Lowered { node, columns: (0..columns.len()).map(place).collect(), arrival: None })
    }

    /// What an operand reads; none if that is the time of the match.
    fn operand(
        &self,
        operand: &PatternOperand,
        input: &Relation,
        lowered: &Lowered,
    ) -> Option<Operand> {
        let reading = match &operand.reading {
            PatternReading::First { column, offset } => {
                Reading::First { column: lowered.at(*column), offset: *offset }
            }
            PatternReading::Last { column, offset } => {
                Reading::Last { column: lowered.at(*column), offset: *offset }
            }
            PatternReading::Aggregate(call) => {
                Reading::Aggregate(self.aggregate_call(call, input, lowered))
            }
            PatternReading::Time => return None,
        };
        Some(Operand { variable: operand.variable, reading })
    }
}

/// The columns that a condition is compiled over.
fn operand_schema(operands: &[PatternOperand]) -> Schema {
    let field = |o: &PatternOperand| Field::new(&o.name, o.data_type.arrow(), true);
    Schema::new(operands.iter().map(field).collect::<Vec<_>>())
}

/// The input's columns that an operand reads.
fn read_by(operand: &PatternOperand) -> Vec<usize> {
    match &operand.reading {
        PatternReading::First { column, .. } | PatternReading::Last { column, .. } => vec![*column],
        PatternReading::Aggregate(call) => call.argument.into_iter().chain(call.filter).collect(),
        PatternReading::Time => Vec::new(),
    }
}
