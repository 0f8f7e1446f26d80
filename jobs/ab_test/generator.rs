//! A web shop's clicks, orders and assignments, at a pace at which experiments come to an end.

use crate::{Generator, Job, Order, Settings, Topic, View, shop};

/// The job as the registry lists it.
pub const JOB: Job = Job {
    name: "ab_test",
    description: "A web shop's experiments: how each variant does, and whether to believe it",
    inputs: &[shop::CLICKS, shop::ORDERS, shop::ASSIGNMENTS],
    results: &[Topic {
        name: "experiment_results",
        key: &["experiment", "variant"],
        meaning: "users, conversions, lift, p-value and sample ratio of a variant, now",
    }],
    views: &[View {
        table: "experiment_results",
        title: "Experiments",
        newest: None,
        order: &[Order::Ascending("experiment"), Order::Ascending("variant")],
        columns: &[
            ("experiment", "experiment"),
            ("variant", "variant"),
            ("users", "users"),
            ("conversion_percent", "conv %"),
            ("lift_percent", "lift %"),
            ("p_value", "p"),
            ("sample_ratio_mismatch", "mismatch"),
        ],
        bar: None,
        rows_max: 12,
    }],
    sql: include_str!("job.sql"),
    readme: include_str!("README.md"),
    generator,
};

/// Records per second of event time unless the settings say otherwise.
pub const EVENTS_PER_SECOND: f64 = 1.0;

/// What the shop sends, for ever.
pub fn generator(settings: Settings) -> Generator {
    shop::generator_with_experiments(settings, EVENTS_PER_SECOND)
}
