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

/// Runs a pipeline into the file `out` of a file system of 1 MiB that is nearly full, and then says
/// what is there. `meanwhile` runs beside it. Absent where such a file system cannot be made.
fn on_a_full_disk(meanwhile: &str) -> Option<(String, String)> {
    let dir = tempfile::tempdir().unwrap();
    let script = format!(
        r#"
        mount -t tmpfs -o size=1m weir "$DIR" || exit 99
        head -c 600k /dev/zero > "$DIR/ballast"
        ({meanwhile}) &
        "$WEIR" run -e "generate(flow, rows: 30000) | select dst.port | file(\"$DIR/out\")"
        echo "exit $?, $(wc -l < "$DIR/out") rows, $(grep -vc '^{{.*}}$' "$DIR/out") broken"
    "#
    );
    let mut command = Command::new("unshare");
    command.args(["--mount", "--map-root-user", "sh", "-c", &script]).env("DIR", dir.path()).env("NO_COLOR", "1");
    let output = command.env("WEIR", env!("CARGO_BIN_EXE_weir")).output().expect("util-linux's `unshare`");
    let (code, stdout, stderr) = text(&output);
    if code == 99 || stderr.starts_with("unshare:") {
        eprintln!("not run: a file system of its own needs root or user namespaces: {stderr}");
        assert!(std::env::var_os("CI").is_none(), "CI has what this test needs");
        return None;
    }
    Some((stdout, stderr.replace(&dir.path().display().to_string(), "DIR")))
}

#[test]
fn a_disk_that_is_full_for_a_while_loses_nothing() {
    // It is full a moment after the first rows are there.
    let has_begun = "for i in $(seq 200); do [ -s \"$DIR/out\" ] && break; sleep 0.1; done";
    let meanwhile = format!("{has_begun}; sleep 3; rm \"$DIR/ballast\"");
    let Some((stdout, stderr)) = on_a_full_disk(&meanwhile) else { return };
    assert_eq!(stdout, "exit 0, 30000 rows, 0 broken\n", "{stderr}");
    insta::assert_snapshot!(stderr, @r"
    warning: `file` tries again: cannot write `DIR/out`: No space left on device (os error 28); free some space, or write to another file system
    note: `file` delivers again
    ");
}

#[test]
fn a_disk_that_stays_full_ends_the_run() {
    let Some((stdout, stderr)) = on_a_full_disk("true") else { return };
    assert!(stdout.starts_with("exit 1, ") && stdout.ends_with(" rows, 0 broken\n"), "{stdout}");
    let stderr = stderr.split_inclusive('\n').filter(|line| !line.contains(" rows were not delivered: "));
    insta::assert_snapshot!(stderr.collect::<String>(), @r"
    warning: `file` tries again: cannot write `DIR/out`: No space left on device (os error 28); free some space, or write to another file system
    error: `file`: gave up after trying for 10s: cannot write `DIR/out`: No space left on device (os error 28)
      help: free some space, or write to another file system
    ");
}
