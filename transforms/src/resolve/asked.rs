//! A batch whose ends are asked about: what is known of each so far, and who has not answered yet.

use std::collections::{BTreeSet, HashMap};
use std::time::Instant;

use arrow_array::{ArrayRef, RecordBatch};
use weir_core::batch::Batch;
use weir_core::tags::TagSets;
use weir_core::time::Time;

use super::end::View;
use super::tags::Tags;
use super::{Answer, Patience, Resolver};

/// Rows that go on together when all is said of their ends, or when they have waited long enough.
pub struct Asked {
    pub batch: Batch,
    /// How far time had come before them.
    pub before: Time,
    pub since: Instant,
    sides: Vec<Side>,
}

/// One end of all rows. What is known of it is asked for once for all rows that have the same.
struct Side {
    column: &'static str,
    /// Which of `ends` a row has.
    of_row: Vec<u32>,
    ends: Vec<Known>,
}

enum Known {
    /// As the row has it that came first; those before `next` have answered.
    Partly {
        row: usize,
        tags: Tags,
        next: usize,
    },
    All(BTreeSet<String>),
}

impl Asked {
    /// `columns` are those that get tags.
    pub fn new(batch: Batch, columns: &[&'static str], before: Time) -> Asked {
        let sides = columns.iter().map(|column| Side::new(&batch.rows, column)).collect();
        Asked { batch, before, since: Instant::now(), sides }
    }

    /// Asks those who have not answered; whether everybody has now.
    pub fn ask(&mut self, resolvers: &mut [Box<dyn Resolver>]) -> bool {
        let patience = Patience::Since(self.since);
        // All of them, so that nobody's answer is waited for before others are asked.
        let sides = self.sides.iter_mut();
        let is_known: Vec<bool> = sides.map(|side| side.ask(&self.batch.rows, resolvers, patience)).collect();
        !is_known.contains(&false)
    }

    /// Takes what there is. Rows of whose ends not everything was said, and who did not say it.
    pub fn give_up(&mut self, resolvers: &mut [Box<dyn Resolver>]) -> (usize, BTreeSet<usize>) {
        let mut silent = BTreeSet::new();
        let mut is_partly = vec![false; self.batch.len()];
        for side in &mut self.sides {
            silent.extend(side.ends.iter().filter_map(Known::waits_for));
            let partly: Vec<bool> = side.ends.iter().map(|known| known.waits_for().is_some()).collect();
            side.of_row.iter().zip(&mut is_partly).for_each(|(end, row)| *row |= partly[*end as usize]);
            side.ask(&self.batch.rows, resolvers, Patience::Over);
        }
        (is_partly.into_iter().filter(|partly| *partly).count(), silent)
    }

    /// A column with its tags, if it is one that gets them.
    pub fn column(&self, name: &str) -> Option<ArrayRef> {
        self.sides.iter().find(|side| side.column == name).map(Side::column)
    }
}

/// Which end a column of tags is of.
fn end_of(column: &str) -> &str {
    column.strip_suffix(".tags").unwrap_or(column)
}

impl Side {
    fn new(rows: &RecordBatch, column: &'static str) -> Side {
        let view = View::new(rows, end_of(column));
        let mut numbers = HashMap::new();
        let mut ends = Vec::new();
        let of_row = (0..rows.num_rows()).map(|row| {
            let end = view.end(row);
            *numbers.entry(end.key()).or_insert_with(|| {
                ends.push(Known::Partly { row, tags: Tags::of(end.tags()), next: 0 });
                ends.len() as u32 - 1
            })
        });
        Side { column, of_row: of_row.collect(), ends }
    }

    fn ask(&mut self, rows: &RecordBatch, resolvers: &mut [Box<dyn Resolver>], patience: Patience) -> bool {
        let view = View::new(rows, end_of(self.column));
        let mut is_all = true;
        for known in &mut self.ends {
            let Known::Partly { row, tags, next } = known else { continue };
            let end = view.end(*row);
            let answers = |resolver: &mut Box<dyn Resolver>, tags: &mut Tags| {
                resolver.look_up(&end, tags, patience) == Answer::Given
            };
            while *next < resolvers.len() && answers(&mut resolvers[*next], tags) {
                *next += 1;
            }
            match *next < resolvers.len() {
                true => is_all = false,
                false => *known = Known::All(std::mem::take(tags).finish()),
            }
        }
        is_all
    }

    fn column(&self) -> ArrayRef {
        let mut numbers: HashMap<&BTreeSet<String>, i32> = HashMap::new();
        let mut sets = TagSets::default();
        let sets_of = self.ends.iter().map(|known| match known {
            Known::All(all) if !all.is_empty() => Some(*numbers.entry(all).or_insert_with(|| {
                all.iter().for_each(|tag| sets.tag(tag.as_bytes()));
                sets.end_set()
            })),
            _ => None,
        });
        let of_end: Vec<Option<i32>> = sets_of.collect();
        for end in &self.of_row {
            match of_end[*end as usize] {
                Some(set) => sets.row(set),
                None => sets.row_absent(),
            }
        }
        sets.finish()
    }
}

impl Known {
    fn waits_for(&self) -> Option<usize> {
        match self {
            Known::Partly { next, .. } => Some(*next),
            Known::All(_) => None,
        }
    }
}
