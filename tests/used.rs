//! Files that use each other, and what is said of them.

use std::path::Path;

use super::support::{text, weir};

/// Checks `main.weir` among these files; paths are taken out of what is said.
fn check(files: &[(&str, &str)]) -> (i32, String) {
    let dir = tempfile::tempdir().unwrap();
    for (name, content) in files {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    run(dir.path(), "check")
}

fn run(dir: &Path, verb: &str) -> (i32, String) {
    let output = weir().arg(verb).arg(dir.join("main.weir")).output().unwrap();
    let (code, stdout, stderr) = text(&output);
    (code, (stdout + &stderr).replace(&format!("{}/", dir.display()), ""))
}

const MAIN: &str = "use \"lib/teams.weir\"\nflows(\"a.pcap\") | busy(443) | stdout\n";
const TEAMS: &str = "use \"../more.weir\"\nlet unused = generate(flow, rows: 5)\nunused | stdout\n\
    pipe flows(path: string) = pcap(path) | biflow\n";
const MORE: &str = "param rows: int = 10\npipe busy(port: int) = where dst.port == port | limit(rows)\n";

#[test]
fn definitions_of_used_files_are_there() {
    assert_eq!(check(&[("main.weir", MAIN), ("lib/teams.weir", TEAMS), ("more.weir", MORE)]), (0, String::new()));
}

#[test]
fn an_error_in_a_piece_shows_the_call_and_the_definition() {
    let wrong = MORE.replace("dst.port", "dst.prot");
    let (code, said) = check(&[("main.weir", MAIN), ("lib/teams.weir", TEAMS), ("more.weir", &wrong)]);
    assert_eq!(code, 2);
    insta::assert_snapshot!(said);
}

#[test]
fn circles_and_diamonds_are_reported() {
    let circle =
        check(&[("main.weir", "use \"a.weir\"\n"), ("a.weir", "use \"b.weir\"\n"), ("b.weir", "use \"a.weir\"\n")]);
    let own = check(&[("main.weir", "use \"main.weir\"\n")]);
    let diamond = check(&[
        ("main.weir", "use \"a.weir\"\nuse \"b.weir\"\npcap(\"x\") | few() | stdout\n"),
        ("a.weir", "use \"c.weir\"\n"),
        ("b.weir", "use \"c.weir\"\n"),
        ("c.weir", "pipe few() = limit(3)\n"),
    ]);
    insta::assert_snapshot!(format!("{}\n{}\n{}\n{}\n{}\n{}", circle.0, circle.1, own.0, own.1, diamond.0, diamond.1));
}

#[test]
fn what_cannot_be_used_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    std::fs::create_dir(path("dir")).unwrap();
    std::os::unix::fs::symlink(path("loop"), path("loop")).unwrap();
    std::fs::write(path("binary"), [0x7f, b'E', b'L', b'F', 0, 1, 2]).unwrap();
    std::fs::File::create(path("huge")).unwrap().set_len(100 << 20).unwrap();
    std::fs::write(path("vector"), "[sources.in]\ntype = \"file\"\n").unwrap();
    let uses: String = ["dir", "loop", "binary", "huge", "vector", "/dev/zero", "nothing"]
        .iter()
        .map(|n| format!("use {n:?}\n"))
        .collect();
    std::fs::write(path("main.weir"), uses + "pcap(\"x\") | stdout\n").unwrap();
    let (code, said) = run(dir.path(), "check");
    assert_eq!(code, 2);
    insta::assert_snapshot!(said);
}

/// What a used file reads is found beside it.
#[test]
fn paths_are_relative_to_the_file_they_stand_in() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("lib")).unwrap();
    std::fs::write(dir.path().join("lib/rows.ndjson"), "{\"n\":1}\n").unwrap();
    std::fs::write(dir.path().join("lib/rows.weir"), "let rows = ndjson(\"rows.ndjson\", as: { n: int })\n").unwrap();
    std::fs::write(dir.path().join("main.weir"), "use \"lib/rows.weir\"\nrows | stdout(ndjson)\n").unwrap();
    assert_eq!(run(dir.path(), "run"), (0, "{\"n\":1}\n".to_string()));
}
