//! `file`: rows into a file, appended or written whole.
//!
//! A file is never truncated: `append` adds at its end, `replace` writes beside it and renames when
//! all is there. A payload that could not be written whole is taken back, and tried again if the
//! disk was full.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use weir_core::component::{Delivery, Encoder, FarEnd, Outcome, Route, SinkBuild};
use weir_core::{Build, BuildCx, Entry, Fault};
use weir_spec::component::{Columns, Need, OutputSpec, SENT};
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

pub const ENTRY: Entry = Entry { spec: &SPEC, build: Build::Sink(SinkBuild { encoder, far_end }) };

pub static SPEC: ComponentSpec = ComponentSpec {
    name: "file",
    summary: "rows into a file, appended or written whole",
    shape: Shape::Sink,
    options: FileOptions::SPECS,
    outputs: &[OutputSpec { name: "rejected", doc: "never has a row" }],
    notes: &[SENT],
    delivers: schema::Delivery::AtLeastOnce,
    reads: |_, _| Columns::All,
    memory: |_| Memory::fixed(4 << 20),
    needs: |values| values.get("path").as_str().map(|p| Need::Write(p.into())).into_iter().collect(),
    examples: &["pcap(\"shop.pcap.gz\") | biflow | file(\"flows.ndjson\", mode: replace)"],
    ..ComponentSpec::PLAIN
};

fn encoder(cx: &BuildCx) -> Result<Box<dyn Encoder>, Fault> {
    let options = FileOptions::read(&cx.values()).map_err(Fault::bug)?;
    Ok(encode::encoder(&options.encoding, &cx.inputs[0], false, cx.bounded))
}

fn far_end(cx: &BuildCx) -> Result<FarEnd, Fault> {
    let options = FileOptions::read(&cx.values()).map_err(Fault::bug)?;
    let path = cx.places.to_write(&options.path);
    let target = Target::open(path, options.mode == "replace")?;
    let mut far_end = FarEnd::new(Arc::new(FileDelivery { target: Arc::new(Mutex::new(target)) }));
    if cx.bounded {
        far_end.retry.budget = BOUNDED_BUDGET;
    }
    Ok(far_end)
}

/// How long a full disk is left alone before the next try.
const FULL_WAIT: Duration = Duration::from_secs(1);

/// How long it is tried when somebody waits for the end of the run.
const BOUNDED_BUDGET: Duration = Duration::from_secs(10);

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Unfinished files of the same name that are stepped around.
const BESIDE_MAX: usize = 100;

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
        if replace {
            return Target::beside(path)
                .map_err(|(path, error)| Fault::environment(format!("cannot write `{}`: {error}", path.display())));
        }
        let file = OpenOptions::new().append(true).create(true).open(&path).map_err(fail)?;
        let regular = file.metadata().map_err(fail)?.is_file();
        Ok(Target { path, beside: None, file, regular })
    }

    /// A file beside the one that it takes the place of at the end; that one is found through links,
    /// and its mode is kept.
    fn beside(path: PathBuf) -> Result<Target, (PathBuf, String)> {
        let path = std::fs::canonicalize(&path).unwrap_or(path);
        let before = std::fs::metadata(&path).ok();
        if before.as_ref().is_some_and(|meta| !meta.is_file()) {
            return Err((path, "it is no regular file, and `mode: replace` would put one in its place".into()));
        }
        for n in 0..BESIDE_MAX {
            let beside = beside(&path, n);
            match OpenOptions::new().write(true).create_new(true).open(&beside) {
                Ok(file) => {
                    let kept = before.map_or(Ok(()), |meta| file.set_permissions(meta.permissions()));
                    let target = Target { path: path.clone(), beside: Some(beside), file, regular: true };
                    return kept.map(|()| target).map_err(|e| (path, e.to_string()));
                }
                // Left behind by a run that was killed.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    return Err((path, "its directory does not exist".into()));
                }
                Err(error) => return Err((path, error.to_string())),
            }
        }
        Err((path, format!("{BESIDE_MAX} unfinished files are beside it: delete `.*.partial`")))
    }

    /// Writes a payload whole or not at all. A full disk may get room: that is worth another try.
    fn deliver(&mut self, payload: &[u8]) -> Outcome {
        let before = match self.end() {
            Ok(before) => before,
            Err(error) => return Outcome::Down(self.fault(&error)),
        };
        let Err(error) = self.file.write_all(payload) else { return Outcome::Delivered };
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Outcome::Closed;
        }
        // Half a payload would be read as whole rows.
        let taken_back = before.is_some_and(|before| self.file.set_len(before).is_ok());
        match is_full(&error) && taken_back {
            true => Outcome::RetryAfter(FULL_WAIT, self.fault(&error)),
            false => Outcome::Down(self.fault(&error)),
        }
    }

    /// How long the file is; absent if what is written to it is gone.
    fn end(&mut self) -> io::Result<Option<u64>> {
        if self.regular { self.file.seek(SeekFrom::End(0)).map(Some) } else { Ok(None) }
    }

    fn fault(&self, error: &io::Error) -> Fault {
        let fault = Fault::environment(format!("cannot write `{}`: {error}", self.path.display()));
        if is_full(error) { fault.help("free some space, or write to another file system") } else { fault }
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
fn beside(path: &Path, n: usize) -> PathBuf {
    let name = path.file_name().map_or_else(String::new, |n| n.to_string_lossy().into_owned());
    path.with_file_name(format!(".{name}.{}.{n}.partial", std::process::id()))
}

struct FileDelivery {
    target: Arc<Mutex<Target>>,
}

impl FileDelivery {
    /// Runs `f` where it may block.
    async fn on_target<T: Send + 'static>(
        &self,
        f: impl FnOnce(&mut Target) -> T + Send + 'static,
    ) -> Result<T, Fault> {
        let target = self.target.clone();
        let run = move || f(&mut weir_core::sync::lock(&target));
        tokio::task::spawn_blocking(run).await.map_err(|error| Fault::bug(error.to_string()))
    }
}

#[async_trait]
impl Delivery for FileDelivery {
    async fn deliver(&self, _: Route, payload: Bytes) -> Outcome {
        match self.on_target(move |target| target.deliver(&payload)).await {
            Ok(outcome) => outcome,
            Err(fault) => Outcome::Down(fault),
        }
    }

    async fn finish(&self) -> Result<(), Fault> {
        self.on_target(|target| target.finish().map_err(|error| target.fault(&error))).await?
    }
}
