//! Functions over URLs.

use super::function::{Definition, Kind, Takes, gives_text};
use super::values::Call;
use arrow::array::ArrayRef;
use datafusion::common::Result;

const ONE: Takes = Takes::Fixed(&[Kind::Text], &[]);

/// The functions of this family.
pub(super) const DEFINITIONS: &[Definition] = &[
    Definition::new(
        "PARSE_URL",
        Takes::Fixed(&[Kind::Text, Kind::Text], &[Kind::Text]),
        gives_text,
        parse_url,
    ),
    Definition::new("URL_ENCODE", ONE, gives_text, url_encode),
    Definition::new("URL_DECODE", ONE, gives_text, url_decode),
];

/// A URL taken apart; a part that it lacks is `None`.
struct Url<'a> {
    protocol: &'a str,
    authority: &'a str,
    path: &'a str,
    query: Option<&'a str>,
    reference: Option<&'a str>,
    file: &'a str,
}

impl<'a> Url<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let (protocol, rest) = text.trim().split_once("://")?;
        let is_protocol = !protocol.is_empty()
            && protocol.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
        if !is_protocol {
            return None;
        }
        let (rest, reference) = match rest.split_once('#') {
            Some((rest, reference)) => (rest, Some(reference)),
            None => (rest, None),
        };
        let (authority, file) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let (path, query) = match file.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (file, None),
        };
        Some(Url { protocol, authority, path, query, reference, file })
    }

    fn user_info(&self) -> Option<&'a str> {
        Some(self.authority.rsplit_once('@')?.0)
    }

    fn host(&self) -> &'a str {
        let host = self.authority.rsplit_once('@').map_or(self.authority, |(_, host)| host);
        match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
            _ => host,
        }
    }

    fn part(&self, name: &str) -> Option<&'a str> {
        match name {
            "HOST" => Some(self.host()),
            "PATH" => Some(self.path),
            "QUERY" => self.query,
            "REF" => self.reference,
            "PROTOCOL" => Some(self.protocol),
            "FILE" => Some(self.file),
            "AUTHORITY" => Some(self.authority),
            "USERINFO" => self.user_info(),
            _ => None,
        }
    }

    fn parameter(&self, key: &str) -> Option<&'a str> {
        self.query?.split('&').find_map(|pair| pair.strip_prefix(key)?.strip_prefix('='))
    }
}

/// `PARSE_URL(url, part [, key])`; the key asks for one parameter of the `QUERY`.
fn parse_url(call: &Call<'_>) -> Result<ArrayRef> {
    let (text, part) = (call.text(0)?, call.text(1)?);
    let key = if call.count() > 2 { Some(call.text(2)?) } else { None };
    Ok(call.slices(|row| {
        let (url, part) = (Url::parse(text.get(row)?)?, part.get(row)?);
        match &key {
            Some(key) if part == "QUERY" => url.parameter(key.get(row)?),
            Some(_) => None,
            None => url.part(part),
        }
    }))
}

/// As forms are encoded: a space is `+`.
fn url_encode(call: &Call<'_>) -> Result<ArrayRef> {
    let text = call.text(0)?;
    Ok(call.texts(|row, out| {
        for byte in text.get(row)?.bytes() {
            match byte {
                b' ' => out.push('+'),
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'*' | b'_' => {
                    out.push(char::from(byte));
                }
                _ => {
                    let digit = |digit: u8| {
                        char::from_digit(digit.into(), 16).unwrap_or('0').to_ascii_uppercase()
                    };
                    out.extend(['%', digit(byte >> 4), digit(byte & 15)]);
                }
            }
        }
        Some(())
    }))
}

/// NULL if it isn't encoded properly.
fn url_decode(call: &Call<'_>) -> Result<ArrayRef> {
    let text = call.text(0)?;
    let mut bytes = Vec::new();
    Ok(call.texts(|row, out| {
        bytes.clear();
        let mut rest = text.get(row)?.bytes();
        while let Some(byte) = rest.next() {
            bytes.push(match byte {
                b'+' => b' ',
                b'%' => {
                    let mut digit = || char::from(rest.next()?).to_digit(16);
                    (digit()? * 16 + digit()?) as u8
                }
                byte => byte,
            });
        }
        out.push_str(&String::from_utf8_lossy(&bytes));
        Some(())
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_apart_as_java_does() {
        let url = Url::parse("http://me:pw@host.io:80/a/b?k=1&q=x#top").unwrap();
        for (part, expected) in [
            ("HOST", "host.io"),
            ("PATH", "/a/b"),
            ("QUERY", "k=1&q=x"),
            ("REF", "top"),
            ("PROTOCOL", "http"),
            ("FILE", "/a/b?k=1&q=x"),
            ("AUTHORITY", "me:pw@host.io:80"),
            ("USERINFO", "me:pw"),
        ] {
            assert_eq!(url.part(part), Some(expected), "{part}");
        }
        assert_eq!(url.parameter("q"), Some("x"));
        assert_eq!(url.parameter("z"), None);
        assert!(Url::parse("nowhere").is_none());
    }
}
