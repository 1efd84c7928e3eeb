//! What a person at a terminal sees beside the rows.

use std::process::Command;

use super::support::{root, text};

/// Runs a shell's line with a terminal of its own; the program is `$WEIR`.
fn at_a_terminal(line: &str) -> String {
    let mut command = Command::new("script");
    command.args(["-qec", line, "/dev/null"]).current_dir(root());
    let output = command.env("WEIR", env!("CARGO_BIN_EXE_weir")).env_remove("NO_COLOR").output();
    text(&output.expect("util-linux's `script`")).1
}

const SLOWLY: &str = r#"(printf '{"n":1}\n'; sleep 1; printf '{"n":2}\n')"#;

#[test]
fn progress_is_drawn_until_the_first_row_comes() {
    let line = format!("{SLOWLY} | $WEIR run -e 'ndjson(\"-\", as: {{ n: int }}) | stdout'");
    let screen = at_a_terminal(&line);
    let (before, after) = screen.split_once("\r\u{1b}[K\u{1b}[1m").unwrap_or_else(|| panic!("no table: {screen:?}"));
    assert!(before.contains("8 B read"), "{screen:?}");
    assert!(!after.contains("read") && !after.contains("\u{1b}[K"), "{screen:?}");
}

#[test]
fn rows_are_not_torn_by_progress() {
    let line = format!("{SLOWLY} | $WEIR run -e 'ndjson(\"-\", as: {{ n: int }}) | stdout(ndjson)'");
    assert_eq!(at_a_terminal(&line), "{\"n\":1}\r\n{\"n\":2}\r\n");
}

/// Two thirds of the rows fit at first. The disk gets room after a while, and all of them are there.
#[test]
fn a_full_disk_is_tried_again() {
    let dir = tempfile::tempdir().unwrap();
    let script = r#"
        mount -t tmpfs -o size=1m weir "$DIR" || exit 99
        head -c 600k /dev/zero > "$DIR/ballast"
        (sleep 2; rm "$DIR/ballast") &
        "$WEIR" run -e "generate(flow, rows: 30000) | select dst.port | file(\"$DIR/out\")"
        echo "exit $?; $(wc -l < "$DIR/out") rows, $(sort "$DIR/out" | uniq -c | wc -l) kinds"
    "#;
    let mut command = Command::new("unshare");
    command.args(["--mount", "--map-root-user", "sh", "-c", script]).env("DIR", dir.path()).env("NO_COLOR", "1");
    let output = command.env("WEIR", env!("CARGO_BIN_EXE_weir")).output().expect("util-linux's `unshare`");
    let (code, stdout, stderr) = text(&output);
    if code == 99 || stderr.starts_with("unshare:") {
        eprintln!("not run: a file system of its own needs root or user namespaces: {stderr}");
        assert!(std::env::var_os("CI").is_none(), "CI has what this test needs");
        return;
    }
    assert!(stdout.starts_with("exit 0; 30000 rows"), "{stdout}{stderr}");
    let stderr = stderr.replace(&dir.path().display().to_string(), "DIR");
    insta::assert_snapshot!(stderr, @r"
    warning: `file` tries again: cannot write `DIR/out`: No space left on device (os error 28)
    note: `file` delivers again
    ");
}
