//! What errors call a key that the caller chose.

use std::hash::{Hash, Hasher};

/// What to call a key in an error. Keys need not be printable, but all can be hashed: what a text or a number tells the
/// hasher is the text or the number.
pub(super) fn label_of<Q: Hash + ?Sized>(key: &Q) -> Option<String> {
    let mut listener = Listener::default();
    key.hash(&mut listener);
    match listener.heard {
        Heard::Text(text) => String::from_utf8(text).ok().map(|text| format!("{text:?}")),
        Heard::Number(number) => Some(number),
        Heard::Nothing | Heard::Bytes(_) | Heard::Other => None,
    }
}

#[derive(Default)]
struct Listener {
    heard: Heard,
}

#[derive(Default)]
enum Heard {
    #[default]
    Nothing,
    /// So far; text ends with a byte that isn't part of any.
    Bytes(Vec<u8>),
    Text(Vec<u8>),
    Number(String),
    Other,
}

impl Listener {
    fn number(&mut self, number: impl ToString) {
        self.heard = match self.heard {
            Heard::Nothing => Heard::Number(number.to_string()),
            _ => Heard::Other,
        };
    }
}

impl Hasher for Listener {
    fn finish(&self) -> u64 {
        0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.heard = match self.heard {
            Heard::Nothing => Heard::Bytes(bytes.to_vec()),
            _ => Heard::Other,
        };
    }

    fn write_u8(&mut self, number: u8) {
        match std::mem::take(&mut self.heard) {
            Heard::Bytes(text) if number == 0xff => self.heard = Heard::Text(text),
            heard => {
                self.heard = heard;
                self.number(number);
            }
        }
    }

    fn write_u16(&mut self, number: u16) {
        self.number(number);
    }

    fn write_u32(&mut self, number: u32) {
        self.number(number);
    }

    fn write_u64(&mut self, number: u64) {
        self.number(number);
    }

    fn write_u128(&mut self, number: u128) {
        self.number(number);
    }

    fn write_usize(&mut self, number: usize) {
        self.number(number);
    }

    fn write_i8(&mut self, number: i8) {
        self.number(number);
    }

    fn write_i16(&mut self, number: i16) {
        self.number(number);
    }

    fn write_i32(&mut self, number: i32) {
        self.number(number);
    }

    fn write_i64(&mut self, number: i64) {
        self.number(number);
    }

    fn write_i128(&mut self, number: i128) {
        self.number(number);
    }

    fn write_isize(&mut self, number: isize) {
        self.number(number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_named_whatever_they_are() {
        #[derive(PartialEq, Eq, Hash)]
        enum Wheel {
            Front,
            Rear,
        }
        #[derive(PartialEq, Eq, Hash)]
        struct Pair(u8, u8);

        assert_eq!(label_of("speed"), Some("\"speed\"".to_owned()));
        assert_eq!(label_of(&"speed".to_owned()), Some("\"speed\"".to_owned()));
        assert_eq!(label_of(""), Some("\"\"".to_owned()));
        assert_eq!(label_of(&7_usize), Some("7".to_owned()));
        assert_eq!(label_of(&-7_i16), Some("-7".to_owned()));
        assert_eq!(label_of(&Wheel::Front), Some("0".to_owned()));
        assert_eq!(label_of(&Wheel::Rear), Some("1".to_owned()));
        for (label, of) in
            [(label_of(&Pair(1, 0xff)), "pair"), (label_of(&()), "unit"), (label_of(&[b'a', 0xff]), "bytes")]
        {
            assert_eq!(label, None, "{of}");
        }
    }
}
