//! Bad input: a clear line, the right exit code, what was good delivered.

use super::support::{root, run, text, weir};

fn answer(pipeline: &str) -> (i32, String) {
    let run = run(pipeline);
    (run.code, run.stderr.replace(&root().display().to_string(), "ROOT"))
}

#[test]
fn files_that_are_no_captures() {
    let dir = tempfile::tempdir().unwrap();
    let empty = dir.path().join("empty.pcap");
    let garbage = dir.path().join("garbage.pcap");
    std::fs::write(&empty, b"").unwrap();
    std::fs::write(&garbage, b"hello, this is a letter").unwrap();
    let ask = |path: &std::path::Path| {
        let (code, stderr) = answer(&format!("pcap({:?}) | blackhole", path.display().to_string()));
        assert_eq!(code, 1);
        stderr.replace(&dir.path().display().to_string(), "DIR")
    };
    insta::assert_snapshot!(ask(&empty), @"error: `pcap`: `DIR/empty.pcap` is empty");
    insta::assert_snapshot!(ask(&garbage), @"error: `pcap`: `DIR/garbage.pcap` at offset 0: no capture: it begins with 68 65 6c 6c, which is neither pcap nor pcapng");
    insta::assert_snapshot!(ask(dir.path()), @r#"
    error: `pcap`: `DIR` is a directory
      help: name the files in it: "DIR/*"
    "#);
    insta::assert_snapshot!(ask(&dir.path().join("missing.pcap")), @"error: `pcap`: cannot read `DIR/missing.pcap`: there is no such file");
}

#[test]
fn a_damaged_capture_delivers_what_was_good() {
    let dir = tempfile::tempdir().unwrap();
    let whole = std::fs::read(root().join("tests/pcap/basic/smtp.pcap")).unwrap();
    let cut = dir.path().join("cut.pcap");
    std::fs::write(&cut, &whole[..10_000]).unwrap();
    let run = run(&format!("pcap({:?}) | stdout(ndjson)", cut.display().to_string()));
    assert_eq!(run.code, 1);
    assert_eq!(run.rows().len() as u64, run.count("pcap", "made"));
    assert!(run.rows().len() > 10);
    let stderr = run.stderr.replace(&dir.path().display().to_string(), "DIR");
    insta::assert_snapshot!(stderr, @r"
    error: `pcap`: `DIR/cut.pcap` ends early: at offset 8964 there are 1036 bytes where 1522 belong
      help: what came before it has been read; the capture was probably still being written
    ");
}

#[test]
fn a_full_disk_and_a_closed_pipe() {
    let (code, stderr) = answer("generate(flow, rows: 50000) | file(\"/dev/full\")");
    assert_eq!(code, 1);
    assert!(stderr.contains("`file`: cannot write `/dev/full`: No space left on device"), "{stderr}");
    assert!(stderr.contains("rows were not delivered: ") && stderr.contains(" `file`"), "{stderr}");
    let shell = format!("{} run -e 'generate(flow) | stdout(ndjson)' | head -1", env!("CARGO_BIN_EXE_weir"));
    let script = format!("{shell}; echo ${{PIPESTATUS[0]}}");
    let output = std::process::Command::new("bash").args(["-c", &script]).output().unwrap();
    let (_, stdout, _) = text(&output);
    assert_eq!(stdout.lines().last(), Some("0"), "{stdout}");
}

#[test]
fn a_wrong_pipeline_never_starts() {
    let dir = tempfile::tempdir().unwrap();
    let written = dir.path().join("out.ndjson");
    let pipeline = format!("generate(flow, rows: 5) | where nonsense > 1 | file({:?})", written.display().to_string());
    let run = run(&pipeline);
    assert_eq!(run.code, 2);
    assert!(!written.exists() && run.ledger.is_none());
    let (code, _, stderr) = text(&weir().args(["run", "missing.weir"]).output().unwrap());
    assert_eq!(code, 2);
    insta::assert_snapshot!(stderr, @"error: cannot read `missing.weir`: there is no such file");
    let (code, _, _) = text(&weir().args(["run", "--nonsense"]).output().unwrap());
    assert_eq!(code, 2);
}

#[test]
fn bad_lines_come_out_of_rejected() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("in.ndjson");
    std::fs::write(&path, "{\"n\":1}\nnonsense\n{\"n\":\"x\"}\n[]\n\n{\"n\":2}").unwrap();
    let run = run(&format!(
        "let lines = ndjson({:?}, as: {{ n: int }})\nlines | blackhole\nlines.rejected | select reason | stdout(ndjson)",
        path.display().to_string()
    ));
    assert_eq!(run.code, 0, "{}", run.stderr);
    let reasons: Vec<_> = run.rows().iter().map(|r| r["reason"].as_str().unwrap().to_string()).collect();
    assert_eq!(reasons, ["bad_json", "bad_value", "no_object"]);
    assert_eq!(run.count("lines", "made"), 5);
}

#[test]
fn replacing_takes_care_of_what_is_there() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    let (real, link, fifo) = (path("real"), path("link"), path("fifo"));
    std::fs::write(&real, "before\n").unwrap();
    std::fs::set_permissions(&real, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::os::unix::fs::symlink(&real, &link).unwrap();
    let (code, stderr) = answer(&format!("generate(flow, rows: 1) | select dst.port | file({link:?}, mode: replace)"));
    assert_eq!((code, stderr.as_str()), (0, ""));
    assert!(std::fs::read_link(&link).is_ok() && std::fs::read_to_string(&real).unwrap().contains("dst"));
    assert_eq!(std::fs::metadata(&real).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let (code, stderr) = answer(&format!("generate(flow, rows: 1) | file({fifo:?}, mode: replace)"));
    assert_eq!(code, 1);
    assert!(stderr.contains("it is no regular file"), "{stderr}");
}

#[test]
fn an_input_that_is_no_json_at_all_is_said() {
    let (code, stderr) = answer("ndjson(\"tests/main.rs\", as: { n: int }) | blackhole");
    assert_eq!(code, 1);
    assert!(stderr.contains("no line of `tests/main.rs` can be read; the first: expected value"), "{stderr}");
    assert!(stderr.contains("rows of `ndjson` were rejected, and nobody reads `.rejected`"), "{stderr}");
}
