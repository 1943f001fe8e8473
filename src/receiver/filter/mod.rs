//! Filter expressions of list calls: the Common Expression Language, over the fields that Sift's
//! API documents for each kind of thing.

mod bounds;
mod cell;
#[cfg(test)]
mod tests;

pub(super) use cell::Cell;

use super::error::clipped;
use bounds::{check_size, loops};
use cel::{Context, Env, ExecutionError, Program, Value};
use std::sync::Arc;
use tokio::sync::{Semaphore, oneshot};
use tonic::Status;

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
