//! The one terminal that rows, a line of progress and messages share.
//!
//! A line of progress is drawn over itself until the first row comes to the same terminal: rows
//! and a line that is redrawn would tear each other apart.

use std::io::{self, IsTerminal, Write};
use std::sync::Mutex;

use weir_core::sync::lock;

/// To the start of the line, and the line away.
const AWAY: &str = "\r\x1b[K";

struct Terminal {
    /// Whether a line of progress is on the screen.
    is_drawn: bool,
    /// Whether rows have come to the screen.
    has_rows: bool,
}

impl Terminal {
    fn clear(&mut self) {
        if std::mem::take(&mut self.is_drawn) {
            // A terminal that cannot be written to shows no progress either.
            let _ = write!(io::stderr(), "{AWAY}");
        }
    }
}

static TERMINAL: Mutex<Terminal> = Mutex::new(Terminal { is_drawn: false, has_rows: false });

/// Whether what goes to a stream is coloured: on a terminal, unless `NO_COLOR` says otherwise.
pub fn is_colored(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Draws the line of progress in place of the one before. `false` if it may not be drawn, now or
/// ever: standard error is no terminal, or it has rows.
pub fn draw(line: &str) -> bool {
    let mut terminal = lock(&TERMINAL);
    if terminal.has_rows || !io::stderr().is_terminal() {
        return false;
    }
    terminal.is_drawn = true;
    let mut stderr = io::stderr().lock();
    let _ = write!(stderr, "{AWAY}{line}").and_then(|()| stderr.flush());
    true
}

/// Takes the line of progress away.
pub fn clear() {
    lock(&TERMINAL).clear();
}

/// Writes a message on standard error, a line of its own.
pub fn tell(message: &str) {
    let mut terminal = lock(&TERMINAL);
    terminal.clear();
    anstream::eprintln!("{message}");
}

/// Makes way for rows on standard output.
pub(crate) fn make_way() {
    let mut terminal = lock(&TERMINAL);
    if !terminal.has_rows && io::stdout().is_terminal() {
        terminal.has_rows = true;
        terminal.clear();
    }
}
