//! A web shop's clicks and orders, at a pace at which visits come and go.

use crate::{Generator, Job, Order, Settings, Topic, View, shop};

/// The job as the registry lists it.
pub const JOB: Job = Job {
    name: "clickstream",
    description: "A web shop's clicks: visits, segments that follow behaviour, carts left behind",
    inputs: &[shop::CLICKS, shop::ORDERS],
    results: &[
        Topic {
            name: "sessions",
            key: &[],
            meaning: "what happened in each visit, and did it end in a purchase",
        },
        Topic {
            name: "user_segments",
            key: &["user_id"],
            meaning: "which segment a user belongs to, now, and why",
        },
        Topic {
            name: "segment_counts",
            key: &[],
            meaning: "how many of the users of each minute had which segment",
        },
        Topic {
            name: "abandoned_carts",
            key: &[],
            meaning: "which carts were not bought within 30 minutes",
        },
    ],
    views: &[
        View {
            table: "segment_counts",
            title: "Users on the site, by segment, in the minute",
            newest: Some("window_start"),
            order: &[Order::Descending("users"), Order::Ascending("segment")],
            columns: &[("segment", "segment"), ("users", "users")],
            bar: Some("users"),
            rows_max: 5,
        },
        View {
            table: "abandoned_carts",
            title: "Carts left behind last",
            newest: None,
            order: &[Order::Descending("last_added"), Order::Ascending("user_id")],
            columns: &[
                ("user_id", "user"),
                ("first_added", "from"),
                ("last_added", "to"),
                ("device", "device"),
                ("last_product_id", "product"),
                ("items", "items"),
            ],
            bar: None,
            rows_max: 6,
        },
        View {
            table: "sessions",
            title: "Visits that ended last",
            newest: None,
            order: &[Order::Descending("last_click"), Order::Ascending("user_id")],
            columns: &[
                ("user_id", "user"),
                ("first_click", "from"),
                ("last_click", "to"),
                ("converted", "bought"),
                ("revenue", "revenue"),
                ("exit_page", "exit"),
                ("depth", "clicks"),
            ],
            bar: Some("depth"),
            rows_max: 100,
        },
    ],
    sql: include_str!("job.sql"),
    readme: include_str!("README.md"),
    generator,
};

/// Records per second of event time unless the settings say otherwise.
pub const EVENTS_PER_SECOND: f64 = 10.0;

/// What the shop sends, for ever.
pub fn generator(settings: Settings) -> Generator {
    shop::generator(settings, EVENTS_PER_SECOND)
}
