//! The links file for a command, and the link that it names. No other file is read, and no database.

use std::path::PathBuf;

use crate::command::failure::{Exit, Failure};
use crate::config::Config;
use crate::disk;
use crate::domain::link::LinkName;
use crate::link::file::{self, LinksFileError};
use crate::link::settings::{LinkSet, LinkSettings};

/// The path of the links file.
pub fn path(config: &Config) -> Result<PathBuf, Failure> {
    config.links.path.clone().ok_or_else(|| {
        Failure::new(Exit::Config, "LINKS_PATH is not set: set it to the path of the links file")
    })
}

/// All links of the file; the inner error has its faults.
pub async fn read(path: PathBuf) -> Result<Result<LinkSet, LinksFileError>, Failure> {
    let own = path.clone();
    let read = disk::run(&path, move || file::load(&own)).await;
    read.map_err(|error| Failure::new(Exit::Config, error.to_string()))
}

/// All links of `LINKS_PATH`.
pub async fn all(config: &Config) -> Result<LinkSet, Failure> {
    let read = read(path(config)?).await?;
    read.map_err(|error| Failure::new(Exit::Config, error.to_string()))
}

/// The link with this name.
pub async fn one(config: &Config, name: &LinkName) -> Result<LinkSettings, Failure> {
    find(&all(config).await?, name)
}

/// The link with this name in a set.
pub fn find(set: &LinkSet, name: &LinkName) -> Result<LinkSettings, Failure> {
    set.find(name.as_str()).cloned().ok_or_else(|| {
        let names: Vec<&str> = set.links.iter().map(|link| link.name.as_str()).collect();
        Failure::usage(match names.as_slice() {
            [] => format!("link {name} not found: the links file has no link"),
            names => format!("link {name} not found: the links file has {}", names.join(", ")),
        })
    })
}
