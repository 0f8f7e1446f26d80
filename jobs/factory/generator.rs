//! A factory: machines run, stop, are set up, make good and bad pieces; sensors drift and sometimes jump.
//!
//! Each machine has a cycle of its own. A stop is planned (a break, a change of tools) or not, and
//! lasts for minutes; while it lasts the machine makes nothing and cools down.

use crate::arrival::{Arrivals, Faults, Network, World};
use crate::event_clock::{EventClock, write_iso_8601};
use crate::random::Random;
use crate::{Generator, Job, Order, Settings, Topic, View};

/// The job as the registry lists it.
pub const JOB: Job = Job {
    name: "factory",
    description: "A factory's machines: their effectiveness hour by hour, anomalies, downtime",
    inputs: &[
        Topic { name: "sensor_readings", key: &[], meaning: "what a sensor of a machine reads" },
        Topic {
            name: "machine_states",
            key: &[],
            meaning: "a machine runs, is down, or stands as planned",
        },
        Topic { name: "production", key: &[], meaning: "pieces that a machine has made" },
    ],
    results: &[
        Topic {
            name: "oee",
            key: &["machine_id", "hour_start"],
            meaning: "availability, performance, quality and their product, each hour, now",
        },
        Topic {
            name: "anomalies",
            key: &[],
            meaning: "which readings are far from those of the ten minutes before",
        },
        Topic { name: "downtime", key: &[], meaning: "when a machine was down, and why" },
    ],
    views: &[
        View {
            table: "oee",
            title: "Effectiveness in the hour",
            newest: Some("hour_start"),
            order: &[Order::Descending("oee"), Order::Ascending("machine_id")],
            columns: &[
                ("machine_id", "machine"),
                ("shift", "shift"),
                ("availability", "avail"),
                ("performance", "perf"),
                ("quality", "quality"),
                ("good", "good"),
                ("scrap", "scrap"),
                ("oee", "OEE"),
            ],
            bar: Some("oee"),
            rows_max: 9,
        },
        View {
            table: "downtime",
            title: "Down last",
            newest: None,
            order: &[Order::Descending("down_to"), Order::Ascending("machine_id")],
            columns: &[
                ("machine_id", "machine"),
                ("down_from", "from"),
                ("down_to", "to"),
                ("reason", "reason"),
                ("seconds", "seconds"),
            ],
            bar: Some("seconds"),
            rows_max: 5,
        },
        View {
            table: "anomalies",
            title: "Out of line last",
            newest: None,
            order: &[Order::Descending("read_at"), Order::Ascending("machine_id")],
            columns: &[
                ("machine_id", "machine"),
                ("read_at", "at"),
                ("sensor", "sensor"),
                ("reading", "reading"),
                ("mean", "mean"),
                ("z_score", "z"),
            ],
            bar: None,
            rows_max: 100,
        },
    ],
    sql: include_str!("job.sql"),
    readme: include_str!("README.md"),
    generator,
};

/// What goes wrong with the factory's records. The delay is the watermark's 10 seconds in
/// `job.sql`; late ones come from a gateway that had to restart.
pub const FAULTS: Faults = Faults {
    delay_ms: 10_000,
    late_one_in: 2_000,
    late_min_ms: 120_000,
    late_max_ms: 1_800_000,
    duplicate_one_in: 300,
    broken_one_in: 3_000,
};

/// Machines.
pub const MACHINES: u32 = 24;

/// Records per second of event time unless the settings say otherwise: each machine says
/// something every two seconds.
pub const EVENTS_PER_SECOND: f64 = 12.0;

/// One record in so many is a report of pieces …
const PRODUCTION_ONE_IN: u64 = 30;
/// … and one in so many a sign of life of a machine's state; the others are readings.
const STATE_ONE_IN: u64 = 60;

/// A running machine stops once in so many of its records …
const STOP_ONE_IN: u64 = 1_500;
/// … and one stop in so many is planned.
const PLANNED_ONE_IN: u64 = 3;

/// How long a stop lasts, in minutes.
const STOP_MINUTES: (u64, u64) = (2, 25);

/// One reading in so many jumps.
const ANOMALY_ONE_IN: u64 = 2_000;

/// One piece in so many is scrap.
const SCRAP_ONE_IN: u64 = 40;

/// A sensor, its usual reading, and how much it usually differs from that, in thousandths.
const SENSORS: [(&str, i64, i64); 3] =
    [("temperature", 65_000, 1_500), ("vibration", 2_400, 300), ("pressure", 6_000, 120)];

const DOWN_REASONS: [(&str, u32); 5] = [
    ("jam", 40),
    ("material missing", 25),
    ("tool broken", 15),
    ("sensor fault", 12),
    ("power", 8),
];

const PLANNED_REASONS: [(&str, u32); 3] =
    [("break", 50), ("change of tools", 35), ("cleaning", 15)];

/// Records of the factory for ever.
pub fn generator(settings: Settings) -> Generator {
    Box::new(Arrivals::new(Factory::new(settings), FAULTS, settings.seed))
}

/// The factory as it really is.
struct Factory {
    clock: EventClock,
    random: Random,
    machines: Vec<Machine>,
}

/// One machine.
#[derive(Clone, Debug)]
struct Machine {
    id: String,
    /// The shortest time that a piece takes, in milliseconds.
    ideal_cycle_ms: i64,
    /// What its controller says: the state and the reason for it, once anything was said.
    state: Option<(&'static str, Option<&'static str>)>,
    /// When the stop ends, if it stands.
    stands_until_ms: i64,
    /// Up to when its pieces have been reported, and how long it has run since then.
    counted_ms: i64,
    ran_ms: i64,
}

impl Factory {
    fn new(settings: Settings) -> Self {
        let random = Random::new(settings.seed, 1);
        let machine = |number: u32| Machine {
            id: format!("m-{number:02}"),
            ideal_cycle_ms: Random::new(u64::from(number), 4).between(2_000, 12_000) as i64,
            state: None,
            stands_until_ms: 0,
            counted_ms: settings.start_ms,
            ran_ms: 0,
        };
        let rate = settings.events_per_second.unwrap_or(EVENTS_PER_SECOND);
        Factory {
            clock: EventClock::new(settings.start_ms, rate),
            random,
            machines: (1..=MACHINES).map(machine).collect(),
        }
    }
}

impl World for Factory {
    fn now_ms(&self) -> i64 {
        self.clock.now_ms()
    }

    fn step(&mut self, network: &mut Network) {
        self.clock.advance(1, &mut self.random);
        let now_ms = self.clock.now_ms();
        let random = &mut self.random;
        let machine = &mut self.machines[random.below(u64::from(MACHINES)) as usize];
        machine.run_until(now_ms);
        if machine.changes(now_ms, random) || random.one_in(STATE_ONE_IN) {
            machine.send(now_ms, "machine_states", &machine.state_fields(), network);
        } else if random.one_in(PRODUCTION_ONE_IN) {
            let fields = machine.pieces(random);
            machine.send(now_ms, "production", &fields, network);
        } else {
            let fields = machine.reading(random);
            machine.send(now_ms, "sensor_readings", &fields, network);
        }
    }
}

impl Machine {
    fn is_running(&self) -> bool {
        self.state.is_some_and(|(state, _)| state == "running")
    }

    /// Lets it run, if it does, up to now.
    fn run_until(&mut self, now_ms: i64) {
        if self.is_running() {
            self.ran_ms += now_ms - self.counted_ms;
        }
        self.counted_ms = now_ms;
    }

    /// Goes on to another state if it is time.
    fn changes(&mut self, now_ms: i64, random: &mut Random) -> bool {
        if self.is_running() {
            if !random.one_in(STOP_ONE_IN) {
                return false;
            }
            let (shortest, longest) = STOP_MINUTES;
            let stands_ms = random.between(shortest * 60_000, longest * 60_000) as i64;
            self.stands_until_ms = now_ms + stands_ms;
            self.state = Some(match random.one_in(PLANNED_ONE_IN) {
                true => ("planned", Some(random.weighted(&PLANNED_REASONS))),
                false => ("down", Some(random.weighted(&DOWN_REASONS))),
            });
            return true;
        }
        if now_ms < self.stands_until_ms {
            return false;
        }
        self.state = Some(("running", None));
        true
    }

    fn state_fields(&self) -> String {
        let (state, reason) = self.state.unwrap_or(("running", None));
        let reason = reason.map_or_else(|| "null".to_owned(), |reason| format!("\"{reason}\""));
        format!(r#""state":"{state}","reason":{reason}"#)
    }

    /// The pieces of the time that it has run since the last report: up to a fifth fewer than is
    /// possible.
    fn pieces(&mut self, random: &mut Random) -> String {
        let possible = self.ran_ms / self.ideal_cycle_ms;
        self.ran_ms -= possible * self.ideal_cycle_ms;
        let made = possible as u64 * random.between(80, 100) / 100;
        let scrap = (0..made).filter(|_| random.one_in(SCRAP_ONE_IN)).count() as u64;
        let (seconds, millis) = (self.ideal_cycle_ms / 1000, self.ideal_cycle_ms % 1000);
        let good = made - scrap;
        format!(r#""good":{good},"scrap":{scrap},"ideal_cycle_s":{seconds}.{millis:03}"#)
    }

    /// The sum of four uniform numbers is near enough to a normal one.
    fn reading(&self, random: &mut Random) -> String {
        let (sensor, usual, spread) = SENSORS[random.below(SENSORS.len() as u64) as usize];
        let noise: i64 = (0..4).map(|_| random.below(2 * spread as u64) as i64 - spread).sum();
        let usual = if self.is_running() { usual } else { usual - spread };
        let jump = if random.one_in(ANOMALY_ONE_IN) { 10 * spread } else { 0 };
        let value = (usual + noise / 2 + jump).max(0);
        format!(r#""sensor":"{sensor}","value":{}.{:03}"#, value / 1000, value % 1000)
    }

    fn send(&self, now_ms: i64, topic: &'static str, fields: &str, network: &mut Network) {
        let mut value = format!(r#"{{"machine_id":"{}",{fields},"ts":""#, self.id).into_bytes();
        write_iso_8601(&mut value, now_ms);
        value.extend_from_slice(b"\"}");
        network.send(now_ms, topic, self.id.clone().into_bytes(), value);
    }
}
