//! Names of time zones, as Java takes them.

use chrono_tz::Tz;

/// The zone of a name: a region (`Europe/Berlin`), `UTC`, `Z`, or whole hours from it (`+08:00`,
/// `GMT-3`, `UTC+01:00`).
pub fn parse_zone(name: &str) -> Option<Tz> {
    let name = name.trim();
    if let Ok(zone) = name.parse() {
        return Some(zone);
    }
    if name.eq_ignore_ascii_case("z") {
        return Some(Tz::UTC);
    }
    let offset =
        ["UTC", "GMT", "UT"].iter().find_map(|prefix| name.strip_prefix(prefix)).unwrap_or(name);
    let (sign, digits) = match offset.split_at_checked(1)? {
        // The names of fixed offsets count westward.
        ("+", digits) => ('-', digits),
        ("-", digits) => ('+', digits),
        _ => return None,
    };
    let hours = digits.strip_suffix(":00").or_else(|| digits.strip_suffix("00")).unwrap_or(digits);
    match hours.parse::<u8>().ok()? {
        0 => Some(Tz::UTC),
        hours => format!("Etc/GMT{sign}{hours}").parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zones_have_the_names_java_gives_them() {
        let cases = [
            ("UTC", Some(Tz::UTC)),
            ("Europe/Berlin", Some(Tz::Europe__Berlin)),
            ("GMT+08:00", Some(Tz::Etc__GMTMinus8)),
            ("+8", Some(Tz::Etc__GMTMinus8)),
            ("-0300", Some(Tz::Etc__GMTPlus3)),
            ("GMT+0", Some(Tz::GMTPlus0)),
            ("UTC+00:00", Some(Tz::UTC)),
            ("Mars/Base", None),
            ("", None),
        ];
        for (name, expected) in cases {
            assert_eq!(parse_zone(name), expected, "{name}");
        }
    }
}
