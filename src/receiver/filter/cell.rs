//! A thing's fields as values that expressions know.

use super::Kind;
use cel::{Value, objects::Key};
use chrono::{DateTime, FixedOffset, TimeDelta};
use pbjson_types::{Duration, Timestamp};
use sift_rs::metadata::v1::{MetadataValue, metadata_value};
use std::{collections::HashMap, sync::Arc};

/// A field's value: one, or several of which any may fulfil the condition.
pub(in crate::receiver) enum Cell {
    One(Value),
    AnyOf(Vec<Value>),
}

impl Cell {
    pub(in crate::receiver) fn text(text: &str) -> Self {
        Self::One(Value::String(Arc::new(text.to_owned())))
    }

    pub(in crate::receiver) fn texts<'a>(texts: impl Iterator<Item = &'a str>) -> Self {
        let values = texts.map(|text| Value::String(Arc::new(text.to_owned())));
        Self::AnyOf(values.collect())
    }

    pub(in crate::receiver) fn flag(flag: bool) -> Self {
        Self::One(Value::Bool(flag))
    }

    pub(in crate::receiver) fn null() -> Self {
        Self::One(Value::Null)
    }

    pub(in crate::receiver) fn time(time: Option<Timestamp>) -> Self {
        let time = time.and_then(|time| {
            let nanos = u32::try_from(time.nanos).ok()?;
            DateTime::from_timestamp(time.seconds, nanos)
        });
        Self::One(time.map_or(Value::Null, |time| Value::Timestamp(time.fixed_offset())))
    }

    /// A duration as a number of seconds.
    pub(in crate::receiver) fn seconds(span: Option<Duration>) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "2^53 seconds are enough")]
        let seconds = span.map(|span| span.seconds as f64 + f64::from(span.nanos) / 1e9);
        Self::One(seconds.map_or(Value::Null, Value::Float))
    }

    pub(in crate::receiver) fn span(span: Option<Duration>) -> Self {
        let span = span.and_then(|span| {
            let seconds = TimeDelta::try_seconds(span.seconds)?;
            seconds.checked_add(&TimeDelta::nanoseconds(i64::from(span.nanos)))
        });
        Self::One(span.map_or(Value::Null, Value::Duration))
    }

    pub(in crate::receiver) fn metadata(metadata: &[MetadataValue]) -> Self {
        let entries = metadata.iter().filter_map(|entry| {
            let value = match entry.value.as_ref()? {
                metadata_value::Value::StringValue(text) => Value::String(Arc::new(text.clone())),
                metadata_value::Value::NumberValue(number) => Value::Float(*number),
                metadata_value::Value::BooleanValue(flag) => Value::Bool(*flag),
                metadata_value::Value::RelationValue(to) => Value::String(Arc::new(to.resource_id.clone())),
            };
            Some((Key::from(entry.key.as_ref()?.name.clone()), value))
        });
        Self::One(Value::Map(entries.collect::<HashMap<Key, Value>>().into()))
    }

    /// A value of the right kind, to try an expression with.
    pub(super) fn sample(kind: Kind) -> Self {
        match kind {
            Kind::Text => Self::text(""),
            Kind::Number => Self::One(Value::Float(0.0)),
            Kind::Flag => Self::flag(false),
            Kind::Time => Self::One(Value::Timestamp(DateTime::<FixedOffset>::default())),
            Kind::Span => Self::One(Value::Duration(TimeDelta::zero())),
            Kind::Metadata => Self::metadata(&[]),
        }
    }
}
