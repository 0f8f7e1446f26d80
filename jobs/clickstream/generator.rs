//! A web shop's clickstream: visitors come, look around, read, fill carts, and sometimes buy.

use crate::arrival::{Arrivals, Faults, Network, World};
use crate::event_clock::{EventClock, write_iso_8601};
use crate::random::{Popularity, Random};
use crate::sittings::Sittings;
use crate::{Generator, Job, Order, Settings, Topic, View};
use std::io::Write;

/// The job as the registry lists it.
pub const JOB: Job = Job {
    name: "clickstream",
    description: "A web shop's clicks: sessions, and for each user a segment that follows behaviour",
    inputs: &[Topic { name: "clicks", key: &[], meaning: "a user did something on the site" }],
    results: &[
        Topic {
            name: "sessions",
            key: &[],
            meaning: "what happened in each visit, and did it end in a purchase",
        },
        Topic {
            name: "user_segments",
            key: &["user_id"],
            meaning: "which segment a user belongs to, now",
        },
        Topic {
            name: "segment_counts",
            key: &["segment"],
            meaning: "how many users each segment has, now",
        },
    ],
    views: &[
        View {
            table: "segment_counts",
            title: "Users of each segment",
            newest: None,
            order: &[Order::Descending("users"), Order::Ascending("segment")],
            columns: &[("segment", "segment"), ("purchases", "purchases"), ("users", "users")],
            bar: Some("users"),
            rows_max: 5,
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
                ("pages", "pages"),
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

/// What goes wrong with clicks. The delay is the watermark's 15 seconds in `job.sql`; late ones
/// come from tabs that were asleep. Browsers send a click once or never: no duplicates.
pub const FAULTS: Faults = Faults {
    delay_ms: 15_000,
    late_one_in: 1_500,
    late_min_ms: 2_700_000,
    late_max_ms: 7_200_000,
    duplicate_one_in: 0,
    broken_one_in: 2_000,
};

/// Users that the shop knows.
pub const USERS: u32 = 20_000;

/// Products on sale.
pub const PRODUCTS: u32 = 2_000;

/// Articles to read.
pub const ARTICLES: u64 = 150;

/// Clicks per second of event time unless the settings say otherwise.
pub const EVENTS_PER_SECOND: f64 = 20.0;

/// A visitor clicks every so many seconds.
const SECONDS_BETWEEN_CLICKS: f64 = 20.0;

/// The longest visit.
const CLICKS_PER_VISIT: u32 = 24;

const REFERRERS: [(Option<&str>, u32); 6] = [
    (None, 35),
    (Some("search"), 30),
    (Some("newsletter"), 12),
    (Some("social"), 12),
    (Some("partner"), 6),
    (Some("ad"), 5),
];

const DEVICES: [(&str, u32); 3] = [("mobile", 58), ("desktop", 36), ("tablet", 6)];

/// Clicks for ever.
pub fn generator(settings: Settings) -> Generator {
    Box::new(Arrivals::new(Shop::new(settings), FAULTS, settings.seed))
}

/// The shop and who is in it.
struct Shop {
    clock: EventClock,
    random: Random,
    products: Popularity,
    visits: Sittings<Visit>,
    events: u64,
}

/// One visit so far.
#[derive(Clone, Copy, Debug, Default)]
struct Visit {
    /// What was given at the entrance: `None` before the first click.
    entrance: Option<Entrance>,
    /// The product on the screen.
    product: Option<u32>,
    /// The product in the cart.
    cart: Option<u32>,
}

#[derive(Clone, Copy, Debug)]
struct Entrance {
    session_hint: u64,
    device: &'static str,
    referrer: Option<&'static str>,
}

/// What a visitor does next.
#[derive(Clone, Copy, Debug)]
enum Action {
    Read(u64),
    View(u32),
    Click(u32),
    AddToCart(u32),
    Purchase(u32),
}

impl Shop {
    fn new(settings: Settings) -> Self {
        let mut random = Random::new(settings.seed, 1);
        let rate = settings.events_per_second.unwrap_or(EVENTS_PER_SECOND);
        let users = Popularity::zipf(USERS, &mut random);
        Shop {
            clock: EventClock::new(settings.start_ms, rate),
            products: Popularity::zipf(PRODUCTS, &mut random),
            random,
            visits: Sittings::new((rate * SECONDS_BETWEEN_CLICKS) as usize, users),
            events: 0,
        }
    }
}

impl Visit {
    /// Decides what comes next, and remembers it.
    fn act(&mut self, products: &Popularity, random: &mut Random) -> Action {
        if let Some(product) = self.cart
            && random.one_in(4)
        {
            self.cart = None;
            return Action::Purchase(product);
        }
        match (self.product, random.below(100)) {
            (_, 0..12) => {
                self.product = None;
                Action::Read(random.below(ARTICLES))
            }
            (Some(product), 12..40) => Action::Click(product),
            (Some(product), 40..50) => {
                self.cart = Some(product);
                Action::AddToCart(product)
            }
            _ => {
                let product = products.pick(random);
                self.product = Some(product);
                Action::View(product)
            }
        }
    }
}

impl World for Shop {
    fn now_ms(&self) -> i64 {
        self.clock.now_ms()
    }

    fn step(&mut self, network: &mut Network) {
        let random = &mut self.random;
        self.clock.advance(1, random);
        let sitting = self.visits.next(CLICKS_PER_VISIT, random);
        let entrance = *sitting.state.entrance.get_or_insert_with(|| Entrance {
            session_hint: random.below(1_000_000),
            device: random.weighted(&DEVICES),
            referrer: random.weighted(&REFERRERS),
        });
        let action = sitting.state.act(&self.products, random);
        self.events += 1;
        let now_ms = self.clock.now_ms();
        let user = format!("u-{:05}", sitting.member);
        let value = click(self.events, &user, entrance, action, now_ms);
        network.send(now_ms, "clicks", user.into_bytes(), value);
    }
}

/// The record of one click.
fn click(event: u64, user: &str, entrance: Entrance, action: Action, now_ms: i64) -> Vec<u8> {
    let mut value = Vec::with_capacity(256);
    let write = |value: &mut Vec<u8>, text: std::fmt::Arguments<'_>| {
        value.write_fmt(text).expect("writing to memory doesn't fail");
    };
    let Entrance { session_hint, device, referrer } = entrance;
    write(
        &mut value,
        format_args!(r#"{{"event_id":{event},"user_id":"{user}","session_hint":{session_hint},"#),
    );
    let about_product = |value: &mut Vec<u8>, kind: &str, page: &str, product: u32| {
        let cents = price_cents(product);
        write(
            value,
            format_args!(
                r#""event_type":"{kind}","page":"{page}{product}","content_id":null,"product_id":{product},"price":{}.{:02},"#,
                cents / 100,
                cents % 100
            ),
        );
    };
    match action {
        Action::Read(article) => write(
            &mut value,
            format_args!(
                r#""event_type":"view","page":"/guide/{article}","content_id":"guide-{article}","product_id":null,"price":null,"#
            ),
        ),
        Action::View(product) => about_product(&mut value, "view", "/product/", product),
        Action::Click(product) => about_product(&mut value, "click", "/product/", product),
        Action::AddToCart(product) => {
            about_product(&mut value, "add_to_cart", "/product/", product);
        }
        Action::Purchase(product) => about_product(&mut value, "purchase", "/checkout/", product),
    }
    match referrer {
        Some(referrer) => write(&mut value, format_args!(r#""referrer":"{referrer}","#)),
        None => write(&mut value, format_args!(r#""referrer":null,"#)),
    }
    write(&mut value, format_args!(r#""device":"{device}","ts":""#));
    write_iso_8601(&mut value, now_ms);
    value.extend_from_slice(b"\"}");
    value
}

/// A product's price: the same number always has the same one.
fn price_cents(product: u32) -> u64 {
    Random::new(u64::from(product), 4).between(199, 24_999)
}
