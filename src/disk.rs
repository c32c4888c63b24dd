//! Access to files that settings name: no call blocks on a pipe without a writer or on a mount whose
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
const TIME_LIMIT: Duration = Duration::from_secs(10);

/// One permit for each path, so that a dead mount blocks one thread for each of its files. There
/// are as many entries as settings that name files.
static PERMITS: Mutex<BTreeMap<PathBuf, Arc<Semaphore>>> = Mutex::new(BTreeMap::new());

/// An access did not return in time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreachable {
    /// The call has not returned.
    #[error("{path}: the file system did not answer within {seconds} s; check that it is mounted and that its server answers", path = .0.display(), seconds = .1.as_secs())]
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
    Err(io::Error::new(kind, "not a regular file"))
}

/// Reads a file of at most `max_bytes`; a longer one is an error.
pub fn read(path: &Path, max_bytes: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(path)?.take(max_bytes.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > max_bytes {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("longer than {max_bytes} bytes"),
        ));
    }
    Ok(bytes)
}

/// Reads a UTF-8 file of at most `max_bytes`.
pub fn read_text(path: &Path, max_bytes: u64) -> io::Result<String> {
    String::from_utf8(read(path, max_bytes)?)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "not UTF-8 text"))
}

/// Runs `work`, which accesses `path`, on a blocking thread; the caller waits for at most
/// [`TIME_LIMIT`]. Until `work` returns, no other starts for the same path.
pub async fn run<T: Send + 'static>(
    path: &Path,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Unreachable> {
    run_within(TIME_LIMIT, path, work).await
}

/// [`run`] with another time limit, for work that writes much.
pub async fn run_within<T: Send + 'static>(
    time_limit: Duration,
    path: &Path,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Unreachable> {
    let late = |_| Unreachable::Late(path.to_owned(), time_limit);
    let failed = |why: String| Unreachable::Failed(path.to_owned(), why);
    let permit = timeout(time_limit, permits_of(path).acquire_owned()).await.map_err(late)?;
    let permit = permit.map_err(|closed| failed(closed.to_string()))?;
    let done = spawn_blocking(move || {
        let result = work();
        drop(permit);
        result
    });
    timeout(time_limit, done).await.map_err(late)?.map_err(|panicked| failed(panicked.to_string()))
}

// --- private helpers ---

fn permits_of(path: &Path) -> Arc<Semaphore> {
    let mut permits = PERMITS.lock().unwrap_or_else(PoisonError::into_inner);
    Arc::clone(permits.entry(path.to_owned()).or_insert_with(|| Arc::new(Semaphore::new(1))))
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
    async fn work_that_hangs_blocks_one_thread_of_its_path_and_no_caller() {
        let (path, other) = (Path::new("/test/held"), Path::new("/test/other"));
        let (release, held) = std::sync::mpsc::channel::<()>();
        let limit = Duration::from_millis(50);
        assert!(matches!(
            run_within(limit, path, move || held.recv()).await,
            Err(Unreachable::Late(..))
        ));
        let second = run_within(limit, path, || 7).await.unwrap_err();
        assert!(
            second.to_string().starts_with("/test/held: the file system did not answer"),
            "{second}"
        );
        assert_eq!(run(other, || 7).await, Ok(7), "another path is not held up");
        release.send(()).unwrap();
        assert_eq!(run(path, || 7).await, Ok(7));
    }
}
