//! Catches of a mobile game: players roam in sittings, balls have rarities, phones lose signal, and
//! now and then somebody takes another nickname.

use crate::arrival::{Arrivals, Faults, Network, World};
use crate::event_clock::{EventClock, write_iso_8601};
use crate::random::{Popularity, Random};
use crate::sittings::Sittings;
use crate::{Generator, Job, Order, Settings, Topic, View};
use std::collections::HashMap;
use std::io::Write;

/// The job as the registry lists it.
pub const JOB: Job = Job {
    name: "leaderboard",
    description: "A mobile game's catches: scores, the best of all time, of each minute and region",
    inputs: &[
        Topic { name: "catches", key: &[], meaning: "a player caught a ball" },
        Topic {
            name: "players",
            key: &["player_id"],
            meaning: "the change log of the table of players (Debezium)",
        },
    ],
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
        Topic {
            name: "player_scores",
            key: &["player_id"],
            meaning: "how many points a player has, now",
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
                ("nickname", "player"),
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
                ("player_id", "player"),
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

/// One catch in so many is followed by a new nickname of its player.
const RENAME_ONE_IN: u64 = 3_000;

/// A region: its name, and where its middle is, in hundred thousandths of a degree.
type Region = (&'static str, i64, i64);

/// Regions and their share of the players, in percent.
const REGIONS: [(Region, u32); 8] = [
    (("asia-east", 3_500_000, 13_900_000), 24),
    (("europe-west", 4_900_000, 300_000), 18),
    (("america-north", 3_900_000, -9_500_000), 17),
    (("asia-south", 2_000_000, 7_800_000), 15),
    (("america-south", -1_500_000, -5_500_000), 11),
    (("europe-east", 5_000_000, 2_600_000), 7),
    (("africa", 500_000, 2_000_000), 5),
    (("oceania", -3_300_000, 14_900_000), 3),
];

/// Players live so far from the middle of their region at most, in hundred thousandths of a degree …
const HOME_SPREAD: u64 = 500_000;
/// … and roam so far from home.
const ROAM_SPREAD: u64 = 2_000;

/// How rare a ball is, its points, and its share of ten thousand balls.
const RARITIES: [((&str, u32), u32); 5] = [
    (("common", 10), 6_500),
    (("uncommon", 25), 2_500),
    (("rare", 75), 800),
    (("epic", 250), 180),
    (("legendary", 2_000), 20),
];

/// How well it was thrown: the percentage of the points that it earns, and its share of a hundred.
const THROWS: [(u32, u32); 3] = [(100, 80), (120, 15), (150, 5)];

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
    /// How often who has played has taken another nickname.
    renamed: HashMap<u32, u32>,
    balls: u64,
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
            renamed: HashMap::new(),
            balls: 0,
        }
    }

    /// Sends a player's first row, or, now and then, one with another nickname.
    fn introduce(&mut self, player: u32, network: &mut Network) {
        let times = match self.renamed.get(&player) {
            None => 0,
            Some(times) if self.random.one_in(RENAME_ONE_IN) => times + 1,
            Some(_) => return,
        };
        self.renamed.insert(player, times);
        let row = |times| {
            let (id, nickname) = (player_id(player), nickname(player, times));
            format!(r#"{{"player_id":"{id}","nickname":"{nickname}"}}"#)
        };
        let (before, op) = match times.checked_sub(1) {
            None => ("null".to_owned(), "c"),
            Some(before) => (row(before), "u"),
        };
        let now_ms = self.clock.now_ms();
        let (after, key) = (row(times), player_id(player).into_bytes());
        let value =
            format!(r#"{{"before":{before},"after":{after},"op":"{op}","ts_ms":{now_ms}}}"#);
        network.send_in_order(now_ms, "players", key, value.into_bytes());
    }
}

impl World for Game {
    fn now_ms(&self) -> i64 {
        self.clock.now_ms()
    }

    fn step(&mut self, network: &mut Network) {
        self.clock.advance(1, &mut self.random);
        let player = self.sittings.next(CATCHES_PER_SITTING, &mut self.random).member;
        self.introduce(player, network);
        let random = &mut self.random;
        let (rarity, points) = random.weighted(&RARITIES);
        let percent = random.weighted(&THROWS);
        let (region, home_lat, home_lon) = home(player);
        let (lat, lon) =
            (around(home_lat, ROAM_SPREAD, random), around(home_lon, ROAM_SPREAD, random));
        self.balls += 1;

        let id = player_id(player);
        let mut value = Vec::with_capacity(192);
        write!(
            value,
            r#"{{"player_id":"{id}","ball_id":{},"rarity":"{rarity}","points":{},"region":"{region}","lat":{},"lon":{},"ts":""#,
            self.balls,
            points * percent / 100,
            degrees(lat),
            degrees(lon),
        )
        .expect("writing to memory doesn't fail");
        write_iso_8601(&mut value, self.clock.now_ms());
        value.extend_from_slice(b"\"}");
        network.send(self.clock.now_ms(), "catches", id.into_bytes(), value);
    }
}

fn player_id(player: u32) -> String {
    format!("p-{player:05}")
}

/// What a player is called after so many changes: the same each time.
fn nickname(player: u32, times: u32) -> String {
    let mut random = Random::new(u64::from(times) << 32 | u64::from(player), 2);
    let first = FIRST_NAMES[random.below(16) as usize];
    let last = LAST_NAMES[random.below(16) as usize];
    format!("{first}-{last}-{player}")
}

/// Where a player lives: the same number always in the same place.
fn home(player: u32) -> Region {
    let mut random = Random::new(u64::from(player), 3);
    let (name, lat, lon) = random.weighted(&REGIONS);
    (name, around(lat, HOME_SPREAD, &mut random), around(lon, HOME_SPREAD, &mut random))
}

/// Somewhere at most so far from there.
fn around(middle: i64, spread: u64, random: &mut Random) -> i64 {
    middle + random.below(2 * spread) as i64 - spread as i64
}

/// Hundred thousandths of a degree as degrees.
fn degrees(hundred_thousandths: i64) -> String {
    let sign = if hundred_thousandths < 0 { "-" } else { "" };
    let amount = hundred_thousandths.unsigned_abs();
    format!("{sign}{}.{:05}", amount / 100_000, amount % 100_000)
}
