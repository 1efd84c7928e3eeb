//! Rows beside each other, aligned, differing cells marked.

use std::fmt;

use unicode_width::UnicodeWidthStr;

/// What is said of a row.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    Plain,
    /// Expected and seen.
    Same,
    /// Expected, and something else was seen in its place.
    Expected,
    Seen,
    /// Expected, and nothing like it was seen.
    Missing,
    /// Seen, and not expected.
    Extra,
}

impl Mark {
    fn word(self) -> &'static str {
        match self {
            Mark::Plain => "",
            Mark::Same => "same",
            Mark::Expected => "expected",
            Mark::Seen => "seen",
            Mark::Missing => "missing",
            Mark::Extra => "unexpected",
        }
    }
}

pub struct Table {
    names: Vec<String>,
    rows: Vec<(Mark, Vec<String>)>,
    more: usize,
}

impl Table {
    pub fn new(names: Vec<String>) -> Table {
        Table { names, rows: Vec::new(), more: 0 }
    }

    pub fn row(&mut self, mark: Mark, cells: Vec<String>) {
        self.rows.push((mark, cells));
    }

    /// A row that was expected above the one that was seen, with arrows at what differs.
    pub fn differing(&mut self, expected: Vec<String>, seen: Vec<String>, at: &[usize]) {
        let arrow = |(column, cell): (usize, String)| if at.contains(&column) { format!("→ {cell}") } else { cell };
        self.row(Mark::Expected, expected.into_iter().enumerate().map(arrow).collect());
        self.row(Mark::Seen, seen.into_iter().enumerate().map(arrow).collect());
    }

    /// Rows that are not shown.
    pub fn more(&mut self, rows: usize) {
        self.more = rows;
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.rows.is_empty() {
            return Ok(());
        }
        let marks = self.rows.iter().map(|(mark, _)| mark.word().width()).max().unwrap_or(0);
        let cells = |column: usize| self.rows.iter().map(move |(_, row)| row[column].width());
        let width = |column: usize| cells(column).max().unwrap_or(0).max(self.names[column].width());
        let widths: Vec<usize> = (0..self.names.len()).map(width).collect();
        let line = |f: &mut fmt::Formatter<'_>, mark: &str, cells: &[String]| {
            let mut text = format!("{mark}{}", " ".repeat(marks.saturating_sub(mark.width())));
            for (cell, width) in cells.iter().zip(&widths) {
                text += if text.is_empty() && marks == 0 { "" } else { "  " };
                text += cell;
                text += &" ".repeat(width - cell.width());
            }
            writeln!(f, "{}", text.trim_end())
        };
        line(f, "", &self.names)?;
        for (mark, cells) in &self.rows {
            line(f, mark.word(), cells)?;
        }
        if self.more > 0 {
            writeln!(f, "… and {} more", self.more)?;
        }
        Ok(())
    }
}
