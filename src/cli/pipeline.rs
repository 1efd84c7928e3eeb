//! Reading a pipeline and saying what is wrong with it: what every verb begins with.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Read, Write};
use std::path::{Path, PathBuf};

use weir_core::component::Places;
use weir_dsl::text::Lines;
use weir_dsl::{Checked, Setting, Used, json, render};
use weir_sinks::terminal;
use weir_spec::Diagnostic;

use super::{Format, FormatArgs, PipelineArgs};
use crate::components::SPECS;

/// The longest pipeline that is read.
pub const FILE_BYTES_MAX: u64 = 8 << 20;

/// What a pipeline from standard input is called.
pub const STDIN: &str = "<stdin>";

/// A pipeline as text, with its name for messages.
pub struct Text {
    pub name: String,
    pub bytes: Vec<u8>,
    pub places: Places,
}

/// Reads what the arguments name; the error is a line for the user.
fn read(args: &PipelineArgs) -> Result<Text, String> {
    match (&args.expression, &args.file) {
        (Some(text), _) => Ok(Text { name: "-e".into(), bytes: text.clone().into_bytes(), places: Places::default() }),
        (None, Some(path)) => read_file(path),
        (None, None) => Err("no pipeline: name a file, or give one with -e".into()),
    }
}

pub fn read_file(path: &Path) -> Result<Text, String> {
    let name = path.display().to_string();
    if path == Path::new("-") {
        let mut bytes = Vec::new();
        let read = std::io::stdin().take(FILE_BYTES_MAX).read_to_end(&mut bytes);
        read.map_err(|e| format!("cannot read standard input: {e}"))?;
        return Ok(Text { name: STDIN.into(), bytes, places: Places::default() });
    }
    let bytes = bytes_of(path).map_err(|why| format!("cannot read `{name}`: {why}"))?;
    let read = path.parent().map(Path::to_path_buf).unwrap_or_default();
    Ok(Text { name, bytes, places: Places { read, write: PathBuf::new() } })
}

/// Every pipeline under a path, in the order of names.
pub fn collect(path: &Path, files: &mut Vec<PathBuf>) -> Result<(), String> {
    if !path.is_dir() {
        files.push(path.to_path_buf());
        return Ok(());
    }
    let cannot = |e: std::io::Error| format!("cannot read `{}`: {e}", path.display());
    let entries = std::fs::read_dir(path).map_err(cannot)?;
    let mut inside: Vec<PathBuf> = entries.flatten().map(|e| e.path()).collect();
    inside.sort();
    for path in inside {
        // A link to a directory may lead in a circle.
        let is_dir = path.is_dir() && !path.is_symlink();
        if is_dir {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|e| e == "weir") {
            files.push(path);
        }
    }
    Ok(())
}

/// The bytes of a file, or why they cannot be had.
fn bytes_of(path: &Path) -> Result<Vec<u8>, String> {
    let meta = std::fs::metadata(path).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => "there is no such file".to_string(),
        _ => e.to_string(),
    })?;
    if meta.is_dir() {
        return Err("it is a directory: name the pipelines in it".into());
    }
    if !meta.is_file() {
        return Err("it is no regular file".into());
    }
    if meta.len() > FILE_BYTES_MAX {
        return Err(format!("it is longer than {} MiB: that is no pipeline", FILE_BYTES_MAX >> 20));
    }
    std::fs::read(path).map_err(|e| e.to_string())
}

/// Checks a pipeline against the table of components and the environment.
pub fn check(text: &Text, params: &BTreeMap<String, String>) -> Checked {
    let env = |name: &str| std::env::var(name).ok();
    let read = |path: &Path| {
        let id = std::fs::canonicalize(path).map_or_else(|_| path.display().to_string(), |p| p.display().to_string());
        Ok(Used { id, bytes: bytes_of(path)? })
    };
    let setting = Setting { name: &text.name, components: &SPECS, params, env: &env, read: &read };
    weir_dsl::check(&text.bytes, &setting)
}

/// Writes the diagnostics; true if the pipeline may not be used.
pub fn report(checked: &Checked, format: &FormatArgs, out: &mut (impl Write + IsTerminal)) -> bool {
    let lines = Lines::new(checked.sources.text());
    let color = terminal::is_colored(out);
    for diagnostic in &checked.diagnostics {
        let shown = shown(checked, &lines, diagnostic, format.format, color);
        let gap = if format.format == Format::Human { "\n" } else { "" };
        // A reader that has gone away needs no diagnostics.
        let _ = writeln!(out, "{shown}{gap}");
    }
    let errors = checked.diagnostics.iter().filter(|d| d.is_error()).count();
    errors > 0 || (format.deny_warnings && !checked.diagnostics.is_empty())
}

/// The same to standard error, for verbs whose result is something else.
pub fn report_aside(checked: &Checked, format: &FormatArgs) -> bool {
    report(checked, format, &mut std::io::stderr())
}

/// One diagnostic of a pipeline in a format.
pub fn shown(checked: &Checked, lines: &Lines, diagnostic: &Diagnostic, format: Format, color: bool) -> String {
    let sources = &checked.sources;
    match format {
        Format::Human => render::human(sources, diagnostic, color),
        Format::Short => json::short(sources, lines, diagnostic),
        Format::Json => json::object(sources, lines, diagnostic).to_string(),
        Format::Github => json::github(sources, lines, diagnostic),
    }
}

/// Reads and checks what the arguments name, and says what is wrong; `None` if it may not be used.
pub fn load(args: &PipelineArgs) -> Option<(Text, Checked)> {
    let text = match read(args) {
        Ok(text) => text,
        Err(line) => {
            anstream::eprintln!("error: {line}");
            return None;
        }
    };
    let checked = check(&text, &args.params());
    let refused = report_aside(&checked, &args.format);
    (!refused).then_some((text, checked))
}
