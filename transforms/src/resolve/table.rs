//! `table`: a file of networks, addresses, ports or names, with tags of each. Read again when it changes.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::{File, Metadata};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, SystemTime};

use serde_json::Value as Json;
use weir_core::bell::Bell;
use weir_core::ledger::Counts;
use weir_core::{BuildCx, Fault};
use weir_spec::Values;
use weir_spec::component::ReasonSpec;
use weir_spec::option::{OptionType, PartSpec};
use weir_spec::value::Cidr;

use super::end::End;
use super::ranges::Ranges;
use super::tags::{Tags, key};
use super::{Answer, Built, Kind, Patience, Resolver, read};

weir_spec::options! {
    pub struct TableOptions {
        /// A file of comma-separated values whose first line names its columns, or of JSON (`.json`): a list of objects, or an object of them by their keys.
        path: String = (OptionType::Path, positional, required),
        /// The column that has the key; the first one unless said otherwise.
        key: Option<String> = (OptionType::Str, none),
        /// What of an end is looked up: `ip` (keys are networks and addresses), `port`, `host`, `process`, `container`, or the key of a tag that it has already.
        by: String = (OptionType::Str, "\"ip\""),
        /// The columns that become tags; all but the key unless said otherwise, and then nobody knows their names before start.
        tags: Option<Vec<String>> = (OptionType::List(&OptionType::Str), none),
        /// Lines or entries; a file that has more is refused.
        entries_max: usize = (OptionType::Int { min: 1, max: 1 << 23 }, "100000"),
    }
}

pub const SPEC: PartSpec = PartSpec {
    name: "table",
    summary: "tags from a file, by network, address, port or name",
    options: TableOptions::SPECS,
    example: "table(\"teams.csv\", tags: [\"team\"])",
};

pub const NOTES: &[ReasonSpec] = &[
    ReasonSpec { name: "table_hits", doc: "ends that the table has" },
    ReasonSpec { name: "table_misses", doc: "ends that it has not" },
    ReasonSpec {
        name: "table_refused",
        doc: "changes of the file that could not be read; what was known before stays",
    },
];

/// How often it is looked whether the file has changed. What changes in between is not whole yet.
const LOOK: Duration = Duration::from_secs(1);
/// Bytes of an entry in the file, at most, and of what is held of it: two pieces of the addresses, and tags that it
/// shares with others.
const ENTRY_BYTES_MAX: u64 = 1024;
const ENTRY_BYTES: u64 = 128;

pub const KIND: Kind =
    Kind { name: SPEC.name, keys, bytes, file: |values| values.get("path").as_str().map(str::to_string), build };

/// The keys that it gives, if they are said.
fn keys(values: &Values) -> Option<Vec<String>> {
    TableOptions::read(values).ok()?.tags
}

/// What it holds, with what is read beside that when the file changes.
fn bytes(values: &Values) -> u64 {
    TableOptions::read(values).map_or(0, |options| 2 * options.entries_max as u64 * ENTRY_BYTES)
}

fn build(values: &Values, cx: &BuildCx, _bell: &Bell) -> Built {
    let options = read(values, TableOptions::read)?;
    let file = TableFile { path: cx.places.to_read(&options.path), options };
    let seen = file.state();
    let table = file.load().map_err(|why| {
        let fault = Fault::input(format!("`{}`: {why}", file.path.display()));
        let by = &file.options.by;
        fault.help(format!("a line of names, then lines; its first column, or that of `key:`, says which `{by}`"))
    })?;
    let by = file.options.by.clone();
    let shared = Arc::new(Mutex::new(Some(table)));
    let table = take(&shared).unwrap_or_default();
    watch(file, seen, Arc::downgrade(&shared), cx.counts.clone());
    Ok(Box::new(Lookup { by, table, next: shared, hits: 0, misses: 0 }))
}

/// What was read last and nobody has taken yet.
type Shared = Arc<Mutex<Option<Table>>>;

fn take(shared: &Shared) -> Option<Table> {
    shared.lock().unwrap_or_else(PoisonError::into_inner).take()
}

struct Lookup {
    by: String,
    table: Table,
    next: Shared,
    hits: u64,
    misses: u64,
}

impl Resolver for Lookup {
    /// Everything is here.
    fn look_up(&mut self, end: &End, tags: &mut Tags, _patience: Patience) -> Answer {
        let found = match self.by.as_str() {
            "ip" => end.ip.and_then(|ip| self.table.of_ip(&ip)),
            "port" => end.port.and_then(|port| self.table.of_name(port.to_string().as_str())),
            "host" => end.host.and_then(|host| self.table.of_name(host)),
            "process" => end.process.and_then(|process| self.table.of_name(process)),
            "container" => end.container.and_then(|container| self.table.of_name(container)),
            key => tags.get(key).and_then(|value| self.table.of_name(value)),
        };
        match found {
            Some(found) => {
                self.hits += 1;
                tags.add(found.iter().map(String::as_str));
            }
            None => self.misses += 1,
        }
        Answer::Given
    }

    fn refresh(&mut self) {
        if let Some(table) = take(&self.next) {
            self.table = table;
        }
    }

    fn count(&mut self, counts: &Counts) {
        counts.add_noted("table_hits", std::mem::take(&mut self.hits));
        counts.add_noted("table_misses", std::mem::take(&mut self.misses));
    }
}

/// Reads the file again when it has changed, for as long as somebody asks.
fn watch(file: TableFile, mut seen: Option<State>, shared: Weak<Mutex<Option<Table>>>, counts: Arc<Counts>) {
    let mut changing = None;
    let run = move || {
        loop {
            std::thread::sleep(LOOK);
            let Some(shared) = shared.upgrade() else { return };
            let now = file.state();
            // What changed since the last look may not be whole yet.
            if now != changing {
                changing = now;
                continue;
            }
            if now == seen {
                continue;
            }
            seen = now;
            match file.load() {
                Ok(table) => *shared.lock().unwrap_or_else(PoisonError::into_inner) = Some(table),
                Err(why) => {
                    counts.add_noted("table_refused", 1);
                    counts.warn_once(&format!("`{}`: {why}; what it had before holds", file.path.display()));
                }
            }
        }
    };
    // Without a thread the file is what it was.
    let _ = std::thread::Builder::new().name("weir-table".into()).spawn(run);
}

/// What tells that a file is another one.
#[derive(Clone, Copy, PartialEq, Debug)]
struct State {
    modified: Option<SystemTime>,
    bytes: u64,
    inode: u64,
}

impl State {
    fn of(meta: &Metadata) -> State {
        use std::os::unix::fs::MetadataExt;
        State { modified: meta.modified().ok(), bytes: meta.len(), inode: meta.ino() }
    }
}

struct TableFile {
    path: PathBuf,
    options: TableOptions,
}

/// A line of the file: the key and the tags.
type Line = (String, Vec<String>);

impl TableFile {
    fn state(&self) -> Option<State> {
        std::fs::metadata(&self.path).ok().map(|meta| State::of(&meta))
    }

    fn load(&self) -> Result<Table, String> {
        let text = read_file(&self.path, self.options.entries_max as u64 * ENTRY_BYTES_MAX)?;
        let is_json = self.path.extension().is_some_and(|extension| extension == "json");
        let lines = if is_json { self.json(&text)? } else { self.csv(&text)? };
        let most = self.options.entries_max;
        if lines.len() > most {
            return Err(format!("it has {} entries, and `entries_max:` is {most}", lines.len()));
        }
        Table::new(lines, self.options.by == "ip")
    }

    fn csv(&self, text: &str) -> Result<Vec<Line>, String> {
        let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(text.as_bytes());
        let names: Vec<String> = reader.headers().map_err(said)?.iter().map(str::to_string).collect();
        let place = |wanted: &str| names.iter().position(|name| name == wanted);
        let missing = |wanted: &str| format!("it has no column `{wanted}`; it has `{}`", names.join("`, `"));
        let key = match &self.options.key {
            Some(key) => place(key).ok_or_else(|| missing(key))?,
            None => 0,
        };
        let tags: Vec<usize> = match &self.options.tags {
            Some(tags) => tags.iter().map(|tag| place(tag).ok_or_else(|| missing(tag))).collect::<Result<_, _>>()?,
            None => (0..names.len()).filter(|at| *at != key).collect(),
        };
        let mut lines = Vec::new();
        for record in reader.records() {
            let record = record.map_err(said)?;
            let cell = |at: usize| record.get(at).unwrap_or_default();
            let with_value = tags.iter().filter(|at| !cell(**at).is_empty());
            lines.push((cell(key).to_string(), with_value.map(|at| format!("{}:{}", names[*at], cell(*at))).collect()));
        }
        Ok(lines)
    }

    fn json(&self, text: &str) -> Result<Vec<Line>, String> {
        let entries: Vec<(Option<String>, Json)> = match serde_json::from_str(text).map_err(said)? {
            Json::Array(entries) => entries.into_iter().map(|entry| (None, entry)).collect(),
            Json::Object(entries) => entries.into_iter().map(|(key, entry)| (Some(key), entry)).collect(),
            _ => return Err("it is neither a list nor an object".into()),
        };
        entries.into_iter().enumerate().map(|(at, (key, entry))| self.entry(at + 1, key, &entry)).collect()
    }

    fn entry(&self, number: usize, key: Option<String>, entry: &Json) -> Result<Line, String> {
        let Json::Object(fields) = entry else { return Err(format!("entry {number} is no object")) };
        let named = self.options.key.as_deref();
        let key_name = match (&key, named) {
            (Some(_), _) => None,
            (None, Some(named)) => Some(named),
            (None, None) => return Err("`key:` has to say which member of its objects has the key".into()),
        };
        let key = match (key, key_name.and_then(|name| fields.get(name))) {
            (Some(key), _) => key,
            (None, Some(value)) => {
                texts(value).into_iter().next().ok_or_else(|| format!("entry {number} has no key"))?
            }
            (None, None) => {
                return Err(format!("entry {number} has no member `{}`", key_name.unwrap_or_default()));
            }
        };
        let wanted = |name: &str| match &self.options.tags {
            Some(tags) => tags.iter().any(|tag| tag == name),
            None => Some(name) != key_name,
        };
        let values = fields.iter().filter(|(name, _)| wanted(name));
        let tags = values.flat_map(|(name, value)| texts(value).into_iter().map(move |text| format!("{name}:{text}")));
        Ok((key, tags.collect()))
    }
}

/// A value of JSON as texts: several of a list, none of what is empty.
fn texts(value: &Json) -> Vec<String> {
    match value {
        Json::Null | Json::Object(_) => Vec::new(),
        Json::String(text) if text.is_empty() => Vec::new(),
        Json::String(text) => vec![text.clone()],
        Json::Array(values) => values.iter().flat_map(texts).collect(),
        other => vec![other.to_string()],
    }
}

fn said(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn read_file(path: &Path, bytes_max: u64) -> Result<String, String> {
    let file = File::open(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => "there is no such file".to_string(),
        _ => error.to_string(),
    })?;
    let mut text = String::new();
    file.take(bytes_max + 1).read_to_string(&mut text).map_err(said)?;
    if text.len() as u64 > bytes_max {
        return Err(format!("it has more than {bytes_max} bytes; `entries_max:` says how much it may have"));
    }
    Ok(text)
}

/// Sets of tags by what they are found by.
#[derive(Default)]
pub struct Table {
    sets: Vec<Vec<String>>,
    networks: Option<Ranges>,
    names: HashMap<String, u32>,
}

impl Table {
    fn new(lines: Vec<Line>, by_ip: bool) -> Result<Table, String> {
        let mut sets = Sets::default();
        if !by_ip {
            let mut names: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
            lines.into_iter().for_each(|(key, tags)| names.entry(key).or_default().extend(tags));
            let names = names.into_iter().map(|(name, tags)| (name, sets.number(tags))).collect();
            return Ok(Table { sets: sets.all, networks: None, names });
        }
        let mut networks: HashMap<(u128, u8), (Cidr, BTreeSet<String>)> = HashMap::with_capacity(lines.len());
        for (at, (key, tags)) in lines.into_iter().enumerate() {
            let cidr =
                Cidr::parse(&key).ok_or_else(|| format!("entry {}: `{key}` is no address or network", at + 1))?;
            networks.entry((cidr.first(), cidr.prefix)).or_insert_with(|| (cidr, BTreeSet::new())).1.extend(tags);
        }
        let networks = networks.into_values().map(|(cidr, tags)| (cidr, sets.number(tags))).collect();
        let networks = Ranges::new(networks, |inner, outer| sets.below(inner, outer));
        Ok(Table { sets: sets.all, networks: Some(networks), names: HashMap::new() })
    }

    fn of_ip(&self, ip: &[u8; 16]) -> Option<&[String]> {
        let found = self.networks.as_ref()?.find(ip)?;
        Some(&self.sets[found as usize])
    }

    fn of_name(&self, name: &str) -> Option<&[String]> {
        self.names.get(name).map(|found| self.sets[*found as usize].as_slice())
    }
}

/// Each set of tags once.
#[derive(Default)]
struct Sets {
    all: Vec<Vec<String>>,
    numbers: HashMap<Vec<String>, u32>,
}

impl Sets {
    fn number(&mut self, tags: BTreeSet<String>) -> u32 {
        let tags: Vec<String> = tags.into_iter().collect();
        let Sets { all, numbers } = self;
        *numbers.entry(tags).or_insert_with_key(|tags| {
            all.push(tags.clone());
            all.len() as u32 - 1
        })
    }

    /// What holds in a network: what is said of it, and of keys of which nothing is, what is around it.
    fn below(&mut self, inner: u32, outer: u32) -> u32 {
        let own = &self.all[inner as usize];
        let keys: BTreeSet<&str> = own.iter().map(|tag| key(tag)).collect();
        let more = self.all[outer as usize].iter().filter(|tag| !keys.contains(key(tag)));
        let tags = own.iter().chain(more).cloned().collect();
        self.number(tags)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, by: &str, key: Option<&str>, tags: Option<&[&str]>) -> TableFile {
        let tags = tags.map(|tags| tags.iter().map(|tag| tag.to_string()).collect());
        let options =
            TableOptions { path: name.into(), key: key.map(str::to_string), by: by.into(), tags, entries_max: 10 };
        TableFile { path: name.into(), options }
    }

    fn ip(text: &str) -> [u8; 16] {
        weir_spec::value::ip_bytes(text.parse().unwrap())
    }

    #[test]
    fn networks_give_their_tags_and_those_around_them_the_rest() {
        let text = "cidr,team,zone,note\n10.0.0.0/8, infra ,eu,\n10.1.0.0/16,shop,,\"a, b\"\n10.1.0.0/16,web,,\n";
        let table = Table::new(file("t.csv", "ip", None, None).csv(text).unwrap(), true).unwrap();
        assert_eq!(table.of_ip(&ip("10.2.0.1")).unwrap(), ["team:infra", "zone:eu"]);
        assert_eq!(table.of_ip(&ip("10.1.9.9")).unwrap(), ["note:a, b", "team:shop", "team:web", "zone:eu"]);
        assert_eq!(table.of_ip(&ip("11.0.0.0")), None);
    }

    #[test]
    fn names_and_json_are_read() {
        let text = r#"[{"service": "db", "group": ["sg-1", "sg-2"], "port": 5432, "x": null}]"#;
        let table = Table::new(file("t.json", "service", Some("service"), None).json(text).unwrap(), false).unwrap();
        assert_eq!(table.of_name("db").unwrap(), ["group:sg-1", "group:sg-2", "port:5432"]);
        let text = r#"{"db": {"group": "sg-1", "x": 1}}"#;
        let table = Table::new(file("t.json", "process", None, Some(&["group"])).json(text).unwrap(), false).unwrap();
        assert_eq!(table.of_name("db").unwrap(), ["group:sg-1"]);
    }

    #[test]
    fn what_is_wrong_with_a_file_is_said() {
        let csv = |text: &str, key, tags| {
            let file = file("t.csv", "ip", key, tags);
            file.csv(text).and_then(|lines| Table::new(lines, true)).map(|_| ()).unwrap_err()
        };
        let said = [
            csv("a,b\nx,1\n", None, None),
            csv("a,b\n10.0.0.1,1\n", Some("cidr"), None),
            csv("a,b\n10.0.0.1,1\n", None, Some(&["team"])),
            csv("a,b\n10.0.0.1,1\n10.0.0.2\n", None, None),
            file("t.json", "ip", None, None).json("[{}]").unwrap_err(),
            file("t.json", "ip", Some("ip"), None).json("[{\"ip\": []}]").unwrap_err(),
            file("t.json", "ip", None, None).json("{\"a\": 1}").unwrap_err(),
            file("t.json", "ip", None, None).json("[").unwrap_err(),
        ];
        let expected = [
            "entry 1: `x` is no address or network",
            "it has no column `cidr`; it has `a`, `b`",
            "it has no column `team`; it has `a`, `b`",
            "CSV error: record 2 (line: 3, byte: 15): found record with 1 fields, but the previous record has 2 fields",
            "`key:` has to say which member of its objects has the key",
            "entry 1 has no key",
            "entry 1 is no object",
            "EOF while parsing a list at line 1 column 1",
        ];
        assert_eq!(said, expected);
    }
}
