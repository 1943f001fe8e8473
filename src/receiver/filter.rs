//! Filter expressions of list calls: the Common Expression Language, over the fields that Sift's
//! API documents for each kind of thing.

use super::error::clipped;
use cel::{Context, Env, ExecutionError, IdedExpr, Program, Value, common::ast::Expr, objects::Key};
use chrono::{DateTime, FixedOffset, TimeDelta};
use pbjson_types::{Duration, Timestamp};
use sift_rs::metadata::v1::{MetadataValue, metadata_value};
use std::{collections::HashMap, iter::Peekable, str::Bytes, sync::Arc};
use tokio::sync::{Semaphore, oneshot};
use tonic::Status;

/// The longest filter, in bytes. SDKs list hundreds of flow names in one.
const MOST_BYTES: usize = 64 * 1024;

/// How many operators and selections a filter may have: evaluation recurses over them. A list of
/// any length needs one (`in`).
const MOST_OPERATORS: usize = 256;

/// How deep brackets may nest.
const MOST_NESTING: usize = 24;

/// Stack for parsing and evaluating, in bytes: twice what the largest filter needs in a debug
/// build. Only what is touched is ever allocated.
const STACK: usize = 64 * 1024 * 1024;

/// How many combinations of a thing's multiple values (tags, assets) are tried.
const MOST_ROWS: usize = 4096;

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Number,
    Flag,
    Time,
    Span,
    Metadata,
}

/// The fields that filters of one kind of thing may name.
#[derive(Debug)]
pub(super) struct Fields {
    /// The thing, in the plural, for messages.
    pub(super) of: &'static str,
    pub(super) all: &'static [(&'static str, Kind)],
}

/// A field's value: one, or several of which any may fulfil the condition.
pub(super) enum Cell {
    One(Value),
    AnyOf(Vec<Value>),
}

impl Cell {
    pub(super) fn text(text: &str) -> Self {
        Self::One(Value::String(Arc::new(text.to_owned())))
    }

    pub(super) fn texts<'a>(texts: impl Iterator<Item = &'a str>) -> Self {
        let values = texts.map(|text| Value::String(Arc::new(text.to_owned())));
        Self::AnyOf(values.collect())
    }

    pub(super) fn flag(flag: bool) -> Self {
        Self::One(Value::Bool(flag))
    }

    pub(super) fn null() -> Self {
        Self::One(Value::Null)
    }

    pub(super) fn time(time: Option<Timestamp>) -> Self {
        let time = time.and_then(|time| {
            let nanos = u32::try_from(time.nanos).ok()?;
            DateTime::from_timestamp(time.seconds, nanos)
        });
        Self::One(time.map_or(Value::Null, |time| Value::Timestamp(time.fixed_offset())))
    }

    /// A duration as a number of seconds.
    pub(super) fn seconds(span: Option<Duration>) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "2^53 seconds are enough")]
        let seconds = span.map(|span| span.seconds as f64 + f64::from(span.nanos) / 1e9);
        Self::One(seconds.map_or(Value::Null, Value::Float))
    }

    pub(super) fn span(span: Option<Duration>) -> Self {
        let span = span.and_then(|span| {
            let seconds = TimeDelta::try_seconds(span.seconds)?;
            seconds.checked_add(&TimeDelta::nanoseconds(i64::from(span.nanos)))
        });
        Self::One(span.map_or(Value::Null, Value::Duration))
    }

    pub(super) fn metadata(metadata: &[MetadataValue]) -> Self {
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
    fn sample(kind: Kind) -> Self {
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

/// A compiled filter.
pub(super) struct Filter(Option<Compiled>);

struct Compiled {
    source: String,
    program: Program,
    env: Arc<Env>,
    /// The fields that the expression names.
    used: Vec<&'static str>,
}

impl Filter {
    /// Compiles a filter; an empty one lets everything pass.
    pub(super) fn compile(source: &str, fields: &Fields) -> Result<Self, Status> {
        if source.trim().is_empty() {
            return Ok(Self(None));
        }
        let refused = |why: String| Err(Status::invalid_argument(format!("bad filter: {why}")));
        if let Err(why) = check_size(source) {
            return refused(why);
        }
        let env = Arc::new(Env::stdlib());
        let program = match env.compile(source) {
            Ok(program) => program,
            Err(errors) => return refused(clipped(&errors.to_string())),
        };
        if loops(program.expression()) {
            let text = "macros (all, exists, map, filter) and maps are not supported here";
            return refused(text.to_owned());
        }
        let mut used = Vec::new();
        for name in program.references().variables() {
            match fields.all.iter().find(|(field, _)| *field == name) {
                Some((field, _)) => used.push(*field),
                None => {
                    let known: Vec<_> = fields.all.iter().map(|(field, _)| *field).collect();
                    return refused(format!(
                        "{} have no field {:?} to filter by; those they have are {}",
                        fields.of,
                        clipped(name),
                        known.join(", ")
                    ));
                }
            }
        }
        let filter = Compiled { source: source.to_owned(), program, env, used };
        // Types are checked by trying: values of the right types must give a yes or a no.
        let sample = |name: &str| {
            let kind = fields.all.iter().find(|(field, _)| *field == name);
            Cell::sample(kind.map_or(Kind::Text, |(_, kind)| *kind))
        };
        filter.any_row(&sample)?;
        Ok(Self(Some(filter)))
    }

    /// Whether a thing passes; `field` gives its fields by name.
    pub(super) fn passes(&self, field: &dyn Fn(&str) -> Cell) -> Result<bool, Status> {
        self.0.as_ref().map_or(Ok(true), |filter| filter.any_row(field))
    }
}

impl Compiled {
    /// Tries every combination of the fields' values until one passes.
    fn any_row(&self, field: &dyn Fn(&str) -> Cell) -> Result<bool, Status> {
        let columns: Vec<Vec<Value>> = self
            .used
            .iter()
            .map(|name| match field(name) {
                Cell::One(value) => vec![value],
                Cell::AnyOf(values) if values.is_empty() => vec![Value::Null],
                Cell::AnyOf(values) => values,
            })
            .collect();
        let rows = columns.iter().map(Vec::len).try_fold(1usize, usize::checked_mul);
        for row in 0..rows.unwrap_or(MOST_ROWS).min(MOST_ROWS) {
            let mut context = Context::with_env(Arc::clone(&self.env));
            let mut rest = row;
            let mut holds_null = false;
            for (name, values) in self.used.iter().zip(&columns) {
                let value = values.get(rest % values.len()).cloned().unwrap_or(Value::Null);
                rest /= values.len();
                holds_null |= matches!(value, Value::Null);
                context.add_variable_from_value(*name, value);
            }
            if self.passes_row(&context, holds_null)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn passes_row(&self, context: &Context<'_, '_>, holds_null: bool) -> Result<bool, Status> {
        let refused = |why: String| {
            let source = clipped(&self.source);
            Err(Status::invalid_argument(format!("bad filter {source:?}: {why}")))
        };
        match self.program.execute(context) {
            Ok(Value::Bool(passes)) => Ok(passes),
            Ok(_) => refused("it is not a condition that is true or false".to_owned()),
            // A thing without that metadata, or without the value compared, does not pass.
            Err(ExecutionError::NoSuchKey(_)) => Ok(false),
            Err(_) if holds_null => Ok(false),
            Err(error) => refused(clipped(&error.to_string())),
        }
    }
}

/// Whether an expression holds a macro that loops: those could make a short filter run for years.
fn loops(expression: &IdedExpr) -> bool {
    let mut rest = vec![expression];
    while let Some(IdedExpr { expr, .. }) = rest.pop() {
        match expr {
            Expr::Comprehension(_) | Expr::Struct(_) | Expr::Map(_) => return true,
            Expr::Call(call) => {
                rest.extend(call.target.as_deref());
                rest.extend(&call.args);
            }
            Expr::List(list) => rest.extend(&list.elements),
            Expr::Select(select) => rest.push(&select.operand),
            Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) => {}
        }
    }
    false
}

/// Bounds what compiling and evaluating may cost. The count errs on the safe side: whatever could
/// hide operators from it (raw and triple-quoted strings, comments) is refused.
fn check_size(source: &str) -> Result<(), String> {
    if source.len() > MOST_BYTES {
        return Err(format!("it has {} bytes; at most {MOST_BYTES} are allowed", source.len()));
    }
    let (mut operators, mut nesting, mut deepest) = (0usize, 0usize, 0usize);
    let mut word = String::new();
    let mut bytes = source.bytes().peekable();
    while let Some(byte) = bytes.next() {
        if byte.is_ascii_alphanumeric() || byte == b'_' {
            word.push(char::from(byte));
            continue;
        }
        operators += usize::from(word == "in");
        match byte {
            b'\'' | b'"' if !word.is_empty() || !skip_string(&mut bytes, byte) => {
                let at = source.len() - bytes.len();
                return Err(format!(
                    "the string that ends near byte {at} is not closed, raw, or triple-quoted; write it as '...' or \"...\""
                ));
            }
            b'/' if bytes.peek() == Some(&b'/') => return Err("it has a comment".to_owned()),
            b'(' | b'[' | b'{' => {
                operators += 1;
                nesting += 1;
                deepest = deepest.max(nesting);
            }
            b')' | b']' | b'}' => nesting = nesting.saturating_sub(1),
            b'+' | b'-' | b'*' | b'/' | b'%' | b'!' | b'?' | b':' | b'.' | b'<' | b'>' | b'=' | b'&' | b'|' => {
                operators += 1
            }
            _ => {}
        }
        word.clear();
    }
    // `==`, `&&`, `||` and the like are two bytes each, so this counts some operators twice.
    if operators > 2 * MOST_OPERATORS {
        return Err(format!("it has more than {MOST_OPERATORS} operators; use `in [...]` for long lists"));
    }
    if deepest > MOST_NESTING {
        return Err(format!("its brackets nest more than {MOST_NESTING} deep"));
    }
    Ok(())
}

/// Skips a string after its opening quote; false if it is not an ordinary string.
fn skip_string(bytes: &mut Peekable<Bytes<'_>>, quote: u8) -> bool {
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => drop(bytes.next()),
            b'\n' | b'\r' => return false,
            // A quote right after the closing one: three of them open another kind of string.
            _ if byte == quote => return bytes.peek() != Some(&quote),
            _ => {}
        }
    }
    false
}

/// Runs the work of a list call on a thread whose stack has room for the largest filter that is
/// allowed, a few at a time.
///
/// # Errors
/// Those of the work; also if the evaluation of the filter comes to grief.
pub(super) async fn with_room<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Status> + Send + 'static,
) -> Result<T, Status> {
    static SLOTS: Semaphore = Semaphore::const_new(4);
    let busy = |_| Status::unavailable("the receiver can't evaluate a filter now; try again");
    let slot = SLOTS.acquire().await;
    let (answer, answered) = oneshot::channel();
    let thread = std::thread::Builder::new().stack_size(STACK);
    thread.spawn(move || drop(answer.send(work()))).map_err(busy)?;
    let answer = answered.await;
    drop(slot);
    answer.unwrap_or_else(|_| Err(Status::invalid_argument("the filter can't be evaluated")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use sift_rs::metadata::v1::{MetadataKey, metadata_value::Value as Meta};

    const FIELDS: Fields = Fields {
        of: "things",
        all: &[
            ("name", Kind::Text),
            ("tag", Kind::Text),
            ("at", Kind::Time),
            ("end", Kind::Time),
            ("took", Kind::Number),
            ("took_span", Kind::Span),
            ("done", Kind::Flag),
            ("metadata", Kind::Metadata),
        ],
    };

    fn thing(field: &str) -> Cell {
        let span = Some(Duration { seconds: 90, nanos: 0 });
        match field {
            "name" => Cell::text("Rover 'One'"),
            "tag" => Cell::texts(["red", "blue"].into_iter()),
            "at" => Cell::time(Some(Timestamp { seconds: 1_700_000_000, nanos: 5 })),
            "took" => Cell::seconds(span),
            "took_span" => Cell::span(span),
            "done" => Cell::flag(true),
            "metadata" => Cell::metadata(&[MetadataValue {
                key: Some(MetadataKey { name: "site".into(), ..Default::default() }),
                value: Some(Meta::StringValue("desert".into())),
                ..Default::default()
            }]),
            _ => Cell::null(),
        }
    }

    fn passes(filter: &str) -> bool {
        let filter = Filter::compile(filter, &FIELDS).unwrap();
        filter.passes(&thing).unwrap()
    }

    fn refusal(filter: &str) -> String {
        let status = match Filter::compile(filter, &FIELDS) {
            Ok(filter) => filter.passes(&thing).unwrap_err(),
            Err(status) => status,
        };
        assert_eq!(status.code(), tonic::Code::InvalidArgument);
        status.message().to_owned()
    }

    #[test]
    fn what_the_sdks_write_is_understood() {
        for filter in [
            "",
            " ",
            "name == 'Rover \\'One\\''",
            "name==\"Rover 'One'\"",
            "name in [\"x\", \"Rover 'One'\"]",
            "name.contains('One') && !(done == false)",
            "name.startsWith('Rover') && name.endsWith(\"'\")",
            "name.matches('^Rov.r') || false",
            "at > timestamp('2023-11-14T22:13:20Z')",
            "at <= timestamp('2024-01-01T00:00:00+02:00')",
            "end == null",
            "took > 60 && took < 90.5",
            "took_span > duration('1m') && took_span < duration('1h')",
            "metadata.site == 'desert'",
            "metadata[\"site\"] == 'desert' && has(metadata.site)",
            "tag == 'blue'",
            "tag in ['blue', 'green'] && tag != 'red'",
        ] {
            assert!(passes(filter), "{filter}");
        }
        for filter in [
            "name == 'rover'",
            "tag == 'green'",
            "tag == 'red' && tag == 'blue'",
            "end > timestamp('2023-11-14T22:13:20Z')",
            "metadata.other == 'desert'",
            "has(metadata.other)",
            "at == null",
        ] {
            assert!(!passes(filter), "{filter}");
        }
    }

    #[test]
    fn a_bad_filter_is_refused_with_the_reason() {
        assert!(refusal("nmae == 'x'").contains("things have no field \"nmae\""));
        assert!(refusal("name == 'x' && nmae == 'y'").contains("\"nmae\""));
        assert!(refusal("name == ").starts_with("bad filter:"));
        assert!(refusal("name").contains("not a condition"));
        assert!(refusal("name > 5").contains("overload"));
        assert!(refusal("name.nothing()").contains("nothing"));
        assert!(refusal("[1].all(x, true)").contains("macros"));
        assert!(refusal(&format!("name == '{}'", "x".repeat(70_000))).contains("65536"));
    }

    #[test]
    fn costly_filters_are_refused_before_they_are_parsed() {
        assert!(refusal(&"(".repeat(30)).contains("nest"));
        assert!(refusal(&format!("took == 1{}", "+1".repeat(600))).contains("operators"));
        assert!(refusal(&format!("{}true", "!".repeat(600))).contains("operators"));
        assert!(refusal(&format!("metadata{} == 1", "['a']".repeat(600))).contains("operators"));
        assert!(refusal(&format!("1{}", " in 1".repeat(600))).contains("operators"));
    }

    #[test]
    fn nothing_hides_operators_from_the_count() {
        for hidden in ["r'\\' +1", "'''a'b''' +1", "// '\n +1", "'a\n +1", "br\"\\\" + 1"] {
            let filter = format!("{hidden}{}", "+1".repeat(600));
            assert!(Filter::compile(&filter, &FIELDS).is_err());
            let refusal = refusal(&filter);
            let seen = ["string", "comment", "operators"].iter().any(|why| refusal.contains(why));
            assert!(seen, "{refusal}");
        }
    }

    #[test]
    fn the_largest_filters_fit_on_half_the_stack() {
        let evaluate = || {
            let sums = format!("took == 1{}", "+1".repeat(500));
            assert!(!passes(&sums));
            let ors = vec!["name == 'x'"; 128].join(" || ");
            assert!(!passes(&ors));
            let nots = format!("{}true", "!".repeat(60));
            assert!(Filter::compile(&nots, &FIELDS).is_ok());
            let selects = format!("metadata{} == 1", ".a".repeat(500));
            assert!(!passes(&selects));
            let deep = format!("{}true{}", "(".repeat(24), ")".repeat(24));
            assert!(passes(&deep));
            let conditional = format!("{}true", "done ? false : ".repeat(200));
            assert!(Filter::compile(&conditional, &FIELDS).is_err() || !passes(&conditional));
            let indexes = format!("metadata{} == 1", "['a']".repeat(170));
            assert!(!passes(&indexes));
            let within = format!("true{}", " in [true]".repeat(170));
            assert!(passes(&within));
            let names: Vec<_> = (0..4000).map(|n| format!("'flow-{n}'")).collect();
            assert!(!passes(&format!("name in [{}]", names.join(","))));
        };
        let small = std::thread::Builder::new().stack_size(STACK / 2);
        small.spawn(evaluate).unwrap().join().unwrap();
    }
}
