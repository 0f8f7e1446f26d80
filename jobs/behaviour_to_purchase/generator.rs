//! A web shop's clicks and orders, at a pace at which buyers come back for a second look.

use crate::{Generator, Job, Order, Settings, Topic, View, shop};

/// The job as the registry lists it.
pub const JOB: Job = Job {
    name: "behaviour_to_purchase",
    description: "Each order of a web shop, with what its buyer had read and seen in the day before",
    inputs: &[shop::CLICKS, shop::ORDERS],
    results: &[Topic {
        name: "attributed_orders",
        key: &[],
        meaning: "which content came first and last before an order, and how long it took",
    }],
    views: &[View {
        table: "attributed_orders",
        title: "Orders, and what led to them",
        newest: None,
        order: &[Order::Descending("ordered_at"), Order::Descending("order_id")],
        columns: &[
            ("ordered_at", "at"),
            ("user_id", "user"),
            ("amount", "amount"),
            ("first_touch", "first touch"),
            ("last_touch", "last touch"),
            ("views", "views"),
            ("seconds_to_buy", "seconds"),
        ],
        bar: Some("seconds_to_buy"),
        rows_max: 100,
    }],
    sql: include_str!("job.sql"),
    readme: include_str!("README.md"),
    generator,
};

/// Records per second of event time unless the settings say otherwise.
pub const EVENTS_PER_SECOND: f64 = 5.0;

/// What the shop sends, for ever.
pub fn generator(settings: Settings) -> Generator {
    shop::generator(settings, EVENTS_PER_SECOND)
}
