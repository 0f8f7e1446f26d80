//! JSON text: whether it is some, where a value in it ends, and its strings.

use serde::de::IgnoredAny;

/// Whether a text is JSON.
pub(super) fn is_json(text: &str) -> bool {
    serde_json::from_str::<IgnoredAny>(text).is_ok()
}

/// The place of the next character that is no white space, at or after `at`.
pub(super) fn skip_space(text: &str, at: usize) -> usize {
    let bytes = text.as_bytes();
    at + bytes[at..].iter().take_while(|byte| byte.is_ascii_whitespace()).count()
}

/// The end of the value that begins at `at`, in a text that is JSON.
pub(super) fn skip_value(text: &str, at: usize) -> usize {
    let bytes = text.as_bytes();
    let mut depth = 0_usize;
    let mut place = at;
    while place < bytes.len() {
        match bytes[place] {
            b'"' => place = skip_string(bytes, place),
            b'{' | b'[' => {
                depth += 1;
                place += 1;
                continue;
            }
            b'}' | b']' if depth == 0 => return place,
            b'}' | b']' => {
                depth -= 1;
                place += 1;
            }
            b',' if depth == 0 => return place,
            byte if byte.is_ascii_whitespace() && depth == 0 => return place,
            _ => {
                place += 1;
                continue;
            }
        }
        if depth == 0 {
            return place;
        }
    }
    place
}

/// The end of the string that begins at `at`.
fn skip_string(bytes: &[u8], at: usize) -> usize {
    let mut place = at + 1;
    while place < bytes.len() {
        match bytes[place] {
            b'\\' => place += 2,
            b'"' => return place + 1,
            _ => place += 1,
        }
    }
    bytes.len()
}

/// Writes a scalar: a string without its quotes, anything else as it stands.
pub(super) fn push_unescaped(value: &str, out: &mut String) {
    match value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(inner) if !inner.contains('\\') => out.push_str(inner),
        Some(_) => match serde_json::from_str::<String>(value) {
            Ok(text) => out.push_str(&text),
            Err(_) => out.push_str(value),
        },
        None => out.push_str(value),
    }
}

/// Writes a value without white space, and its strings with no more escapes than they need.
pub(super) fn push_compact(value: &str, out: &mut String) {
    let bytes = value.as_bytes();
    let mut place = 0;
    while place < bytes.len() {
        let start = place;
        match bytes[place] {
            b'"' => {
                place = skip_string(bytes, place);
                let string = &value[start..place];
                if string.contains('\\') {
                    let mut text = String::new();
                    push_unescaped(string, &mut text);
                    quote(&text, out);
                } else {
                    out.push_str(string);
                }
            }
            byte if byte.is_ascii_whitespace() => place += 1,
            _ => {
                let is_plain = |byte: &&u8| **byte != b'"' && !byte.is_ascii_whitespace();
                place += bytes[place..].iter().take_while(is_plain).count();
                out.push_str(&value[start..place]);
            }
        }
    }
}

/// Writes a text as a JSON string.
pub(super) fn quote(text: &str, out: &mut String) {
    match serde_json::to_string(text) {
        Ok(quoted) => out.push_str(&quoted),
        Err(_) => debug_assert!(false, "a string has a JSON form"),
    }
}

/// Writes the text of a JSON string; anything else as it stands.
pub(super) fn unquote(text: &str, out: &mut String) {
    match serde_json::from_str::<String>(text) {
        Ok(inner) => out.push_str(&inner),
        Err(_) => out.push_str(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn json() -> impl Strategy<Value = serde_json::Value> {
        use serde_json::Value;
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "[a\"\\\\ß\n]{0,5}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 16, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::btree_map("[a-c\"]{0,2}", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn a_value_is_skipped_whole(value in json(), after in "[ ,}\\]]") {
            let text = value.to_string();
            let end = skip_value(&format!("{text}{after}x"), 0);
            prop_assert_eq!(end, text.len());
        }

        #[test]
        fn white_space_goes_and_nothing_else(value in json()) {
            let pretty = serde_json::to_string_pretty(&value).unwrap();
            let mut compact = String::new();
            push_compact(&pretty, &mut compact);
            prop_assert_eq!(compact, value.to_string());
        }
    }
}
