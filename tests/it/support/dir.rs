//! Scratch directories: one root for the test process, one directory in it for each fixture.
//!
//! A directory goes when its fixture is dropped, and the root when the test process has ended, even
//! by kill -9: a janitor, a small shell that holds a pipe from the test process, removes it.

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
while [ -e "$1" ] && [ "$n" -lt 100 ]; do
    rm -rf "$1" 2>/dev/null
    sleep 0.1
    n=$((n + 1))
done"#;

/// A directory that every user of the machine may enter, removed on drop.
#[derive(Debug)]
pub struct Scratch(PathBuf);

/// The directory all others stand in, and who removes it.
struct Root {
    path: PathBuf,
    _janitor: Child,
}

static ROOT: OnceLock<Root> = OnceLock::new();

// === impl Scratch ===

impl Scratch {
    /// A new, empty directory; the name is for people who look while a test runs.
    pub fn new(name: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let root = &ROOT.get_or_init(Root::new).path;
        let path = root.join(format!("{name}-{}", COUNT.fetch_add(1, Ordering::Relaxed)));
        fs::create_dir(&path).unwrap();
        open_to_all(&path);
        Self(path)
    }

    /// The same, owned by another account when there is one.
    pub fn owned_by(name: &str, account: Option<Account>) -> Self {
        let scratch = Self::new(name);
        if let Some(account) = account {
            chown(&scratch.0, Some(account.uid), Some(account.gid)).unwrap();
        }
        scratch
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
        let path = tempfile::Builder::new().prefix("sluice-it-").tempdir().unwrap().keep();
        open_to_all(&path);
        let janitor = Command::new("/bin/sh")
            .args(["-c", JANITOR, "janitor"])
            .arg(&path)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .unwrap();
        Self { path, _janitor: janitor }
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
