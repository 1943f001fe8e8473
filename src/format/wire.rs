//! The protobuf wire format, as far as records need it: walking over fields, and writing them, without building
//! messages. It never allocates and never trusts a length.

use super::error::{WireError, WireProblem};

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

impl<'a> Field<'a> {
    /// The content of a field that is length-delimited by its definition.
    ///
    /// # Errors
    /// It has another wire type.
    #[inline]
    pub fn bytes(&self) -> Result<&'a [u8], WireError> {
        match self.value {
            WireValue::Bytes(bytes) => Ok(bytes),
            _ => Err(self.other_wire_type()),
        }
    }

    /// The value of a field that is a varint by its definition.
    ///
    /// # Errors
    /// It has another wire type.
    #[inline]
    pub fn varint(&self) -> Result<u64, WireError> {
        match self.value {
            WireValue::Varint(value) => Ok(value),
            _ => Err(self.other_wire_type()),
        }
    }

    /// The error for a known field whose wire type is not that of its definition.
    pub fn other_wire_type(&self) -> WireError {
        WireError { at: self.start, problem: WireProblem::OtherWireType }
    }

    /// An error within this field's content, placed in the message that the field belongs to.
    pub fn outward(&self, error: WireError) -> WireError {
        let content = match self.value {
            WireValue::Bytes(bytes) => bytes.len(),
            _ => 0,
        };
        WireError { at: self.end - content + error.at, ..error }
    }
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

    #[inline]
    fn take(&mut self, bytes: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.rest.split_at_checked(bytes)?;
        self.rest = tail;
        self.at += bytes;
        Some(head)
    }

    #[inline]
    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], WireProblem> {
        self.take(N).and_then(|bytes| bytes.try_into().ok()).ok_or(WireProblem::CutOff)
    }

    #[inline]
    fn varint(&mut self) -> Result<u64, WireProblem> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let (&byte, tail) = self.rest.split_first().ok_or(WireProblem::CutOff)?;
            self.rest = tail;
            self.at += 1;
            // The tenth byte holds one bit.
            if shift == 63 && byte > 1 {
                break;
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(WireProblem::TooManyBits)
    }

    // Always: its result is taken apart at once, and would otherwise go through memory for each field.
    #[inline(always)]
    fn field(&mut self) -> Result<Field<'a>, WireProblem> {
        let start = self.at;
        let tag = u32::try_from(self.varint()?).map_err(|_| WireProblem::FieldNumber)?;
        let number = tag >> 3;
        if number == 0 {
            return Err(WireProblem::FieldZero);
        }
        let value = match tag & 7 {
            0 => WireValue::Varint(self.varint()?),
            1 => WireValue::Fixed64(u64::from_le_bytes(self.fixed()?)),
            2 => {
                let bytes = usize::try_from(self.varint()?).map_err(|_| WireProblem::TooLong)?;
                WireValue::Bytes(self.take(bytes).ok_or(WireProblem::TooLong)?)
            }
            5 => WireValue::Fixed32(u32::from_le_bytes(self.fixed()?)),
            _ => return Err(WireProblem::UnknownWireType),
        };
        Ok(Field { number, value, start, end: self.at })
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<Field<'a>, WireError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        Some(self.field().map_err(|problem| {
            self.rest = &[];
            WireError { at: self.at, problem }
        }))
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

/// A varint as a little-endian word, and its length in bytes, without a branch per byte. `value` is below 2^35.
#[inline]
pub(crate) fn varint_word(value: u64) -> (u64, usize) {
    let group = |n: u32| (value >> (7 * n) & 0x7f) << (8 * n);
    let len = varint_len(value);
    // All bytes but the last say that another one follows.
    let more = 0x80_8080_8080 & !(u64::MAX << (8 * (len - 1)));
    (group(0) | group(1) | group(2) | group(3) | group(4) | more, len)
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

    proptest! {
        #[test]
        fn a_varint_as_a_word_is_the_varint(shift in 29_u32..64, value: u64) {
            let value = value >> shift;
            let (word, len) = varint_word(value);
            let mut expected = Vec::new();
            put_varint(&mut expected, value);
            prop_assert_eq!(&word.to_le_bytes()[..len], &expected[..]);
            prop_assert_eq!(word >> (8 * len), 0);
        }
    }

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
    fn what_is_cut_or_impossible_is_refused_with_its_place_and_problem() {
        use WireProblem::*;
        let cases: [(&[u8], usize, WireProblem); 9] = [
            (&[0x08], 1, CutOff),
            (&[0x09, 1, 2, 3], 1, CutOff),
            (&[0x0d, 1, 2, 3], 1, CutOff),
            (&[0x08, 1, 0x0a, 5, 1], 4, TooLong),
            (&[0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01], 11, TooLong),
            (&[0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02], 11, TooManyBits),
            (&[0x80, 0x80, 0x80, 0x80, 0x10], 5, FieldNumber),
            (&[0x00, 0], 1, FieldZero),
            (&[0x0b], 1, UnknownWireType), // A group.
        ];
        for (bytes, at, problem) in cases {
            let mut fields = Fields::new(bytes);
            let error = fields.by_ref().find_map(Result::err);
            assert_eq!(error, Some(WireError { at, problem }), "{bytes:?}");
            assert_eq!(fields.next(), None);
        }
    }

    #[test]
    fn a_known_field_of_another_wire_type_is_refused_at_its_tag() {
        let fields: Vec<_> = Fields::new(&[0x08, 7, 0x12, 1, 9]).map(Result::unwrap).collect();
        let [number, text] = fields[..] else { panic!("{fields:?}") };
        assert_eq!((number.varint(), text.bytes()), (Ok(7), Ok(&[9][..])));
        let other = |at| WireError { at, problem: WireProblem::OtherWireType };
        assert_eq!((number.bytes(), text.varint()), (Err(other(0)), Err(other(2))));
    }

    #[test]
    fn an_error_in_a_nested_message_is_placed_in_the_outer_one() {
        let outer = [0x08, 7, 0x12, 2, 0x08, 0x80];
        let nested = Fields::new(&outer).last().unwrap().unwrap();
        let error = Fields::new(nested.bytes().unwrap()).find_map(Result::err).unwrap();
        assert_eq!(nested.outward(error), WireError { at: outer.len(), problem: WireProblem::CutOff });
    }

    #[test]
    fn a_varint_is_a_byte_longer_every_seven_bits() {
        let lengths = [0, 1, 0x7f, 0x80, 0x3fff, 0x4000, u64::MAX >> 1, u64::MAX].map(varint_len);
        assert_eq!(lengths, [1, 1, 1, 2, 2, 3, 9, 10]);
    }

    proptest! {
        #[test]
        fn varints_have_the_length_promised(value: u64) {
            let mut out = Vec::new();
            put_varint(&mut out, value);
            prop_assert_eq!(out.len(), varint_len(value));
            prop_assert_eq!(Fields::new(&out).varint(), Ok(value));
        }

        #[test]
        fn any_bytes_end_without_a_panic(bytes: Vec<u8>) {
            let walked = Fields::new(&bytes).count();
            prop_assert!(walked <= bytes.len());
        }
    }
}
