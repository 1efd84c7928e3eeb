//! The open windows of one worker.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::{ArrayRef, BooleanArray, Int64Array};
use hashbrown::HashTable;
use weir_core::batch::{BATCH_ROWS, Times};
use weir_core::columns::{arrow_schema, record};
use weir_core::component::{Part, Worker};
use weir_core::eval::Compiled;
use weir_core::ledger::Counts;
use weir_core::split::{RANGES, range_of};
use weir_core::{Acks, BuildCx, Out, Time};
use weir_spec::plan::{GROUP_BYTES, WINDOW_END, WINDOW_START, Window, aggregate_column};
use weir_spec::{Field, Schema, Type};

use super::front::plain;
use super::state::{self, State};
use super::{starts, width};
use crate::key;

/// The account of overflow groups.
const OVERFLOW: usize = RANGES;

struct Group {
    hash: u64,
    key: Box<[u8]>,
    states: Vec<State>,
}

impl Group {
    fn new(hash: u64, key: &[u8], window: &Window) -> Group {
        Group { hash, key: key.into(), states: window.aggregates.iter().map(State::new).collect() }
    }

    fn bytes(&self) -> usize {
        GROUP_BYTES + self.key.len() + self.states.iter().map(State::bytes).sum::<usize>()
    }

    /// Takes in one row. The bytes of the states that it reached, before and after.
    fn add(&mut self, window: &Window, part: &Part, row: usize) -> (usize, usize) {
        let (mut before, mut after) = (0, 0);
        let mut column = window.keys.len();
        for (state, call) in self.states.iter_mut().zip(&window.aggregates) {
            let argument = call.argument.as_ref().map(|a| (part.rows.column(column), &a.ty));
            column += usize::from(argument.is_some());
            let passes = call.filter.is_none() || is_true(part.rows.column(column), row);
            column += usize::from(call.filter.is_some());
            if passes {
                before += state.bytes();
                state.add(argument, row, part.time[row]);
                after += state.bytes();
            }
        }
        (before, after)
    }
}

#[derive(Default)]
struct Open {
    index: HashTable<u32>,
    groups: Vec<Group>,
    acks: Acks,
    /// Groups already emitted, once it is being emitted: they are then in order of their hash.
    emitted: Option<usize>,
}

impl Open {
    fn find(&self, hash: u64, key: &[u8]) -> Option<usize> {
        let same = |at: &u32| *self.groups[*at as usize].key == *key;
        self.index.find(hash, same).map(|at| *at as usize)
    }

    fn insert(&mut self, group: Group) -> usize {
        let at = self.groups.len();
        let hash = group.hash;
        self.groups.push(group);
        let groups = &self.groups;
        self.index.insert_unique(hash, at as u32, |at| groups[*at as usize].hash);
        at
    }
}

/// Windows by their start.
pub struct Groups {
    window: Arc<Window>,
    open: BTreeMap<i64, Open>,
    fields: Vec<Compiled>,
    /// Keys and aggregates, before and after each field was added.
    inner: Schema,
    output: Arc<Schema>,
    arrow: arrow_schema::SchemaRef,
    types: Vec<Type>,
    /// The key of the group that takes in what no longer fits, and its hash.
    overflow: (Box<[u8]>, u64),
    /// Of the groups in each range of hashes; of overflow groups in one account more.
    bytes: [usize; RANGES + 1],
    /// Up to where each account may grow while the present part is folded.
    limits: [usize; RANGES + 1],
    counts: Arc<Counts>,
    now: Time,
}

impl Groups {
    pub fn new(window: Arc<Window>, cx: &BuildCx) -> Groups {
        let mut inner = Schema::default();
        for group in &window.keys {
            inner.put(Field::new(group.name.clone(), group.expr.ty.element().clone()));
        }
        for (at, call) in window.aggregates.iter().enumerate() {
            inner.put(Field::new(aggregate_column(at), call.ty.clone()));
        }
        let mut grown = inner.clone();
        let mut fields = Vec::new();
        for (name, expr) in &window.fields {
            fields.push(Compiled::new(expr, &grown, cx.counts));
            grown.put(Field::new(name.clone(), expr.ty.clone()));
        }
        let output = cx.outputs[0].clone();
        let types: Vec<Type> = window.keys.iter().map(|k| k.expr.ty.element().clone()).collect();
        let overflow = key::overflow(&types);
        Groups {
            overflow: (overflow.as_slice().into(), key::hash(&overflow)),
            types,
            arrow: arrow_schema(&output),
            open: BTreeMap::new(),
            fields,
            inner,
            output,
            bytes: [0; RANGES + 1],
            limits: [0; RANGES + 1],
            counts: cx.counts.clone(),
            now: Time::START,
            window,
        }
    }

    fn closes(&self, start: i64) -> Time {
        Time(start).plus(width(self.window.windowing)).plus(self.window.lateness)
    }

    /// Adds a row to its group. `false` if there is no such group and no room for one.
    fn add(&mut self, start: i64, hash: u64, bytes: &[u8], part: &Part, row: usize) -> bool {
        let account = self.account(hash, bytes);
        let held = &mut self.bytes[account];
        let is_full = account != OVERFLOW && *held >= self.limits[account];
        if is_full && self.open.get(&start).is_none_or(|open| open.find(hash, bytes).is_none()) {
            return false;
        }
        let open = self.open.entry(start).or_default();
        let at = match open.find(hash, bytes) {
            Some(at) => at,
            None => {
                let group = Group::new(hash, bytes, &self.window);
                *held += group.bytes();
                open.insert(group)
            }
        };
        let (before, after) = open.groups[at].add(&self.window, part, row);
        *held = (*held + after).saturating_sub(before);
        true
    }

    /// Where a group's bytes are counted: in its range, or with the overflow groups, of which there is one
    /// a window and which are never refused: checking has made sure that they fit.
    fn account(&self, hash: u64, key: &[u8]) -> usize {
        if *key == *self.overflow.0 { OVERFLOW } else { range_of(hash) }
    }

    /// Rows and the starts of windows that had no room for them, as they go to the overflow's owner.
    fn left(&self, part: &Part, mut left: Vec<(u32, i64)>) -> Option<Part> {
        if left.is_empty() {
            return None;
        }
        self.counts.add_noted("overflow", left.len() as u64);
        left.sort_by_key(|(row, _)| range_of(part.hashes[*row as usize]));
        let (rows, starts): (Vec<u32>, Vec<i64>) = left.into_iter().unzip();
        let mut part = part.take(&rows);
        let mut columns = part.rows.columns().to_vec();
        columns.push(Arc::new(Int64Array::from(starts)));
        part.rows = plain(columns, rows.len());
        part.hashes.fill(self.overflow.1);
        Some(part)
    }

    fn acknowledge(&mut self, mut part: Part, touched: &[i64]) {
        let acks = std::mem::take(&mut part.acks);
        for start in touched {
            if let Some(open) = self.open.get_mut(start) {
                open.acks.join(acks.split());
            }
        }
        acks.delivered();
    }

    /// The next rows of the window that starts at `start`.
    fn rows(&self, start: i64, groups: &[Group]) -> Vec<ArrayRef> {
        let seconds = width(self.window.windowing) as f64 / 1e9;
        let mut keys: Vec<&[u8]> = groups.iter().map(|g| g.key.as_ref()).collect();
        let mut columns: Vec<ArrayRef> = self.types.iter().map(|ty| key::column(&mut keys, ty)).collect();
        for (at, call) in self.window.aggregates.iter().enumerate() {
            let states: Vec<&State> = groups.iter().map(|g| &g.states[at]).collect();
            columns.push(state::column(call, &states, seconds));
        }
        let mut schema = self.inner.clone();
        for ((name, expr), compiled) in self.window.fields.iter().zip(&self.fields) {
            let so_far = record(&arrow_schema(&schema), columns.clone(), groups.len());
            let value = compiled.eval(&so_far);
            let field = Field::new(name.clone(), expr.ty.clone());
            match schema.index(name) {
                Some(at) => (schema.fields[at], columns[at]) = (field, value),
                None => {
                    schema.fields.push(field);
                    columns.push(value);
                }
            }
        }
        let end = start.saturating_add(width(self.window.windowing));
        let one = |value: i64| -> ArrayRef { Arc::new(Int64Array::from(vec![value; groups.len()])) };
        let pick = |name: &str| match name {
            WINDOW_START => Some(one(start)),
            WINDOW_END => Some(one(end)),
            name => schema.index(name).map(|at| columns[at].clone()),
        };
        self.output.names().filter_map(pick).collect()
    }
}

fn is_true(filter: &ArrayRef, row: usize) -> bool {
    filter.as_any().downcast_ref::<BooleanArray>().is_some_and(|mask| mask.value(row))
}

impl Worker for Groups {
    fn fold(&mut self, part: Part, room_bytes: usize) -> Option<Part> {
        self.limits = self.bytes.map(|held| held.saturating_add(room_bytes));
        let mut bytes = Vec::new();
        let mut touched: Vec<i64> = Vec::new();
        let mut left = Vec::new();
        let after = width(self.window.windowing).saturating_add(self.window.lateness);
        for row in 0..part.rows.num_rows() {
            bytes.clear();
            for (at, ty) in self.types.iter().enumerate() {
                key::append(part.rows.column(at), ty, row, &mut bytes);
            }
            for start in starts(self.window.windowing, part.time[row]) {
                if part.seen[row] >= start.saturating_add(after) {
                    continue;
                }
                if !self.add(start, part.hashes[row], &bytes, &part, row) {
                    left.push((row as u32, start));
                } else if !touched.contains(&start) {
                    touched.push(start);
                }
            }
        }
        let left = self.left(&part, left);
        self.acknowledge(part, &touched);
        left
    }

    fn overflow(&mut self, part: Part) {
        let starts = part.rows.columns().last().and_then(|c| c.as_any().downcast_ref::<Int64Array>()).cloned();
        let Some(starts) = starts else { unreachable!("rows left over carry their window") };
        let (bytes, hash) = self.overflow.clone();
        let mut touched: Vec<i64> = Vec::new();
        for row in 0..part.rows.num_rows() {
            let start = starts.value(row);
            self.add(start, hash, &bytes, &part, row);
            if !touched.contains(&start) {
                touched.push(start);
            }
        }
        self.acknowledge(part, &touched);
    }

    fn bytes(&self) -> usize {
        self.bytes.iter().sum()
    }

    fn on_watermark(&mut self, now: Time) {
        self.now = now;
    }

    fn due(&self) -> Option<Time> {
        let (start, _) = self.open.first_key_value()?;
        (self.closes(*start) <= self.now).then_some(Time(*start))
    }

    fn emit(&mut self, out: &mut Out) {
        let Some(mut entry) = self.open.first_entry() else { return };
        let start = *entry.key();
        let open = entry.get_mut();
        let from = match open.emitted {
            Some(from) => from,
            None => {
                open.index.clear();
                open.groups.sort_by(|a, b| (a.hash, &a.key).cmp(&(b.hash, &b.key)));
                open.acks = std::mem::take(&mut open.acks).bundle();
                0
            }
        };
        let to = (from + BATCH_ROWS).min(open.groups.len());
        open.emitted = Some(to);
        let acks = open.acks.split();
        let open = &self.open[&start];
        let columns = self.rows(start, &open.groups[from..to]);
        let done = to == open.groups.len();
        let rows = record(&self.arrow, columns, to - from);
        out.make(0, rows, Times::InOrder(vec![start; to - from].into()), acks);
        if done && let Some(open) = self.open.remove(&start) {
            for group in &open.groups {
                let held = &mut self.bytes[self.account(group.hash, &group.key)];
                *held = held.saturating_sub(group.bytes());
            }
            open.acks.delivered();
        }
    }

    fn watermark(&self, input: Time) -> Time {
        input.minus(width(self.window.windowing)).minus(self.window.lateness)
    }
}
