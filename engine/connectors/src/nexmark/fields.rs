//! What is in each kind of event: one entry for each field.
//!
//! A value is a function of the market and the event, so that any field can be left out.

use self::Value::{Integer, Text, Time};
use super::market::{Event, Kind, Market, Purpose};
use super::text::{channel_name, channel_url, length_about, length_below, letters, words};

/// The first category.
const FIRST_CATEGORY: i64 = 10;
const CATEGORIES: u64 = 5;

/// How long `extra` is on average: persons, auctions and bids have 200, 500 and 100 bytes, of
/// which the other fields take 61, 110 and 32.
const PERSON_EXTRA_LENGTH: u64 = 139;
const AUCTION_EXTRA_LENGTH: u64 = 390;
const BID_EXTRA_LENGTH: u64 = 68;

const FIRST_NAMES: [&str; 12] = [
    "Ada", "Bruno", "Clara", "Dario", "Edith", "Farid", "Greta", "Hugo", "Ines", "Jonas", "Kim",
    "Lena",
];
const LAST_NAMES: [&str; 10] = [
    "Archer", "Brandt", "Castillo", "Dubois", "Eriksen", "Fischer", "Green", "Haddad", "Ito",
    "Jensen",
];
/// Towns of the states.
const CITIES: [&str; 10] = [
    "Tucson",
    "San Diego",
    "Sacramento",
    "Moscow",
    "Salem",
    "Eugene",
    "Tacoma",
    "Spokane",
    "Laramie",
    "Casper",
];
/// Few, so that a query about some of them finds somebody among a few events.
const STATES: [&str; 6] = ["AZ", "CA", "ID", "OR", "WA", "WY"];

/// How a field of an event is made.
#[derive(Clone, Copy)]
pub(super) enum Value {
    /// A `BIGINT`.
    Integer(fn(&Market, Event) -> i64),
    /// A `TIMESTAMP(3)`.
    Time(fn(&Market, Event) -> i64),
    /// A `STRING`, which is appended.
    Text(fn(&Market, Event, &mut Vec<u8>)),
}

/// The fields of a kind.
pub(super) fn of(kind: Kind) -> &'static [(&'static str, Value)] {
    match kind {
        Kind::Person => &[
            ("id", Integer(Market::person)),
            ("name", Text(name)),
            ("emailAddress", Text(mail)),
            ("creditCard", Text(card)),
            ("city", Text(|m, e, out| put(one_of(m, e, Purpose::City, &CITIES), out))),
            ("state", Text(|m, e, out| put(one_of(m, e, Purpose::State, &STATES), out))),
            ("dateTime", Time(Market::time_ms)),
            ("extra", Text(|m, e, out| extra(m, e, PERSON_EXTRA_LENGTH, out))),
        ],
        Kind::Auction => &[
            ("id", Integer(Market::auction)),
            ("itemName", Text(item)),
            ("description", Text(description)),
            ("initialBid", Integer(|m, e| m.price(e, Purpose::Price))),
            ("reserve", Integer(reserve)),
            ("dateTime", Time(Market::time_ms)),
            ("expires", Time(|m, e| m.time_ms(e) + m.duration_ms(e))),
            ("seller", Integer(Market::seller)),
            ("category", Integer(category)),
            ("extra", Text(|m, e, out| extra(m, e, AUCTION_EXTRA_LENGTH, out))),
        ],
        Kind::Bid => &[
            ("auction", Integer(Market::bid_auction)),
            ("bidder", Integer(Market::bidder)),
            ("price", Integer(|m, e| m.price(e, Purpose::Price))),
            ("channel", Text(|m, e, out| put(channel_name(m.draw(e, Purpose::Channel)), out))),
            ("url", Text(|m, e, out| put(channel_url(m.draw(e, Purpose::Channel)), out))),
            ("dateTime", Time(Market::time_ms)),
            ("extra", Text(|m, e, out| extra(m, e, BID_EXTRA_LENGTH, out))),
        ],
    }
}

fn put(text: impl AsRef<[u8]>, out: &mut Vec<u8>) {
    out.extend_from_slice(text.as_ref());
}

fn one_of(m: &Market, event: Event, purpose: Purpose, all: &[&'static str]) -> &'static str {
    all[m.pick(event, purpose, all.len() as u64) as usize]
}

fn name(m: &Market, event: Event, out: &mut Vec<u8>) {
    put(one_of(m, event, Purpose::FirstName, &FIRST_NAMES), out);
    out.push(b' ');
    put(one_of(m, event, Purpose::LastName, &LAST_NAMES), out);
}

fn mail(m: &Market, event: Event, out: &mut Vec<u8>) {
    let part =
        |text, length, end| letters(m.draw(event, text), length_below(m.draw(event, length), end));
    put(part(Purpose::MailUser, Purpose::MailUserLength, 7), out);
    out.push(b'@');
    put(part(Purpose::MailHost, Purpose::MailHostLength, 5), out);
    put(".com", out);
}

/// Four times four digits.
fn card(m: &Market, event: Event, out: &mut Vec<u8>) {
    let mut digits = m.pick(event, Purpose::CreditCard, 10u64.pow(16));
    for place in 0..19 {
        if place % 5 == 4 {
            out.push(b' ');
            continue;
        }
        out.push(b'0' + (digits % 10) as u8);
        digits /= 10;
    }
}

fn item(m: &Market, event: Event, out: &mut Vec<u8>) {
    let length = length_below(m.draw(event, Purpose::ItemLength), 20);
    put(words(m.draw(event, Purpose::Item), length), out);
}

fn description(m: &Market, event: Event, out: &mut Vec<u8>) {
    let length = length_below(m.draw(event, Purpose::DescriptionLength), 100);
    put(words(m.draw(event, Purpose::Description), length), out);
}

/// What an auction must reach: more than where it begins.
fn reserve(m: &Market, event: Event) -> i64 {
    m.price(event, Purpose::Price) + m.price(event, Purpose::Reserve)
}

fn category(m: &Market, event: Event) -> i64 {
    FIRST_CATEGORY + m.pick(event, Purpose::Category, CATEGORIES) as i64
}

fn extra(m: &Market, event: Event, mean: u64, out: &mut Vec<u8>) {
    let length = length_about(m.draw(event, Purpose::ExtraLength), mean);
    put(letters(m.draw(event, Purpose::Extra), length), out);
}
