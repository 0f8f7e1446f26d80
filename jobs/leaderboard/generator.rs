//! Catches of a mobile game: players roam in sittings, monsters have rarities, phones lose signal.

use crate::arrival::{Arrivals, Faults, Network, World};
use crate::event_clock::{EventClock, write_iso_8601};
use crate::random::{Popularity, Random};
use crate::sittings::Sittings;
use crate::{Generator, Job, Order, Settings, Topic, View};
use std::io::Write;

/// The job as the registry lists it.
pub const JOB: Job = Job {
    name: "leaderboard",
    description: "A mobile game's catches: the best players of all time, of each minute and region",
    inputs: &[Topic { name: "catches", key: &[], meaning: "a player caught a monster" }],
    results: &[
        Topic {
            name: "top_players",
            key: &["place"],
            meaning: "who are the 100 players with the most points, now",
        },
        Topic {
            name: "top_by_minute",
            key: &[],
            meaning: "who were the 10 best players of each region in each minute",
        },
    ],
    views: &[
        View {
            table: "top_players",
            title: "Best players of all time",
            newest: None,
            order: &[Order::Ascending("place")],
            columns: &[
                ("place", "#"),
                ("player", "player"),
                ("catches", "catches"),
                ("points", "points"),
            ],
            bar: Some("points"),
            rows_max: 100,
        },
        View {
            table: "top_by_minute",
            title: "Best players of each region in the minute",
            newest: Some("window_start"),
            order: &[Order::Ascending("place"), Order::Descending("points")],
            columns: &[
                ("region", "region"),
                ("place", "#"),
                ("player", "player"),
                ("catches", "catches"),
                ("points", "points"),
            ],
            bar: Some("points"),
            rows_max: 80,
        },
    ],
    sql: include_str!("job.sql"),
    readme: include_str!("README.md"),
    generator,
};

/// What goes wrong with catches. The delay is the watermark's 10 seconds in `job.sql`; late ones
/// come from phones that were out of reach for minutes.
pub const FAULTS: Faults = Faults {
    delay_ms: 10_000,
    late_one_in: 1_000,
    late_min_ms: 120_000,
    late_max_ms: 900_000,
    duplicate_one_in: 200,
    broken_one_in: 2_000,
};

/// How many people have ever installed the game.
pub const PLAYERS: u32 = 50_000;

/// Catches per second of event time unless the settings say otherwise.
pub const EVENTS_PER_SECOND: f64 = 200.0;

/// A player who plays catches something every so many seconds.
const SECONDS_BETWEEN_CATCHES: f64 = 15.0;

/// The longest sitting.
const CATCHES_PER_SITTING: u32 = 60;

/// Regions and their share of the players, in percent.
const REGIONS: [(&str, u32); 8] = [
    ("asia-east", 24),
    ("europe-west", 18),
    ("america-north", 17),
    ("asia-south", 15),
    ("america-south", 11),
    ("europe-east", 7),
    ("africa", 5),
    ("oceania", 3),
];

/// A monster, its points, and how common it is.
const MONSTERS: [((&str, u32), u32); 16] = [
    (("pebblit", 10), 200),
    (("mossling", 10), 190),
    (("dripkin", 12), 170),
    (("cindermouse", 15), 140),
    (("gustfinch", 15), 120),
    (("lanternfish", 20), 100),
    (("thornhog", 25), 80),
    (("mirewisp", 30), 60),
    (("frostlynx", 40), 40),
    (("voltcrab", 50), 30),
    (("duskowl", 75), 20),
    (("crystoad", 100), 12),
    (("stormelk", 150), 8),
    (("abyssray", 250), 4),
    (("sunwyrm", 500), 2),
    (("tidemother", 2_000), 1),
];

/// Balls, the percentage of the monster's points they earn, and how often they are thrown.
const BALLS: [((&str, u32), u32); 3] =
    [(("plain", 100), 80), (("curved", 120), 15), (("perfect", 150), 5)];

const FIRST_NAMES: [&str; 16] = [
    "swift", "brave", "sleepy", "mighty", "tiny", "lucky", "silent", "wild", "golden", "cosmic",
    "sunny", "grumpy", "clever", "frosty", "turbo", "mellow",
];

const LAST_NAMES: [&str; 16] = [
    "otter", "falcon", "badger", "panda", "gecko", "walrus", "heron", "lynx", "moth", "yak",
    "raven", "newt", "koala", "bison", "shrew", "ibex",
];

/// Catches for ever.
pub fn generator(settings: Settings) -> Generator {
    Box::new(Arrivals::new(Game::new(settings), FAULTS, settings.seed))
}

/// The game world.
struct Game {
    clock: EventClock,
    random: Random,
    sittings: Sittings<()>,
    catches: u64,
}

impl Game {
    fn new(settings: Settings) -> Self {
        let mut random = Random::new(settings.seed, 1);
        let rate = settings.events_per_second.unwrap_or(EVENTS_PER_SECOND);
        let players = Popularity::zipf(PLAYERS, &mut random);
        Game {
            clock: EventClock::new(settings.start_ms, rate),
            random,
            sittings: Sittings::new((rate * SECONDS_BETWEEN_CATCHES) as usize, players),
            catches: 0,
        }
    }
}

impl World for Game {
    fn now_ms(&self) -> i64 {
        self.clock.now_ms()
    }

    fn step(&mut self, network: &mut Network) {
        let random = &mut self.random;
        self.clock.advance(1, random);
        let player = self.sittings.next(CATCHES_PER_SITTING, random).member;
        let (monster, points) = random.weighted(&MONSTERS);
        let (ball, percent) = random.weighted(&BALLS);
        self.catches += 1;

        let name = name(player);
        let mut value = Vec::with_capacity(192);
        write!(
            value,
            r#"{{"catch_id":{},"player":"{name}","region":"{}","monster":"{monster}","ball":"{ball}","points":{},"ts":""#,
            self.catches,
            region(player),
            points * percent / 100,
        )
        .expect("writing to memory doesn't fail");
        write_iso_8601(&mut value, self.clock.now_ms());
        value.extend_from_slice(b"\"}");
        network.send(self.clock.now_ms(), "catches", name.into_bytes(), value);
    }
}

/// A player's name: the same number always has the same one.
fn name(player: u32) -> String {
    let mut random = Random::new(u64::from(player), 2);
    let first = FIRST_NAMES[random.below(16) as usize];
    let last = LAST_NAMES[random.below(16) as usize];
    format!("{first}-{last}-{player}")
}

/// Where a player lives: the same number always in the same region.
fn region(player: u32) -> &'static str {
    Random::new(u64::from(player), 3).weighted(&REGIONS)
}
