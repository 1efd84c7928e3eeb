//! One style: what a pipeline says stays, and what is formatted stays as it is.

use proptest::prelude::*;
use weir_dsl::lex::{Kind, lex};
use weir_dsl::{fmt, parse, tree};

use super::support::{root, text, weir};

fn tree_of(source: &str) -> String {
    tree::print(&parse::parse(source, &|_| true).0)
}

fn comments(source: &str) -> Vec<String> {
    let comments = lex(source).into_iter().filter(|t| t.kind == Kind::Comment);
    comments.map(|t| t.text(source).trim_end().to_string()).collect()
}

/// What has to hold of any text.
fn check(source: &str) -> Result<(), TestCaseError> {
    let once = fmt::format(source);
    let twice = fmt::format(&once);
    prop_assert_eq!(&once, &twice, "not idempotent:\n{}", source);
    prop_assert_eq!(comments(source), comments(&once), "comments:\n{}\n=>\n{}", source, once);
    prop_assert_eq!(tree_of(source), tree_of(&once), "another meaning:\n{}\n=>\n{}", source, once);
    Ok(())
}

/// Expressions of every form.
fn expr() -> impl Strategy<Value = String> {
    let leaf = prop::sample::select(vec![
        "a",
        "src.ip",
        "dst.port",
        "443",
        "10s",
        "1.5",
        "50%",
        "10.0.0.0/8",
        "\"x y\"",
        "true",
        "none",
        "param.p",
        "src.tags[\"k v\"]",
        "count()",
        "r#\"raw\"#",
    ]);
    leaf.prop_map(str::to_string).prop_recursive(4, 24, 4, |inner| {
        let op = prop::sample::select(vec!["and", "or", "==", "!=", "<", ">=", "+", "-", "*", "/", "in", "not in"]);
        prop_oneof![
            (inner.clone(), op, inner.clone()).prop_map(|(a, op, b)| format!("({a}) {op} {b}")),
            inner.clone().prop_map(|a| format!("not {a}")),
            inner.clone().prop_map(|a| format!("- ({a})")),
            prop::collection::vec(inner.clone(), 1..4).prop_map(|v| format!("[{}]", v.join(","))),
            prop::collection::vec(inner.clone(), 1..4).prop_map(|v| format!("max({}, where:a)", v.join(" , "))),
            inner.prop_map(|a| format!("f(a:{a},b:{{ \"k\": 1,x.y:2 }})")),
        ]
    })
}

fn stage() -> impl Strategy<Value = String> {
    let fields = || prop::collection::vec(("[a-d]{1,9}", expr()), 1..4);
    let named = |sign: &'static str| {
        move |v: Vec<(String, String)>| {
            v.into_iter().map(|(n, e)| format!("{n}_{sign}{e}")).collect::<Vec<_>>().join(", ")
        }
    };
    prop_oneof![
        expr().prop_map(|e| format!("where {e}")),
        fields().prop_map(named("=")).prop_map(|f| format!("set {f}")),
        fields().prop_map(named(" = ")).prop_map(|f| format!("select {f}, x.y")),
        Just("drop a,b.c".to_string()),
        fields().prop_map(named("=")).prop_map(|f| format!("window(5m,lateness:1s) by src.ip,k=a {{ {f} }}")),
        fields().prop_map(named("=")).prop_map(|f| format!("route {{\n{f},\n}}")),
        expr().prop_map(|e| format!("limit({e}, name: \"x\")")),
        Just("biflow".to_string()),
    ]
}

fn item() -> impl Strategy<Value = String> {
    let pipe = || prop::collection::vec(stage(), 0..4);
    let piped = |head: &'static str| {
        move |v: Vec<String>| [head.to_string()].into_iter().chain(v).collect::<Vec<_>>().join(" | ")
    };
    prop_oneof![
        pipe().prop_map(piped("let x = pcap(\"a\")")),
        pipe().prop_map(piped("x.late")),
        pipe().prop_map(piped("merge(a,b.c)")),
        expr().prop_map(|e| format!("let c = ({e})")),
        expr().prop_map(|e| format!("param p: list<int> = {e}")),
        Just("settings(memory: 1GiB,workers:2)".to_string()),
        Just("use \"a.weir\"".to_string()),
        pipe().prop_map(piped("pipe f(n:int,m: string=\"a\") = biflow(n)")),
        (pipe(), expr()).prop_map(|(p, e)| {
            let pipe = [String::from("rows [{ a: 1 },{b.c: \"x\"}]")].into_iter().chain(p).collect::<Vec<_>>().join("|");
            format!("test \"t\" {{ set p = {e} feed x with {pipe} advance 5m expect x.late any {{ {e}, a }} fail out for 3s expect x count==1 }}")
        }),
    ]
}

/// Items with comments and line breaks thrown in wherever a space may stand.
fn pipeline() -> impl Strategy<Value = String> {
    (prop::collection::vec(item(), 1..4), any::<u64>()).prop_map(|(items, seed)| scatter(&items.join("\n"), seed))
}

fn scatter(source: &str, seed: u64) -> String {
    let mut state = seed | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let mut out = String::new();
    for token in lex(source) {
        let text = token.text(source);
        if token.kind != Kind::Space || text.contains('\n') {
            out += text;
            continue;
        }
        out += match next() % 24 {
            0 => "  # why\n ",
            1 => "\n  # own\n  ",
            2 => "\n\n ",
            3 => "\n\n\n # far\n\n ",
            4 | 5 => "\n ",
            _ => " ",
        };
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn formatting_keeps_meaning_and_comments(source in pipeline()) {
        check(&source)?;
    }

    /// Bytes of any kind: what is broken stays, and nothing is lost.
    #[test]
    fn any_text_is_formatted(source in "([a-z|(){}\\[\\]\"#.:,= \n0-9-]|let |test \"x\" |\\| where ){0,60}") {
        let once = fmt::format(&source);
        prop_assert_eq!(&fmt::format(&once), &once, "not idempotent:\n{}", source);
        let words = |s: &str| lex(s).iter().filter(|t| t.is_significant() && t.text(s) != ",").map(|t| t.text(s).trim_end().to_string()).collect::<Vec<_>>();
        prop_assert_eq!(words(&source), words(&once), "{}\n=>\n{}", source, once);
    }
}

#[test]
fn every_pipeline_of_the_repository_is_kept() {
    let mut files = 0;
    for dir in ["pipelines", "fuzz/corpus/pipeline"] {
        for entry in std::fs::read_dir(root().join(dir)).unwrap().flatten().filter(|e| e.path().is_file()) {
            let Ok(source) = std::fs::read_to_string(entry.path()) else { continue };
            check(&source).unwrap_or_else(|e| panic!("{}: {e}", entry.path().display()));
            files += 1;
        }
    }
    assert!(files > 50, "{files}");
}

#[test]
fn shipped_pipelines_are_in_the_style() {
    let output = weir().args(["fmt", "--check", "pipelines"]).output().unwrap();
    assert_eq!(text(&output), (0, String::new(), String::new()));
}

/// Comments stay in every place between two words of a block.
#[test]
fn comments_before_an_equals_sign_stay() {
    let source = "pcap(\"x\") | route {\n  a # first\n  = dst.port == 1,\n  b = # why\n   dst.port == 2, # sec\n}\n";
    check(source).unwrap();
}

#[test]
fn the_style() {
    let source = std::fs::read_to_string(root().join("tests/fmt/messy.weir")).unwrap();
    insta::assert_snapshot!(fmt::format(&source));
}

/// What pipelines say, as trees: a change of the parser that changes a meaning is seen here.
#[test]
fn trees_of_a_corpus() {
    let mut files =
        vec!["pipelines/quickstart.weir", "src/cli/init/pcap.weir", "src/cli/init/ndjson.weir", "tests/fmt/messy.weir"]
            .into_iter()
            .map(|path| (path.to_string(), std::fs::read_to_string(root().join(path)).unwrap()))
            .collect::<Vec<_>>();
    let tour = std::fs::read_to_string(root().join("docs/language.md")).unwrap();
    let blocks = tour.split("```weir\n").skip(1).map(|b| b.split("\n```").next().unwrap().to_string());
    files.extend(blocks.enumerate().map(|(n, text)| (format!("tour {n}"), text)));
    let trees: String = files.iter().map(|(name, text)| format!("# {name}\n{}\n", tree_of(text))).collect();
    insta::assert_snapshot!(trees);
}
