//! Scratch directories: one root for the test process, one directory in it for each fixture.
//!
//! A directory goes when its fixture is dropped, and the root when the test process has ended, even
//! by kill -9: a janitor, a small shell that holds a pipe from the test process, removes it.
//!
//! Directories of databases have a root in memory, where the machine has room: a fresh database is
//! hundreds of files, and on a disk most of the processor time of the tests went into making them.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use super::process::Account;

/// Waits for the end of the test process, then for its servers to let go of their files (10 s at
/// most).
const JANITOR: &str = r#"read -r _
n=0
while { [ -e "$1" ] || [ -e "$2" ]; } && [ "$n" -lt 100 ]; do
    rm -rf "$1" "$2" 2>/dev/null
    sleep 0.1
    n=$((n + 1))
done"#;

/// Where files are in memory.
const MEMORY: &str = "/dev/shm";

/// What must be free there: several times what all servers of a run held at once. In many containers
/// it has 64 MB.
const MEMORY_NEEDED: u64 = 2 << 30;

/// A directory that every user of the machine may enter, removed on drop.
#[derive(Debug)]
pub struct Scratch(PathBuf);

/// The directory all others stand in, and who removes it.
struct Root {
    path: PathBuf,
    /// The same path where there is no room in memory.
    in_memory: PathBuf,
    _janitor: Child,
}

static ROOT: OnceLock<Root> = OnceLock::new();

// === impl Scratch ===

impl Scratch {
    /// A new, empty directory; the name is for people who look while a test runs.
    pub fn new(name: &str) -> Self {
        Self::below(&ROOT.get_or_init(Root::new).path, name)
    }

    /// The same in memory, owned by another account when there is one.
    pub fn in_memory(name: &str, account: Option<Account>) -> Self {
        let scratch = Self::below(&ROOT.get_or_init(Root::new).in_memory, name);
        if let Some(account) = account {
            chown(&scratch.0, Some(account.uid), Some(account.gid)).unwrap();
        }
        scratch
    }

    fn below(root: &Path, name: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let path = root.join(format!("{name}-{}", COUNT.fetch_add(1, Ordering::Relaxed)));
        fs::create_dir(&path).unwrap();
        open_to_all(&path);
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a file in it and returns the path.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, content).unwrap();
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed now is left to the janitor.
        let _ = fs::remove_dir_all(&self.0);
    }
}

// === impl Root ===

impl Root {
    fn new() -> Self {
        let mut named = tempfile::Builder::new();
        named.prefix("sluice-it-");
        let path = named.tempdir().unwrap().keep();
        open_to_all(&path);
        let room = rustix::fs::statvfs(MEMORY).map_or(0, |shm| shm.f_bavail * shm.f_frsize);
        let in_memory = (room >= MEMORY_NEEDED).then(|| named.tempdir_in(MEMORY).ok()).flatten();
        let in_memory = in_memory.map_or_else(|| path.clone(), tempfile::TempDir::keep);
        open_to_all(&in_memory);
        let janitor = Command::new("/bin/sh")
            .args(["-c", JANITOR, "janitor"])
            .args([&path, &in_memory])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .unwrap();
        Self { path, in_memory, _janitor: janitor }
    }
}

/// Whether the tests run as root.
pub fn we_are_root() -> bool {
    let root = &ROOT.get_or_init(Root::new).path;
    fs::metadata(root).unwrap().uid() == 0
}

fn open_to_all(path: &Path) {
    fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
}
