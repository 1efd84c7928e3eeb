//! `file`: rows into a file, appended or written whole.
//!
//! A file is never truncated: `append` adds at its end, `replace` writes beside it and renames when
//! all is there. A payload that could not be written whole is taken back.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use weir_core::component::{Delivery, Outcome, SinkParts};
use weir_core::{Build, BuildCx, Entry, Fault};
use weir_spec::component::{Columns, Need, OutputSpec};
use weir_spec::memory::Memory;
use weir_spec::option::OptionType;
use weir_spec::schema;
use weir_spec::{ComponentSpec, Shape};

use crate::encode;

weir_spec::options! {
    pub struct FileOptions {
        /// Where to write; relative to the working directory.
        path: String = (OptionType::Path, positional, required),
        /// How rows are written.
        encoding: String = (OptionType::Word(encode::WORDS), "ndjson"),
        /// `append` adds to what is there; `replace` puts a new file in its place at the end.
        mode: String = (OptionType::Word(&["append", "replace"]), "append"),
    }
}

pub const ENTRY: Entry = Entry { spec: &SPEC, build: Build::Sink(build) };

pub static SPEC: ComponentSpec = ComponentSpec {
    name: "file",
    summary: "rows into a file, appended or written whole",
    shape: Shape::Sink,
    options: FileOptions::SPECS,
    outputs: &[OutputSpec { name: "rejected", doc: "never has a row" }],
    delivers: schema::Delivery::AtLeastOnce,
    reads: |_, _| Columns::All,
    memory: |_| Memory::fixed(4 << 20),
    needs: |values| values.get("path").as_str().map(|p| Need::Write(p.into())).into_iter().collect(),
    examples: &["pcap(\"shop.pcap.gz\") | biflow | file(\"flows.ndjson\", mode: replace)"],
    ..ComponentSpec::PLAIN
};

fn build(cx: &BuildCx) -> Result<SinkParts, Fault> {
    let options = FileOptions::read(&cx.values()).map_err(Fault::bug)?;
    let path = cx.places.to_write(&options.path);
    let target = Target::open(path, options.mode == "replace")?;
    let encoder = encode::encoder(&options.encoding, &cx.inputs[0], false, true);
    Ok(SinkParts::new(encoder, Arc::new(FileDelivery { target: Arc::new(Mutex::new(target)) })))
}

struct Target {
    path: PathBuf,
    /// What is written now, until it takes the place of `path`.
    beside: Option<PathBuf>,
    file: File,
    /// Whether what was written can be taken back (a regular file).
    regular: bool,
}

impl Target {
    fn open(path: PathBuf, replace: bool) -> Result<Target, Fault> {
        let fail = |error: io::Error| {
            let why = match error.kind() {
                io::ErrorKind::NotFound => "its directory does not exist".to_string(),
                io::ErrorKind::PermissionDenied => "it may not be written by this user".to_string(),
                io::ErrorKind::IsADirectory => "it is a directory".to_string(),
                _ => error.to_string(),
            };
            Fault::environment(format!("cannot write `{}`: {why}", path.display()))
        };
        if path.is_dir() {
            return Err(fail(io::ErrorKind::IsADirectory.into()));
        }
        let beside = replace.then(|| beside(&path));
        let mut open = OpenOptions::new();
        match &beside {
            Some(_) => open.write(true).create_new(true),
            None => open.append(true).create(true),
        };
        let file = open.open(beside.as_ref().unwrap_or(&path)).map_err(fail)?;
        let regular = file.metadata().map_err(fail)?.is_file();
        Ok(Target { path, beside, file, regular })
    }

    fn write(&mut self, payload: &[u8]) -> io::Result<()> {
        let before = if self.regular { self.file.seek(SeekFrom::End(0))? } else { 0 };
        let written = self.file.write_all(payload);
        if written.is_err() && self.regular {
            // Half a payload would be read as whole rows.
            let _ = self.file.set_len(before);
        }
        written
    }

    fn finish(&mut self) -> io::Result<()> {
        if self.regular {
            self.file.sync_all()?;
        }
        match self.beside.take() {
            Some(beside) => std::fs::rename(beside, &self.path),
            None => Ok(()),
        }
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        if let Some(beside) = self.beside.take() {
            let _ = std::fs::remove_file(beside);
        }
    }
}

/// A name in the same directory that nobody else has.
fn beside(path: &Path) -> PathBuf {
    let name = path.file_name().map_or_else(String::new, |n| n.to_string_lossy().into_owned());
    path.with_file_name(format!(".{name}.{}.partial", std::process::id()))
}

struct FileDelivery {
    target: Arc<Mutex<Target>>,
}

impl FileDelivery {
    async fn on_target(&self, f: impl FnOnce(&mut Target) -> io::Result<()> + Send + 'static) -> Result<(), Fault> {
        let target = self.target.clone();
        let run = move || {
            let mut target = weir_core::sync::lock(&target);
            let path = target.path.display().to_string();
            f(&mut target).map_err(|e| (path, e))
        };
        match tokio::task::spawn_blocking(run).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err((path, error))) => Err(failed(&path, &error)),
            Err(error) => Err(Fault::bug(error.to_string())),
        }
    }
}

fn failed(path: &str, error: &io::Error) -> Fault {
    let fault = Fault::environment(format!("cannot write `{path}`: {error}"));
    match error.kind() {
        io::ErrorKind::StorageFull => fault.help("free some space, or write to another file system"),
        _ => fault,
    }
}

#[async_trait]
impl Delivery for FileDelivery {
    async fn deliver(&self, payload: Bytes) -> Outcome {
        match self.on_target(move |target| target.write(&payload)).await {
            Ok(()) => Outcome::Delivered,
            Err(fault) => Outcome::Down(fault),
        }
    }

    async fn finish(&self) -> Result<(), Fault> {
        self.on_target(Target::finish).await
    }
}
