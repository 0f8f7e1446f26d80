//! Java's `DateTimeFormatter` patterns, as `DATE_FORMAT`, `TO_TIMESTAMP` and their kin take them.
//!
//! A pattern is compiled once into items and then writes or reads any number of moments. Letters
//! that Flink's time types have no value for are refused by name.

use super::local::{DAY_NS, Date, Local, SECOND_NS, days_of_month};
use std::fmt::Write;

/// A compiled pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct Pattern {
    items: Vec<Item>,
    /// Moments of the same unit of the same day are written alike.
    unit_ns: i64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Item {
    /// This text.
    Literal(String),
    /// A number of at least so many digits; reading takes exactly that many if another number
    /// follows at once.
    Number {
        field: Field,
        width: usize,
        next_is_number: bool,
    },
    /// The last two digits of the year.
    ShortYear,
    /// So many digits of the second's fraction.
    Fraction(usize),
    /// A month's name.
    MonthName {
        is_short: bool,
    },
    /// A weekday's name.
    WeekdayName {
        is_short: bool,
    },
    /// AM or PM.
    HalfDay,
    /// An optional section begins or ends.
    OptionalStart,
    OptionalEnd,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Year,
    Month,
    Day,
    DayOfYear,
    /// 0 to 23.
    Hour,
    /// 1 to 24.
    ClockHour,
    /// 0 to 11.
    HalfDayHour,
    /// 1 to 12.
    HalfDayClockHour,
    Minute,
    Second,
    Quarter,
    /// Sunday is 1.
    WeekdayNumber,
    WeekOfYear,
    WeekYear,
    MilliOfDay,
    NanoOfSecond,
}

impl Item {
    /// The longest unit, counted from midnight, within which this is written alike.
    fn unit_ns(&self) -> i64 {
        match self {
            Item::Number { field, .. } => field.unit_ns(),
            Item::Fraction(_) => 1,
            Item::HalfDay => 3600 * SECOND_NS,
            Item::Literal(_)
            | Item::ShortYear
            | Item::MonthName { .. }
            | Item::WeekdayName { .. }
            | Item::OptionalStart
            | Item::OptionalEnd => DAY_NS,
        }
    }
}

impl Field {
    fn unit_ns(self) -> i64 {
        match self {
            Field::Year
            | Field::Month
            | Field::Day
            | Field::DayOfYear
            | Field::Quarter
            | Field::WeekdayNumber
            | Field::WeekOfYear
            | Field::WeekYear => DAY_NS,
            Field::Hour | Field::ClockHour | Field::HalfDayHour | Field::HalfDayClockHour => {
                3600 * SECOND_NS
            }
            Field::Minute => 60 * SECOND_NS,
            Field::Second => SECOND_NS,
            Field::MilliOfDay | Field::NanoOfSecond => 1,
        }
    }
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const WEEKDAYS: [&str; 7] =
    ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

impl Pattern {
    /// Compiles a pattern; what is wrong with it, if something is.
    pub fn new(text: &str) -> Result<Self, String> {
        let mut items = Vec::new();
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            match c {
                '\'' => items.push(Item::Literal(quoted(&mut chars)?)),
                '[' => items.push(Item::OptionalStart),
                ']' => items.push(Item::OptionalEnd),
                c if c.is_ascii_alphabetic() => {
                    let mut count = 1;
                    while chars.next_if_eq(&c).is_some() {
                        count += 1;
                    }
                    items.push(item(c, count)?);
                }
                '{' | '}' | '#' => return Err(format!("'{c}' is reserved")),
                c => items.push(Item::Literal(c.to_string())),
            }
        }
        for index in 0..items.len() {
            let follows = items[index + 1..]
                .iter()
                .find(|item| !matches!(item, Item::OptionalStart | Item::OptionalEnd));
            let number_follows =
                matches!(follows, Some(Item::Number { .. } | Item::ShortYear | Item::Fraction(_)));
            if let Item::Number { next_is_number, .. } = &mut items[index] {
                *next_is_number = number_follows;
            }
        }
        let unit_ns = items.iter().map(Item::unit_ns).min().unwrap_or(DAY_NS);
        Ok(Pattern { items, unit_ns })
    }

    /// What moments that are written alike have in common.
    pub fn unit(&self, local: Local) -> (i64, i64) {
        (local.day, local.nanos / self.unit_ns)
    }

    /// Writes `local` to `out`.
    pub fn write(&self, local: Local, out: &mut String) {
        let date = local.date();
        for item in &self.items {
            match item {
                Item::Literal(text) => out.push_str(text),
                Item::Number { field, width, .. } => {
                    write_number(field_of(*field, local, date), *width, out);
                }
                Item::ShortYear => write_number(date.year.rem_euclid(100), 2, out),
                Item::Fraction(digits) => {
                    let fraction = (local.nanos % SECOND_NS) / 10_i64.pow(9 - *digits as u32);
                    write_number(fraction, *digits, out);
                }
                Item::MonthName { is_short } => {
                    let name = MONTHS[date.month as usize - 1];
                    out.push_str(if *is_short { &name[..3] } else { name });
                }
                Item::WeekdayName { is_short } => {
                    let name = WEEKDAYS[weekday(local.day) as usize - 1];
                    out.push_str(if *is_short { &name[..3] } else { name });
                }
                Item::HalfDay => {
                    out.push_str(if local.nanos < 43_200 * SECOND_NS { "AM" } else { "PM" });
                }
                Item::OptionalStart | Item::OptionalEnd => {}
            }
        }
    }

    /// Reads a whole text; `None` if it doesn't follow the pattern. What the pattern doesn't say
    /// is the first of January, midnight.
    pub fn read(&self, text: &str) -> Option<Local> {
        let (read, rest) = self.read_items(text)?;
        if rest.is_empty() { read.local() } else { None }
    }

    /// Reads the start of a text; what follows the pattern doesn't count.
    pub fn read_start(&self, text: &str) -> Option<Local> {
        self.read_items(text)?.0.local()
    }

    fn read_items<'t>(&self, text: &'t str) -> Option<(Read, &'t str)> {
        let mut read = Read::default();
        let mut rest = text;
        let mut index = 0;
        while index < self.items.len() {
            if self.items[index] == Item::OptionalStart {
                let end = self.end_of_optional(index);
                let (mut attempt, mut attempt_rest) = (read.clone(), rest);
                let section = &self.items[index + 1..end];
                if section.iter().all(|item| attempt.item(item, &mut attempt_rest).is_some()) {
                    (read, rest) = (attempt, attempt_rest);
                }
                index = end + 1;
                continue;
            }
            read.item(&self.items[index], &mut rest)?;
            index += 1;
        }
        Some((read, rest))
    }

    /// Where the optional section that begins at `start` ends; sections inside it are read as
    /// parts of it.
    fn end_of_optional(&self, start: usize) -> usize {
        let mut depth = 0;
        for (index, item) in self.items.iter().enumerate().skip(start) {
            match item {
                Item::OptionalStart => depth += 1,
                Item::OptionalEnd if depth == 1 => return index,
                Item::OptionalEnd => depth -= 1,
                _ => {}
            }
        }
        self.items.len()
    }
}

fn quoted(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Result<String, String> {
    let mut text = String::new();
    if chars.next_if_eq(&'\'').is_some() {
        return Ok("'".to_owned());
    }
    while let Some(c) = chars.next() {
        match c {
            '\'' if chars.next_if_eq(&'\'').is_some() => text.push('\''),
            '\'' => return Ok(text),
            c => text.push(c),
        }
    }
    Err("a quoted text has no end".to_owned())
}

fn item(letter: char, count: usize) -> Result<Item, String> {
    let number = |field| Ok(Item::Number { field, width: count, next_is_number: false });
    match (letter, count) {
        ('y' | 'u', 2) => Ok(Item::ShortYear),
        ('y' | 'u', _) => number(Field::Year),
        ('M' | 'L', 1 | 2) => number(Field::Month),
        ('M' | 'L', 3 | 4) => Ok(Item::MonthName { is_short: count == 3 }),
        ('d', 1 | 2) => number(Field::Day),
        ('D', 1..=3) => number(Field::DayOfYear),
        ('H', 1 | 2) => number(Field::Hour),
        ('k', 1 | 2) => number(Field::ClockHour),
        ('K', 1 | 2) => number(Field::HalfDayHour),
        ('h', 1 | 2) => number(Field::HalfDayClockHour),
        ('m', 1 | 2) => number(Field::Minute),
        ('s', 1 | 2) => number(Field::Second),
        ('S', 1..=9) => Ok(Item::Fraction(count)),
        ('A', _) => number(Field::MilliOfDay),
        ('n', _) => number(Field::NanoOfSecond),
        ('E', 1..=4) => Ok(Item::WeekdayName { is_short: count < 4 }),
        ('e' | 'c', 1) => number(Field::WeekdayNumber),
        ('a', 1) => Ok(Item::HalfDay),
        ('Q' | 'q', 1 | 2) => number(Field::Quarter),
        ('w', 1 | 2) => number(Field::WeekOfYear),
        ('Y', _) => number(Field::WeekYear),
        _ => Err(format!("'{}' stands for nothing", letter.to_string().repeat(count))),
    }
}

/// The weekday of a day since 1970-01-01; Monday is 1.
pub(in super::super) fn weekday(day: i64) -> i64 {
    (day + 3).rem_euclid(7) + 1
}

/// The ISO week of a day, and the year it belongs to.
pub(in super::super) fn iso_week(day: i64) -> (i64, i64) {
    let thursday = day - weekday(day) + 4;
    let year = Date::from_days(thursday).year;
    let first = Date { year, month: 1, day: 1 }.to_days();
    (year, (thursday - first) / 7 + 1)
}

/// The week as the US locale counts: weeks begin on Sunday, the first is that of January 1st.
fn us_week(day: i64) -> (i64, i64) {
    let saturday = day + 6 - weekday(day) % 7;
    let year = Date::from_days(saturday).year;
    let first = Date { year, month: 1, day: 1 }.to_days();
    (year, (saturday - first) / 7 + 1)
}

fn field_of(field: Field, local: Local, date: Date) -> i64 {
    let second_of_day = local.nanos / SECOND_NS;
    let hour = second_of_day / 3600;
    match field {
        Field::Year => date.year,
        Field::Month => date.month,
        Field::Day => date.day,
        Field::DayOfYear => local.day - Date { month: 1, day: 1, ..date }.to_days() + 1,
        Field::Hour => hour,
        Field::ClockHour => (hour + 23) % 24 + 1,
        Field::HalfDayHour => hour % 12,
        Field::HalfDayClockHour => (hour + 11) % 12 + 1,
        Field::Minute => second_of_day / 60 % 60,
        Field::Second => second_of_day % 60,
        Field::Quarter => (date.month + 2) / 3,
        Field::WeekdayNumber => weekday(local.day) % 7 + 1,
        Field::WeekOfYear => us_week(local.day).1,
        Field::WeekYear => us_week(local.day).0,
        Field::MilliOfDay => local.nanos / 1_000_000,
        Field::NanoOfSecond => local.nanos % SECOND_NS,
    }
}

/// Writes a number with at least `width` digits.
pub(in super::super) fn write_number(value: i64, width: usize, out: &mut String) {
    if (width == 2 && (0..100).contains(&value)) || (width <= 1 && (0..10).contains(&value)) {
        if width == 2 {
            out.push(char::from(b'0' + (value / 10) as u8));
        }
        out.push(char::from(b'0' + (value % 10) as u8));
        return;
    }
    if value < 0 {
        out.push('-');
    }
    let written = write!(out, "{:0width$}", value.unsigned_abs());
    debug_assert!(written.is_ok(), "writing to a string can't fail");
}

/// What was read so far.
#[derive(Debug, Clone, Default)]
struct Read {
    year: Option<i64>,
    month: Option<i64>,
    day: Option<i64>,
    day_of_year: Option<i64>,
    hour: Option<i64>,
    half_day_hour: Option<i64>,
    is_afternoon: Option<bool>,
    minute: i64,
    second: i64,
    nanos: i64,
    nanos_of_day: Option<i64>,
}

impl Read {
    fn item(&mut self, item: &Item, rest: &mut &str) -> Option<()> {
        match item {
            Item::Literal(text) => *rest = rest.strip_prefix(text.as_str())?,
            Item::Number { field, width, next_is_number } => {
                let most = match field {
                    _ if *next_is_number => *width,
                    Field::MilliOfDay | Field::NanoOfSecond => 19,
                    // Two letters are exactly two digits, one letter is any number of them.
                    _ if *width == 1 => 19,
                    _ => *width,
                };
                let value = digits(rest, *width, most)?;
                self.field(*field, value)?;
            }
            Item::ShortYear => self.year = Some(2000 + digits(rest, 2, 2)?),
            Item::Fraction(width) => {
                let value = digits(rest, *width, *width)?;
                self.nanos = value * 10_i64.pow(9 - *width as u32);
            }
            Item::MonthName { is_short } => {
                self.month = Some(name(rest, &MONTHS, *is_short)? as i64 + 1);
            }
            Item::WeekdayName { is_short } => {
                name(rest, &WEEKDAYS, *is_short)?;
            }
            Item::HalfDay => {
                let half = rest.get(..2)?;
                self.is_afternoon = Some(match half {
                    "AM" => false,
                    "PM" => true,
                    _ => return None,
                });
                *rest = &rest[2..];
            }
            Item::OptionalStart | Item::OptionalEnd => {}
        }
        Some(())
    }

    fn field(&mut self, field: Field, value: i64) -> Option<()> {
        let within = |least, most| (least..=most).contains(&value).then_some(value);
        match field {
            Field::Year => self.year = within(0, 999_999_999),
            Field::Month => self.month = Some(within(1, 12)?),
            Field::Day => self.day = Some(within(1, 31)?),
            Field::DayOfYear => self.day_of_year = Some(within(1, 366)?),
            Field::Hour => self.hour = Some(within(0, 23)?),
            Field::ClockHour => self.hour = Some(within(1, 24)? % 24),
            Field::HalfDayHour => self.half_day_hour = Some(within(0, 11)?),
            Field::HalfDayClockHour => self.half_day_hour = Some(within(1, 12)? % 12),
            Field::Minute => self.minute = within(0, 59)?,
            Field::Second => self.second = within(0, 59)?,
            Field::NanoOfSecond => self.nanos = within(0, SECOND_NS - 1)?,
            Field::MilliOfDay => {
                self.nanos_of_day = Some(within(0, 86_399_999)? * 1_000_000);
            }
            Field::Quarter | Field::WeekdayNumber | Field::WeekOfYear | Field::WeekYear => {}
        }
        Some(())
    }

    fn local(&self) -> Option<Local> {
        let year = self.year.unwrap_or(1970);
        let day = match self.day_of_year {
            Some(day) => Date { year, month: 1, day: 1 }.to_days() + day - 1,
            None => {
                let month = self.month.unwrap_or(1);
                // As Java does unless told otherwise: the 31st of a shorter month is its last.
                let day = self.day.unwrap_or(1).min(days_of_month(year, month));
                Date { year, month, day }.to_days()
            }
        };
        let hour = match (self.hour, self.half_day_hour) {
            (Some(hour), _) => hour,
            (None, Some(hour)) => hour + if self.is_afternoon? { 12 } else { 0 },
            (None, None) => 0,
        };
        let seconds = hour * 3600 + self.minute * 60 + self.second;
        let nanos = self.nanos_of_day.unwrap_or(seconds * SECOND_NS + self.nanos);
        Some(Local { day, nanos })
    }
}

/// Takes between `least` and `most` digits off `rest`.
pub(in super::super) fn digits(rest: &mut &str, least: usize, most: usize) -> Option<i64> {
    let count = rest.bytes().take(most).take_while(u8::is_ascii_digit).count();
    if count < least || count == 0 {
        return None;
    }
    let value = rest[..count].parse().ok()?;
    *rest = &rest[count..];
    Some(value)
}

/// Takes one of `names` off `rest`.
fn name(rest: &mut &str, names: &[&str], is_short: bool) -> Option<usize> {
    let found =
        names.iter().position(|name| rest.starts_with(if is_short { &name[..3] } else { name }))?;
    *rest = &rest[if is_short { 3 } else { names[found].len() }..];
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(year: i64, month: i64, day: i64, seconds: i64, millis: i64) -> Local {
        let day = Date { year, month, day }.to_days();
        Local { day, nanos: seconds * SECOND_NS + millis * 1_000_000 }
    }

    #[test]
    fn patterns_write_as_java_does() {
        let leap = at(2024, 2, 29, 86_399, 999);
        let cases = [
            ("yyyy/MM/dd HH:mm:ss.SSS", leap, "2024/02/29 23:59:59.999"),
            ("yyyyMMdd", leap, "20240229"),
            ("EEE, d MMM yy h:mm a", leap, "Thu, 29 Feb 24 11:59 PM"),
            ("EEEE d MMMM", leap, "Thursday 29 February"),
            ("D w", leap, "60 9"),
            ("h:mm a", at(1970, 1, 1, 0, 0), "12:00 AM"),
            ("H:m:s", at(2000, 12, 31, 22_028, 90), "6:7:8"),
            ("yyyy'T'HH ''", at(2000, 12, 31, 22_028, 90), "2000T06 '"),
            ("SSSSSS", at(2000, 12, 31, 22_028, 90), "090000"),
            ("[yyyy]", leap, "2024"),
        ];
        for (pattern, local, expected) in cases {
            let mut out = String::new();
            Pattern::new(pattern).unwrap().write(local, &mut out);
            assert_eq!(out, expected, "{pattern}");
        }
    }

    #[test]
    fn patterns_read_as_java_does() {
        let cases = [
            ("yyyy-MM-dd", "2024-02-29", Some(at(2024, 2, 29, 0, 0))),
            ("yyyy-MM-dd", "2024-2-9", None),
            ("yyyy-M-d", "2024-2-09", Some(at(2024, 2, 9, 0, 0))),
            ("yyyy-MM-dd", "2023-02-31", Some(at(2023, 2, 28, 0, 0))),
            ("yyyy-MM-dd", "2023-02-32", None),
            ("yyyy-MM-dd", "2024-02-29 ", None),
            ("yyyyMMddHHmmss", "20240229235959", Some(at(2024, 2, 29, 86_399, 0))),
            ("HH:mm:ss.SSS", "23:59:59.120", Some(at(1970, 1, 1, 86_399, 120))),
            ("d MMM yy h:mm a", "29 Feb 24 11:59 PM", Some(at(2024, 2, 29, 86_340, 0))),
            ("yyyy-MM-dd[ HH:mm]", "2024-02-29", Some(at(2024, 2, 29, 0, 0))),
            ("yyyy-MM-dd[ HH:mm]", "2024-02-29 00:01", Some(at(2024, 2, 29, 60, 0))),
            ("yyyy", "apple", None),
        ];
        for (pattern, text, expected) in cases {
            assert_eq!(Pattern::new(pattern).unwrap().read(text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn a_wrong_pattern_is_refused() {
        assert_eq!(Pattern::new("yyyy-bb"), Err("'bb' stands for nothing".to_owned()));
        assert!(Pattern::new("'open").is_err());
    }
}
