//! A web shop's clicks and orders, at a pace at which days pass.

use crate::{Generator, Job, Order, Settings, Topic, View, shop};

/// The job as the registry lists it.
pub const JOB: Job = Job {
    name: "hourly_business",
    description: "A web shop's figures of each hour, live, beside those of a day and a week before",
    inputs: &[shop::CLICKS, shop::ORDERS],
    results: &[Topic {
        name: "hourly_figures",
        key: &["day", "hour"],
        meaning: "visitors, sessions, orders, revenue of each hour, now and before",
    }],
    views: &[View {
        table: "hourly_figures",
        title: "The last hours",
        newest: None,
        order: &[Order::Descending("day"), Order::Descending("hour")],
        columns: &[
            ("day", "day"),
            ("hour", "h"),
            ("visitors", "visitors"),
            ("orders", "orders"),
            ("conversion_percent", "conv %"),
            ("average_basket", "basket"),
            ("revenue", "revenue"),
            ("revenue_vs_day_before_percent", "day %"),
            ("revenue_vs_week_before_percent", "week %"),
        ],
        bar: None,
        rows_max: 100,
    }],
    sql: include_str!("job.sql"),
    readme: include_str!("README.md"),
    generator,
};

/// Records per second of event time unless the settings say otherwise: a day
/// of the demo takes 43 seconds.
pub const EVENTS_PER_SECOND: f64 = 1.0;

/// What the shop sends, for ever.
pub fn generator(settings: Settings) -> Generator {
    shop::generator(settings, EVENTS_PER_SECOND)
}
