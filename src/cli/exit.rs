//! Outcomes as exit codes: the one place where they are chosen.

use std::process::ExitCode;

/// How the program ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exit {
    /// All is well.
    Complete,
    /// It couldn't do what it was asked for.
    Fatal,
    /// It was asked in the wrong way.
    Usage,
    /// It finished, but some data was damaged, missing or refused.
    Incomplete,
    /// The destination can't be reached or refuses the credentials.
    Destination,
    /// Somebody interrupted it.
    Interrupted,
}

impl Exit {
    /// The exit code.
    pub(super) fn code(self) -> u8 {
        match self {
            Self::Complete => 0,
            Self::Fatal => 1,
            Self::Usage => 2,
            Self::Incomplete => 3,
            Self::Destination => 4,
            Self::Interrupted => 130,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// Why a command ends early: what to say, and how to end.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) exit: Exit,
    pub(super) message: String,
}

impl Failure {
    pub(super) fn new(exit: Exit, message: impl ToString) -> Self {
        Self { exit, message: message.to_string() }
    }

    pub(super) fn fatal(message: impl ToString) -> Self {
        Self::new(Exit::Fatal, message)
    }
}
