//! What is made from the declarations: the reference, completions, the man page; and pictures.

use std::collections::BTreeMap;

use weir::reference::{Block, index, markdown, pages};
use weir_dsl::Setting;

use super::support::{root, text, weir};

/// The pages in the repository are those that the program writes: `weir doc --all docs/reference`.
#[test]
fn the_reference_has_not_drifted() {
    let dir = root().join("docs/reference");
    let mut wanted: BTreeMap<String, String> =
        pages().iter().map(|page| (format!("{}.md", page.name), markdown(page))).collect();
    wanted.insert("README.md".into(), index());
    let found = std::fs::read_dir(&dir).unwrap().flatten();
    let found: BTreeMap<String, String> = found
        .map(|e| (e.file_name().to_string_lossy().into_owned(), std::fs::read_to_string(e.path()).unwrap()))
        .collect();
    for (name, text) in &wanted {
        assert!(found.get(name) == Some(text), "docs/reference/{name} is old: weir doc --all docs/reference");
    }
    assert_eq!(found.keys().collect::<Vec<_>>(), wanted.keys().collect::<Vec<_>>());
}

/// The pipelines of every page check; functions and diagnostics have tests of their own.
#[test]
fn examples_of_the_reference_check() {
    let params = BTreeMap::new();
    let setting = Setting::alone("doc.weir", &weir::components::SPECS, &params);
    let mut checked = 0;
    for page in pages().iter().filter(|p| !["functions", "diagnostics"].contains(&p.name.as_str())) {
        for block in &page.blocks {
            let Block::Code(code) = block else { continue };
            for pipeline in code
                .split("\n\n")
                .filter(|_| page.name != "tests")
                .chain((page.name == "tests").then_some(code.as_str()))
            {
                let said = weir_dsl::check(pipeline.as_bytes(), &setting).diagnostics;
                assert!(said.is_empty(), "{}: {pipeline}: {said:#?}", page.name);
                checked += 1;
            }
        }
    }
    assert!(checked > 15, "{checked}");
}

/// Every pipeline of the tour checks; the tests in it pass.
#[test]
fn the_tour_is_true() {
    let tour = std::fs::read_to_string(root().join("docs/language.md")).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let mut shown = 0;
    for (n, block) in tour.split("```weir\n").skip(1).enumerate() {
        let pipeline = block.split("\n```").next().unwrap();
        let path = dir.path().join(format!("{n}.weir"));
        std::fs::write(&path, format!("{pipeline}\n")).unwrap();
        let check = weir().args(["check", "--deny-warnings"]).arg(&path).output().unwrap();
        assert_eq!(text(&check), (0, String::new(), String::new()), "{pipeline}");
        let test = weir().arg("test").arg(&path).output().unwrap();
        assert_eq!(text(&test).0, 0, "{pipeline}\n{:?}", text(&test));
        let style = weir().args(["fmt", "--check"]).arg(&path).output().unwrap();
        assert_eq!(text(&style).1, "", "{pipeline}");
        shown += 1;
    }
    assert!(shown >= 8, "{shown}");
}

#[test]
fn pages_read_well_in_a_terminal() {
    for (name, args) in [("index", vec!["doc"]), ("biflow", vec!["doc", "biflow"]), ("floor", vec!["doc", "floor"])] {
        let output = weir().args(args).output().unwrap();
        insta::assert_snapshot!(format!("doc_{name}"), text(&output).1);
    }
    let output = weir().args(["doc", "bifow"]).output().unwrap();
    assert_eq!(text(&output), (2, String::new(), "error: there is no page `bifow`; did you mean `biflow`?\n".into()));
}

#[test]
fn graphs_are_drawn() {
    let pipeline = "let all = generate(flow, rows: 10)\nlet w = all | window(5m) by dst.ip { n = count() }\n\
                    w | stdout\nw.late | blackhole\nall | where dst.port == 443 | file(\"x & <y>\")";
    for format in ["text", "mermaid", "dot", "svg"] {
        let output = weir().args(["graph", "-e", pipeline, "--format", format]).output().unwrap();
        assert_eq!(text(&output).0, 0, "{:?}", text(&output));
        insta::assert_snapshot!(format!("graph_{format}"), text(&output).1);
    }
}

#[test]
fn shells_and_man_are_served() {
    for shell in ["bash", "zsh", "fish"] {
        let (code, script, _) = text(&weir().args(["completions", shell]).output().unwrap());
        assert!(code == 0 && script.contains("explain") && script.contains("deny-warnings"), "{shell}");
    }
    let script = text(&weir().args(["completions", "bash"]).output().unwrap()).1;
    let mut bash = std::process::Command::new("bash");
    assert!(bash.args(["-n", "-c", &script]).status().unwrap().success(), "bash reads its completions");
    let (code, page, _) = text(&weir().arg("man").output().unwrap());
    assert!(code == 0 && page.contains(".TH weir") && page.contains("weir\\-test"), "{page}");
}

/// What `init` writes checks in silence, passes its own tests, is in the style, and overwrites nothing.
#[test]
fn a_first_pipeline_is_sound() {
    let dir = tempfile::tempdir().unwrap();
    for from in ["pcap", "ndjson", "dogstatsd"] {
        let path = dir.path().join(format!("{from}.weir"));
        assert_eq!(weir().args(["init", from]).arg(&path).output().unwrap().status.code(), Some(0));
        let check = weir().args(["check", "--deny-warnings"]).arg(&path).output().unwrap();
        assert_eq!(text(&check), (0, String::new(), String::new()));
        assert_eq!(weir().arg("test").arg(&path).output().unwrap().status.code(), Some(0));
        assert_eq!(weir().args(["fmt", "--check"]).arg(&path).output().unwrap().status.code(), Some(0));
        assert_eq!(weir().args(["init", from]).arg(&path).output().unwrap().status.code(), Some(2));
    }
}

#[test]
fn what_messages_say_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("my.weir");
    std::fs::write(&path, "let flows = pcap(\"a.pcap\") | bifow\nflows | where dst.prot = 443 && rtt > 5 | stdot\n")
        .unwrap();
    let output = weir().args(["check", "--fix"]).arg(&path).output().unwrap();
    assert_eq!(text(&output).0, 0, "{:?}", text(&output));
    let fixed = std::fs::read_to_string(&path).unwrap();
    assert_eq!(fixed, "let flows = pcap(\"a.pcap\") | biflow\nflows | where dst.port == 443 and rtt > 5ms | stdout\n");
    std::fs::write(&path, "flows | stdout\n").unwrap();
    assert_eq!(weir().args(["check", "--fix"]).arg(&path).output().unwrap().status.code(), Some(2));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "flows | stdout\n");
}
