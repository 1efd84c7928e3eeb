//! Names that are to be others, with parts of them as tags, as the Agent's mapper profiles make them.

use std::collections::HashMap;

use regex::{Regex, RegexBuilder};

use weir_spec::function::pattern_error;

use super::message::{self, Metric};

/// Names that are longer are not mapped: they would cost a search each time, and Datadog takes none above 200.
const NAME_BYTES_MAX: usize = 256;
/// Names of which it is remembered what becomes of them. Who has more has all of them looked for now and then.
const KNOWN_MAX: usize = 10_000;
/// What is remembered of one, near enough for a budget.
const KNOWN_BYTES: usize = 4 * NAME_BYTES_MAX;
/// What a compiled expression may take.
const PATTERN_BYTES_MAX: usize = 64 << 10;
pub const MAPPINGS_MAX: usize = 1000;

/// Memory of so many mappings.
pub fn held_bytes(mappings: usize) -> usize {
    if mappings == 0 { 0 } else { mappings * PATTERN_BYTES_MAX + KNOWN_MAX * KNOWN_BYTES }
}

/// `jobs.*.* -> jobs {queue:$1,what:$2}`: which names, what becomes of them, and the tags that are added.
#[derive(Clone, Debug)]
pub struct Mapping {
    names: Regex,
    name: String,
    tags: Vec<String>,
}

/// Why a mapping is none, and what to do about it.
pub struct Wrong {
    pub why: String,
    pub help: &'static str,
}

const FORM: &str = "write it as `jobs.*.* -> jobs {queue:$1,what:$2}`";

fn wrong(why: String, help: &'static str) -> Wrong {
    Wrong { why, help }
}

impl Mapping {
    pub fn parse(text: &str) -> Result<Mapping, Wrong> {
        let (names, rest) = halves(text).ok_or_else(|| wrong(format!("`{text}` says no new name"), FORM))?;
        let (name, tags) = match rest.trim().split_once(" {") {
            None => (rest.trim(), ""),
            Some((name, tags)) => {
                let tags = tags.strip_suffix('}');
                (name.trim(), tags.ok_or_else(|| wrong(format!("the tags of `{text}` do not end"), FORM))?)
            }
        };
        if name.is_empty() || name.contains([' ', ':', '|', '\n']) {
            return Err(wrong(format!("`{name}` is no name of a metric"), FORM));
        }
        let tags: Vec<String> =
            tags.split(',').map(str::trim).filter(|tag| !tag.is_empty()).map(String::from).collect();
        if let Some(tag) = tags.iter().find(|tag| !message::is_tag(tag)) {
            return Err(wrong(format!("`{tag}` is no tag"), message::TAG_FORM));
        }
        let names = pattern(names)?;
        for text in std::iter::once(name).chain(tags.iter().map(String::as_str)) {
            parts_exist(text, &names)?;
        }
        Ok(Mapping { names, name: name.to_string(), tags })
    }

    /// Nothing where the name is another one, or would become none.
    fn map(&self, name: &str) -> Option<Mapped> {
        let parts = self.names.captures(name)?;
        let mut mapped = Mapped::default();
        parts.expand(&self.name, &mut mapped.name);
        for tag in &self.tags {
            let mut expanded = String::new();
            parts.expand(tag, &mut expanded);
            if !mapped.tags.is_empty() {
                mapped.tags.push(',');
            }
            // A comma of the name would make two tags of it.
            mapped.tags.push_str(&expanded.replace(',', "_"));
        }
        (!mapped.name.is_empty()).then_some(mapped)
    }
}

/// What stands before the arrow, and behind it. An expression ends at its slash, and may have arrows.
fn halves(text: &str) -> Option<(&str, &str)> {
    let text = text.trim();
    if !text.starts_with('/') {
        return text.split_once("->").map(|(names, rest)| (names.trim(), rest));
    }
    let mut ends = text.match_indices('/').skip(1).map(|(at, _)| text.split_at(at + 1));
    ends.find_map(|(names, rest)| Some((names, rest.trim_start().strip_prefix("->")?)))
}

/// What names are meant: with `*` for what stands between two dots, or an expression between slashes. All of a name
/// has to be so.
fn pattern(names: &str) -> Result<Regex, Wrong> {
    let expression = match names.strip_prefix('/').and_then(|names| names.strip_suffix('/')) {
        Some(expression) => expression.to_string(),
        None => {
            let is_known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '*' | '.');
            if names.is_empty() || !names.chars().all(is_known) || names.contains("**") {
                let help = "a `*` is anything between two dots, and what else there is are letters, digits, `-`, `_` and `.`; a regular expression stands between slashes, as `/jobs\\.(.*)/`";
                return Err(wrong(format!("`{names}` says no names"), help));
            }
            names.replace('.', "\\.").replace('*', "([^.]*)")
        }
    };
    RegexBuilder::new(&format!("^(?:{expression})$")).size_limit(PATTERN_BYTES_MAX).build().map_err(|why| {
        wrong(
            format!("`{names}` is no regular expression: {}", pattern_error(&why)),
            "between slashes, `\\.` is a dot, `.*` anything, and `(…)` a part",
        )
    })
}

/// Whether every `$1` and `${name}` of a text is a part of the names.
fn parts_exist(text: &str, names: &Regex) -> Result<(), Wrong> {
    let mut rest = text;
    while let Some((_, behind)) = rest.split_once('$') {
        if let Some(behind) = behind.strip_prefix('$') {
            rest = behind;
            continue;
        }
        let part = match behind.strip_prefix('{') {
            // One that does not end is none.
            Some(braced) => braced.split_once('}').map_or("{", |(part, _)| part),
            None => behind.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).next().unwrap_or_default(),
        };
        let is_there = match part.parse::<usize>() {
            Ok(number) => number < names.captures_len(),
            Err(_) => names.capture_names().flatten().any(|name| name == part),
        };
        if !is_there {
            let help =
                "parts are counted from `$1`; where letters, digits or `_` follow, write `${1}`, and `$$` for a `$`";
            return Err(wrong(format!("there is no part `${part}` of the name"), help));
        }
        rest = behind;
    }
    Ok(())
}

/// What becomes of a name.
#[derive(Default)]
struct Mapped {
    name: String,
    /// Joined by commas.
    tags: String,
}

/// Maps names; the first mapping that matches counts.
pub struct Mapper {
    mappings: Vec<Mapping>,
    known: HashMap<Box<[u8]>, Option<Mapped>>,
    /// Of the row at hand, as if they had been sent.
    tags: Vec<u8>,
}

impl Mapper {
    /// None where there is nothing to map.
    pub fn new(mappings: Vec<Mapping>) -> Option<Mapper> {
        (!mappings.is_empty()).then(|| Mapper { mappings, known: HashMap::new(), tags: Vec::new() })
    }

    /// The metric as it is to be: those that nothing matches as they are.
    pub fn map<'m>(&'m mut self, metric: Metric<'m>) -> Metric<'m> {
        let Mapper { mappings, known, tags } = self;
        if metric.name.len() > NAME_BYTES_MAX {
            return metric;
        }
        if !known.contains_key(metric.name) {
            if known.len() >= KNOWN_MAX {
                known.clear();
            }
            let name = std::str::from_utf8(metric.name).ok();
            let mapped = name.and_then(|name| mappings.iter().find_map(|mapping| mapping.map(name)));
            known.insert(metric.name.into(), mapped);
        }
        let Some(Some(mapped)) = known.get(metric.name) else { return metric };
        tags.clear();
        tags.extend_from_slice(metric.tags.unwrap_or_default());
        if !tags.is_empty() && !mapped.tags.is_empty() {
            tags.push(b',');
        }
        tags.extend_from_slice(mapped.tags.as_bytes());
        let tags = (!tags.is_empty()).then_some(&tags[..]);
        Metric { name: mapped.name.as_bytes(), tags, ..metric }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapped(mappings: &[&str], name: &str) -> Option<(String, String)> {
        let parse = |text: &&str| Mapping::parse(text).unwrap_or_else(|wrong| panic!("{}", wrong.why));
        let mut mapper = Mapper::new(mappings.iter().map(parse).collect()).unwrap();
        let metric = Metric { name: name.as_bytes(), tags: Some(b"env:a"), ..plain() };
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let found = |metric: Metric| (text(metric.name), text(metric.tags.unwrap_or_default()));
        let once = found(mapper.map(metric.clone()));
        assert_eq!(once, found(mapper.map(metric)), "what is remembered");
        (once != (name.to_string(), "env:a".to_string())).then_some(once)
    }

    fn to(name: &str, tags: &str) -> Option<(String, String)> {
        Some((name.to_string(), tags.to_string()))
    }

    /// The cases of the Agent's `mapper_test.go`, as facts.
    #[test]
    fn names_become_what_the_agent_makes_of_them() {
        let jobs = ["test.job.duration.*.* -> test.job.duration {job_type:$1, job_name:$2}", "test.task.*.x -> task"];
        assert_eq!(mapped(&jobs, "test.job.duration.a.b_c"), to("test.job.duration", "env:a,job_type:a,job_name:b_c"));
        assert_eq!(mapped(&jobs, "test.task.any.x"), to("task", "env:a"));
        for other in
            ["test.job.duration.a", "test.job.duration.a.b.c", "xtest.job.duration.a.b", "testXjob.duration.a.b"]
        {
            assert_eq!(mapped(&jobs, other), None, "{other}");
        }
        // A star may be a part of what is between two dots, and stand for nothing.
        assert_eq!(mapped(&["a-*.b* -> ${1}_$2.n"], "a-x.b"), to("x_.n", "env:a"));
        // The first that matches counts.
        assert_eq!(mapped(&["a.* -> one", "a.b -> two"], "a.b"), to("one", "env:a"));
        let any = [r"/consul\.http\.([a-zA-Z]+)\.(.*)/ -> consul.http {method:$1,path:$2,cost:5$$}"];
        assert_eq!(mapped(&any, "consul.http.GET.v1.kv"), to("consul.http", "env:a,method:GET,path:v1.kv,cost:5$"));
        assert_eq!(mapped(&any, "a.consul.http.GET.v1"), None);
        assert_eq!(mapped(&["/job (?<what>[^ ]*)/ -> job {host:$what}"], "job x"), to("job", "env:a,host:x"));
    }

    #[test]
    fn what_would_be_no_name_or_two_tags_is_neither() {
        assert_eq!(mapped(&["jobs.* -> $1"], "jobs."), None);
        assert_eq!(mapped(&["jobs.* -> jobs {what:$1}"], "jobs.a,b"), to("jobs", "env:a,what:a_b"));
        // All of a name, whatever the alternatives.
        assert_eq!(
            ["get", "get.x", "x.put"].map(|name| mapped(&["/get|put/ -> call"], name).is_some()),
            [true, false, false]
        );
        assert_eq!(mapped(&["/a->(.)/ -> b {c:->$1}"], "a->x"), to("b", "env:a,c:->x"));
        let long = format!("jobs.{}", "x".repeat(NAME_BYTES_MAX));
        assert_eq!(mapped(&["jobs.* -> jobs"], &long), None);
        let wrong = |text: &str| Mapping::parse(text).err().map(|wrong| wrong.why);
        assert_eq!(wrong("jobs.* -> jobs {what:${1}").as_deref(), Some("there is no part `${` of the name"));
        assert!(wrong("/a(?-u)(.)/ -> b.$1").is_some(), "what could be no text");
    }

    #[test]
    fn more_names_than_are_remembered_are_mapped_all_the_same() {
        let mut mapper = Mapper::new(Mapping::parse("*.n -> n {was:$1}").into_iter().collect()).unwrap();
        for number in (0..KNOWN_MAX + 10).chain(0..10) {
            let name = format!("{number}.n");
            let found = mapper.map(Metric { name: name.as_bytes(), tags: None, ..plain() });
            assert_eq!((found.name, found.tags), (&b"n"[..], Some(format!("was:{number}").as_bytes())));
        }
        assert!(mapper.known.len() <= KNOWN_MAX);
    }

    fn plain<'a>() -> Metric<'a> {
        let origin = Default::default();
        Metric { name: b"", kind: 0, values: b"1", sample_rate: 1.0, timestamp: None, tags: None, origin }
    }
}
