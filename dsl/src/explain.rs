//! What each diagnostic means, with a pipeline that has it and one that does not. Both run as tests.

use weir_spec::Code;

use crate::codes;

pub struct Explanation {
    pub code: &'static str,
    /// Why weir says so and what to do, in two or three sentences.
    pub text: &'static str,
    /// Gives this diagnostic and no other; empty where it takes more than one file.
    pub wrong: &'static str,
    /// The same, mended.
    pub right: &'static str,
}

/// The explanation of a code, and its meaning in one line.
pub fn find(code: &str) -> Option<(Code, &'static str, &'static Explanation)> {
    let explanation = ALL.iter().find(|e| e.code.eq_ignore_ascii_case(code))?;
    let (code, meaning) = codes::ALL.iter().find(|(c, _)| c.0 == explanation.code)?;
    Some((*code, meaning, explanation))
}

/// In the order of the codes.
pub static ALL: &[Explanation] = &[
    Explanation {
        code: "E0001",
        text: "A pipeline is a text file in UTF-8. A file in UTF-16, or one with a NUL byte, is usually something else by mistake.",
        wrong: "pcap(\"a.pcap\") | \0stdout",
        right: r#"pcap("a.pcap") | stdout"#,
    },
    Explanation {
        code: "E0002",
        text: "The text begins like the configuration of Vector, an OpenTelemetry Collector, a Datadog Agent or Telegraf. A pipeline says the same in a few lines: a source, stages after `|`, a sink.",
        wrong: r#"[sources.in]
type = "file"
"#,
        right: r#"pcap("a.pcap") | biflow | stdout"#,
    },
    Explanation {
        code: "E0003",
        text: "The file has no definition and no pipe, so there is nothing to check or to run.",
        wrong: r#"# nothing here
"#,
        right: r#"pcap("a.pcap") | stdout"#,
    },
    Explanation {
        code: "E0004",
        text: "Brackets go at most 64 levels deep, and one expression has at most 256 operators. Give an inner part a name with `let` or `set`.",
        wrong: r#"pcap("a.pcap") | where (((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((true))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))) | stdout"#,
        right: r#"pcap("a.pcap") | where dst.port == 443 | stdout"#,
    },
    Explanation {
        code: "E0101",
        text: "The parser has come to a word or a sign that cannot stand here. What it says was expected is what belongs here; nothing else of this stage is reported until this is mended.",
        wrong: r#"pcap("a.pcap") | where | stdout"#,
        right: r#"pcap("a.pcap") | where dst.port == 443 | stdout"#,
    },
    Explanation {
        code: "E0102",
        text: "A bracket that is opened is closed in the same definition. The message shows where it was opened and where weir takes it to end.",
        wrong: r#"pcap("a.pcap") | biflow(idle: 30s | stdout"#,
        right: r#"pcap("a.pcap") | biflow(idle: 30s) | stdout"#,
    },
    Explanation {
        code: "E0103",
        text: "There is one closing bracket more than was opened.",
        wrong: r#"pcap("a.pcap") | biflow(idle: 30s)) | stdout"#,
        right: r#"pcap("a.pcap") | biflow(idle: 30s) | stdout"#,
    },
    Explanation {
        code: "E0104",
        text: r#"A string ends on the line it begins on. A text of several lines is a raw string: `r"…"`."#,
        wrong: r#"pcap("a.pcap) | stdout"#,
        right: r#"pcap("a.pcap") | stdout"#,
    },
    Explanation {
        code: "E0105",
        text: "A number touches its unit, and the unit is one of `ns us ms s m h d`, `B kB MB GB TB KiB MiB GiB TiB`, `%`, or one of these a second, `/s`.",
        wrong: r#"pcap("a.pcap") | biflow(idle: 30sec) | stdout"#,
        right: r#"pcap("a.pcap") | biflow(idle: 30s) | stdout"#,
    },
    Explanation {
        code: "E0106",
        text: "Other languages write it so; weir understands what was meant and goes on, and says how it is written here.",
        wrong: r#"pcap("a.pcap") | where dst.port == 443 && src.port == 80 | stdout"#,
        right: r#"pcap("a.pcap") | where dst.port == 443 and src.port == 80 | stdout"#,
    },
    Explanation {
        code: "E0107",
        text: "Names have a-z, 0-9 and `_`, and begin with no digit. Letters that look alike in other scripts are not the same letters.",
        wrong: r#"let Flows = pcap("a.pcap")
Flows | stdout"#,
        right: r#"let flows = pcap("a.pcap")
flows | stdout"#,
    },
    Explanation {
        code: "E0108",
        text: r#"A string knows the escapes `\n`, `\t`, `\"`, `\\` and `\u{…}`. Patterns are easier to write as raw strings: `r"\d+"`."#,
        wrong: r#"pcap("a\q.pcap") | stdout"#,
        right: r#"pcap(r"a\q.pcap") | stdout"#,
    },
    Explanation {
        code: "E0201",
        text: "Streams, params and pieces of pipe share one space of names, and so do the outputs of a `route`, the fields of a window and the columns of a schema.",
        wrong: r#"let a = pcap("a.pcap")
let a = pcap("b.pcap")
a | stdout"#,
        right: r#"let a = pcap("a.pcap")
let b = pcap("b.pcap")
a | stdout
b | blackhole"#,
    },
    Explanation {
        code: "E0202",
        text: "A pipe begins with a source or with a stream that some `let` has named.",
        wrong: r#"let flows = pcap("a.pcap") | biflow
flow | stdout"#,
        right: r#"let flows = pcap("a.pcap") | biflow
flows | stdout"#,
    },
    Explanation {
        code: "E0203",
        text: "No component has this name, and no `pipe` defines one. `weir doc` lists the components.",
        wrong: r#"pcap("a.pcap") | bifow | stdout"#,
        right: r#"pcap("a.pcap") | biflow | stdout"#,
    },
    Explanation {
        code: "E0204",
        text: "The component, the window or the piece has no option of this name. `weir doc NAME` shows them all.",
        wrong: r#"pcap("a.pcap") | biflow(idel: 30s) | stdout"#,
        right: r#"pcap("a.pcap") | biflow(idle: 30s) | stdout"#,
    },
    Explanation {
        code: "E0205",
        text: "This option has no default, so it has to be given.",
        wrong: r#"ndjson("a.ndjson") | stdout"#,
        right: r#"ndjson("a.ndjson", as: { at: time, user: string }) | stdout"#,
    },
    Explanation {
        code: "E0206",
        text: "An option is given twice; a positional value counts as well.",
        wrong: r#"pcap("a.pcap") | biflow(idle: 30s, idle: 1m) | stdout"#,
        right: r#"pcap("a.pcap") | biflow(idle: 1m) | stdout"#,
    },
    Explanation {
        code: "E0207",
        text: "A stage's outputs are read by their names, `x.late`, and belong to the last stage of the `let`.",
        wrong: r#"let w = pcap("a.pcap") | biflow | window(5m) { n = count() }
w | stdout
w.lste | blackhole"#,
        right: r#"let w = pcap("a.pcap") | biflow | window(5m) { n = count() }
w | stdout
w.late | blackhole"#,
    },
    Explanation {
        code: "E0208",
        text: "Definitions, pieces and used files may need each other only in one direction.",
        wrong: r#"let a = b | limit(1)
let b = a | limit(2)
a | stdout"#,
        right: r#"let a = pcap("a.pcap") | limit(1)
let b = a | limit(2)
b | stdout"#,
    },
    Explanation {
        code: "E0209",
        text: "A sink may have a name, so that its rejected rows can be read, `out.rejected`; nothing else comes out of it.",
        wrong: r#"let out = pcap("a.pcap") | stdout
out | blackhole"#,
        right: r#"let out = pcap("a.pcap") | stdout
out.rejected | blackhole"#,
    },
    Explanation {
        code: "E0210",
        text: "A pipe outside of a `let` ends in a sink. A stream that is to be read later needs a name.",
        wrong: r#"pcap("a.pcap") | biflow"#,
        right: r#"pcap("a.pcap") | biflow | stdout"#,
    },
    Explanation {
        code: "E0211",
        text: "A name that is both a param and a column says neither. `param.x` is always the param, and beside it the bare name is the column.",
        wrong: r#"param rtt: duration = 5ms
pcap("a.pcap") | biflow | where rtt > 1ms | stdout"#,
        right: r#"param slow: duration = 5ms
pcap("a.pcap") | biflow | where rtt > slow | stdout"#,
    },
    Explanation {
        code: "E0212",
        text: "No param of the pipeline has this name.",
        wrong: r#"param slow: duration = 5ms
pcap("a.pcap") | biflow | where rtt > param.slw | stdout"#,
        right: r#"param slow: duration = 5ms
pcap("a.pcap") | biflow | where rtt > param.slow | stdout"#,
    },
    Explanation {
        code: "E0213",
        text: "The settings of a pipeline are `memory`, `workers`, `drain`, `allow` and `language`.",
        wrong: r#"settings(memry: 1GiB)
pcap("a.pcap") | stdout"#,
        right: r#"settings(memory: 1GiB)
pcap("a.pcap") | stdout"#,
    },
    Explanation {
        code: "E0214",
        text: "A source begins a pipe, a sink ends it, a transform stands between.",
        wrong: r#"pcap("a.pcap") | stdout | biflow"#,
        right: r#"pcap("a.pcap") | biflow | stdout"#,
    },
    Explanation {
        code: "E0215",
        text: "`use` takes a pipeline file, found relative to the file that uses it: a regular file of at most 8 MiB. At most 64 files are used.",
        wrong: r#"use "no-such-file.weir"
pcap("a.pcap") | stdout"#,
        right: r#"pcap("a.pcap") | stdout"#,
    },
    Explanation {
        code: "E0216",
        text: "A test feeds streams that have a name, with a source that ends or with `rows`; it lets sinks fail; it expects counts, conditions and rows; and it sets params before anything else.",
        wrong: r#"let a = pcap("a.pcap") | biflow
a | stdout
test "t" { fail a for 30s }"#,
        right: r#"let a = pcap("a.pcap") | biflow
let out = a | stdout
test "t" { fail out for 30s }"#,
    },
    Explanation {
        code: "E0301",
        text: "The stream has no such column at this place: `select` and `window` leave only what they name.",
        wrong: r#"pcap("a.pcap") | biflow | where dst.prot == 443 | stdout"#,
        right: r#"pcap("a.pcap") | biflow | where dst.port == 443 | stdout"#,
    },
    Explanation {
        code: "E0302",
        text: "An address, a text, a time and a number are different things, and nothing turns one into another by itself.",
        wrong: r#"pcap("a.pcap") | biflow | where src.ip == 443 | stdout"#,
        right: r#"pcap("a.pcap") | biflow | where src.port == 443 | stdout"#,
    },
    Explanation {
        code: "E0303",
        text: "The unit is part of the type: a duration is not compared with a plain number. Equal units cancel in a division, and a size over a duration is a rate.",
        wrong: r#"pcap("a.pcap") | biflow | where rtt > 5 | stdout"#,
        right: r#"pcap("a.pcap") | biflow | where rtt > 5ms | stdout"#,
    },
    Explanation {
        code: "E0304",
        text: "The column has a fixed set of words, and this is none of them, so the comparison would never be true.",
        wrong: r#"pcap("a.pcap") | biflow | where protocol == "tpc" | stdout"#,
        right: r#"pcap("a.pcap") | biflow | where protocol == "tcp" | stdout"#,
    },
    Explanation {
        code: "E0305",
        text: "No function has this name. Aggregates such as `sum` stand in a window's block only. `weir doc functions` lists all.",
        wrong: r#"pcap("a.pcap") | biflow | where lowr(community_id) == "x" | stdout"#,
        right: r#"pcap("a.pcap") | biflow | where lower(community_id) == "x" | stdout"#,
    },
    Explanation {
        code: "E0306",
        text: "The function takes another number of arguments, or arguments of other types.",
        wrong: r#"pcap("a.pcap") | biflow | where network(src.ip) == "10.0.0.0/8" | stdout"#,
        right: r#"pcap("a.pcap") | biflow | where network(src.ip, 8) == "10.0.0.0/8" | stdout"#,
    },
    Explanation {
        code: "E0307",
        text: "The option takes a value of another type. A single value stands for a list of one, a plain number never for a duration or a size.",
        wrong: r#"pcap("a.pcap") | biflow(idle: 30) | stdout"#,
        right: r#"pcap("a.pcap") | biflow(idle: 30s) | stdout"#,
    },
    Explanation {
        code: "E0308",
        text: "The option is of the right type, and this value is none it can have.",
        wrong: r#"pcap("a.pcap") | stdout(jsn)"#,
        right: r#"pcap("a.pcap") | stdout(ndjson)"#,
    },
    Explanation {
        code: "E0309",
        text: "The component reads streams of another kind; the message shows what comes in. Or one of the kind's columns is of another type by now, because `set` has replaced it: sinks such as `stdout` and `file` write that as it is, whoever takes the rows for what their kind says they are cannot.",
        wrong: r#"pcap("a.pcap") | biflow | biflow | stdout"#,
        right: r#"pcap("a.pcap") | biflow | stdout"#,
    },
    Explanation {
        code: "E0310",
        text: "A window sums many rows up into one, so a column has to be a key or stand in an aggregate.",
        wrong: r#"pcap("a.pcap") | biflow | window(5m) by src.ip { bytes = sent_bytes } | stdout"#,
        right: r#"pcap("a.pcap") | biflow | window(5m) by src.ip { bytes = sum(sent_bytes) } | stdout"#,
    },
    Explanation {
        code: "E0311",
        text: "A window has a width, or a session gap; `every` divides the width; and what has to stay open side by side fits in memory.",
        wrong: r#"pcap("a.pcap") | biflow | window(5m, every: 2m) { n = count() } | stdout"#,
        right: r#"pcap("a.pcap") | biflow | window(6m, every: 2m) { n = count() } | stdout"#,
    },
    Explanation {
        code: "E0312",
        text: "Nothing upstream provides this tag, and no other tags can come in here. `resolve` and `with_tag` provide them.",
        wrong: r#"pcap("a.pcap") | biflow | where src.team == "web" | stdout"#,
        right: r#"pcap("a.pcap") | biflow | set src.tags = with_tag(src.tags, "team", "web") | where src.team == "web" | stdout"#,
    },
    Explanation {
        code: "E0313",
        text: "What is promised with `delivery:` is more than this path keeps. `weir plan` shows what each edge keeps.",
        wrong: r#"pcap("a.pcap") | biflow | stdout(delivery: exactly_once)"#,
        right: r#"pcap("a.pcap") | biflow | stdout(delivery: at_least_once)"#,
    },
    Explanation {
        code: "E0314",
        text: "Streams that are merged have the same columns, and so has what a test feeds.",
        wrong: r#"let a = pcap("a.pcap")
let b = pcap("a.pcap") | biflow
merge(a, b) | stdout"#,
        right: r#"let a = pcap("a.pcap")
let b = pcap("b.pcap")
merge(a, b) | stdout"#,
    },
    Explanation {
        code: "E0315",
        text: "This option has to be known before start, so it can use params, `env` and functions, and no columns.",
        wrong: r#"pcap("a.pcap") | biflow | limit(dst.port) | stdout"#,
        right: r#"param rows: int = 10
pcap("a.pcap") | biflow | limit(rows) | stdout"#,
    },
    Explanation {
        code: "E0316",
        text: "A computed column or key has no name of its own.",
        wrong: r#"pcap("a.pcap") | biflow | select network(src.ip, 24) | stdout"#,
        right: r#"pcap("a.pcap") | biflow | select net = network(src.ip, 24) | stdout"#,
    },
    Explanation {
        code: "E0317",
        text: "Before anything starts the memory is divided, and the fixed parts alone are more than is allowed.",
        wrong: r#"settings(memory: 1MiB)
pcap("a.pcap") | stdout"#,
        right: r#"pcap("a.pcap") | stdout"#,
    },
    Explanation {
        code: "E0318",
        text: "The language has this, and this version of weir does not run it yet.",
        wrong: r#"pcap("a.pcap") | biflow | window(session: 30s) { n = count() } | stdout"#,
        right: r#"pcap("a.pcap") | biflow | window(5m) { n = count() } | stdout"#,
    },
    Explanation {
        code: "E0401",
        text: "`weir test` ran the test, and what it expects is not so. The rows it saw stand below the message.",
        wrong: r#"let a = pcap("a.pcap") | biflow
a | blackhole
test "t" { expect a count == 1 }"#,
        right: r#"let a = pcap("a.pcap") | biflow
a | blackhole
test "t" { expect a count == 0 }"#,
    },
    Explanation {
        code: "W0201",
        text: "The stream has a name and nothing reads it, so nothing of it runs.",
        wrong: r#"let a = pcap("a.pcap")
pcap("a.pcap") | stdout"#,
        right: r#"let a = pcap("a.pcap")
a | stdout"#,
    },
    Explanation {
        code: "W0202",
        text: "Nothing uses the param, so giving it on the command line would change nothing.",
        wrong: r#"param n: int = 5
pcap("a.pcap") | stdout"#,
        right: r#"param n: int = 5
pcap("a.pcap") | limit(n) | stdout"#,
    },
    Explanation {
        code: "W0203",
        text: "The same file is used by two ways. It is read once; the second `use` adds nothing.",
        wrong: "",
        right: "",
    },
    Explanation {
        code: "W0204",
        text: r#"A param or an option that looks like a secret has its value in the text, where everybody reads it who reads the pipeline. `secret("file:…")` and `env("…")` keep it elsewhere."#,
        wrong: r#"param api_token: string = "abcdef123456"
pcap("a.pcap") | biflow | where community_id == api_token | stdout"#,
        right: r#"param api_token: string = env("API_TOKEN", "")
pcap("a.pcap") | biflow | where community_id == api_token | stdout"#,
    },
    Explanation {
        code: "W0205",
        text: "`allow` names a warning that is not given here any more. Delete it, so that it does not hide the next one.",
        wrong: r#"pcap("a.pcap") | stdout(allow: ["W0302"])"#,
        right: r#"pcap("a.pcap") | stdout"#,
    },
    Explanation {
        code: "W0206",
        text: "Who listens on 0.0.0.0, [::] or an address of the network takes in what anybody sends who reaches it. Where that is meant, `allow` says so.",
        wrong: r#"let statsd = dogstatsd(listen: ["udp://0.0.0.0:8125"])
statsd.metrics | aggregate(10s) | stdout"#,
        right: r#"let statsd = dogstatsd(listen: ["udp://127.0.0.1:8125"])
statsd.metrics | aggregate(10s) | stdout"#,
    },
    Explanation {
        code: "W0301",
        text: "Who writes `lateness` expects late rows. Those that come even later are counted as `unread_late` and gone; `x.late` has them.",
        wrong: r#"pcap("a.pcap") | biflow | window(5m, lateness: 30s) { n = count() } | stdout"#,
        right: r#"let w = pcap("a.pcap") | biflow | window(5m, lateness: 30s) { n = count() }
w | stdout
w.late | blackhole"#,
    },
    Explanation {
        code: "W0302",
        text: "Every window is held open for the lateness; one longer than the window holds several windows at a time.",
        wrong: r#"let w = pcap("a.pcap") | biflow | window(5m, lateness: 10m) { n = count() }
w | stdout
w.late | blackhole"#,
        right: r#"let w = pcap("a.pcap") | biflow | window(5m, lateness: 2m) { n = count() }
w | stdout
w.late | blackhole"#,
    },
    Explanation {
        code: "W0303",
        text: "Rows may carry tags that nobody declared, so this may be one; but it is nearly the name of one that is declared.",
        wrong: r#"ndjson("a.ndjson", as: flow) | set src.tags = with_tag(src.tags, "team", "a") | where src.taem == "a" | stdout"#,
        right: r#"ndjson("a.ndjson", as: flow) | set src.tags = with_tag(src.tags, "team", "a") | where src.team == "a" | stdout"#,
    },
    Explanation {
        code: "W0304",
        text: "The condition does not look at any row, param or variable: it is the same for ever. A `where` that is switched by a param is not meant.",
        wrong: r#"pcap("a.pcap") | biflow | where 1 == 1 | stdout"#,
        right: r#"pcap("a.pcap") | biflow | where dst.port == 443 | stdout"#,
    },
    Explanation {
        code: "W0305",
        text: "Nearly every row has a value of its own in this key, so the window makes a group for nearly every row. Round it, or take another key.",
        wrong: r#"pcap("a.pcap") | biflow | window(5m) by end { n = count() } | stdout"#,
        right: r#"pcap("a.pcap") | biflow | window(5m) by minute = floor(end, 1m) { n = count() } | stdout"#,
    },
];
