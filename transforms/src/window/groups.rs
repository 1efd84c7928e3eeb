//! The open windows of one worker.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::{ArrayRef, BooleanArray, Int64Array};
use hashbrown::HashTable;
use weir_core::batch::{BATCH_ROWS, Times};
use weir_core::columns::arrow_schema;
use weir_core::component::{Part, Worker};
use weir_core::eval::Compiled;
use weir_core::ledger::Counts;
use weir_core::{Acks, BuildCx, Out, Time};
use weir_spec::plan::{WINDOW_END, WINDOW_START, Window, aggregate_column};
use weir_spec::{Field, Schema, Type};

use super::state::{self, State};
use super::{key, starts, width};
use crate::project::record;

/// Bytes of a group beside its key and states.
const GROUP_BYTES: usize = 64;

struct Group {
    hash: u64,
    key: Box<[u8]>,
    states: Vec<State>,
}

#[derive(Default)]
struct Open {
    index: HashTable<u32>,
    groups: Vec<Group>,
    acks: Acks,
    /// Groups already emitted, once it is being emitted: they are then in order of their hash.
    emitted: Option<usize>,
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
    bytes: usize,
    bytes_max: usize,
    counts: Arc<Counts>,
    now: Time,
}

impl Groups {
    pub fn new(window: Arc<Window>, bytes_max: usize, cx: &BuildCx) -> Groups {
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
        Groups {
            types: window.keys.iter().map(|k| k.expr.ty.element().clone()).collect(),
            arrow: arrow_schema(&output),
            open: BTreeMap::new(),
            fields,
            inner,
            output,
            bytes: 0,
            bytes_max,
            counts: cx.counts.clone(),
            now: Time::START,
            window,
        }
    }

    fn closes(&self, start: i64) -> Time {
        Time(start).plus(width(self.window.windowing)).plus(self.window.lateness)
    }

    fn add(&mut self, start: i64, hash: u64, bytes: &[u8], part: &Part, row: usize) {
        let open = self.open.entry(start).or_default();
        let same = |at: &u32| *open.groups[*at as usize].key == *bytes;
        let at = match open.index.find(hash, same) {
            Some(at) => *at,
            None if self.bytes >= self.bytes_max && bytes != key::overflow(&self.types) => {
                self.counts.add_noted("overflow", 1);
                let overflow = key::overflow(&self.types);
                let hash = key::hash(&overflow);
                return self.add(start, hash, &overflow, part, row);
            }
            None => {
                let states: Vec<State> = self.window.aggregates.iter().map(State::new).collect();
                self.bytes += GROUP_BYTES + bytes.len() + states.iter().map(State::bytes).sum::<usize>();
                let at = open.groups.len() as u32;
                open.groups.push(Group { hash, key: bytes.into(), states });
                let groups = &open.groups;
                open.index.insert_unique(hash, at, |at| groups[*at as usize].hash);
                at
            }
        };
        let group = &mut open.groups[at as usize];
        let mut column = self.window.keys.len();
        for (state, call) in group.states.iter_mut().zip(&self.window.aggregates) {
            let argument = call.argument.as_ref().map(|a| (part.rows.column(column), &a.ty));
            column += usize::from(argument.is_some());
            let passes = call.filter.is_none() || is_true(part.rows.column(column), row);
            column += usize::from(call.filter.is_some());
            if passes {
                let before = state.bytes();
                state.add(argument, row, part.time[row]);
                self.bytes = (self.bytes + state.bytes()).saturating_sub(before);
            }
        }
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
    fn fold(&mut self, mut part: Part) {
        let mut bytes = Vec::new();
        let mut touched: Vec<i64> = Vec::new();
        let after = width(self.window.windowing).saturating_add(self.window.lateness);
        for row in 0..part.rows.num_rows() {
            bytes.clear();
            for (at, ty) in self.types.iter().enumerate() {
                key::append(part.rows.column(at), ty, row, &mut bytes);
            }
            for start in starts(self.window.windowing, part.time[row]) {
                if part.seen[row] < start.saturating_add(after) {
                    self.add(start, part.hashes[row], &bytes, &part, row);
                    if !touched.contains(&start) {
                        touched.push(start);
                    }
                }
            }
        }
        let acks = std::mem::take(&mut part.acks);
        for start in touched {
            if let Some(open) = self.open.get_mut(&start) {
                open.acks.join(acks.split());
            }
        }
        acks.delivered();
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
            let states = |g: &Group| g.states.iter().map(State::bytes).sum::<usize>();
            let freed: usize = open.groups.iter().map(|g| GROUP_BYTES + g.key.len() + states(g)).sum();
            self.bytes = self.bytes.saturating_sub(freed);
            open.acks.delivered();
        }
    }

    fn watermark(&self, input: Time) -> Time {
        input.minus(width(self.window.windowing)).minus(self.window.lateness)
    }
}
