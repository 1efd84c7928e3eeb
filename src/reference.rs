//! The reference, made from the declarations: a page a component, and one each for kinds of streams,
//! types, literals, aggregates, functions and diagnostics.

use std::fmt::Write;

use unicode_width::UnicodeWidthStr;
use weir_spec::component::Inputs;
use weir_spec::option::{OptionSpec, OptionType, PartSpec};
use weir_spec::{ComponentSpec, Kind, aggregate, function, kinds};

use crate::components::SPECS;

/// A page: its name in links and on the command line, and what is on it.
pub struct Page {
    pub name: String,
    pub title: String,
    pub summary: String,
    pub blocks: Vec<Block>,
}

pub enum Block {
    Heading(String),
    Text(String),
    Code(String),
    Table(Vec<&'static str>, Vec<Vec<String>>),
}

/// Every page, in the order of the index.
pub fn pages() -> Vec<Page> {
    let mut pages: Vec<Page> = SPECS.iter().map(|spec| component(spec)).collect();
    pages.extend(kinds::ALL.iter().map(|kind| kind_page(kind)));
    pages.extend([types(), literals(), aggregates(), functions(), tests(), diagnostics()]);
    pages
}

pub fn find(name: &str) -> Option<Page> {
    pages().into_iter().find(|page| page.name == name)
}

fn component(spec: &ComponentSpec) -> Page {
    let mut blocks = vec![Block::Text(format!("{}: {}.", what(spec), spec.summary))];
    if let Some(first) = spec.examples.first() {
        blocks.push(Block::Code(first.to_string()));
    }
    if !spec.options.is_empty() {
        blocks.push(Block::Heading("Options".into()));
        let rows = spec.options.iter().map(option).collect();
        blocks.push(Block::Table(vec!["option", "takes", "default", "meaning"], rows));
    }
    for part in spec.options.iter().flat_map(|option| parts(option.ty)) {
        blocks.push(Block::Heading(format!("`{}`", part.name)));
        blocks.push(Block::Text(format!("{}, as in `{}`.", capital(part.summary), part.example)));
        if !part.options.is_empty() {
            let rows = part.options.iter().map(option).collect();
            blocks.push(Block::Table(vec!["option", "takes", "default", "meaning"], rows));
        }
    }
    let inputs = match spec.inputs {
        Inputs::None => None,
        Inputs::One([]) => Some("reads any stream".to_string()),
        Inputs::One(kinds) => Some(format!("reads {}", or(kinds))),
        Inputs::Many => Some("reads several streams with the same columns".to_string()),
    };
    blocks.extend(inputs.map(|text| Block::Text(format!("It {text}."))));
    if spec.outputs.iter().any(|o| !o.doc.is_empty()) {
        blocks.push(Block::Heading("Outputs".into()));
        let name = |name: &str| if name.is_empty() { "`x`".to_string() } else { format!("`x.{name}`") };
        let rows = spec.outputs.iter().map(|o| vec![name(o.name), o.doc.to_string()]).collect();
        blocks.push(Block::Table(vec!["output", "has"], rows));
    }
    if !spec.drops.is_empty() {
        blocks.push(Block::Heading("Drops".into()));
        let rows = spec.drops.iter().map(|d| vec![format!("`{}`", d.name), d.doc.to_string()]).collect();
        blocks.push(Block::Table(vec!["reason in the ledger", "counts"], rows));
    }
    if !spec.notes.is_empty() {
        blocks.push(Block::Heading("Notes".into()));
        let notes = spec.notes.iter().copied().flatten();
        let rows = notes.map(|note| vec![format!("`{}`", note.name), note.doc.to_string()]).collect();
        blocks.push(Block::Table(vec!["beside rows, the ledger's `noted` has", "which counts"], rows));
    }
    if spec.examples.len() > 1 {
        blocks.push(Block::Heading("Examples".into()));
        blocks.push(Block::Code(spec.examples[1..].join("\n\n")));
    }
    let options = "Every stage also takes `name:`, `on_full:` and `allow:`";
    let sinks = if spec.is_sink() { ", a sink `delivery:` beside them" } else { "" };
    blocks.push(Block::Text(format!("{options}{sinks}.")));
    Page {
        name: spec.name.into(),
        title: spec.name.into(),
        summary: format!("{}: {}", what(spec), spec.summary),
        blocks,
    }
}

fn what(spec: &ComponentSpec) -> &'static str {
    match (spec.is_source(), spec.is_sink()) {
        (true, _) => "source",
        (_, true) => "sink",
        _ => "transform",
    }
}

fn or(words: &[&str]) -> String {
    words.iter().map(|w| format!("`{w}`")).collect::<Vec<_>>().join(" or ")
}

fn option(option: &OptionSpec) -> Vec<String> {
    let default = match (option.required, option.default) {
        (true, _) => "required".to_string(),
        (_, "") => "none".to_string(),
        (_, default) => format!("`{default}`"),
    };
    let none = if option.none && option.default != "none" { "; `none` switches it off" } else { "" };
    let place = if option.positional { "; its name may be left out" } else { "" };
    vec![
        format!("`{}`", option.name),
        format!("{}{none}", takes(option.ty)),
        default,
        format!("{}{place}", option.doc.trim().trim_end_matches('.')),
    ]
}

/// What an option takes that has options of its own.
fn parts(ty: OptionType) -> &'static [PartSpec] {
    match ty {
        OptionType::Part(parts) => parts,
        OptionType::List(of) => parts(*of),
        _ => &[],
    }
}

fn takes(ty: OptionType) -> String {
    match ty {
        OptionType::Bool => "`true` or `false`".into(),
        OptionType::Int { min, max } => match max {
            i64::MAX => format!("a whole number from {min}"),
            _ => format!("a whole number, {min} to {max}"),
        },
        OptionType::Float => "a number".into(),
        OptionType::Duration => "a duration".into(),
        OptionType::Size => "a size".into(),
        OptionType::Rate => "a rate".into(),
        OptionType::Percent => "a percentage".into(),
        OptionType::Str => "a text".into(),
        OptionType::Path => "a path".into(),
        OptionType::Word(words) => or(words),
        OptionType::Ip => "an address".into(),
        OptionType::Cidr => "a network".into(),
        OptionType::Time => "a time".into(),
        OptionType::Secret => "a secret".into(),
        OptionType::List(of) => format!("{}, or a list of them", takes(*of)),
        OptionType::Schema => "a kind of stream, or `{ column: type, … }`".into(),
        OptionType::Column => "a column".into(),
        OptionType::Expr => "an expression over the row".into(),
        OptionType::Part(parts) => or(&parts.iter().map(|part| part.example).collect::<Vec<_>>()),
    }
}

fn kind_page(kind: &Kind) -> Page {
    let row = |c: &weir_spec::kind::Column| {
        vec![format!("`{}`", c.name), format!("`{}`", c.ty), c.meaning.to_string(), c.standard.to_string()]
    };
    let rows = kind.columns.iter().map(row).collect();
    let blocks = vec![
        Block::Text(format!("{}. Its event time is `{}`.", capital(kind.meaning.trim_end_matches('.')), kind.time)),
        Block::Table(vec!["column", "type", "meaning", "standard term"], rows),
    ];
    let name = format!("stream-{}", kind.name);
    Page { name, title: format!("Streams of kind {}", kind.name), summary: kind.meaning.to_string(), blocks }
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or(String::new(), |first| first.to_uppercase().chain(chars).collect())
}

fn table_page(name: &str, title: &str, summary: &str, header: Vec<&'static str>, rows: &[&[&str]]) -> Page {
    let rows = rows.iter().map(|row| row.iter().map(|cell| cell.to_string()).collect()).collect();
    let blocks = vec![Block::Text(format!("{}.", capital(summary))), Block::Table(header, rows)];
    Page { name: name.into(), title: title.into(), summary: summary.into(), blocks }
}

fn types() -> Page {
    table_page(
        "types",
        "Types",
        "what a column, a param or an option is; the unit is part of the type",
        vec!["type", "is", "written"],
        &[
            &["`string`", "a text", "`\"web\"`, `r\"\\d+\"`"],
            &["`int`", "a whole number of 64 bits", "`443`, `1_000`"],
            &["`float`", "a fraction", "`0.5`, `1e3`"],
            &["`bool`", "true or false", "`true`"],
            &["`duration`", "a time span, exact to the nanosecond", "`250ms`, `1m30s`"],
            &["`size`", "bytes", "`10KiB`, `1.5MB`"],
            &["`rate`", "bytes or things a second", "`10MB/s`, `100/s`"],
            &["`percent`", "a fraction: 50 % is 0.5", "`50%`"],
            &["`ip`", "an address, IPv4 or IPv6", "`10.0.0.1`, `\"2001:db8::1\"`"],
            &["`cidr`", "a network", "`10.0.0.0/8`, `\"2001:db8::/32\"`"],
            &["`time`", "a moment in UTC, exact to the nanosecond", "`\"2026-01-31T12:00:00Z\"`"],
            &["`secret`", "a value that is shown nowhere", "`secret(\"file:/run/secrets/key\")`"],
            &["`list<T>`", "several values of one type", "`[80, 443]`"],
            &["`tags`", "a set of `key:value`", "`src.tags[\"team\"]`, `src.team`"],
            &["`sketch`", "a distribution, from which quantiles are taken", "`sketch(rtt)`"],
        ],
    )
}

fn literals() -> Page {
    table_page(
        "literals",
        "Literals",
        "how values are written",
        vec!["value", "written", "note"],
        &[
            &["number", "`5`, `1_000`, `2.5`, `1e3`", "a fraction has a point or an exponent"],
            &["duration", "`ns us ms s m h d`: `90s`, `1m30s`, `1.5h`", "the unit touches the number"],
            &["size", "`B kB MB GB TB KiB MiB GiB TiB`", "`kB` is 1000 bytes, `KiB` 1024"],
            &["rate", "a size or a number, and `/s`", "`10MB/s`"],
            &["percentage", "`1%`", "is 0.01"],
            &["text", "`\"…\"` with `\\n \\t \\\" \\\\ \\u{…}`", "ends on its line"],
            &["raw text", "`r\"…\"`, `r#\"…\"#`", "may have several lines, knows no escapes"],
            &["address", "`10.0.0.1`; IPv6 in quotes", "IPv4 may stand in quotes too"],
            &["network", "`10.0.0.0/8`; IPv6 in quotes", ""],
            &["time", "`\"2026-01-31T12:00:00Z\"`", "a text in the place of a time"],
            &["list", "`[80, 443]`", "a single value stands for a list of one in an option"],
            &["map", "`{ \"k\": v }`", "only as an option's value"],
            &["nothing", "`none`", "switches a limit off; as a value, absent"],
            &["variable", "`env(\"NAME\", \"default\")`", "read before start"],
            &["secret", "`secret(\"file:…\")`, `secret(\"env:…\")`", "only its place is in the pipeline"],
        ],
    )
}

fn aggregates() -> Page {
    let row =
        |a: &aggregate::AggregateSpec| vec![format!("`{}`", a.signature), a.summary.to_string(), a.takes.to_string()];
    let blocks = vec![
        Block::Text(
            "In a window's block, each with `where:` if not every row counts. An expression may mix several.".into(),
        ),
        Block::Code(
            "pcap(\"shop.pcap.gz\") | biflow\n  | window(5m) by dst.ip {\n      tcp  = count(where: protocol == \"tcp\"),\n      \
             slow = p95(rtt),\n      mean = sum(sent_bytes) / count(),\n    }\n  | stdout"
                .into(),
        ),
        Block::Table(vec!["aggregate", "gives", "of"], aggregate::ALL.iter().map(row).collect()),
    ];
    let summary = "what a window sums up";
    Page { name: "aggregates".into(), title: "Aggregates".into(), summary: summary.into(), blocks }
}

fn functions() -> Page {
    let mut blocks = vec![Block::Text(
        "In every expression. An argument that is absent gives an absent result, where nothing else is said.".into(),
    )];
    for function in function::ALL {
        blocks.push(Block::Heading(function.name.into()));
        blocks.push(Block::Text(format!("`{}`: {}.", function.signature, function.summary)));
        let shown = function.examples.iter().map(|(expr, result)| format!("{expr}  # {result}"));
        blocks.push(Block::Code(shown.collect::<Vec<_>>().join("\n")));
    }
    let summary = "what an expression may call";
    Page { name: "functions".into(), title: "Functions".into(), summary: summary.into(), blocks }
}

fn tests() -> Page {
    let mut page = table_page(
        "tests",
        "Tests",
        "what stands in `test \"…\" { … }`, run by `weir test` in virtual time",
        vec!["statement", "does"],
        &[
            &["`set param = value`", "gives a param another value; before everything else"],
            &["`feed x with rows [ { column: value, … }, … ]`", "puts rows in the place of the definition `x`"],
            &["`feed x with ndjson(\"…\") | …`", "the same from a file, through a pipe of its own that ends"],
            &["`advance 6m`", "moves the clock and the watermarks; it starts at the first time fed"],
            &["`fail out for 30s`", "lets the far end of a sink be away; it is tried again as in a run"],
            &["`expect x count == 3`", "so many rows came out of `x`; of a sink, were delivered"],
            &["`expect x held == 3`", "the same of `in`, `out`, `made`, `absorbed`, `held`, `retries`"],
            &["`expect x dropped where == 3`", "so many rows were dropped for that reason"],
            &["`expect x any { a > 1, b == \"y\" }`", "some row meets all conditions; `all` and `none` likewise"],
            &[
                "`expect x rows [ { … }, … ]`",
                "exactly these rows, in any order; a row is held to the columns it names",
            ],
            &["`expect x rows in order [ … ]`", "exactly these rows, in this order"],
        ],
    );
    page.blocks.insert(1, Block::Code(TEST_EXAMPLE.into()));
    page
}

const TEST_EXAMPLE: &str = "\
let flows = pcap(\"shop.pcap.gz\") | biflow
let busy = flows | window(5m) by dst.ip { bytes = sum(sent_bytes) }
busy | stdout

test \"bytes are summed by service\" {
  feed flows with rows [
    { end: \"2026-01-01T00:01:00Z\", dst.ip: 10.0.0.1, sent_bytes: 1KiB },
    { end: \"2026-01-01T00:02:00Z\", dst.ip: 10.0.0.1, sent_bytes: 2KiB },
  ]
  expect busy count == 0
  advance 5m
  expect busy rows [{ dst.ip: 10.0.0.1, bytes: 3KiB }]
}";

fn diagnostics() -> Page {
    let mut blocks = vec![Block::Text(
        "Errors begin with E: nothing starts. Warnings begin with W: `allow: [\"W0301\"]` on a stage silences one in \
         its definition, `settings(allow: …)` in the file."
            .into(),
    )];
    for explanation in weir_dsl::explain::ALL {
        let Some((code, meaning, _)) = weir_dsl::explain::find(explanation.code) else { continue };
        blocks.push(Block::Heading(format!("{}: {meaning}", code.0)));
        blocks.push(Block::Text(explanation.text.into()));
        let is_shown = |text: &&&str| !text.is_empty() && text.len() < 300;
        let examples = [("this has it", explanation.wrong), ("this does not", explanation.right)];
        for (title, text) in examples.iter().filter(|(_, text)| is_shown(&text)) {
            blocks.push(Block::Code(format!("# {title}\n{}", text.replace('\0', "␀").trim_end())));
        }
    }
    let summary = "what weir says of a pipeline, and why";
    Page { name: "diagnostics".into(), title: "Diagnostics".into(), summary: summary.into(), blocks }
}

/// The page as Markdown.
pub fn markdown(page: &Page) -> String {
    let mut out = format!("# {}\n", page.title);
    for block in &page.blocks {
        out.push('\n');
        // Writing into memory cannot fail.
        let _ = match block {
            Block::Heading(text) => writeln!(out, "## {text}"),
            Block::Text(text) => writeln!(out, "{text}"),
            Block::Code(text) => writeln!(out, "```weir\n{text}\n```"),
            Block::Table(header, rows) => {
                let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
                out += &line(header.iter().map(|h| h.to_string()).collect());
                out += &line(header.iter().map(|_| "---".to_string()).collect());
                rows.iter().for_each(|row| out += &line(row.iter().map(|cell| cell.replace('|', "\\|")).collect()));
                Ok(())
            }
        };
    }
    out
}

/// The first page, with links to all.
pub fn index() -> String {
    let mut out = "# Reference\n\nMade from the program's own declarations by `weir doc --all`.\n\n".to_string();
    for page in pages() {
        let _ = writeln!(out, "- [{}]({}.md): {}", page.title, page.name, page.summary);
    }
    out
}

/// The page as a terminal shows it.
pub fn plain(page: &Page) -> String {
    let mut out = format!("{}\n", page.title);
    for block in &page.blocks {
        out.push('\n');
        let _ = match block {
            Block::Heading(text) => writeln!(out, "{}", text.to_uppercase()),
            Block::Text(text) => writeln!(out, "{}", crate::cli::explain::wrap(text)),
            Block::Code(text) => {
                text.lines().for_each(|line| out += &format!("    {line}\n"));
                Ok(())
            }
            Block::Table(_, rows) => {
                rows.iter().for_each(|row| out += &entry(row));
                Ok(())
            }
        };
    }
    out
}

/// A row of a table below each other: its first cell, then the rest.
fn entry(row: &[String]) -> String {
    let bare = |cell: &String| cell.replace('`', "");
    let Some((first, rest)) = row.split_first() else { return String::new() };
    let rest: Vec<String> = rest.iter().map(bare).filter(|cell| !cell.is_empty()).collect();
    let first = bare(first);
    let pad = " ".repeat(26usize.saturating_sub(first.width()).max(2));
    format!("  {first}{pad}{}\n", rest.join("; "))
}
