//! placeholder
use super::context::Context;
use super::job::JobState;

pub(super) async fn retire_files(_context: &Context<'_>, _state: &mut JobState) {}
