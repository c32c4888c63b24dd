//! Reads files that settings name, without blocking on a pipe without a writer or on a mount whose
//! server is gone.
//!
//! It knows no format and no setting.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::fs::OFlags;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

/// Upper bound for one access, and for the wait for the access before it.
const PATIENCE: Duration = Duration::from_secs(10);

/// One permit for each path, so that a dead mount blocks one thread for each of its files. There
/// are as many entries as settings that name files.
static TURNS: Mutex<BTreeMap<PathBuf, Arc<Semaphore>>> = Mutex::new(BTreeMap::new());

/// An access did not return in time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreachable {
    /// The call has not returned.
    #[error("{path}: the file system did not answer within {seconds} s; check that it is mounted and its server answers", path = .0.display(), seconds = .1.as_secs())]
    Late(PathBuf, Duration),
    /// A defect of the program.
    #[error("{path}: the access failed ({why})", path = .0.display(), why = .1)]
    Failed(PathBuf, String),
}

/// Opens a regular file for reading and refuses anything else: opening a pipe would wait for its
/// writer.
pub fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    // Checks the open file, not the path, which may name another file by the time it is read.
    let kind = file.metadata()?.file_type();
    if kind.is_file() {
        return Ok(file);
    }
    let kind =
        if kind.is_dir() { io::ErrorKind::IsADirectory } else { io::ErrorKind::InvalidInput };
    Err(io::Error::new(kind, "it is not a regular file"))
}

/// Reads a file of at most `max_bytes`; a longer one is an error.
pub fn read(path: &Path, max_bytes: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(path)?.take(max_bytes.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > max_bytes {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("it has more than {max_bytes} bytes"),
        ));
    }
    Ok(bytes)
}

/// Reads a UTF-8 file of at most `max_bytes`.
pub fn read_text(path: &Path, max_bytes: u64) -> io::Result<String> {
    String::from_utf8(read(path, max_bytes)?)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8 text"))
}

/// Runs `work`, which accesses `path`, on a blocking thread; the caller waits for at most
/// [`PATIENCE`]. Until `work` returns, no other starts for the same path.
pub async fn apart<T: Send + 'static>(
    path: &Path,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Unreachable> {
    within(PATIENCE, path, work).await
}

// --- private helpers ---

async fn within<T: Send + 'static>(
    patience: Duration,
    path: &Path,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Unreachable> {
    let late = |_| Unreachable::Late(path.to_owned(), patience);
    let failed = |why: String| Unreachable::Failed(path.to_owned(), why);
    let turn = timeout(patience, turns_of(path).acquire_owned()).await.map_err(late)?;
    let turn = turn.map_err(|closed| failed(closed.to_string()))?;
    let done = spawn_blocking(move || {
        let result = work();
        drop(turn);
        result
    });
    timeout(patience, done).await.map_err(late)?.map_err(|panicked| failed(panicked.to_string()))
}

fn turns_of(path: &Path) -> Arc<Semaphore> {
    let mut turns = TURNS.lock().unwrap_or_else(PoisonError::into_inner);
    Arc::clone(turns.entry(path.to_owned()).or_insert_with(|| Arc::new(Semaphore::new(1))))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_regular_file_is_read_within_its_bound_and_nothing_else_is_opened() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        fs::write(&path, "12345").unwrap();
        assert_eq!(read_text(&path, 5).unwrap(), "12345");
        assert_eq!(read(&path, 4).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        assert_eq!(open(dir.path()).unwrap_err().kind(), io::ErrorKind::IsADirectory);
        assert_eq!(open(&dir.path().join("none")).unwrap_err().kind(), io::ErrorKind::NotFound);
        let pipe = dir.path().join("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0)
            .unwrap();
        assert!(open(&pipe).unwrap_err().to_string().contains("not a regular file"));
        assert!(open(Path::new("/dev/null")).is_err());
    }

    #[tokio::test]
    async fn work_that_does_not_return_holds_one_thread_of_its_path_and_no_caller() {
        let (path, other) = (Path::new("/test/apart"), Path::new("/test/other"));
        let (release, held) = std::sync::mpsc::channel::<()>();
        let moment = Duration::from_millis(50);
        assert!(matches!(
            within(moment, path, move || held.recv()).await,
            Err(Unreachable::Late(..))
        ));
        let second = within(moment, path, || 7).await.unwrap_err();
        assert!(
            second.to_string().starts_with("/test/apart: the file system did not answer"),
            "{second}"
        );
        assert_eq!(apart(other, || 7).await, Ok(7), "another path is not held up");
        release.send(()).unwrap();
        assert_eq!(apart(path, || 7).await, Ok(7));
    }
}
