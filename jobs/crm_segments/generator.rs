//! Customers of a shop and their orders over months and years: some come every few weeks, most once or
//! twice, and all of them sooner or later not any more.

use crate::arrival::{Arrivals, Faults, Network, World};
use crate::event_clock::EventClock;
use crate::random::{Popularity, Random};
use crate::shop::{self, write_order};
use crate::{Generator, Job, Order, Settings, Topic, View};
use std::collections::HashMap;

/// The job as the registry lists it.
pub const JOB: Job = Job {
    name: "crm_segments",
    description: "Recency, frequency and monetary value of customers, and a campaign's audience",
    inputs: &[
        shop::ORDERS,
        Topic {
            name: "customers",
            key: &["user_id"],
            meaning: "the change log of the table of customers (Debezium)",
        },
    ],
    results: &[
        Topic {
            name: "rfm_segments",
            key: &["user_id"],
            meaning: "which segment a customer belongs to, now, and by which scores",
        },
        Topic {
            name: "campaign_audience",
            key: &[],
            meaning: "who enters and leaves a segment and may be written to",
        },
    ],
    views: &[View {
        table: "rfm_segments",
        title: "Who is missed most",
        newest: None,
        order: &[
            Order::Ascending("recency"),
            Order::Descending("revenue"),
            Order::Ascending("user_id"),
        ],
        columns: &[
            ("name", "customer"),
            ("segment", "segment"),
            ("recency", "R"),
            ("frequency", "F"),
            ("monetary", "M"),
            ("last_order_day", "last order"),
            ("orders", "orders"),
            ("revenue", "revenue"),
        ],
        bar: Some("revenue"),
        rows_max: 100,
    }],
    sql: include_str!("job.sql"),
    readme: include_str!("README.md"),
    generator,
};

/// What goes wrong with orders. The delay is the watermark's 60 seconds in `job.sql`; late ones
/// come from a branch whose line was down, and count all the same.
pub const FAULTS: Faults = Faults {
    delay_ms: 60_000,
    late_one_in: 1_000,
    late_min_ms: 3_600_000,
    late_max_ms: 86_400_000,
    duplicate_one_in: 200,
    broken_one_in: 2_000,
};

/// Customers there ever will be.
pub const CUSTOMERS: u32 = 100_000;

/// The best customers order as often as if so many, even better ones, had left.
const CUSTOMERS_FLATTENED_BY: u32 = 2_500;

/// Orders per second of event time unless the settings say otherwise: some 500 a day, so that a
/// second of the demo is four days.
pub const EVENTS_PER_SECOND: f64 = 0.006;

/// One order in so many is followed by a change of the customer's row.
const CHANGE_ONE_IN: u64 = 50;

/// So many of a hundred customers may be written to.
const CONSENT_PERCENT: u64 = 70;

/// A customer orders for at least so many days after the first order …
const LIFE_DAYS_MIN: u64 = 20;
/// … and for less than so many more.
const LIFE_DAYS_SPREAD: u64 = 700;

const FIRST_NAMES: [&str; 16] = [
    "Ada", "Ben", "Carla", "David", "Elif", "Farid", "Greta", "Hugo", "Ines", "Jonas", "Kira",
    "Luis", "Mila", "Noah", "Olga", "Pedro",
];

const LAST_NAMES: [&str; 16] = [
    "Adler", "Bauer", "Costa", "Diaz", "Evans", "Fischer", "Garcia", "Haas", "Ito", "Jensen",
    "Kaya", "Lopez", "Meyer", "Novak", "Olsen", "Petrov",
];

/// Orders and customers for ever.
pub fn generator(settings: Settings) -> Generator {
    Box::new(Arrivals::new(Customers::new(settings), FAULTS, settings.seed))
}

/// The customers as they are.
struct Customers {
    clock: EventClock,
    random: Random,
    members: Popularity,
    products: Popularity,
    /// Those who have ordered.
    known: HashMap<u32, Customer>,
    orders: u64,
}

/// What the table of customers knows, and what it doesn't.
#[derive(Clone, Copy, Debug)]
struct Customer {
    consent: bool,
    /// How often the address has changed.
    moves: u32,
    /// After this there is no further order.
    gone_ms: i64,
}

impl Customers {
    fn new(settings: Settings) -> Self {
        let mut random = Random::new(settings.seed, 1);
        let rate = settings.events_per_second.unwrap_or(EVENTS_PER_SECOND);
        let weight = |rank| 1.0 / f64::from(rank + CUSTOMERS_FLATTENED_BY);
        Customers {
            clock: EventClock::new(settings.start_ms, rate),
            members: Popularity::weighted((1..=CUSTOMERS).map(weight), &mut random),
            products: Popularity::zipf(shop::PRODUCTS, &mut random),
            random,
            known: HashMap::new(),
            orders: 0,
        }
    }

    /// Somebody who orders now: who is gone comes back once in a while, as a new life.
    fn buyer(&mut self, network: &mut Network) -> u32 {
        let now_ms = self.clock.now_ms();
        loop {
            let user = self.members.pick(&mut self.random);
            match self.known.get(&user) {
                None => {
                    self.register(user, network);
                    return user;
                }
                Some(customer) if customer.gone_ms > now_ms => return user,
                Some(_) if self.random.one_in(10) => {
                    let gone_ms = self.gone_ms();
                    self.known.entry(user).and_modify(|customer| customer.gone_ms = gone_ms);
                    return user;
                }
                Some(_) => {}
            }
        }
    }

    /// When somebody who comes now will be gone.
    fn gone_ms(&mut self) -> i64 {
        let most = self.random.below(LIFE_DAYS_SPREAD);
        let days = LIFE_DAYS_MIN + self.random.below(most);
        self.clock.now_ms() + days as i64 * 86_400_000
    }

    fn register(&mut self, user: u32, network: &mut Network) {
        let consent = self.random.below(100) < CONSENT_PERCENT;
        let customer = Customer { consent, moves: 0, gone_ms: self.gone_ms() };
        self.known.insert(user, customer);
        self.send_customer(user, None, customer, network);
    }

    /// Another address, or another answer to whether one may write to it.
    fn change(&mut self, user: u32, network: &mut Network) {
        let before = self.known[&user];
        let mut after = before;
        if self.random.one_in(2) {
            after.moves += 1;
        } else {
            after.consent = !after.consent;
        }
        self.known.insert(user, after);
        self.send_customer(user, Some(before), after, network);
    }

    fn send_customer(
        &self,
        user: u32,
        before: Option<Customer>,
        after: Customer,
        network: &mut Network,
    ) {
        let now_ms = self.clock.now_ms();
        let (op, after) = (if before.is_some() { "u" } else { "c" }, row(user, after));
        let before = before.map_or_else(|| "null".to_owned(), |before| row(user, before));
        let value =
            format!(r#"{{"before":{before},"after":{after},"op":"{op}","ts_ms":{now_ms}}}"#);
        network.send_in_order(now_ms, "customers", user_id(user).into_bytes(), value.into_bytes());
    }
}

impl World for Customers {
    fn now_ms(&self) -> i64 {
        self.clock.now_ms()
    }

    fn step(&mut self, network: &mut Network) {
        self.clock.advance(1, &mut self.random);
        let user = self.buyer(network);
        self.orders += 1;
        let (now_ms, id) = (self.clock.now_ms(), user_id(user));
        let order = shop::Order {
            number: self.orders,
            user: &id,
            product: self.products.pick(&mut self.random),
            quantity: self.random.weighted(&[(1, 80), (2, 15), (3, 5)]),
            content: None,
        };
        let key = self.orders.to_string().into_bytes();
        network.send(now_ms, shop::ORDERS.name, key, write_order(&order, now_ms));
        if self.random.one_in(CHANGE_ONE_IN) {
            self.change(user, network);
        }
    }
}

fn user_id(user: u32) -> String {
    format!("u-{user:05}")
}

/// A row of the table of customers.
fn row(user: u32, customer: Customer) -> String {
    let mut random = Random::new(u64::from(user), 2);
    let first = FIRST_NAMES[random.below(16) as usize];
    let last = LAST_NAMES[random.below(16) as usize];
    let Customer { consent, moves, .. } = customer;
    format!(
        r#"{{"user_id":"{}","name":"{first} {last}","email":"{first}.{last}.{user}.{moves}@example.com","consent":{consent}}}"#,
        user_id(user),
    )
}
