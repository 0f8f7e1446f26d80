//! Which inputs of joins a worker holds side by side: those that are joined with each other, directly
//! or by way of others. They have keys of the same types, and one index of all their keys.

use std::collections::BTreeMap;
use tidemill_operators::OperatorError;
use tidemill_operators::join::{Arrangement, Arranging};
use tidemill_sql::plan::{NodeId, NodeKind, Plan};

/// The arrangements of a plan's steps, without rows.
///
/// # Errors
/// If the keys of a step can't be compared.
pub(crate) fn of(plan: &Plan) -> Result<BTreeMap<NodeId, Arrangement>, (NodeId, OperatorError)> {
    let mut arrangements = BTreeMap::new();
    for group in groups(plan) {
        let arranging = group.iter().map(|&node| arranging(plan, node)).collect();
        let made = Arrangement::side_by_side(arranging).map_err(|error| (group[0], error))?;
        arrangements.extend(group.into_iter().zip(made));
    }
    Ok(arrangements)
}

/// The steps that arrange, those together that are joined.
fn groups(plan: &Plan) -> Vec<Vec<NodeId>> {
    let mut groups: Vec<Vec<NodeId>> = Vec::new();
    for (id, node) in plan.nodes.iter().enumerate() {
        match &node.kind {
            NodeKind::Arrange(_) => groups.push(vec![id]),
            NodeKind::Join(spec) if spec.is_arranged() => {
                let is_joined =
                    |group: &mut Vec<NodeId>| node.inputs.iter().any(|input| group.contains(input));
                let joined: Vec<NodeId> = groups.extract_if(.., is_joined).flatten().collect();
                groups.push(joined);
            }
            _ => {}
        }
    }
    groups
}

/// What is known of a step's arrangement.
fn arranging(plan: &Plan, id: NodeId) -> Arranging {
    let node = &plan.nodes[id];
    let NodeKind::Arrange(spec) = &node.kind else { unreachable!("a group is of such steps") };
    let readers = || plan.readers(id).map(|(reader, port)| (&plan.nodes[reader].kind, port));
    let is_counted = |(reader, port): (&NodeKind, usize)| match reader {
        NodeKind::Join(join) => join.counts_rows(port),
        _ => false,
    };
    Arranging {
        spec: spec.clone(),
        schema: node.schema.clone(),
        readers: readers().count(),
        is_counted: readers().any(is_counted),
    }
}
