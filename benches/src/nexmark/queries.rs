//! [`QUERIES`]: the queries, and what is known of each beforehand.

/// The table of events and the views of each kind.
pub(super) const DDL: &str = include_str!("../../nexmark/ddl.sql");
/// All events into a file.
pub(super) const FILE: &str = include_str!("../../nexmark/file.sql");

/// A query.
#[derive(Clone, Copy, Debug)]
pub(super) struct Query {
    pub name: &'static str,
    pub sql: &'static str,
    /// What it takes Apache Flink 2.3 for an event, in microseconds of CPU, on a machine that
    /// decodes JSON in [`super::yardstick::REFERENCE`].
    pub flink_us: Option<f64>,
    /// Whether rows are only added to the answer: then their number is the same in each run.
    pub is_append_only: bool,
    /// How many rows it keeps for ever of a person, an auction and a bid. A bid that was joined
    /// and waits for another join is one, too.
    pub keeps: Option<[f64; 3]>,
}

impl Query {
    /// How many rows it holds after so many events, if that follows from their proportions.
    pub(super) fn rows_kept(&self, events: u64) -> Option<f64> {
        let of_round =
            self.keeps.map(|[persons, auctions, bids]| persons + 3.0 * auctions + 46.0 * bids);
        of_round.map(|rows| rows * events as f64 / 50.0)
    }
}

/// All of them.
pub(super) const QUERIES: [Query; 24] = [
    Query {
        name: "q0",
        sql: include_str!("../../nexmark/q0.sql"),
        flink_us: Some(5.4),
        is_append_only: true,
        keeps: None,
    },
    Query {
        name: "q1",
        sql: include_str!("../../nexmark/q1.sql"),
        flink_us: Some(3.8),
        is_append_only: true,
        keeps: None,
    },
    Query {
        name: "q2",
        sql: include_str!("../../nexmark/q2.sql"),
        flink_us: Some(3.4),
        is_append_only: true,
        keeps: None,
    },
    Query {
        name: "q3",
        sql: include_str!("../../nexmark/q3.sql"),
        flink_us: Some(3.8),
        is_append_only: true,
        keeps: Some([0.5, 0.2, 0.0]),
    },
    Query {
        name: "q4",
        sql: include_str!("../../nexmark/q4.sql"),
        flink_us: Some(7.9),
        is_append_only: false,
        keeps: Some([0.0, 1.0, 1.0]),
    },
    Query {
        name: "q5",
        sql: include_str!("../../nexmark/q5.sql"),
        flink_us: Some(9.3),
        is_append_only: true,
        keeps: None,
    },
    Query {
        name: "q6",
        sql: include_str!("../../nexmark/q6.sql"),
        flink_us: None,
        is_append_only: false,
        keeps: Some([0.0, 1.0, 1.0]),
    },
    Query {
        name: "q7",
        sql: include_str!("../../nexmark/q7.sql"),
        flink_us: Some(6.8),
        is_append_only: true,
        keeps: Some([0.0, 0.0, 1.0]),
    },
    Query {
        name: "q8",
        sql: include_str!("../../nexmark/q8.sql"),
        flink_us: Some(3.5),
        is_append_only: true,
        keeps: None,
    },
    Query {
        name: "q9",
        sql: include_str!("../../nexmark/q9.sql"),
        flink_us: Some(12.0),
        is_append_only: false,
        keeps: Some([0.0, 1.0, 1.0]),
    },
    Query {
        name: "q10",
        sql: include_str!("../../nexmark/q10.sql"),
        flink_us: Some(3.8),
        is_append_only: true,
        keeps: None,
    },
    Query {
        name: "q11",
        sql: include_str!("../../nexmark/q11.sql"),
        flink_us: Some(7.1),
        is_append_only: true,
        keeps: None,
    },
    Query {
        name: "q12",
        sql: include_str!("../../nexmark/q12.sql"),
        flink_us: None,
        is_append_only: false,
        keeps: None,
    },
    Query {
        name: "q13",
        sql: include_str!("../../nexmark/q13.sql"),
        flink_us: Some(2.9),
        is_append_only: true,
        keeps: None,
    },
    Query {
        name: "q14",
        sql: include_str!("../../nexmark/q14.sql"),
        flink_us: Some(3.7),
        is_append_only: true,
        keeps: None,
    },
    Query {
        name: "q15",
        sql: include_str!("../../nexmark/q15.sql"),
        flink_us: Some(4.0),
        is_append_only: false,
        keeps: None,
    },
    Query {
        name: "q16",
        sql: include_str!("../../nexmark/q16.sql"),
        flink_us: Some(6.4),
        is_append_only: false,
        keeps: None,
    },
    Query {
        name: "q17",
        sql: include_str!("../../nexmark/q17.sql"),
        flink_us: Some(5.1),
        is_append_only: false,
        keeps: None,
    },
    Query {
        name: "q18",
        sql: include_str!("../../nexmark/q18.sql"),
        flink_us: Some(8.7),
        is_append_only: false,
        keeps: None,
    },
    Query {
        name: "q19",
        sql: include_str!("../../nexmark/q19.sql"),
        flink_us: Some(7.1),
        is_append_only: false,
        keeps: None,
    },
    Query {
        name: "q20",
        sql: include_str!("../../nexmark/q20.sql"),
        flink_us: Some(6.0),
        is_append_only: true,
        keeps: Some([0.0, 0.2, 1.0]),
    },
    Query {
        name: "q21",
        sql: include_str!("../../nexmark/q21.sql"),
        flink_us: Some(4.8),
        is_append_only: true,
        keeps: None,
    },
    Query {
        name: "q22",
        sql: include_str!("../../nexmark/q22.sql"),
        flink_us: Some(3.8),
        is_append_only: true,
        keeps: None,
    },
    Query {
        name: "q23",
        sql: include_str!("../../nexmark/q23.sql"),
        flink_us: Some(8.8),
        is_append_only: true,
        keeps: Some([1.0, 1.0, 2.0]),
    },
];
