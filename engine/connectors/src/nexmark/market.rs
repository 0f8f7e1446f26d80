//! [`Market`]: which event a number is, who and what is known by then, and when it happens.
//!
//! Kinds follow each other in *rounds*, by default one person, three auctions and 46 bids. So how
//! many persons and auctions there are at an event follows from its number alone, and an event
//! refers to those that came before it without anybody having to remember them. What else is in an
//! event is drawn by its number and a [`Purpose`]: no column depends on another being made.

use crate::numbered::random::{below, of_row, unit};
use std::ops::Range;

/// The first person and the first auction have this number.
const FIRST_ID: u64 = 1000;
/// In each batch of so many, the first or second is the *hot* one, that most events refer to.
const HOT_BATCH: u64 = 100;
/// Of so many bids, one is not for the hot auction, of so many one is not by the hot bidder, and
/// of so many auctions one is not by the hot seller.
const HOT_AUCTION_RATIO: u64 = 2;
const HOT_BIDDER_RATIO: u64 = 4;
const HOT_SELLER_RATIO: u64 = 4;
/// Who is not hot is one of the newest so many persons or auctions …
const ACTIVE_PERSONS: u64 = 1000;
const AUCTIONS_IN_FLIGHT: u64 = 100;
/// … or one of so many that are still to come, as if events had overtaken each other.
const LEAD: u64 = 10;

/// The three kinds of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Person,
    Auction,
    Bid,
}

/// How many of each kind there are in a round.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Proportions {
    pub persons: u64,
    pub auctions: u64,
    pub bids: u64,
}

/// What decides all events.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Market {
    pub proportions: Proportions,
    /// In event time.
    pub events_per_second: u64,
    /// When the first event happens, in milliseconds since 1970.
    pub start_ms: i64,
    pub seed: u64,
}

/// What a random number is for. An event uses one for one purpose only.
#[derive(Clone, Copy, Debug)]
#[repr(u8)]
pub(super) enum Purpose {
    FirstName,
    LastName,
    MailUser,
    MailUserLength,
    MailHost,
    MailHostLength,
    CreditCard,
    City,
    State,
    Item,
    ItemLength,
    Description,
    DescriptionLength,
    Price,
    Reserve,
    Duration,
    IsHotSeller,
    Seller,
    Category,
    IsHotAuction,
    Auction,
    IsHotBidder,
    Bidder,
    Channel,
    Extra,
    ExtraLength,
}

/// An event, before its content.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Event {
    pub number: u64,
    /// How many persons and auctions there are, itself included.
    persons: u64,
    auctions: u64,
}

/// Neighbouring events of one kind, among rows that are made together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Run {
    /// The place of the first one.
    pub row: usize,
    pub length: usize,
    first: Event,
    kind: Kind,
}

impl Run {
    /// The events; each person and auction is one more.
    pub(super) fn events(&self) -> impl Iterator<Item = Event> + use<> {
        let Event { number, persons, auctions } = self.first;
        let (new_person, new_auction) = match self.kind {
            Kind::Person => (1, 0),
            Kind::Auction => (0, 1),
            Kind::Bid => (0, 0),
        };
        (0..self.length as u64).map(move |i| Event {
            number: number + i,
            persons: persons + new_person * i,
            auctions: auctions + new_auction * i,
        })
    }
}

impl Proportions {
    /// The length of a round.
    pub(super) fn round(&self) -> u64 {
        self.persons + self.auctions + self.bids
    }

    /// Where a kind's events lie in a round.
    fn section(&self, kind: Kind) -> Range<u64> {
        let (auctions, bids) = (self.persons, self.persons + self.auctions);
        match kind {
            Kind::Person => 0..auctions,
            Kind::Auction => auctions..bids,
            Kind::Bid => bids..self.round(),
        }
    }

    fn event(&self, number: u64) -> Event {
        let (round, place) = (number / self.round(), number % self.round());
        let in_round = |kind| {
            let section = self.section(kind);
            (place + 1).clamp(section.start, section.end) - section.start
        };
        Event {
            number,
            persons: round * self.persons + in_round(Kind::Person),
            auctions: round * self.auctions + in_round(Kind::Auction),
        }
    }

    /// The events of a kind among these, in order.
    pub(super) fn runs(&self, kind: Kind, events: &Range<u64>) -> Vec<Run> {
        let section = self.section(kind);
        if section.is_empty() || events.is_empty() {
            return vec![];
        }
        let rounds = events.start / self.round()..=(events.end - 1) / self.round();
        let run = |round: u64| {
            let base = round * self.round();
            let start = (base + section.start).max(events.start);
            let end = (base + section.end).min(events.end);
            (start < end).then(|| Run {
                row: (start - events.start) as usize,
                length: (end - start) as usize,
                first: self.event(start),
                kind,
            })
        };
        rounds.filter_map(run).collect()
    }
}

impl Market {
    /// A random number.
    pub(super) fn draw(&self, event: Event, purpose: Purpose) -> u64 {
        of_row(self.seed, purpose as u64, event.number)
    }

    /// One of so many.
    pub(super) fn pick(&self, event: Event, purpose: Purpose, of: u64) -> u64 {
        below(self.draw(event, purpose), of)
    }

    /// When an event happens, in milliseconds since 1970: never before an earlier one.
    pub(super) fn time_ms(&self, event: Event) -> i64 {
        self.start_ms + (event.number * 1000 / self.events_per_second) as i64
    }

    /// How long an auction is open: on average until as many new ones are there as are usually
    /// under way.
    pub(super) fn duration_ms(&self, event: Event) -> i64 {
        let Proportions { auctions, .. } = self.proportions;
        let events = AUCTIONS_IN_FLIGHT * self.proportions.round() / auctions.max(1);
        let average_ms = events * 1000 / self.events_per_second;
        1 + self.pick(event, Purpose::Duration, (2 * average_ms).max(1)) as i64
    }

    /// A price in cents: each order of magnitude from one to a million is as likely.
    pub(super) fn price(&self, event: Event, purpose: Purpose) -> i64 {
        let magnitude = 6.0 * unit(self.draw(event, purpose));
        ((magnitude * std::f64::consts::LN_10).exp() * 100.0).round() as i64
    }

    /// The person of a person's event.
    pub(super) fn person(&self, event: Event) -> i64 {
        id(newest(event.persons))
    }

    /// The auction of an auction's event.
    pub(super) fn auction(&self, event: Event) -> i64 {
        id(newest(event.auctions))
    }

    /// Who offers an auction: mostly the first of a batch of persons.
    pub(super) fn seller(&self, event: Event) -> i64 {
        match self.pick(event, Purpose::IsHotSeller, HOT_SELLER_RATIO) {
            0 => self.active_person(event, Purpose::Seller),
            _ => id(hot(event.persons)),
        }
    }

    /// Who bids: mostly the second of a batch of persons, who is not the hot seller.
    pub(super) fn bidder(&self, event: Event) -> i64 {
        match self.pick(event, Purpose::IsHotBidder, HOT_BIDDER_RATIO) {
            0 => self.active_person(event, Purpose::Bidder),
            _ => id(hot(event.persons) + 1),
        }
    }

    /// What a bid is for: half of the time the first of a batch of auctions.
    pub(super) fn bid_auction(&self, event: Event) -> i64 {
        match self.pick(event, Purpose::IsHotAuction, HOT_AUCTION_RATIO) {
            0 => {
                let newest = newest(event.auctions);
                let oldest = newest.saturating_sub(AUCTIONS_IN_FLIGHT);
                id(oldest + self.pick(event, Purpose::Auction, newest - oldest + 1 + LEAD))
            }
            _ => id(hot(event.auctions)),
        }
    }

    fn active_person(&self, event: Event, purpose: Purpose) -> i64 {
        let active = event.persons.min(ACTIVE_PERSONS);
        id(event.persons - active + self.pick(event, purpose, active + LEAD))
    }
}

fn id(index: u64) -> i64 {
    (FIRST_ID + index) as i64
}

/// The newest of so many; the first one if there is none yet.
fn newest(count: u64) -> u64 {
    count.saturating_sub(1)
}

/// The first of the batch that the newest of so many belongs to.
fn hot(count: u64) -> u64 {
    newest(count) / HOT_BATCH * HOT_BATCH
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEFAULT: Proportions = Proportions { persons: 1, auctions: 3, bids: 46 };

    #[test]
    fn a_round_is_a_person_three_auctions_and_bids() {
        let run = |kind| DEFAULT.runs(kind, &(0..100));
        let places = |kind| run(kind).iter().map(|r| (r.row, r.length)).collect::<Vec<_>>();
        assert_eq!(places(Kind::Person), [(0, 1), (50, 1)]);
        assert_eq!(places(Kind::Auction), [(1, 3), (51, 3)]);
        assert_eq!(places(Kind::Bid), [(4, 46), (54, 46)]);
    }

    #[test]
    fn an_event_knows_who_came_before_it_wherever_the_rows_begin() {
        for start in 0..160 {
            for kind in [Kind::Person, Kind::Auction, Kind::Bid] {
                for run in DEFAULT.runs(kind, &(start..start + 75)) {
                    assert_eq!(start + run.row as u64, run.first.number);
                    for event in run.events() {
                        assert_eq!(event, DEFAULT.event(event.number));
                    }
                }
            }
        }
        assert_eq!(DEFAULT.event(0), Event { number: 0, persons: 1, auctions: 0 });
        assert_eq!(DEFAULT.event(2), Event { number: 2, persons: 1, auctions: 2 });
        assert_eq!(DEFAULT.event(104), Event { number: 104, persons: 3, auctions: 9 });
    }
}
