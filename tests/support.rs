//! Running the program as a user does.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use weir_core::ledger::reason;

/// Whether a test that only root can run does run here. In CI it has to.
pub fn is_root(test: &str, what_for: &str) -> bool {
    // SAFETY: a call without pointers.
    #[allow(unsafe_code)]
    let is_root = unsafe { libc::geteuid() } == 0;
    assert!(is_root || std::env::var_os("CI").is_none(), "{test} needs root");
    if !is_root {
        eprintln!("{test} was not run: it needs root, {what_for}");
    }
    is_root
}

/// Whether the programs that a test runs are installed here. In CI they have to be.
pub fn has_tools(test: &str, tools: &[&str]) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let is_there = |tool: &&str| std::env::split_paths(&path).any(|dir| dir.join(tool).is_file());
    let missing: Vec<&str> = tools.iter().copied().filter(|tool| !is_there(tool)).collect();
    assert!(missing.is_empty() || std::env::var_os("CI").is_none(), "{test} needs {missing:?}");
    if !missing.is_empty() {
        eprintln!("{test} was not run: {} not installed here", missing.join(", "));
    }
    missing.is_empty()
}

/// A run of the program: its output, and its ledger.
pub struct Run {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
    pub ledger: Option<Value>,
}

pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

pub fn weir() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
    command.current_dir(root()).env("NO_COLOR", "1").stdin(Stdio::null());
    command
}

/// The time, as rows have it.
pub fn now() -> String {
    weir_spec::units::time(weir_core::Clock::Real.now().0)
}

pub fn text(output: &Output) -> (i32, String, String) {
    let string = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap_or(-1), string(&output.stdout), string(&output.stderr))
}

/// Runs a pipeline given as text, and keeps its ledger, which has to balance.
pub fn run(pipeline: &str) -> Run {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger.json");
    let output = weir().args(["run", "-e", pipeline, "--ledger"]).arg(&path).output().unwrap();
    finish(&output, &path)
}

/// Runs the tests of a pipeline given as text: exit code, and what was printed.
pub fn run_tests(pipeline: &str) -> (i32, String, String) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("my.weir");
    std::fs::write(&path, pipeline).unwrap();
    text(&weir().arg("test").arg(&path).output().unwrap())
}

pub fn finish(output: &Output, ledger: &Path) -> Run {
    let (code, stdout, stderr) = text(output);
    let ledger: Option<Value> = std::fs::read(ledger).ok().map(|b| serde_json::from_slice(&b).unwrap());
    if let Some(ledger) = &ledger {
        assert_eq!(ledger["balanced"], true, "{ledger:#}");
        ledger["components"].as_array().unwrap().iter().for_each(has_a_page);
    }
    Run { code, stdout, stderr, ledger }
}

/// What the ledger says of a component, the component's page in the reference explains, or that of the engine's own
/// reasons.
fn has_a_page(component: &Value) {
    let spec = weir::components::SPECS.iter().find(|spec| component["component"] == spec.name);
    let Some(spec) = spec else { return };
    let notes: Vec<&str> = spec.notes.iter().copied().flatten().map(|note| note.name).collect();
    let drops: Vec<&str> = spec.drops.iter().map(|drop| drop.name).collect();
    let said = |what: &str| -> Vec<String> {
        component[what].as_object().into_iter().flat_map(|counts| counts.keys()).cloned().collect()
    };
    for what in said("noted") {
        assert!(notes.contains(&what.as_str()), "`{}` notes `{what}`, and its page does not say so", spec.name);
    }
    for why in said("dropped") {
        let is_known = drops.contains(&why.as_str()) || ENGINE_REASONS.contains(&why.as_str());
        assert!(is_known, "`{}` drops for `{why}`, and its page does not say so", spec.name);
    }
}

/// Why the engine drops rows, whatever the component.
const ENGINE_REASONS: &[&str] =
    &[reason::FINISHED, reason::QUEUE_FULL, reason::UNDELIVERED, reason::REFUSED, reason::TOO_LARGE, reason::CLOSED];

impl Run {
    pub fn rows(&self) -> Vec<Value> {
        self.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// One number of the ledger.
    pub fn count(&self, component: &str, field: &str) -> u64 {
        let ledger = self.ledger.as_ref().expect("the run wrote a ledger");
        let components = ledger["components"].as_array().unwrap();
        let found = components.iter().find(|c| c["name"] == component);
        let found = found.unwrap_or_else(|| panic!("no `{component}` in {ledger:#}"));
        found.pointer(&format!("/{field}")).and_then(Value::as_u64).unwrap_or(0)
    }
}
