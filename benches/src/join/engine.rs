//! The engine's operator, as the engine calls it.

use super::Join;
use super::changes::{KEY, side_schema};
use tidemill_operators::join::{Join as Operator, JoinKind, JoinSpec};
use tidemill_operators::{Batch, EpochContext, Operator as _, Output, Watermark};

pub struct EngineJoin(Operator);

impl EngineJoin {
    pub fn new() -> anyhow::Result<Self> {
        let spec = JoinSpec {
            kind: JoinKind::Inner,
            left_keys: vec![KEY],
            right_keys: vec![KEY],
            residual: None,
            only_grows: [false, false],
            ttl_ms: [None, None],
        };
        Ok(EngineJoin(Operator::new(spec, side_schema(), side_schema())?))
    }
}

impl Join for EngineJoin {
    fn apply(&mut self, epoch: u64, sides: [Batch; 2]) -> anyhow::Result<Vec<Batch>> {
        let context = EpochContext {
            epoch,
            now_ms: 0,
            watermark_before: Watermark::MIN,
            watermark_after: Watermark::MIN,
        };
        let mut output = Output::default();
        self.0.apply(sides.map(|side| vec![side]).into(), &context, &mut output)?;
        Ok(output.rows)
    }
}
