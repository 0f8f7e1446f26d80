//! The shop's records as JSON. Field order, and with it every byte, is fixed here.

use super::visit::{Action, Browser};
use crate::event_clock::write_iso_8601;
use crate::random::Random;
use std::io::Write;

/// An order as it is written.
#[derive(Clone, Copy, Debug)]
pub struct Order<'a> {
    /// Its id.
    pub number: u64,
    /// Who ordered.
    pub user: &'a str,
    /// What.
    pub product: u32,
    /// How many of it.
    pub quantity: u64,
    /// The article that led there, if the shop knows one.
    pub content: Option<u32>,
}

pub(super) fn user_id(user: u32) -> String {
    format!("u-{user:05}")
}

/// A product's price: the same number always has the same one.
pub fn price_cents(product: u32) -> u64 {
    Random::new(u64::from(product), 4).between(199, 24_999)
}

/// The record of an order.
pub fn write_order(order: &Order<'_>, now_ms: i64) -> Vec<u8> {
    let Order { number, user, product, quantity, content } = *order;
    let cents = quantity * price_cents(product);
    let mut value = Vec::with_capacity(160);
    write(
        &mut value,
        format_args!(
            r#"{{"order_id":{number},"user_id":"{user}","product_id":{product},"quantity":{quantity},"amount":{}.{:02},"content_id":"#,
            cents / 100,
            cents % 100,
        ),
    );
    match content {
        Some(article) => write(&mut value, format_args!(r#""guide-{article}""#)),
        None => value.extend_from_slice(b"null"),
    }
    close(value, now_ms)
}

/// The record of an assignment.
pub(super) fn assignment(user: &str, experiment: &str, variant: &str, now_ms: i64) -> Vec<u8> {
    let mut value = Vec::with_capacity(128);
    write(
        &mut value,
        format_args!(r#"{{"user_id":"{user}","experiment":"{experiment}","variant":"{variant}""#),
    );
    close(value, now_ms)
}

/// The record of one click.
pub(super) fn click(user: &str, browser: Browser, action: Action, now_ms: i64) -> Vec<u8> {
    let Browser { session_hint, device, referrer } = browser;
    let mut value = Vec::with_capacity(256);
    write(&mut value, format_args!(r#"{{"user_id":"{user}","session_hint":{session_hint},"#));
    match action {
        Action::Read(article) => write(
            &mut value,
            format_args!(
                r#""event_type":"view","page":"/guide/{article}","content_id":"guide-{article}","product_id":null,"price":null,"#
            ),
        ),
        Action::FollowArticle(article, product) => {
            let page = format!("/guide/{article}");
            about_product(&mut value, "click", &page, Some(article), product);
        }
        Action::View(product) => on_product(&mut value, "view", product),
        Action::Click(product) => on_product(&mut value, "click", product),
        Action::AddToCart(product) | Action::OrderElsewhere(product) => {
            on_product(&mut value, "add_to_cart", product);
        }
        Action::Purchase(product) => {
            about_product(&mut value, "purchase", &format!("/checkout/{product}"), None, product);
        }
    }
    match referrer {
        Some(referrer) => write(&mut value, format_args!(r#""referrer":"{referrer}","#)),
        None => write(&mut value, format_args!(r#""referrer":null,"#)),
    }
    write(&mut value, format_args!(r#""device":"{device}""#));
    close(value, now_ms)
}

/// What happens on a product's own page.
fn on_product(value: &mut Vec<u8>, kind: &str, product: u32) {
    about_product(value, kind, &format!("/product/{product}"), None, product);
}

fn about_product(value: &mut Vec<u8>, kind: &str, page: &str, content: Option<u32>, product: u32) {
    write(value, format_args!(r#""event_type":"{kind}","page":"{page}","content_id":"#));
    match content {
        Some(article) => write(value, format_args!(r#""guide-{article}""#)),
        None => value.extend_from_slice(b"null"),
    }
    let cents = price_cents(product);
    write(
        value,
        format_args!(r#","product_id":{product},"price":{}.{:02},"#, cents / 100, cents % 100),
    );
}

/// Ends a record with its time.
fn close(mut value: Vec<u8>, now_ms: i64) -> Vec<u8> {
    value.extend_from_slice(br#","ts":""#);
    write_iso_8601(&mut value, now_ms);
    value.extend_from_slice(b"\"}");
    value
}

fn write(value: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    value.write_fmt(text).expect("writing to memory doesn't fail");
}
