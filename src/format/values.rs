//! What can be learnt from a request's values without decoding it.

use super::record::field;
use super::wire::{Fields, WireValue};

/// Numbers of a value's fields ([F-20]); only one of them counts, the last.
const VALUE_FIELDS: std::ops::RangeInclusive<u32> = 1..=12;

/// How many of a request's values are NaN or infinite ([F-24]): Sift refuses those. Of what isn't a protobuf message, the
/// values ahead of the fault count.
pub fn non_finite_values(request: &[u8]) -> u64 {
    let values = Fields::new(request).flatten().filter(|field| field.number == field::CHANNEL_VALUES);
    values.filter(|value| value.bytes().is_ok_and(is_non_finite)).count() as u64
}

fn is_non_finite(value: &[u8]) -> bool {
    let last = Fields::new(value).flatten().filter(|field| VALUE_FIELDS.contains(&field.number)).last();
    match last.map(|field| (field.number, field.value)) {
        Some((2, WireValue::Fixed64(bits))) => !f64::from_bits(bits).is_finite(),
        Some((3, WireValue::Fixed32(bits))) => !f32::from_bits(bits).is_finite(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::wire::put_bytes_field;

    fn request(values: &[&[u8]]) -> Vec<u8> {
        let mut out = Vec::new();
        put_bytes_field(&mut out, field::FLOW, b"imu");
        values.iter().for_each(|value| put_bytes_field(&mut out, field::CHANNEL_VALUES, value));
        out
    }

    #[test]
    fn only_numbers_that_are_not_finite_count_and_of_one_value_its_last_field() {
        let double = |v: f64| [&[0x11][..], &v.to_bits().to_le_bytes()].concat();
        let float = |v: f32| [&[0x1d][..], &v.to_bits().to_le_bytes()].concat();
        let text = [0x0a, 1, b'x'];
        let (nan, infinite) = (double(f64::NAN), float(f32::NEG_INFINITY));
        assert_eq!(non_finite_values(&request(&[&nan, &infinite, &double(1.0), &float(0.0), &text, b""])), 2);
        assert_eq!(non_finite_values(&request(&[&float(1.0), &double(-0.0)])), 0);
        assert_eq!(non_finite_values(&request(&[&[&nan[..], &text].concat(), &[&text[..], &nan].concat()])), 1);
        // A field that a later version adds doesn't replace the value.
        assert_eq!(non_finite_values(&request(&[&[&nan[..], &[0x68, 1]].concat()])), 1);
        assert_eq!(non_finite_values(&[&request(&[&nan])[..], &[0xff]].concat()), 1);
    }
}
