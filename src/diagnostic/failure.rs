//! What went wrong while a stage worked, for the person who started it.
//!
//! One error type for the whole house: a message, the chain of what was being done, and the way out when we know it.
//! Mistakes in the text of a pipeline are not failures: see `diagnostic::Report`.

use std::fmt;

/// Something that went wrong while working: what, where, and the way out.
#[derive(Debug)]
pub struct Failure {
    message: String,
    help: Option<String>,
    interrupted: bool,
}

impl Failure {
    /// Says what went wrong: lowercase, names in backticks, no final dot, found beside expected.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), help: None, interrupted: false }
    }

    /// The work was asked to stop and has left everything in order.
    pub fn interrupted() -> Self {
        Self { message: "interrupted".to_string(), help: None, interrupted: true }
    }

    /// Adds the way out.
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Puts what was being done in front of the message.
    pub fn while_doing(mut self, what: impl fmt::Display) -> Self {
        self.message = format!("{what}: {}", self.message);
        self
    }

    /// Returns the message without the help.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Returns the way out, if one is known.
    pub fn way_out(&self) -> Option<&str> {
        self.help.as_deref()
    }

    /// Returns whether the work stopped because it was asked to.
    pub fn is_interruption(&self) -> bool {
        self.interrupted
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.help {
            Some(help) => write!(f, "\nhelp: {help}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Failure {}

/// Turns any error into a [`Failure`] that says what was being done.
pub trait Context<T> {
    /// Wraps the error as "`what`: error".
    fn doing<D: fmt::Display>(self, what: impl FnOnce() -> D) -> Result<T, Failure>;
}

impl<T, E: fmt::Display> Context<T> for Result<T, E> {
    fn doing<D: fmt::Display>(self, what: impl FnOnce() -> D) -> Result<T, Failure> {
        self.map_err(|error| Failure::new(format!("{}: {error}", what())))
    }
}
