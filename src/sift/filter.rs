//! Filter expressions (CEL) for list calls.

use std::fmt::Write;

/// The expression `field == "value"`. The value comes from a file or a user and may hold anything; whatever could end
/// the string literal is escaped.
pub(super) fn equals(field: &str, value: &str) -> String {
    let mut filter = String::with_capacity(field.len() + value.len() + 8);
    filter.push_str(field);
    filter.push_str(" == \"");
    for character in value.chars() {
        match character {
            '"' | '\\' => {
                filter.push('\\');
                filter.push(character);
            }
            control if control.is_control() => {
                // Writing to a String can't fail.
                let _ = write!(filter, "\\u{:04x}", u32::from(control));
            }
            other => filter.push(other),
        }
    }
    filter.push('"');
    filter
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_value_can_end_the_filter_string() {
        for (key, filter) in [
            ("plain-1", r#"client_key == "plain-1""#),
            (r#"a"b"#, r#"client_key == "a\"b""#),
            (r"a\", r#"client_key == "a\\""#),
            ("a\nb\0", r#"client_key == "a\u000ab\u0000""#),
            (r#"" || true || ""#, r#"client_key == "\" || true || \"""#),
            ("größe'", r#"client_key == "größe'""#),
        ] {
            assert_eq!(equals("client_key", key), filter);
        }
    }
}
