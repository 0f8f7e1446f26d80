//! A retail chain: receipts with their lines, stock movements, and the table of items.
//!
//! The world keeps the true stock, so that deliveries come when a shelf runs low and the alerts
//! of the job rise and fall as they would. An item's master record and a store's opening count
//! are sent just before they are first needed: every prefix of the input is a sensible one.

use crate::arrival::{Arrivals, Faults, Network, World};
use crate::event_clock::{EventClock, write_iso_8601};
use crate::random::{Popularity, Random};
use crate::{Generator, Job, Order, Settings, Topic, View};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::io::Write;

/// The job as the registry lists it.
pub const JOB: Job = Job {
    name: "inventory",
    description: "A retail chain's sales and stock movements: stock, shortages, sales by the hour",
    inputs: &[
        Topic { name: "pos_transactions", key: &[], meaning: "a receipt with its lines" },
        Topic {
            name: "stock_movements",
            key: &[],
            meaning: "stock that came or went otherwise: delivery, transfer, count, return",
        },
        Topic {
            name: "items",
            key: &["item_id"],
            meaning: "the change log of the table of items (Debezium)",
        },
    ],
    results: &[
        Topic {
            name: "stock_positions",
            key: &["store_id", "item_id"],
            meaning: "how many pieces of an item are in a store, now",
        },
        Topic {
            name: "reorder_alerts",
            key: &["store_id", "item_id"],
            meaning: "what must be reordered where, once per shortage: a tombstone ends it",
        },
        Topic {
            name: "sales_by_store_hour",
            key: &[],
            meaning: "what each store sold in each hour",
        },
        Topic {
            name: "negative_stock",
            key: &["store_id", "item_id"],
            meaning: "where the books say fewer than no pieces, now",
        },
    ],
    views: &[
        View {
            table: "reorder_alerts",
            title: "To be reordered",
            newest: None,
            order: &[Order::Ascending("store_id"), Order::Ascending("item_id")],
            columns: &[("store_id", "store"), ("item_id", "item"), ("name", "name")],
            bar: None,
            rows_max: 100,
        },
        View {
            table: "sales_by_store_hour",
            title: "Sales of each store in the hour",
            newest: Some("window_start"),
            order: &[Order::Descending("revenue"), Order::Ascending("store_id")],
            columns: &[
                ("store_id", "store"),
                ("receipts", "receipts"),
                ("pieces", "pieces"),
                ("revenue", "revenue"),
            ],
            bar: Some("revenue"),
            rows_max: 60,
        },
    ],
    sql: include_str!("job.sql"),
    readme: include_str!("README.md"),
    generator,
};

/// What goes wrong with receipts and movements. The delay is the watermark's 30 seconds in
/// `job.sql`; late ones come from stores whose line was down.
pub const FAULTS: Faults = Faults {
    delay_ms: 30_000,
    late_one_in: 1_000,
    late_min_ms: 600_000,
    late_max_ms: 7_200_000,
    duplicate_one_in: 250,
    broken_one_in: 2_500,
};

/// Stores of the chain.
pub const STORES: u32 = 60;

/// Items on sale.
pub const ITEMS: u32 = 400;

/// Records per second of event time unless the settings say otherwise.
pub const EVENTS_PER_SECOND: f64 = 20.0;

/// The longest receipt.
const LINES_PER_RECEIPT: u64 = 8;

/// One receipt in so many is followed by a return of one of its pieces.
const RETURN_ONE_IN: u64 = 60;

/// One receipt in so many is followed by a count that finds pieces missing.
const COUNT_ONE_IN: u64 = 300;

/// One receipt in so many is followed by a change of an item's reorder point.
const ITEM_CHANGE_ONE_IN: u64 = 500;

/// One replenishment in so many is a transfer from another store, not a delivery.
const TRANSFER_ONE_IN: u64 = 8;

/// How long goods are under way, in minutes of event time.
const LEAD_TIME_MINUTES: (u64, u64) = (10, 40);

const PRODUCTS: [&str; 20] = [
    "oat milk",
    "coffee",
    "olive oil",
    "rye bread",
    "tomatoes",
    "pasta",
    "dark chocolate",
    "dish soap",
    "batteries",
    "toothpaste",
    "apples",
    "yoghurt",
    "rice",
    "light bulb",
    "shampoo",
    "crisps",
    "mustard",
    "green tea",
    "notebook",
    "socks",
];

const SIZES: [&str; 20] = [
    "small",
    "regular",
    "large",
    "family",
    "travel",
    "organic",
    "classic",
    "premium",
    "value",
    "double",
    "fresh",
    "long-life",
    "mild",
    "strong",
    "white",
    "black",
    "red",
    "green",
    "mini",
    "maxi",
];

/// Records of the chain for ever.
pub fn generator(settings: Settings) -> Generator {
    Box::new(Arrivals::new(Chain::new(settings), FAULTS, settings.seed))
}

/// One item of one store.
type Shelf = (u32, u32);

/// The chain as it really is.
struct Chain {
    clock: EventClock,
    random: Random,
    stores: Popularity,
    items: Popularity,
    /// Items that are known to the table of items, with their reorder points.
    reorder_points: HashMap<u32, i64>,
    /// What really stands on the shelves that were ever touched.
    on_hand: HashMap<Shelf, i64>,
    /// Goods under way: when they arrive, where, how many.
    under_way: BinaryHeap<Reverse<(i64, Shelf, i64)>>,
    /// Shelves that goods are under way to.
    ordered: HashMap<Shelf, ()>,
    receipts: u64,
    movements: u64,
}

impl Chain {
    fn new(settings: Settings) -> Self {
        let mut random = Random::new(settings.seed, 1);
        let rate = settings.events_per_second.unwrap_or(EVENTS_PER_SECOND);
        Chain {
            clock: EventClock::new(settings.start_ms, rate),
            stores: Popularity::zipf(STORES, &mut random),
            items: Popularity::zipf(ITEMS, &mut random),
            random,
            reorder_points: HashMap::new(),
            on_hand: HashMap::new(),
            under_way: BinaryHeap::new(),
            ordered: HashMap::new(),
            receipts: 0,
            movements: 0,
        }
    }

    /// Makes sure that the item is listed and the shelf was counted once, and says what is on it.
    fn open(&mut self, shelf: Shelf, network: &mut Network) -> i64 {
        let (_, item) = shelf;
        if !self.reorder_points.contains_key(&item) {
            let reorder_point = self.random.between(5, 40) as i64;
            self.reorder_points.insert(item, reorder_point);
            let row = item_row(item, reorder_point);
            self.send_item(item, &format!(r#"{{"before":null,"after":{row},"op":"c""#), network);
        }
        if let Some(&on_hand) = self.on_hand.get(&shelf) {
            return on_hand;
        }
        let counted = self.random.between(30, 120) as i64;
        self.movement(shelf, "count", counted, None, network);
        counted
    }

    fn send_item(&self, item: u32, image: &str, network: &mut Network) {
        let now_ms = self.clock.now_ms();
        let value = format!(r#"{image},"ts_ms":{now_ms}}}"#).into_bytes();
        network.send_in_order(now_ms, "items", item_id(item).into_bytes(), value);
    }

    /// Books a movement and sends it.
    fn movement(
        &mut self,
        (store, item): Shelf,
        kind: &str,
        quantity: i64,
        other_store: Option<u32>,
        network: &mut Network,
    ) {
        *self.on_hand.entry((store, item)).or_insert(0) += quantity;
        self.movements += 1;
        let other =
            other_store.map_or("null".to_owned(), |other| format!("\"{}\"", store_id(other)));
        let mut value = Vec::with_capacity(160);
        write!(
            value,
            r#"{{"movement_id":{},"kind":"{kind}","store_id":"{}","other_store_id":{other},"item_id":"{}","quantity":{quantity},"ts":""#,
            self.movements,
            store_id(store),
            item_id(item),
        )
        .expect("writing to memory doesn't fail");
        write_iso_8601(&mut value, self.clock.now_ms());
        value.extend_from_slice(b"\"}");
        let key = store_id(store).into_bytes();
        network.send(self.clock.now_ms(), "stock_movements", key, value);
    }

    /// Sells up to so many items; says which shelves were touched.
    fn receipt(&mut self, store: u32, lines_max: u32, network: &mut Network) -> Vec<Shelf> {
        self.receipts += 1;
        let (mut touched, mut lines) = (Vec::new(), Vec::new());
        for _ in 0..lines_max {
            let item = self.items.pick(&mut self.random);
            let on_hand = self.open((store, item), network);
            let wanted = self.random.weighted(&[(1i64, 70), (2, 20), (3, 6), (6, 4)]);
            let quantity = wanted.min(on_hand);
            if quantity == 0 {
                continue;
            }
            self.on_hand.insert((store, item), on_hand - quantity);
            lines.push(line(item, quantity));
            touched.push((store, item));
        }
        if !lines.is_empty() {
            self.send_receipt(store, &lines.join(","), network);
        }
        touched
    }

    fn send_receipt(&self, store: u32, lines: &str, network: &mut Network) {
        let (store, receipt) = (store_id(store), self.receipts);
        let mut value = Vec::with_capacity(256);
        write!(value, r#"{{"store_id":"{store}","receipt_id":{receipt},"lines":[{lines}],"ts":""#)
            .expect("writing to memory doesn't fail");
        write_iso_8601(&mut value, self.clock.now_ms());
        value.extend_from_slice(b"\"}");
        network.send(self.clock.now_ms(), "pos_transactions", store.into_bytes(), value);
    }

    /// Orders goods for a shelf that ran below its reorder point.
    fn reorder(&mut self, shelf: Shelf) {
        let reorder_point = self.reorder_points[&shelf.1];
        if self.on_hand[&shelf] >= reorder_point || self.ordered.insert(shelf, ()).is_some() {
            return;
        }
        let (shortest, longest) = LEAD_TIME_MINUTES;
        let lead_ms = self.random.between(shortest * 60_000, longest * 60_000) as i64;
        let quantity = reorder_point + self.random.between(20, 100) as i64;
        self.under_way.push(Reverse((self.clock.now_ms() + lead_ms, shelf, quantity)));
    }

    /// Books what has come in by now.
    fn receive(&mut self, network: &mut Network) {
        while let Some(&Reverse((due_ms, shelf, quantity))) = self.under_way.peek() {
            if due_ms > self.clock.now_ms() {
                return;
            }
            self.under_way.pop();
            self.ordered.remove(&shelf);
            let (store, item) = shelf;
            let giver = self.stores.pick(&mut self.random);
            if giver != store && self.random.one_in(TRANSFER_ONE_IN) {
                let given = quantity.min(self.open((giver, item), network) / 2);
                self.movement((giver, item), "transfer", -given, Some(store), network);
                self.movement(shelf, "transfer", given, Some(giver), network);
            } else {
                self.movement(shelf, "delivery", quantity, None, network);
            }
        }
    }

    /// What now and then follows a receipt.
    fn aftermath(&mut self, shelf: Shelf, network: &mut Network) {
        if self.random.one_in(RETURN_ONE_IN) {
            self.movement(shelf, "return", 1, None, network);
        }
        if self.random.one_in(COUNT_ONE_IN) {
            let missing = self.on_hand[&shelf].min(self.random.between(1, 3) as i64);
            self.movement(shelf, "count", -missing, None, network);
        }
        if self.random.one_in(ITEM_CHANGE_ONE_IN) {
            self.change_item(shelf.1, network);
        }
    }

    fn change_item(&mut self, item: u32, network: &mut Network) {
        let before = self.reorder_points[&item];
        let after = self.random.between(5, 40) as i64;
        self.reorder_points.insert(item, after);
        let (before, after) = (item_row(item, before), item_row(item, after));
        self.send_item(item, &format!(r#"{{"before":{before},"after":{after},"op":"u""#), network);
    }
}

impl World for Chain {
    fn now_ms(&self) -> i64 {
        self.clock.now_ms()
    }

    fn step(&mut self, network: &mut Network) {
        let most = self.random.between(1, LINES_PER_RECEIPT);
        let lines = self.random.between(1, most) as u32;
        self.clock.advance(1, &mut self.random);
        self.receive(network);
        let store = self.stores.pick(&mut self.random);
        let touched = self.receipt(store, lines, network);
        for &shelf in &touched {
            self.reorder(shelf);
        }
        if let Some(&shelf) = touched.first() {
            self.aftermath(shelf, network);
        }
    }
}

fn store_id(store: u32) -> String {
    format!("store-{store:02}")
}

fn item_id(item: u32) -> String {
    format!("item-{item:03}")
}

/// A line of a receipt.
fn line(item: u32, quantity: i64) -> String {
    let (item_id, cents) = (item_id(item), unit_price_cents(item));
    let (units, hundredths) = (cents / 100, cents % 100);
    format!(
        r#"{{"item_id":"{item_id}","quantity":{quantity},"unit_price":{units}.{hundredths:02}}}"#
    )
}

/// A row of the table of items.
fn item_row(item: u32, reorder_point: i64) -> String {
    let name = format!("{} {}", SIZES[(item / 20) as usize % 20], PRODUCTS[(item % 20) as usize]);
    format!(r#"{{"item_id":"{}","name":"{name}","reorder_point":{reorder_point}}}"#, item_id(item))
}

/// An item's price: the same number always has the same one.
fn unit_price_cents(item: u32) -> u64 {
    Random::new(u64::from(item), 4).between(49, 2999)
}
