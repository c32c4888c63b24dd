//! Writes the file of access rules atomically, and says what is wrong with a file that was changed.
//!
//! It replaces the file only after each line reads back as a rule: Mosquitto 2.1 exits at a line
//! that is none. It notifies nothing and collects no content: see [`content`](super::content).

use std::cell::Cell;
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::Path;
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::content::{Content, Hash};
use super::file_identity::{FileIdentity, Owner};
use super::template::parse_line;
use crate::disk;
use crate::pki::files;

/// Longest access to a file, and longest wait for the access before it.
const DISK_TIME_LIMIT: Duration = Duration::from_secs(30);

/// Longest line that is read back.
const MAX_LINE_BYTES: usize = 128 * 1024;

/// A file that holds the intended content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WrittenFile {
    /// SHA-256 of the file.
    pub digest: Hash,
    /// Lines made from the registry.
    pub generated: u64,
    /// The identity of the file when it was written.
    pub identity: FileIdentity,
}

/// What is wrong with the file.
#[derive(Debug, thiserror::Error)]
pub enum AclFault {
    /// The file does not exist.
    #[error("it is missing")]
    Missing,
    /// The file cannot be read or written.
    #[error("{0}")]
    File(io::Error),
    /// The mode changed, so the broker may be unable to read it.
    #[error("its mode changed to {0:04o}")]
    Mode(u32),
    /// A line at which Mosquitto 2.1 exits.
    #[error("line {number} is not an access rule ({why})")]
    Line {
        /// The line number, from 1.
        number: u64,
        /// What is wrong with it.
        why: String,
    },
    /// The file holds other rules.
    #[error("it is not the file that Sluice wrote last")]
    Other,
}

/// Hashes the bytes that it writes.
struct HashingWriter<W> {
    inner: W,
    hasher: Sha256,
}

/// Writes a temporary file, reads each line back, and renames it over `path`.
pub fn write(path: &Path, content: &Content, owner: Owner) -> Result<WrittenFile, AclFault> {
    let (digest, generated, temporary_identity) =
        (Cell::new(Hash::default()), Cell::new(0), Cell::new(None));
    files::replace_with(
        path,
        owner.mode,
        |file| {
            owner.apply_to(file)?;
            let mut out = HashingWriter { inner: BufWriter::new(file), hasher: Sha256::new() };
            generated.set(content.render(&mut out)?);
            out.inner.flush()?;
            digest.set(out.hasher.finalize().into());
            Ok(())
        },
        |temporary| {
            temporary_identity.set(Some(FileIdentity::of(temporary)?));
            match read(temporary) {
                Ok(found) if found == digest.get() => Ok(()),
                Ok(_) => Err(io::Error::other(
                    "the written file does not read back as it was \
                    written",
                )),
                Err(fault) => {
                    Err(io::Error::other(format!("the written file is invalid: {fault}")))
                }
            }
        },
    )?;
    let identity = FileIdentity::of(path)?;
    if temporary_identity.get().is_some_and(|temporary| temporary.is_same_file(&identity)) {
        Ok(WrittenFile { digest: digest.get(), generated: generated.get(), identity })
    } else {
        Err(AclFault::Other)
    }
}

/// Adopts the file of an earlier publisher: its hash is `last` and equals the hash of `content`.
/// `None` means that it must be written.
pub fn adopt(path: &Path, content: &Content, last: &[u8], owner: Owner) -> Option<WrittenFile> {
    let identity = FileIdentity::of(path).ok()?;
    if identity.mode() != owner.mode || read(path).ok()? != *last {
        return None;
    }
    let mut out = HashingWriter { inner: io::sink(), hasher: Sha256::new() };
    let generated = content.render(&mut out).ok()?;
    let digest: Hash = out.hasher.finalize().into();
    (digest == *last).then_some(WrittenFile { digest, generated, identity })
}

/// Checks the file: it is unchanged, or touched with equal content. The error says what is wrong
/// with it.
pub fn check(path: &Path, written: &WrittenFile) -> Result<WrittenFile, AclFault> {
    let identity = FileIdentity::of(path)?;
    if identity == written.identity {
        return Ok(*written);
    }
    if read(path)? != written.digest {
        return Err(AclFault::Other);
    }
    if identity.mode() == written.identity.mode() {
        Ok(WrittenFile { identity, ..*written })
    } else {
        Err(AclFault::Mode(identity.mode()))
    }
}

/// Reads the file line by line as the broker does. Returns its hash if each line is a rule.
pub fn read(path: &Path) -> Result<Hash, AclFault> {
    FileIdentity::of(path)?;
    let mut reader = BufReader::new(File::open(path)?);
    let (mut hasher, mut line, mut number) = (Sha256::new(), Vec::new(), 0);
    loop {
        line.clear();
        let mut bounded = io::Read::take(&mut reader, MAX_LINE_BYTES as u64);
        if bounded.read_until(b'\n', &mut line)? == 0 {
            return Ok(hasher.finalize().into());
        }
        number += 1;
        hasher.update(&line);
        let bad = |why: String| AclFault::Line { number, why };
        if line.len() == MAX_LINE_BYTES {
            return Err(bad("it is too long".to_owned()));
        }
        let text = std::str::from_utf8(&line).map_err(|_| bad("it is not UTF-8".to_owned()))?;
        parse_line(text.trim_end_matches(['\n', '\r'])).map_err(bad)?;
    }
}

/// Runs `work`, which accesses `path`, as [`disk::run_within`] does.
pub(super) async fn on_disk<T: Send + 'static>(
    path: &Path,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, String> {
    disk::run_within(DISK_TIME_LIMIT, path, work).await.map_err(|error| error.to_string())
}

// === impl AclFault ===

impl From<io::Error> for AclFault {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => Self::Missing,
            _ => Self::File(error),
        }
    }
}

// === impl HashingWriter ===

impl<W: Write> Write for HashingWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::fs;

    use super::*;
    use crate::config::sections::certificates::CnFormat;
    use crate::config::{Config, Sources};
    use crate::registry::access_rules::form::AclForm;
    use crate::registry::access_rules::template::Template;

    fn content(form: AclForm, devices: &[(&str, &str)]) -> Content {
        let broker = Config::load(&Sources::default()).unwrap().config.broker;
        let own = |names: &(&str, &str)| (names.0.to_owned(), names.1.to_owned());
        Content {
            template: Template::built_in(&broker),
            form,
            cn_format: CnFormat::Strict,
            devices: devices.iter().map(own).collect(),
            other_names: HashSet::from([own(&("acme", "d1"))]),
        }
    }

    fn owner() -> Owner {
        Owner::found(Path::new("/nonexistent"))
    }

    #[test]
    fn rows_name_each_device_and_patterns_only_those_that_may_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("acl");
        let devices = [("acme", "d0"), ("acme", "d1"), ("acme", "+"), ("a c", "d\ntopic read #")];
        let written = write(&path, &content(AclForm::Rows, &devices), owner()).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        for line in [
            "#rows: pattern write tenant/%u/telemetry/#",
            "user $sluice/device/probe\ntopic write tenant/$sluice/device/probe/telemetry",
            "user acme/device/d0\ntopic write tenant/acme/device/d0/telemetry/#\ntopic write \
             tenant/acme/device/d0/heartbeat",
            "user acme/d1\ntopic write tenant/acme/device/d1/telemetry/#",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
        assert_eq!(written.generated, 42, "three names with thirteen rows each");
        let rows = text.split_once("# Devices that are ACTIVE").unwrap().1;
        assert!(!rows.contains('+'), "a row of a device names its own topics only:\n{rows}");

        write(&path, &content(AclForm::Patterns, &devices[..1]), owner()).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains("\npattern write tenant/%u/telemetry/#\n"), "{text}");
        assert!(text.ends_with("user acme/device/d0\ntopic deny #\n"), "{text}");
    }

    #[test]
    fn a_file_that_was_changed_is_noticed_and_one_that_was_touched_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("acl");
        let content = content(AclForm::Rows, &[("acme", "d0")]);
        let written = write(&path, &content, owner()).unwrap();
        assert_eq!(check(&path, &written).unwrap(), written);
        let good = fs::read(&path).unwrap();
        fs::write(&path, &good).unwrap();
        let touched = check(&path, &written).unwrap();
        assert_eq!(touched.digest, written.digest);
        assert_eq!(
            adopt(&path, &content, &written.digest, owner()).map(|found| found.digest),
            Some(written.digest)
        );
        assert_eq!(adopt(&path, &content, &[0; 32], owner()), None);
        let damages: [(&[u8], &str); 4] = [
            (&good[..good.len() / 2], "wrote last"),
            (b"topic read #\n", "wrote last"),
            (b"topic read #\nwhat is this\n", "line 2 is not an access rule"),
            (b"\xff\n", "not UTF-8"),
        ];
        for (damage, why) in damages {
            fs::write(&path, damage).unwrap();
            // A truncated file may end within a line.
            let fault = check(&path, &touched).unwrap_err().to_string();
            assert!(fault.contains(why) || fault.contains("not an access rule"), "{fault}");
        }
        fs::remove_file(&path).unwrap();
        assert!(matches!(check(&path, &touched), Err(AclFault::Missing)));
        fs::create_dir(&path).unwrap();
        assert!(check(&path, &touched).unwrap_err().to_string().contains("not a regular file"));
        assert!(write(&path, &content, owner()).is_err());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn the_inputs_tell_when_there_is_nothing_to_write() {
        let one = content(AclForm::Rows, &[("acme", "d0")]).inputs();
        assert_eq!(one, content(AclForm::Rows, &[("acme", "d0")]).inputs());
        for other in [
            content(AclForm::Patterns, &[("acme", "d0")]),
            content(AclForm::Rows, &[]),
            content(AclForm::Rows, &[("acm", "ed0")]),
        ] {
            assert_ne!(one, other.inputs());
        }
    }
}
