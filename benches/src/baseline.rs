//! Each query as a plain loop that can do nothing else: how fast it could be.
//!
//! It knows the order and the form of the fields, reads only those it needs, has no types, plans,
//! epochs or workers, and checks nothing. What it does share with an engine is time: it closes
//! windows when two seconds have passed behind them, so that its memory stays bounded, too.

use crate::events::DISORDER_MS;
use anyhow::{Context, bail};
use clap::Args;
use hashbrown::HashMap;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::path::{Path, PathBuf};

const PANE_MS: i64 = 10_000;
const PANES_IN_HOP: i64 = 6;
const GAP_MS: i64 = 30_000;
const TOP: usize = 10;
/// The first of January 2026, where the events begin.
const START_MS: i64 = 1_767_225_600_000;

/// Which loop, from where, to where.
#[derive(Debug, Args)]
pub struct Arguments {
    query: String,
    input: PathBuf,
    output: PathBuf,
}

/// Runs one loop.
pub fn execute(arguments: &Arguments) -> anyhow::Result<()> {
    let file = File::create(&arguments.output)?;
    let out = &mut BufWriter::with_capacity(1 << 20, file);
    let input = &arguments.input;
    match arguments.query.as_str() {
        "A" => purchases(input, out)?,
        "B" => tumble(input, out, write_sums)?,
        "C" => hop(input, out)?,
        "D" => sessions(input, out)?,
        "E" => tumble(input, out, write_top)?,
        "F" => totals(input, out)?,
        other => bail!("no query {other}"),
    }
    Ok(out.flush()?)
}

/// An event's line, of which only what is asked for is looked at.
struct Event<'a> {
    line: &'a [u8],
}

impl<'a> Event<'a> {
    /// What stands behind the first of `prefix` from `from` on, up to `end`.
    fn between(&self, from: usize, prefix: &[u8], end: u8) -> (&'a [u8], usize) {
        let start = from + find(&self.line[from..], prefix) + prefix.len();
        let length = memchr::memchr(end, &self.line[start..]).unwrap_or(0);
        (&self.line[start..start + length], start + length)
    }

    fn id(&self) -> i64 {
        integer(self.between(0, b"\"event_id\":", b',').0)
    }

    /// The number in the user's name; the names are `u-` and six digits.
    fn user(&self) -> u32 {
        let start = 12 + memchr::memchr(b',', &self.line[12..]).unwrap_or(0);
        integer(&self.line[start + 14..start + 20]) as u32
    }

    fn is_purchase(&self) -> bool {
        self.between(40, b"\"event_type\":\"", b'"').0 == b"purchase"
    }

    /// Product, price in cents and time, which stand at the end.
    fn product_price_time(&self) -> (i64, f64, i64) {
        let (product, at) = self.between(80, b"\"product_id\":", b',');
        let (price, _) = self.between(at, b"\"price\":", b',');
        (integer(product), decimal(price), self.time())
    }

    fn price(&self) -> f64 {
        decimal(self.between(100, b"\"price\":", b',').0)
    }

    /// Times are all as long, in January 2026, and the last field.
    fn time(&self) -> i64 {
        let time = &self.line[self.line.len() - 26..];
        let part = |from: usize, to: usize| integer(&time[from..to]);
        let days = part(8, 10) - 1;
        let minutes = (days * 24 + part(11, 13)) * 60 + part(14, 16);
        START_MS + (minutes * 60 + part(17, 19)) * 1000 + part(20, 23)
    }
}

fn find(line: &[u8], text: &[u8]) -> usize {
    memchr::memmem::find(line, text).unwrap_or(0)
}

fn integer(digits: &[u8]) -> i64 {
    digits.iter().fold(0, |n, digit| n * 10 + i64::from(digit & 15))
}

fn decimal(text: &[u8]) -> f64 {
    match memchr::memchr(b'.', text) {
        None => integer(text) as f64,
        Some(point) => {
            let (whole, fraction) = (integer(&text[..point]), &text[point + 1..]);
            let scale = if fraction.len() == 1 { 10 } else { 100 };
            (whole * scale + integer(fraction)) as f64 / scale as f64
        }
    }
}

/// Calls `each` with every line of a file.
fn for_each(
    input: &Path,
    mut each: impl FnMut(Event<'_>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut file = File::open(input).with_context(|| format!("opening {}", input.display()))?;
    let mut buffer = vec![0; 1 << 20];
    let mut held = 0;
    loop {
        let read = file.read(&mut buffer[held..])?;
        if read == 0 {
            return Ok(());
        }
        let filled = held + read;
        let mut start = 0;
        while let Some(length) = memchr::memchr(b'\n', &buffer[start..filled]) {
            each(Event { line: &buffer[start..start + length] })?;
            start += length + 1;
        }
        buffer.copy_within(start..filled, 0);
        held = filled - start;
    }
}

fn purchases(input: &Path, out: &mut impl Write) -> anyhow::Result<()> {
    for_each(input, |event| {
        if event.is_purchase() {
            let (id, user, price) = (event.id(), event.user(), event.price());
            writeln!(out, "{{\"event_id\":{id},\"user_id\":\"u-{user:06}\",\"price\":{price}}}")?;
        }
        Ok(())
    })
}

/// Panes that are open, oldest first, each with what it holds by key.
type Panes<V> = BTreeMap<i64, V>;

/// The panes that end before the watermark behind `time`, taken out.
fn closed<V>(panes: &mut Panes<V>, newest: i64) -> Panes<V> {
    let first_open = (newest - DISORDER_MS as i64).div_euclid(PANE_MS) * PANE_MS;
    if panes.first_key_value().is_none_or(|(&start, _)| start >= first_open) {
        return Panes::new();
    }
    let open = panes.split_off(&first_open);
    std::mem::replace(panes, open)
}

type Sums = HashMap<i64, (i64, f64)>;

fn tumble<W: Write>(
    input: &Path,
    out: &mut W,
    write: fn(&mut W, i64, Sums) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut panes: Panes<Sums> = Panes::new();
    let mut newest = 0;
    for_each(input, |event| {
        let (product, price, time) = event.product_price_time();
        let pane = panes.entry(time.div_euclid(PANE_MS) * PANE_MS).or_default();
        let sums = pane.entry(product).or_default();
        *sums = (sums.0 + 1, sums.1 + price);
        if time > newest {
            newest = time;
            for (start, sums) in closed(&mut panes, newest) {
                write(out, start, sums)?;
            }
        }
        Ok(())
    })?;
    panes.into_iter().try_for_each(|(start, sums)| write(out, start, sums))
}

fn write_sums(out: &mut impl Write, ws: i64, sums: Sums) -> anyhow::Result<()> {
    for (product, (n, s)) in sums {
        writeln!(out, "{{\"ws\":{ws},\"product_id\":{product},\"n\":{n},\"s\":{s:?}}}")?;
    }
    Ok(())
}

fn write_top(out: &mut impl Write, ws: i64, sums: Sums) -> anyhow::Result<()> {
    let mut counts: Vec<(i64, i64)> = sums.iter().map(|(&id, &(n, _))| (-n, id)).collect();
    counts.sort_unstable();
    for (n, product) in counts.into_iter().take(TOP) {
        writeln!(out, "{{\"ws\":{ws},\"product_id\":{product},\"n\":{}}}", -n)?;
    }
    Ok(())
}

type Counts = HashMap<u32, i64>;

fn hop(input: &Path, out: &mut impl Write) -> anyhow::Result<()> {
    let mut panes: Panes<Counts> = Panes::new();
    let mut ending: Vec<(i64, Counts)> = Vec::new();
    let mut newest = 0;
    for_each(input, |event| {
        let time = event.time();
        let pane = panes.entry(time.div_euclid(PANE_MS) * PANE_MS).or_default();
        *pane.entry(event.user()).or_default() += 1;
        if time > newest {
            newest = time;
            for pane in closed(&mut panes, newest) {
                close_hop(&mut ending, Some(pane), out)?;
            }
        }
        Ok(())
    })?;
    for pane in panes {
        close_hop(&mut ending, Some(pane), out)?;
    }
    (1..PANES_IN_HOP).try_for_each(|_| close_hop(&mut ending, None, out))
}

/// Writes the window that ends with a pane; the last panes are those of no events.
fn close_hop(
    ending: &mut Vec<(i64, Counts)>,
    pane: Option<(i64, Counts)>,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let last = ending.last().map(|(start, _)| start + PANE_MS);
    let pane = pane.or(last.map(|start| (start, Counts::new())));
    let Some(pane) = pane else { return Ok(()) };
    let ws = pane.0 - (PANES_IN_HOP - 1) * PANE_MS;
    ending.push(pane);
    ending.retain(|(start, _)| *start >= ws);
    let mut window = Counts::new();
    for (_, counts) in &*ending {
        counts.iter().for_each(|(&user, n)| *window.entry(user).or_default() += n);
    }
    for (user, n) in window {
        writeln!(out, "{{\"ws\":{ws},\"user_id\":\"u-{user:06}\",\"n\":{n}}}")?;
    }
    Ok(())
}

/// First and last event, their number and the sum of prices.
type Session = (i64, i64, i64, f64);

fn sessions(input: &Path, out: &mut impl Write) -> anyhow::Result<()> {
    let mut users: HashMap<u32, Vec<Session>> = HashMap::new();
    let (mut newest, mut swept) = (0, 0);
    for_each(input, |event| {
        let time = event.time();
        add(users.entry(event.user()).or_default(), time, event.price());
        newest = newest.max(time);
        if newest - swept >= PANE_MS {
            swept = newest;
            close_sessions(&mut users, newest - DISORDER_MS as i64 - GAP_MS, out)?;
        }
        Ok(())
    })?;
    close_sessions(&mut users, i64::MAX, out)
}

/// Puts an event into a user's sessions, which grow together where it lies between.
fn add(sessions: &mut Vec<Session>, time: i64, price: f64) {
    let mut session = (time, time, 1, price);
    sessions.retain(|other| {
        let touches = time >= other.0 - GAP_MS && time <= other.1 + GAP_MS;
        if touches {
            let (first, last) = (session.0.min(other.0), session.1.max(other.1));
            session = (first, last, session.2 + other.2, session.3 + other.3);
        }
        !touches
    });
    sessions.push(session);
}

/// Writes the sessions that ended before `before`.
fn close_sessions(
    users: &mut HashMap<u32, Vec<Session>>,
    before: i64,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    for (user, sessions) in users.iter_mut() {
        for (first, last, n, s) in sessions.extract_if(.., |session| session.1 < before) {
            writeln!(
                out,
                "{{\"user_id\":\"u-{user:06}\",\"first\":{first},\"last\":{last},\
                 \"n\":{n},\"s\":{s:?}}}"
            )?;
        }
    }
    users.retain(|_, sessions| !sessions.is_empty());
    Ok(())
}

fn totals(input: &Path, out: &mut impl Write) -> anyhow::Result<()> {
    let mut users: HashMap<u32, (i64, f64)> = HashMap::new();
    for_each(input, |event| {
        let user = users.entry(event.user()).or_default();
        *user = (user.0 + 1, user.1 + event.price());
        Ok(())
    })?;
    for (user, (n, s)) in users {
        writeln!(out, "{{\"user_id\":\"u-{user:06}\",\"n\":{n},\"s\":{s:?}}}")?;
    }
    Ok(())
}
