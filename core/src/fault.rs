//! What went wrong while running, and what that means for the exit code.

use std::fmt;

/// Whose fault it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Blame {
    /// The input: damaged, empty, of no known kind.
    Input,
    /// The machine or the far end: a missing file, a full disk, a refused connection.
    Environment,
    /// weir itself.
    Bug,
}

/// A failure of one component. Any of them makes the run exit with 1.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fault {
    /// The node, as the ledger calls it; empty until the engine fills it in.
    pub node: String,
    pub blame: Blame,
    pub message: String,
    /// What to do about it, where that is known.
    pub help: Option<String>,
}

impl Fault {
    pub fn input(message: impl Into<String>) -> Fault {
        Fault::new(Blame::Input, message)
    }

    pub fn environment(message: impl Into<String>) -> Fault {
        Fault::new(Blame::Environment, message)
    }

    pub fn bug(message: impl Into<String>) -> Fault {
        Fault::new(Blame::Bug, message)
    }

    pub fn new(blame: Blame, message: impl Into<String>) -> Fault {
        Fault { node: String::new(), blame, message: message.into(), help: None }
    }

    pub fn help(mut self, help: impl Into<String>) -> Fault {
        self.help = Some(help.into());
        self
    }

    /// What went wrong and what to do about it, in one line.
    pub fn with_help(&self) -> String {
        match &self.help {
            Some(help) => format!("{}; {help}", self.message),
            None => self.message.clone(),
        }
    }

    pub(crate) fn of(mut self, node: &str) -> Fault {
        if self.node.is_empty() {
            self.node = node.to_string();
        }
        self
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.blame {
            Blame::Bug => write!(f, "`{}` broke a rule of the engine: {}", self.node, self.message),
            _ => write!(f, "`{}`: {}", self.node, self.message),
        }
    }
}

impl std::error::Error for Fault {}
