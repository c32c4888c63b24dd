//! The operator's template at `ACL_TEMPLATE_PATH`, read again when its file changes.
//!
//! An unusable file keeps the lines that were read before. Without a path, the built-in lines apply.

use std::path::PathBuf;

use super::file::on_disk;
use super::file_identity::FileIdentity;
use super::template::Template;
use crate::config::sections::broker::BrokerConfig;

/// The template in force and the file it comes from.
pub struct TemplateFile {
    path: Option<PathBuf>,
    broker: BrokerConfig,
    /// The lines and the identity of their file; `None` until they were read once.
    current: Option<(Template, Option<FileIdentity>)>,
    finding: Option<String>,
}

// === impl TemplateFile ===

impl TemplateFile {
    pub(super) const fn new(path: Option<PathBuf>, broker: BrokerConfig) -> Self {
        Self { path, broker, current: None, finding: None }
    }

    /// The path, or that the lines are built in.
    pub(super) fn name(&self) -> String {
        self.path.as_ref().map_or("built-in lines".into(), |path| path.display().to_string())
    }

    /// The lines in force; `None` until they were read once.
    pub(super) fn lines(&self) -> Option<&Template> {
        self.current.as_ref().map(|(template, _)| template)
    }

    /// Why the file is unusable; `None` means that its lines are in force.
    pub(super) fn finding(&self) -> Option<&str> {
        self.finding.as_deref()
    }

    /// Reads the file if it changed and returns whether its lines are new.
    pub(super) async fn reload(&mut self) -> bool {
        let Some(path) = self.path.clone() else {
            let is_first = self.current.is_none();
            if is_first {
                self.current = Some((Template::built_in(&self.broker), None));
            }
            return is_first;
        };
        let last_identity = self.current.as_ref().and_then(|(_, identity)| *identity);
        let file = path.clone();
        let task = move || {
            let identity = FileIdentity::of(&path).ok();
            if identity.is_some() && identity == last_identity {
                Ok(None)
            } else {
                Template::open(&path).map(|read| Some((read, identity)))
            }
        };
        let read =
            on_disk(&file, task).await.and_then(|read| read.map_err(|error| error.to_string()));
        match read {
            Ok(read) => {
                self.finding = None;
                read.is_some_and(|(template, identity)| self.replace(template, identity))
            }
            Err(why) => {
                let stays = if self.current.is_some() {
                    "Sluice keeps the lines that it read before"
                } else {
                    "the last file stays in force"
                };
                self.finding = Some(format!("{why}; {stays}"));
                false
            }
        }
    }

    /// Puts `template` in force and returns whether its lines are new.
    fn replace(&mut self, template: Template, identity: Option<FileIdentity>) -> bool {
        let is_new = self.lines() != Some(&template);
        if is_new && template.grants_devices_nothing() {
            tracing::warn!(
                "ACL_TEMPLATE_PATH contains no pattern with %u; the access rules give no device \
                 any right"
            );
        }
        self.current = Some((template, identity));
        is_new
    }
}
