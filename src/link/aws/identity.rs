//! Keeps the identity that a pool has given to a link: each call of `GetId` makes another one.
//!
//! The daemon keeps it in the database, a command in a file that only its owner may read. Credentials
//! are never kept.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use crate::disk;
use crate::domain::link::LinkName;
use crate::domain::ports::Outage;
use crate::pki::files;
use crate::store::connection::database::Database;
use crate::store::links::known;

/// Longest file of an identity.
const MAX_FILE_BYTES: u64 = 4096;

/// Only the owner may list it.
const PRIVATE_DIRECTORY: u32 = 0o700;

/// An identity, and the pool that gave it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestIdentity {
    /// The pool.
    pub identity_pool_id: String,
    /// The identity.
    pub identity_id: String,
}

/// Where the identity of one link is kept.
#[derive(Debug)]
pub struct IdentityKeeper {
    place: IdentityPlace,
    /// What was read or written last.
    cached: Mutex<Option<GuestIdentity>>,
}

#[derive(Debug)]
enum IdentityPlace {
    Memory,
    File(PathBuf),
    Database(Box<Database>, LinkName),
}

// === impl GuestIdentity ===

impl GuestIdentity {
    fn new(pool: &str, identity: String) -> Self {
        Self { identity_pool_id: pool.to_owned(), identity_id: identity }
    }
}

// === impl IdentityKeeper ===

impl IdentityKeeper {
    /// Keeps it until the process ends.
    pub fn in_memory() -> Self {
        Self::at(IdentityPlace::Memory)
    }

    /// Keeps it in a file of the user who runs a command: below `$XDG_CACHE_HOME`, else below
    /// `~/.cache`. Without both it is kept until the process ends.
    pub fn of_user(link: &LinkName) -> Self {
        let variable = |name| std::env::var_os(name).map(PathBuf::from);
        let caches = variable("XDG_CACHE_HOME").filter(|path| path.is_absolute());
        let home = variable("HOME").filter(|path| path.is_absolute());
        let caches = caches.or_else(|| home.map(|home| home.join(".cache")));
        Self::at(caches.map_or(IdentityPlace::Memory, |caches| {
            IdentityPlace::File(caches.join("sluice").join(format!("identity-{link}.json")))
        }))
    }

    /// Keeps it in the database, for all replicas.
    pub fn of_daemon(database: Database, link: LinkName) -> Self {
        Self::at(IdentityPlace::Database(Box::new(database), link))
    }

    fn at(place: IdentityPlace) -> Self {
        Self { place, cached: Mutex::default() }
    }

    /// The identity that this pool gave.
    pub async fn get(&self, pool: &str) -> Result<Option<String>, Outage> {
        let mut cached = self.cached.lock().await;
        if cached.is_none() {
            *cached = match &self.place {
                IdentityPlace::Memory => None,
                IdentityPlace::File(path) => read_file(path).await,
                IdentityPlace::Database(database, link) => {
                    let kept = known::identity(database.pool(), link, pool).await?;
                    kept.map(|identity| GuestIdentity::new(pool, identity))
                }
            };
        }
        let of_pool = cached.as_ref().filter(|kept| kept.identity_pool_id == pool);
        Ok(of_pool.map(|kept| kept.identity_id.clone()))
    }

    /// Keeps an identity in the place of the former one. A failure is logged: the identity is good
    /// all the same.
    pub async fn put(&self, identity: GuestIdentity) {
        let kept = match &self.place {
            IdentityPlace::Memory => Ok(()),
            IdentityPlace::File(path) => write_file(path, &identity).await,
            IdentityPlace::Database(database, link) => {
                let GuestIdentity { identity_pool_id, identity_id } = &identity;
                let pool = database.pool();
                let kept = known::keep_identity(pool, link, identity_pool_id, identity_id).await;
                kept.map_err(|outage| outage.to_string())
            }
        };
        if let Err(why) = kept {
            tracing::warn!(
                "keeping the identity of a guest failed: {why}; Sluice requests another one next time"
            );
        }
        *self.cached.lock().await = Some(identity);
    }
}

// --- private helpers ---

/// A file that cannot be read is as good as none: the pool gives another identity.
async fn read_file(path: &Path) -> Option<GuestIdentity> {
    let owned = path.to_owned();
    let text = disk::run(path, move || disk::read(&owned, MAX_FILE_BYTES)).await;
    serde_json::from_slice(&text.ok()?.ok()?).ok()
}

async fn write_file(path: &Path, identity: &GuestIdentity) -> Result<(), String> {
    let text = serde_json::to_vec(identity).map_err(|error| error.to_string())?;
    let owned = path.to_owned();
    let written = disk::run(path, move || write_private(&owned, &text)).await;
    let written = written.map_err(|error| error.to_string())?;
    written.map_err(|error| format!("{}: {error}", path.display()))
}

fn write_private(path: &Path, text: &[u8]) -> io::Result<()> {
    let parent = path.parent().unwrap_or(Path::new("."));
    DirBuilder::new().recursive(true).mode(PRIVATE_DIRECTORY).create(parent)?;
    files::replace(path, text, files::PRIVATE)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn identity(pool: &str, id: &str) -> GuestIdentity {
        GuestIdentity::new(pool, id.to_owned())
    }

    #[tokio::test]
    async fn an_identity_is_kept_for_its_pool() {
        let keeper = IdentityKeeper::in_memory();
        assert_eq!(keeper.get("a").await, Ok(None));
        keeper.put(identity("a", "1")).await;
        assert_eq!(keeper.get("a").await, Ok(Some("1".into())));
        assert_eq!(keeper.get("b").await, Ok(None));
    }

    #[tokio::test]
    async fn a_file_keeps_it_for_its_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cache/sluice/identity-aws.json");
        let keeper = || IdentityKeeper::at(IdentityPlace::File(path.clone()));
        assert_eq!(keeper().get("a").await, Ok(None));
        keeper().put(identity("a", "1")).await;
        assert_eq!(keeper().get("a").await, Ok(Some("1".into())));
        keeper().put(identity("a", "2")).await;
        assert_eq!(keeper().get("a").await, Ok(Some("2".into())));
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
        fs::write(&path, "{").unwrap();
        assert_eq!(keeper().get("a").await, Ok(None), "a broken file is as good as none");
    }
}
