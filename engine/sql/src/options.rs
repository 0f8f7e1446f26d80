//! A session's options, `SET 'key' = 'value'`: those that mean something here, those of Flink's that
//! don't, and what is said of all others.
//!
//! A job file that also runs on Flink may set what it likes, so an option is refused only if it must be
//! one of ours (`tidemill.…`). But one that is misspelt means nothing either, so whatever has no
//! effect is told.
//!
//! | option | what is said |
//! |---|---|
//! | one of [`OPTIONS`] | nothing |
//! | one of Flink's | that it has no effect, and what has its place |
//! | at most two letters from one of these | which it probably is |
//! | any other | that there is no such option |

use crate::error::{At, ErrorKind, Planned, Refusal, did_you_mean};
use crate::phases::{AGG_PHASES, is_strategy};
use crate::planner::{STATE_TTL, Surprise};
use datafusion::common::utils::datafusion_strsim::levenshtein;
use tidemill_formats::parse_duration;

/// The option of the session's clock.
pub(crate) const ZONE: &str = "table.local-time-zone";

/// The options that mean something, to the planner or to whoever runs the plan.
pub const OPTIONS: &[&str] = &[
    "execution.checkpointing.interval",
    "parallelism.default",
    "restart-strategy",
    "restart-strategy.exponential-delay.attempts-before-reset-backoff",
    "restart-strategy.exponential-delay.backoff-multiplier",
    "restart-strategy.exponential-delay.initial-backoff",
    "restart-strategy.exponential-delay.max-backoff",
    "restart-strategy.exponential-delay.reset-backoff-threshold",
    "restart-strategy.fixed-delay.attempts",
    "restart-strategy.fixed-delay.delay",
    "restart-strategy.type",
    "state.checkpoints.dir",
    "state.checkpoints.num-retained",
    "table.exec.mini-batch.allow-latency",
    "table.exec.mini-batch.enabled",
    "table.exec.mini-batch.size",
    "table.exec.state.ttl",
    ZONE,
    AGG_PHASES,
    "tidemill.epoch.interval-ms",
    "tidemill.epoch.max-bytes",
    "tidemill.epoch.max-rows",
    "tidemill.late-rows",
];

/// Options that Flink 2 calls otherwise, and what they were called before.
pub const RENAMED_OPTIONS: &[(&str, &str)] = &[
    ("execution.checkpointing.dir", "state.checkpoints.dir"),
    ("execution.checkpointing.num-retained", "state.checkpoints.num-retained"),
];

/// The one name that an option has from here on.
pub(crate) fn old_name(key: &str) -> &str {
    RENAMED_OPTIONS.iter().find(|(new, _)| *new == key).map_or(key, |(_, old)| old)
}

/// Refuses an option of our own that there is not, and values that the planner itself reads.
///
/// # Errors
/// If it is one of these.
pub(crate) fn check(key: &str, value: &str, at: At) -> Planned<()> {
    check_key(key, at)?;
    check_value(key, value, at)
}

/// Refuses an option of our own that there is not.
fn check_key(key: &str, at: At) -> Planned<()> {
    let own = || OPTIONS.iter().copied().filter(|option| option.starts_with("tidemill."));
    if !key.starts_with("tidemill.") || OPTIONS.contains(&key) {
        return Ok(());
    }
    let refusal = Refusal::new(ErrorKind::BadOption, at, format!("there is no option '{key}'"));
    Err(match did_you_mean(key, own()) {
        Some(near) => refusal.hint(format!("did you mean '{near}'?")),
        None => refusal.hint(format!("there are: {}", own().collect::<Vec<_>>().join(", "))),
    })
}

/// Refuses values of options that the planner itself reads.
fn check_value(key: &str, value: &str, at: At) -> Planned<()> {
    let (is_right, message, hint) = match key {
        STATE_TTL => (
            parse_duration(value).is_some(),
            format!("'{value}' is no duration"),
            "write a number and a unit, such as '36 h' or '7 d'",
        ),
        AGG_PHASES => (
            is_strategy(value),
            format!("'{value}' is no strategy for aggregates"),
            "write 'AUTO', 'TWO_PHASE' or 'ONE_PHASE'",
        ),
        _ => return Ok(()),
    };
    match is_right {
        true => Ok(()),
        false => Err(Refusal::new(ErrorKind::BadOption, at, message).hint(hint)),
    }
}

/// Options of Flink's that job files set, and that have no effect here. Of those with a dot at the end
/// all that begin so.
const OF_FLINK: &[&str] = &[
    "classloader.",
    "cluster.",
    "execution.attached",
    "execution.batch.",
    "execution.buffer-timeout",
    "execution.buffer-timeout.enabled",
    "execution.buffer-timeout.interval",
    "execution.checkpointing.aligned-checkpoint-timeout",
    "execution.checkpointing.checkpoints-after-tasks-finish.enabled",
    "execution.checkpointing.externalized-checkpoint-retention",
    "execution.checkpointing.incremental",
    "execution.checkpointing.local-backup.",
    "execution.checkpointing.max-concurrent-checkpoints",
    "execution.checkpointing.min-pause",
    "execution.checkpointing.mode",
    "execution.checkpointing.prefer-checkpoint-for-recovery",
    "execution.checkpointing.savepoint-dir",
    "execution.checkpointing.storage",
    "execution.checkpointing.timeout",
    "execution.checkpointing.tolerable-failed-checkpoints",
    "execution.checkpointing.unaligned",
    "execution.checkpointing.unaligned.",
    "execution.job-listeners",
    "execution.runtime-mode",
    "execution.savepoint-restore-mode",
    "execution.savepoint.ignore-unclaimed-state",
    "execution.savepoint.path",
    "execution.shutdown-on-attached-exit",
    "execution.state-recovery.claim-mode",
    "execution.state-recovery.ignore-unclaimed-state",
    "execution.state-recovery.path",
    "execution.target",
    "fs.",
    "high-availability.",
    "jobmanager.",
    "metrics.",
    "pipeline.auto-generate-uids",
    "pipeline.auto-watermark-interval",
    "pipeline.classpaths",
    "pipeline.closure-cleaner-level",
    "pipeline.force-avro",
    "pipeline.force-kryo",
    "pipeline.generic-types",
    "pipeline.global-job-parameters",
    "pipeline.jars",
    "pipeline.max-parallelism",
    "pipeline.name",
    "pipeline.object-reuse",
    "pipeline.operator-chaining",
    "pipeline.operator-chaining.",
    "pipeline.serialization-config",
    "pipeline.vertex-description-mode",
    "pipeline.watermark-alignment.",
    "python.",
    "rest.",
    "restart-strategy.failure-rate.",
    "security.",
    "sql-client.display.",
    "sql-client.execution.max-table-result.rows",
    "sql-client.execution.mode",
    "sql-client.execution.result-mode",
    "sql-client.verbose",
    "state.backend",
    "state.backend.",
    "state.checkpoint-storage",
    "state.savepoints.dir",
    "table.builtin-catalog-name",
    "table.builtin-database-name",
    "table.catalog-store.",
    "table.column-expansion-strategy",
    "table.display.max-column-width",
    "table.dml-sync",
    "table.dynamic-table-options.enabled",
    "table.exec.async-lookup.",
    "table.exec.async-scalar.",
    "table.exec.deduplicate.",
    "table.exec.disabled-operators",
    "table.exec.emit.allow-lateness",
    "table.exec.emit.early-fire.delay",
    "table.exec.emit.early-fire.enabled",
    "table.exec.emit.late-fire.delay",
    "table.exec.emit.late-fire.enabled",
    "table.exec.interval-join.min-cleanup-interval",
    "table.exec.legacy-cast-behaviour",
    "table.exec.legacy-transformation-uids",
    "table.exec.local-hash-agg.",
    "table.exec.rank.topn-cache-size",
    "table.exec.resource.default-parallelism",
    "table.exec.simplify-operator-name-enabled",
    "table.exec.sink.keyed-shuffle",
    "table.exec.sink.not-null-enforcer",
    "table.exec.sink.rowtime-inserter",
    "table.exec.sink.type-length-enforcer",
    "table.exec.sink.upsert-materialize",
    "table.exec.sort.",
    "table.exec.source.cdc-events-duplicate",
    "table.exec.source.idle-timeout",
    "table.exec.spill-compression.",
    "table.exec.uid.format",
    "table.exec.uid.generation",
    "table.exec.unbounded-over.version",
    "table.exec.window-agg.buffer-size-limit",
    "table.generated-code.max-length",
    "table.optimizer.",
    "table.plan.",
    "table.resources.download-dir",
    "table.rtas-ctas.atomicity-enabled",
    "table.sql-dialect",
    "taskmanager.",
];

/// What has the place of some of these.
const INSTEAD: &[(&str, &str)] = &[
    ("execution.runtime-mode", "every job is a stream, which ends if its inputs do"),
    ("execution.savepoint.path", "`tidemill run --state PATH` goes on with a savepoint"),
    ("execution.state-recovery.path", "`tidemill run --state PATH` goes on with a savepoint"),
    ("restart-strategy.failure-rate.", "there are 'fixed-delay' and 'exponential-delay'"),
    ("table.exec.emit.", "a window speaks once, when the watermark closes it"),
    ("table.exec.resource.default-parallelism", "'parallelism.default' says it"),
    ("table.exec.source.idle-timeout", "'scan.watermark.idle-timeout' of the table says it"),
];

/// As many letters may be wrong.
const MISSPELT_MAX: usize = 2;

/// What to say of an option that has no effect.
pub(crate) fn unheeded(key: &str, at: At) -> Option<Surprise> {
    let own = || OPTIONS.iter().copied().chain(RENAMED_OPTIONS.iter().map(|(new, _)| *new));
    if own().any(|known| known == key) {
        return None;
    }
    let no_effect = format!("the option '{key}' has no effect");
    if OF_FLINK.contains(&key) {
        return Some(Surprise { at, message: no_effect, hint: instead(key) });
    }
    let whole = OF_FLINK.iter().copied().filter(|known| !known.ends_with('.'));
    let near = own().chain(whole).map(|known| (levenshtein(key, known), known)).min();
    if let Some((_, near)) = near.filter(|(letters, _)| *letters <= MISSPELT_MAX) {
        let message = format!("there is no option '{key}': it has no effect");
        return Some(Surprise { at, message, hint: format!("did you mean '{near}'?") });
    }
    if OF_FLINK.iter().any(|known| known.ends_with('.') && key.starts_with(known)) {
        return Some(Surprise { at, message: no_effect, hint: instead(key) });
    }
    let message = format!("there is no option '{key}': it has no effect");
    Some(Surprise { at, message, hint: "leave it out, or keep it for Flink".to_owned() })
}

fn instead(key: &str) -> String {
    let found = INSTEAD.iter().find(|(known, _)| key.starts_with(known));
    found.map_or("it is one of Flink's that nothing here needs", |(_, instead)| instead).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_effect_is_told_and_what_was_meant() {
        let said = |key: &str| {
            unheeded(key, At::default()).map(|said| format!("{}; {}", said.message, said.hint))
        };
        for key in OPTIONS.iter().chain(RENAMED_OPTIONS.iter().map(|(new, _)| new)) {
            assert_eq!(said(key), None, "{key}");
        }
        for (key, expected) in [
            ("table.exec.stat.ttl", "did you mean 'table.exec.state.ttl'?"),
            ("table.exec.state.tll", "did you mean 'table.exec.state.ttl'?"),
            (
                "execution.checkpointing.intervall",
                "did you mean 'execution.checkpointing.interval'?",
            ),
            ("table.exec.source.idle-timeot", "did you mean 'table.exec.source.idle-timeout'?"),
            ("table.exec.source.idle-timeout", "has no effect; 'scan.watermark.idle-timeout'"),
            ("table.exec.emit.early-fire.enabled", "has no effect; a window speaks once"),
            (
                "table.optimizer.agg-phase-stategy",
                "did you mean 'table.optimizer.agg-phase-strategy'?",
            ),
            ("table.optimizer.join-reorder-enabled", "has no effect; it is one of Flink's"),
            ("state.backend.rocksdb.memory.managed", "has no effect; it is one of Flink's"),
            ("my.own", "there is no option 'my.own': it has no effect"),
        ] {
            let said = said(key).expect(key);
            assert!(said.contains(expected), "{said}");
        }
    }

    #[test]
    fn no_option_of_flinks_has_an_effect_and_none_is_there_twice() {
        assert!(OF_FLINK.is_sorted());
        assert!(OF_FLINK.windows(2).all(|pair| pair[0] != pair[1]));
        assert!(OF_FLINK.iter().all(|known| !OPTIONS.contains(known)));
        let is_known = |key: &&str| OF_FLINK.iter().any(|known| known.starts_with(key));
        assert!(INSTEAD.iter().all(|(key, _)| is_known(key)));
    }
}
