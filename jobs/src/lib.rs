//! The jobs Tidemill ships: what each answers, its SQL, and a generator of its input.
//!
//! This crate knows no engine. A job is text and plain records, so that the binary can embed it,
//! tests can recompute it by other means, and a reader can copy it. Each job has a folder of its
//! own beside `src`: `job.sql`, `generator.rs`, `README.md`.
//!
//! ```
//! use tidemill_jobs::{Settings, find};
//!
//! let job = find("leaderboard").expect("it is shipped");
//! let first = (job.generator)(Settings::default()).next().expect("generators never end");
//! assert_eq!(first.topic, "players", "who plays comes before what they catch");
//! assert!(job.sql.contains("CREATE TABLE catches"));
//! ```

#[path = "../ab_test/generator.rs"]
pub mod ab_test;
pub mod arrival;
#[path = "../behaviour_to_purchase/generator.rs"]
pub mod behaviour_to_purchase;
#[path = "../clickstream/generator.rs"]
pub mod clickstream;
#[path = "../content_contribution/generator.rs"]
pub mod content_contribution;
#[path = "../crm_segments/generator.rs"]
pub mod crm_segments;
pub mod event_clock;
#[path = "../factory/generator.rs"]
pub mod factory;
#[path = "../hourly_business/generator.rs"]
pub mod hourly_business;
#[path = "../inventory/generator.rs"]
pub mod inventory;
#[path = "../leaderboard/generator.rs"]
pub mod leaderboard;
pub mod random;
pub mod shop;
pub mod sittings;
pub mod view;

pub use view::{Order, View};

/// A shipped job.
#[derive(Clone, Copy, Debug)]
pub struct Job {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it is about, in one line.
    pub description: &'static str,
    /// The topics it reads.
    pub inputs: &'static [Topic],
    /// The topics it writes.
    pub results: &'static [Topic],
    /// Which results a demo shows, and how: the first one on top.
    pub views: &'static [View],
    /// The job file. It takes the variables `BROKERS`, `TOPIC_PREFIX` and `BOUNDED`, and has a
    /// default for each.
    pub sql: &'static str,
    /// What it answers, its topics and fields, how to run it on one's own Kafka.
    pub readme: &'static str,
    /// Makes the generator of its input.
    pub generator: fn(Settings) -> Generator,
}

/// A topic of a job.
#[derive(Clone, Copy, Debug)]
pub struct Topic {
    /// Its name, without the prefix that `TOPIC_PREFIX` puts before it.
    pub name: &'static str,
    /// The key columns of an updating result, in the order of the table's primary key; empty
    /// where every record stands for itself.
    pub key: &'static [&'static str],
    /// What a record says; of a result: what the topic answers.
    pub meaning: &'static str,
}

/// How a generator shall generate. The same settings give the same bytes.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// The seed of all chance.
    pub seed: u64,
    /// The instant of event time at which the world begins. A live demo sets it to now.
    pub start_ms: i64,
    /// Records per second of event time, averaged over a week; `None` is the job's own pace. With
    /// the rate at which records are sent, event time keeps step with the wall clock.
    pub events_per_second: Option<f64>,
}

/// The default start of event time: Monday, 2026-01-05T08:00:00Z.
pub const START_MS: i64 = 1_767_600_000_000;

impl Default for Settings {
    fn default() -> Self {
        Settings { seed: 42, start_ms: START_MS, events_per_second: None }
    }
}

/// Records in the order of their arrival, for ever: take as many as you like.
pub type Generator = Box<dyn Iterator<Item = Record> + Send>;

/// A record as a producer would send it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The topic, without prefix.
    pub topic: &'static str,
    /// The record's key: records of one key keep their order in a partition.
    pub key: Vec<u8>,
    /// The record's value.
    pub value: Vec<u8>,
    /// When it arrives, in milliseconds since 1970. It is at or after the event time inside.
    pub timestamp_ms: i64,
}

/// All shipped jobs.
pub fn all() -> &'static [Job] {
    static JOBS: [Job; 9] = [
        leaderboard::JOB,
        inventory::JOB,
        clickstream::JOB,
        behaviour_to_purchase::JOB,
        hourly_business::JOB,
        content_contribution::JOB,
        ab_test::JOB,
        crm_segments::JOB,
        factory::JOB,
    ];
    &JOBS
}

/// The job of this name.
pub fn find(name: &str) -> Option<&'static Job> {
    all().iter().find(|job| job.name == name)
}

#[cfg(test)]
mod tests;
