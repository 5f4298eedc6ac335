//! Exit codes, fixed: scripts and CI rely on them.

use std::fmt;

use crate::diagnostic::{Failure, Mistakes};

/// How the program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Done = 0,
    /// A node failed.
    Failed = 1,
    /// The pipeline or the command line is wrong.
    Wrong = 2,
    /// A lock or a verification does not hold.
    Unsound = 3,
    /// Cannot tell: something needed is missing.
    Unknown = 4,
    Interrupted = 130,
}

/// A command's early end: the code, and what to say on stderr.
#[derive(Debug)]
pub struct Stop {
    pub exit: Exit,
    pub words: String,
}

impl Stop {
    /// The pipeline or the command line is wrong.
    pub fn wrong(words: impl fmt::Display) -> Self {
        Self { exit: Exit::Wrong, words: format!("error: {words}") }
    }

    /// A lock does not hold.
    pub fn unsound(words: impl fmt::Display) -> Self {
        Self { exit: Exit::Unsound, words: format!("error: {words}") }
    }

    /// Something needed is missing.
    pub fn unknown(words: impl fmt::Display) -> Self {
        Self { exit: Exit::Unknown, words: format!("error: {words}") }
    }
}

impl From<Mistakes> for Stop {
    fn from(mistakes: Mistakes) -> Self {
        Self { exit: Exit::Wrong, words: mistakes.to_string().trim_end().to_string() }
    }
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self { exit: Exit::Failed, words: format!("error: {failure}") }
    }
}
