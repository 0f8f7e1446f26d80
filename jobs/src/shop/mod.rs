//! A web shop, whose clicks and orders several jobs read: visitors come, look around, read, fill
//! carts, sometimes buy, now and then on another device, and come back.
//!
//! One world for all of those jobs, so that a field means the same in each of them. A job says how
//! fast its event time passes, and whether the shop runs experiments.
//!
//! * Who comes: 100,000 users by a flattened Zipf's law, the busiest of whom makes one visit in 4,600.
//! * A step of a visit: 15 % read an article (150, by Zipf's law), 24 % click at a product or at one
//!   in the article, 3 % put the product on the screen into the cart, the rest are views of
//!   products (2,000, by Zipf's law).
//! * With something in the cart, one step in 24 buys it; in experiments one in 18 for who is treated.
//! * One cart in 10 is bought on another device, 5 to 25 minutes later.
//! * One purchase in 40 is not seen by the browser's tracker: an order without a click.
//! * One visit in 100 of a known user draws the variants anew; one in 8 of the treated users of
//!   `search-ranking` has no assignment, as where a redirect comes before the record is sent.

mod records;
mod visit;

use crate::arrival::{Arrivals, Faults, Network, World};
use crate::event_clock::EventClock;
use crate::random::{Popularity, Random};
use crate::sittings::Sittings;
use crate::{Generator, Settings, Topic};
pub use records::{Order, price_cents, write_order};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashSet};
use visit::{Action, Browser, Visit};

/// What a user does on the site: the topic as the jobs list it.
pub const CLICKS: Topic =
    Topic { name: "clicks", key: &[], meaning: "a user did something on the site" };

/// What is ordered.
pub const ORDERS: Topic = Topic { name: "orders", key: &[], meaning: "a user ordered a product" };

/// Who takes part in which experiment.
pub const ASSIGNMENTS: Topic =
    Topic { name: "assignments", key: &[], meaning: "a user was given a variant" };

/// What goes wrong with the shop's records. The delay is the watermark's 15 seconds in the job
/// files; late ones come from tabs that were asleep and from a queue that was stuck. A browser
/// sends a click once or never: only orders and assignments are sent again.
pub const FAULTS: Faults = Faults {
    delay_ms: 15_000,
    late_one_in: 1_500,
    late_min_ms: 2_700_000,
    late_max_ms: 7_200_000,
    duplicate_one_in: 200,
    broken_one_in: 2_000,
};

/// Users that the shop knows.
pub const USERS: u32 = 100_000;

/// The most active users are as active as if so many, more active ones, had left.
const USERS_FLATTENED_BY: u32 = 1_000;

/// Products on sale.
pub const PRODUCTS: u32 = 2_000;

/// Articles to read.
pub const ARTICLES: u32 = 150;

/// A visitor clicks every so many seconds.
const SECONDS_BETWEEN_CLICKS: f64 = 20.0;

/// The longest visit.
const CLICKS_PER_VISIT: u32 = 24;

/// How long it takes to order on another device what was put into the cart, in minutes.
const OTHER_DEVICE_MINUTES: (u64, u64) = (5, 25);

/// One purchase in so many is not seen by the browser's tracker.
const UNTRACKED_ONE_IN: u64 = 40;

/// One visit in so many of a known user draws the user's variants anew.
const REASSIGNED_ONE_IN: u64 = 100;

/// Experiments. Only the first one does anything, and of the last one assignments get lost.
const EXPERIMENTS: [&str; 3] = ["checkout-button", "free-shipping-banner", "search-ranking"];

/// One treated user in so many of the last experiment has no assignment.
const LOST_ASSIGNMENT_ONE_IN: u64 = 8;

const VARIANTS: [&str; 2] = ["control", "treatment"];

/// Clicks and orders for ever, so many records a second unless the settings say otherwise.
pub fn generator(settings: Settings, events_per_second: f64) -> Generator {
    Box::new(Arrivals::new(Shop::new(settings, events_per_second), FAULTS, settings.seed))
}

/// Clicks, orders and assignments for ever.
pub fn generator_with_experiments(settings: Settings, events_per_second: f64) -> Generator {
    let mut shop = Shop::new(settings, events_per_second);
    shop.assigned = Some(HashSet::new());
    Box::new(Arrivals::new(shop, FAULTS, settings.seed))
}

/// The shop and who is in it.
struct Shop {
    clock: EventClock,
    random: Random,
    seed: u64,
    products: Popularity,
    articles: Popularity,
    visits: Sittings<Visit>,
    /// Who will order what on another device, and when.
    later: BinaryHeap<Reverse<(i64, u32, u32)>>,
    /// Users that have been given their variants, if there are experiments.
    assigned: Option<HashSet<u32>>,
    orders: u64,
}

impl Shop {
    fn new(settings: Settings, events_per_second: f64) -> Self {
        let mut random = Random::new(settings.seed, 1);
        let rate = settings.events_per_second.unwrap_or(events_per_second);
        let weight = |rank| 1.0 / f64::from(rank + USERS_FLATTENED_BY);
        let users = Popularity::weighted((1..=USERS).map(weight), &mut random);
        Shop {
            clock: EventClock::new(settings.start_ms, rate),
            seed: settings.seed,
            products: Popularity::zipf(PRODUCTS, &mut random),
            articles: Popularity::zipf(ARTICLES, &mut random),
            random,
            visits: Sittings::new((rate * SECONDS_BETWEEN_CLICKS) as usize, users),
            later: BinaryHeap::new(),
            assigned: None,
            orders: 0,
        }
    }

    /// Sends the variants of a user who begins a visit.
    fn assign(&mut self, user: u32, network: &mut Network) {
        let Some(assigned) = &mut self.assigned else { return };
        let is_new = assigned.insert(user);
        if !is_new && !self.random.one_in(REASSIGNED_ONE_IN) {
            return;
        }
        for (number, experiment) in EXPERIMENTS.iter().enumerate() {
            let variant = match is_new {
                true => variant(self.seed, number, user),
                false => self.random.below(2) as usize,
            };
            let is_last = number + 1 == EXPERIMENTS.len();
            if is_last && variant == 1 && self.random.one_in(LOST_ASSIGNMENT_ONE_IN) {
                continue;
            }
            let now_ms = self.clock.now_ms();
            let user = records::user_id(user);
            let value = records::assignment(&user, experiment, VARIANTS[variant], now_ms);
            network.send(now_ms, ASSIGNMENTS.name, user.into_bytes(), value);
        }
    }

    /// Orders what is due on other devices.
    fn order_later(&mut self, network: &mut Network) {
        while let Some(&Reverse((due_ms, user, product))) = self.later.peek() {
            if due_ms > self.clock.now_ms() {
                return;
            }
            self.later.pop();
            let browser = Browser::draw(&mut self.random);
            self.purchase(user, browser, product, None, network);
        }
    }

    fn purchase(
        &mut self,
        user: u32,
        browser: Browser,
        product: u32,
        content: Option<u32>,
        network: &mut Network,
    ) {
        if !self.random.one_in(UNTRACKED_ONE_IN) {
            self.click(user, browser, Action::Purchase(product), network);
        }
        self.orders += 1;
        let quantity = self.random.weighted(&[(1, 80), (2, 15), (3, 5)]);
        let (number, now_ms) = (self.orders, self.clock.now_ms());
        let order = Order { number, user: &records::user_id(user), product, quantity, content };
        let key = number.to_string().into_bytes();
        network.send(now_ms, ORDERS.name, key, write_order(&order, now_ms));
    }

    fn click(&self, user: u32, browser: Browser, action: Action, network: &mut Network) {
        let now_ms = self.clock.now_ms();
        let user = records::user_id(user);
        let value = records::click(&user, browser, action, now_ms);
        network.send_once(now_ms, CLICKS.name, user.into_bytes(), value);
    }
}

impl World for Shop {
    fn now_ms(&self) -> i64 {
        self.clock.now_ms()
    }

    fn step(&mut self, network: &mut Network) {
        self.clock.advance(1, &mut self.random);
        self.order_later(network);
        let random = &mut self.random;
        let sitting = self.visits.next(CLICKS_PER_VISIT, random);
        let (user, visit) = (sitting.member, &mut sitting.state);
        let is_new = visit.browser.is_none();
        let browser = *visit.browser.get_or_insert_with(|| Browser::draw(random));
        let is_eager = self.assigned.is_some() && variant(self.seed, 0, user) == 1;
        let action = visit.act(is_eager, &self.products, &self.articles, random);
        let content = visit.content;
        if is_new {
            self.assign(user, network);
        }
        match action {
            Action::Purchase(product) => self.purchase(user, browser, product, content, network),
            Action::OrderElsewhere(product) => {
                let (soonest, latest) = OTHER_DEVICE_MINUTES;
                let after_ms = self.random.between(soonest * 60_000, latest * 60_000) as i64;
                self.later.push(Reverse((self.clock.now_ms() + after_ms, user, product)));
                self.click(user, browser, action, network);
            }
            _ => self.click(user, browser, action, network),
        }
    }
}

/// The variant that a user really sees: the same each time. The first one is the control.
fn variant(seed: u64, experiment: usize, user: u32) -> usize {
    let purpose = 1 << 40 | u64::from(user) << 8 | experiment as u64;
    Random::new(seed, purpose).below(VARIANTS.len() as u64) as usize
}
