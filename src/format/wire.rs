//! The protobuf wire format, as far as records need it: walking over fields, and writing them, without building
//! messages. It never allocates and never trusts a length.

use super::error::WireError;

/// A field's value as it stands on the wire.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum WireValue<'a> {
    /// Wire type 0.
    Varint(u64),
    /// Wire type 1.
    Fixed64(u64),
    /// Wire type 2.
    Bytes(&'a [u8]),
    /// Wire type 5.
    Fixed32(u32),
}

/// One field of a message.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Field<'a> {
    /// The field's number.
    pub number: u32,
    /// Its value.
    pub value: WireValue<'a>,
    /// Where the field's tag begins in the message, in bytes.
    pub start: usize,
    /// Where the field ends in the message, in bytes.
    pub end: usize,
}

/// Walks over the fields of a message; ends after the first error.
#[derive(Debug, Clone)]
pub struct Fields<'a> {
    rest: &'a [u8],
    at: usize,
}

impl<'a> Fields<'a> {
    /// Begins at the first field of `message`.
    pub fn new(message: &'a [u8]) -> Self {
        Self { rest: message, at: 0 }
    }

    fn take(&mut self, bytes: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.rest.split_at_checked(bytes)?;
        self.rest = tail;
        self.at += bytes;
        Some(head)
    }

    fn take_array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    #[inline]
    fn varint(&mut self) -> Option<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let (&byte, tail) = self.rest.split_first()?;
            self.rest = tail;
            self.at += 1;
            // The tenth byte holds one bit.
            if shift == 63 && byte > 1 {
                return None;
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    #[inline]
    fn field(&mut self) -> Option<Field<'a>> {
        let start = self.at;
        let tag = u32::try_from(self.varint()?).ok()?;
        let number = tag >> 3;
        if number == 0 {
            return None;
        }
        let value = match tag & 7 {
            0 => WireValue::Varint(self.varint()?),
            1 => WireValue::Fixed64(u64::from_le_bytes(self.take_array()?)),
            2 => {
                let bytes = usize::try_from(self.varint()?).ok()?;
                WireValue::Bytes(self.take(bytes)?)
            }
            5 => WireValue::Fixed32(u32::from_le_bytes(self.take_array()?)),
            // Groups (3, 4) are not part of proto3.
            _ => return None,
        };
        Some(Field { number, value, start, end: self.at })
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<Field<'a>, WireError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        match self.field() {
            Some(field) => Some(Ok(field)),
            None => {
                self.rest = &[];
                Some(Err(WireError { at: self.at }))
            }
        }
    }
}

/// Appends a varint.
#[inline]
pub fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value as u8) | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Bytes that [`put_varint`] takes for `value`.
#[inline]
pub fn varint_len(value: u64) -> usize {
    // Seven bits a byte, and at least one byte.
    ((63 - (value | 1).leading_zeros() as usize) / 7) + 1
}

/// Appends a length-delimited field (wire type 2).
#[inline]
pub fn put_bytes_field(out: &mut Vec<u8>, number: u32, bytes: &[u8]) {
    put_varint(out, u64::from(number << 3 | 2));
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Appends a varint field (wire type 0).
#[inline]
pub fn put_varint_field(out: &mut Vec<u8>, number: u32, value: u64) {
    put_varint(out, u64::from(number << 3));
    put_varint(out, value);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn walks_all_wire_types() {
        let mut message = Vec::new();
        put_varint_field(&mut message, 1, 300);
        put_bytes_field(&mut message, 2, b"abc");
        message.extend([0x19, 1, 0, 0, 0, 0, 0, 0, 0]);
        message.extend([0x25, 2, 0, 0, 0]);
        let fields: Vec<_> = Fields::new(&message).map(|f| f.unwrap()).collect();
        let values: Vec<_> = fields.iter().map(|f| (f.number, f.value)).collect();
        assert_eq!(
            values,
            [
                (1, WireValue::Varint(300)),
                (2, WireValue::Bytes(b"abc")),
                (3, WireValue::Fixed64(1)),
                (4, WireValue::Fixed32(2)),
            ]
        );
        assert_eq!(fields.last().unwrap().end, message.len());
    }

    #[test]
    fn refuses_what_is_cut_or_impossible() {
        for bad in [
            &[0x08][..],                                                         // no value
            &[0x0a, 5, 1],                                                       // length beyond the end
            &[0x0b],                                                             // a group
            &[0x00, 0],                                                          // field number 0
            &[0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01], // 2^64-1 bytes
            &[0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02], // more than 64 bits
        ] {
            assert!(Fields::new(bad).any(|f| f.is_err()), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn varints_have_the_length_promised(value: u64) {
            let mut out = Vec::new();
            put_varint(&mut out, value);
            prop_assert_eq!(out.len(), varint_len(value));
            prop_assert_eq!(Fields::new(&out).varint(), Some(value));
        }

        #[test]
        fn any_bytes_end_without_a_panic(bytes: Vec<u8>) {
            let walked = Fields::new(&bytes).count();
            prop_assert!(walked <= bytes.len());
        }
    }
}
