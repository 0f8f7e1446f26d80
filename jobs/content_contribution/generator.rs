//! A web shop's clicks and orders, at a pace at which days pass.

use crate::{Generator, Job, Order, Settings, Topic, View, shop};

/// The job as the registry lists it.
pub const JOB: Job = Job {
    name: "content_contribution",
    description: "What each article of a web shop brings in each day: views, clicks, orders, its share",
    inputs: &[shop::CLICKS, shop::ORDERS],
    results: &[Topic {
        name: "content_daily",
        key: &["day", "content_id"],
        meaning: "what a content has brought in on a day, its share and its place",
    }],
    views: &[View {
        table: "content_daily",
        title: "What content brings in, on the day",
        newest: Some("day"),
        order: &[Order::Ascending("place")],
        columns: &[
            ("place", "#"),
            ("content_id", "content"),
            ("views", "views"),
            ("clicks", "clicks"),
            ("orders", "orders"),
            ("share_percent", "share %"),
            ("revenue", "revenue"),
        ],
        bar: Some("revenue"),
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
