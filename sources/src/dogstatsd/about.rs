//! What a message is about: its tags, its host, and who sent it.

use std::ops::Range;
use std::sync::Arc;

use arrow_array::ArrayRef;
use weir_core::build::{Numbers, Words};
use weir_core::tags::JoinedTagSets;

use super::message::{self, Origin};
use super::origin::Inodes;
use super::scan::find;

/// What is known of a sender beside what it says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sender {
    pub pid: Option<i64>,
    pub container: Option<Arc<str>>,
    pub pod: Option<Arc<str>>,
}

/// Tag sets. One that follows itself, as in a client's datagram, is held once.
#[derive(Default)]
struct Tags {
    sets: JoinedTagSets,
    /// The set that was built last, if nothing in it was meant for the receiver.
    last: Option<Last>,
}

/// A set of tags, and what it came from.
#[derive(Clone, Copy)]
struct Last {
    set: i32,
    /// Of the tags as they were sent; what the source adds stands behind them.
    sent_bytes: usize,
    /// Whether its message said a cardinality.
    has_cardinality: bool,
}

/// What tags say that is not a tag. Text is told by where it stands among the tags.
#[derive(Clone, Debug, Default, PartialEq)]
struct Magic {
    host: Option<Range<usize>>,
    pod: Option<Range<usize>>,
    cardinality: Option<u8>,
    /// Whether a cardinality was said, known or not: the first counts, and others are tags.
    has_cardinality: bool,
}

impl Tags {
    /// Adds a row's tags: those of its message, joined by commas, and those that every message gets. `has_cardinality`
    /// is of a message that says one in a field of its own, whatever that says; then the tag of that name is a tag like
    /// others.
    fn push(&mut self, sent: &[u8], always: &[String], has_cardinality: bool) -> Option<Magic> {
        let is_same = |last: &Last| {
            last.sent_bytes == sent.len()
                && last.has_cardinality == has_cardinality
                && self.sets.last().starts_with(sent)
        };
        if let Some(last) = self.last.filter(is_same) {
            self.sets.row(last.set);
            return None;
        }
        let magic = self.set(sent, has_cardinality);
        always.iter().for_each(|tag| self.sets.add(tag.as_bytes()));
        let set = self.sets.end_set();
        self.sets.row(set);
        // What was meant for the receiver is in no set, and has to be found again.
        self.last = magic.is_none().then_some(Last { set, sent_bytes: sent.len(), has_cardinality });
        magic
    }

    /// Adds the tags that are sent; says what was meant for the receiver, if anything was.
    fn set(&mut self, sent: &[u8], has_cardinality: bool) -> Option<Magic> {
        let mut magic = Magic { has_cardinality, ..Magic::default() };
        // Where what follows the last of those begins; 0 as long as there was none.
        let mut rest = 0;
        let mut from = 0;
        while from < sent.len() {
            let tag = &sent[from..];
            let tag = &tag[..find(b',', tag).unwrap_or(tag.len())];
            let next = from + tag.len() + 1;
            if magic.take(tag, from) {
                if from > rest {
                    self.sets.add(&sent[rest..from - 1]);
                }
                rest = next;
            }
            from = next;
        }
        if rest < sent.len() || (rest == sent.len() && rest > 0) {
            self.sets.add(&sent[rest..]);
        }
        (rest > 0).then_some(magic)
    }
}

impl Magic {
    /// Whether a tag, which begins at `start`, was meant for the receiver; then it is taken in.
    fn take(&mut self, tag: &[u8], start: usize) -> bool {
        let behind = |prefix: usize| Some(start + prefix..start + tag.len());
        if tag.starts_with(b"host:") {
            self.host = behind(5);
            return true;
        }
        let Some(rest) = tag.strip_prefix(b"dd.internal.") else { return false };
        if rest.starts_with(b"entity_id:") {
            // Clients that do not know say so in a word.
            self.pod = behind(22).filter(|_| !matches!(&rest[10..], b"" | b"none"));
            return true;
        }
        if let Some(word) = rest.strip_prefix(b"card:").filter(|_| !self.has_cardinality) {
            self.cardinality = message::cardinality(word);
            self.has_cardinality = !word.is_empty();
            return true;
        }
        rest.starts_with(b"jmx_check_name:")
    }
}

/// What is pushed with every message.
pub struct Around<'a> {
    pub time: i64,
    pub sender: &'a Sender,
    /// Tags that every message gets.
    pub tags: &'a [String],
    /// Who is asked for the inodes that clients tell.
    pub inodes: &'a Inodes,
}

/// The columns of it.
#[derive(Default)]
pub struct About {
    rows: usize,
    host: Words,
    tags: Tags,
    pid: Numbers,
    container: Words,
    pod: Words,
    external: Words,
    cardinality: Numbers,
}

impl About {
    /// Room for as much as another has.
    pub fn like(other: &About) -> About {
        let tags = Tags { sets: JoinedTagSets::like(&other.tags.sets), last: None };
        About { host: Words::like(&other.host), pid: Numbers::like(&other.pid), tags, ..About::default() }
    }

    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Lets go of the room that is left, where it is to be kept for long.
    pub fn shrink(&mut self) {
        self.tags.sets.shrink();
    }

    /// Host and tags are UTF-8.
    pub fn push(&mut self, around: &Around, origin: &Origin, host: Option<&[u8]>, tags: Option<&[u8]>) {
        let row = self.rows;
        self.rows += 1;
        let tags = tags.unwrap_or_default();
        let mut pod = None;
        if let Some(magic) = self.tags.push(tags, around.tags, origin.has_cardinality) {
            let text = |range: Range<usize>| &tags[range];
            pod = magic.pod.map(|range| String::from_utf8_lossy(text(range)).into_owned());
            if let Some(range) = magic.host.filter(|_| host.is_none()) {
                self.host.set(row, text(range));
            }
            if let Some(word) = magic.cardinality {
                self.cardinality.set(row, word.into());
            }
        }
        if let Some(host) = host {
            self.host.set(row, host);
        }
        self.origin(row, origin, around, pod);
    }

    fn origin(&mut self, row: usize, origin: &Origin, around: &Around, mut pod: Option<String>) {
        let sender = around.sender;
        if let Some(pid) = sender.pid {
            self.pid.set(row, pid);
        }
        // The kernel's word goes before the client's.
        let said = origin
            .local
            .and_then(|local| container_of(local).or_else(|| around.inodes.unit(inode_of(local)?)?.container.clone()));
        if let Some(container) = sender.container.as_deref().or(said.as_deref()) {
            self.container.set(row, container.as_bytes());
        }
        if let Some(external) = origin.external {
            let text = String::from_utf8_lossy(external);
            pod = pod.or_else(|| pod_of(&text).map(str::to_string));
            self.external.set(row, text.as_bytes());
        }
        if let Some(pod) = pod.as_deref().or(sender.pod.as_deref()) {
            self.pod.set(row, pod.as_bytes());
        }
        if let Some(word) = origin.cardinality {
            self.cardinality.set(row, word.into());
        }
    }

    /// Whether the column of that name is one of these.
    pub fn has(name: &str) -> bool {
        name == "host" || name == "tags" || name.starts_with("origin.")
    }

    /// The column of that name, if it is one of these.
    pub fn column(&mut self, name: &str) -> Option<ArrayRef> {
        let rows = self.rows;
        Some(match name {
            "host" => std::mem::take(&mut self.host).finish(rows),
            "tags" => std::mem::take(&mut self.tags).sets.finish(),
            "origin.pid" => std::mem::take(&mut self.pid).finish(rows),
            "origin.container" => std::mem::take(&mut self.container).finish(rows),
            "origin.pod" => std::mem::take(&mut self.pod).finish(rows),
            "origin.external" => std::mem::take(&mut self.external).finish(rows),
            "origin.cardinality" => std::mem::take(&mut self.cardinality).finish_bytes(rows),
            _ => return None,
        })
    }
}

/// Whether the inode of a cgroup that a client tells decides whose a message is: it may be another's next time.
pub fn is_by_inode(origin: &Origin, sender: &Sender) -> bool {
    let by_inode = |local| container_of(local).is_none() && inode_of(local).is_some();
    sender.container.is_none() && origin.local.is_some_and(by_inode)
}

/// The container id in `c:`: bare, behind `cid-` or `ci-`, or in a list beside the inode of its cgroup, where it is
/// behind `ci-` and the last one counts.
fn container_of(local: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(local);
    let id = match text.contains(',') {
        true => text.rsplit(',').find_map(|part| part.strip_prefix("ci-"))?,
        false if text.starts_with("in-") => return None,
        false => text.strip_prefix("cid-").or_else(|| text.strip_prefix("ci-")).unwrap_or(&text),
    };
    (!id.is_empty()).then(|| id.to_string())
}

/// The inode of a cgroup in `c:`.
fn inode_of(local: &[u8]) -> Option<u64> {
    String::from_utf8_lossy(local).rsplit(',').find_map(|part| part.strip_prefix("in-"))?.parse().ok()
}

/// The pod's uid in external data, the last one if there are more.
fn pod_of(external: &str) -> Option<&str> {
    external.rsplit(',').find_map(|part| part.strip_prefix("pu-")).filter(|uid| !uid.is_empty())
}
