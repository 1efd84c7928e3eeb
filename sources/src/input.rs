//! Bytes of files and of standard input, unpacked where they are gzip or zstd.
//!
//! Regular files are read where the source runs: a page-cached read of one chunk is short. What may
//! block without end (standard input, a named pipe) is read by a thread of its own.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use weir_core::component::{Places, Progress};
use weir_core::{Clock, Fault, SourceCx, Time};

/// Bytes read at once.
pub const CHUNK_BYTES: usize = 256 << 10;
/// How long rows wait for more of them while an input pauses.
const PATIENCE: Duration = Duration::from_millis(5);
/// Chunks that wait between the reading thread and the source.
const CHUNKS_QUEUED: usize = 4;
/// Memory of the decoders' windows: a zstd stream that asks for more is refused.
const ZSTD_WINDOW_LOG_MAX: u32 = 27;

/// When rows that wait for more of them have waited long enough.
#[derive(Default)]
pub struct Patience {
    due: Option<Time>,
}

impl Patience {
    /// How long the rows that wait may still wait.
    pub fn left(&mut self, clock: &Clock) -> Duration {
        let now = clock.now();
        let due = *self.due.get_or_insert(now.plus(PATIENCE.as_nanos() as i64));
        Duration::from_nanos(due.0.saturating_sub(now.0).max(0) as u64)
    }

    /// They have been sent.
    pub fn reset(&mut self) {
        self.due = None;
    }
}

/// What came of waiting for more bytes.
pub enum Next {
    /// So many were appended; 0 is the end.
    Read(io::Result<usize>),
    /// Rows have waited long enough for more of them.
    Paused,
    /// The graph is to end.
    Stopped,
}

/// A stream of bytes.
pub enum Input {
    File(Box<dyn Read + Send>),
    Thread(mpsc::Receiver<io::Result<Vec<u8>>>),
}

impl Input {
    /// Opens `path`, `-` being standard input. Errors say what is in the way.
    pub fn open(path: &Path, progress: Arc<Progress>) -> Result<Input, Fault> {
        if path == Path::new("-") {
            return Ok(Input::thread(Box::new(io::stdin()), progress));
        }
        let meta = std::fs::metadata(path).map_err(|e| unreadable(path, &e))?;
        if meta.is_dir() {
            let fault = Fault::environment(format!("`{}` is a directory", path.display()));
            return Err(fault.help(format!("name the files in it: \"{}/*\"", path.display())));
        }
        let file = File::open(path).map_err(|e| unreadable(path, &e))?;
        if !meta.is_file() {
            return Ok(Input::thread(Box::new(file), progress));
        }
        progress.add_total(meta.len());
        let counted = Counted { inner: file, progress };
        let unpacked = unpack(Box::new(counted)).map_err(|e| unreadable(path, &e))?;
        Ok(Input::File(unpacked))
    }

    fn thread(inner: Box<dyn Read + Send>, progress: Arc<Progress>) -> Input {
        let (sender, receiver) = mpsc::channel(CHUNKS_QUEUED);
        // Detached: a read of standard input cannot be interrupted, and the process may end over it.
        std::thread::spawn(move || {
            let counted = Counted { inner, progress };
            let mut reader = match unpack(Box::new(counted)) {
                Ok(reader) => reader,
                Err(error) => return drop(sender.blocking_send(Err(error))),
            };
            loop {
                let mut chunk = vec![0; CHUNK_BYTES];
                let read = retry(|| reader.read(&mut chunk));
                let end = matches!(read, Ok(0) | Err(_));
                let item = read.map(|n| {
                    chunk.truncate(n);
                    chunk
                });
                if sender.blocking_send(item).is_err() || end {
                    return;
                }
            }
        });
        Input::Thread(receiver)
    }

    /// Waits for the next bytes; with `patience`, which is that of rows already read, no longer than
    /// that. Nothing is lost when it pauses: a file is read at once, a chunk is received whole.
    pub async fn next(&mut self, into: &mut Vec<u8>, cx: &mut SourceCx, patience: Option<&mut Patience>) -> Next {
        let (stop, clock) = (cx.stop(), cx.clock());
        let left = patience.map(|patience| patience.left(clock));
        tokio::select! {
            biased;
            () = stop.stopped() => Next::Stopped,
            read = self.read(into) => Next::Read(read),
            () = clock.sleep(left.unwrap_or_default()), if left.is_some() => Next::Paused,
        }
    }

    /// Appends the next bytes; 0 is the end.
    async fn read(&mut self, into: &mut Vec<u8>) -> io::Result<usize> {
        match self {
            Input::File(reader) => {
                let from = into.len();
                into.resize(from + CHUNK_BYTES, 0);
                let n = retry(|| reader.read(&mut into[from..]));
                into.truncate(from + n.as_ref().map_or(0, |n| *n));
                n
            }
            Input::Thread(chunks) => match chunks.recv().await {
                None => Ok(0),
                Some(chunk) => {
                    let chunk = chunk?;
                    into.extend_from_slice(&chunk);
                    Ok(chunk.len())
                }
            },
        }
    }
}

fn retry(mut read: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match read() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

/// Why a file cannot be read, in words.
pub fn unreadable(path: &Path, error: &io::Error) -> Fault {
    let why = match error.kind() {
        io::ErrorKind::NotFound => "there is no such file".to_string(),
        io::ErrorKind::PermissionDenied => "it may not be read by this user".to_string(),
        _ => error.to_string(),
    };
    Fault::environment(format!("cannot read `{}`: {why}", path.display()))
}

struct Counted<R> {
    inner: R,
    progress: Arc<Progress>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(into)?;
        self.progress.add_read(n as u64);
        Ok(n)
    }
}

/// Looks at the first bytes and puts a decoder in front where they are gzip or zstd.
fn unpack(mut inner: Box<dyn Read + Send>) -> io::Result<Box<dyn Read + Send>> {
    let mut head = [0; 4];
    let mut have = 0;
    while have < head.len() {
        match retry(|| inner.read(&mut head[have..]))? {
            0 => break,
            n => have += n,
        }
    }
    let all = io::Cursor::new(head[..have].to_vec()).chain(inner);
    Ok(match head[..have] {
        [0x1f, 0x8b, ..] => Box::new(flate2::read::MultiGzDecoder::new(all)),
        [0x28, 0xb5, 0x2f, 0xfd] => {
            let mut decoder = zstd::stream::read::Decoder::new(all)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
            Box::new(decoder)
        }
        _ => Box::new(all),
    })
}

/// The files that a source's paths name, `-` being standard input. One that cannot be opened is told
/// now, before anything starts.
pub fn resolve(paths: &[String], places: &Places) -> Result<Vec<PathBuf>, Fault> {
    let mut files = Vec::new();
    for path in paths {
        match path.as_str() {
            "-" => files.push(PathBuf::from("-")),
            path => files.extend(expand(&places.to_read(path))?),
        }
    }
    for file in files.iter().filter(|f| f.as_os_str() != "-") {
        let is_pipe = std::fs::metadata(file).is_ok_and(|meta| !meta.is_file() && !meta.is_dir());
        // What is read of a pipe now is not read later.
        if !is_pipe {
            Input::open(file, Default::default()).map(drop)?;
        }
    }
    Ok(files)
}

/// The files that a path with `*`, `?` or `[…]` names, sorted; the path itself without them.
fn expand(path: &Path) -> Result<Vec<PathBuf>, Fault> {
    let text = path.to_string_lossy();
    if !text.contains(['*', '?', '[']) || path.exists() {
        return Ok(vec![path.to_path_buf()]);
    }
    let found = glob::glob(&text).map_err(|e| Fault::environment(format!("`{text}`: {e}")))?;
    let mut files: Vec<PathBuf> = found.flatten().filter(|f| !f.is_dir()).collect();
    files.sort();
    if files.is_empty() {
        return Err(Fault::environment(format!("no file matches `{text}`")));
    }
    Ok(files)
}
