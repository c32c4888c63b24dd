//! The message that `sluice explain --link` explains: as another broker would deliver it over a link.
//!
//! It reads the links file and connects to nothing.

use bytes::Bytes;
use clap::Args;

use crate::clock;
use crate::command::context::outage;
use crate::command::failure::Failure;
use crate::config::Config;
use crate::domain::link::LinkName;
use crate::domain::message::Delivery;
use crate::link::file;
use crate::link::sample::SampleMessage;
use crate::store::connection::database::Database;
use crate::store::links::known::node;

/// A message of a link.
#[derive(Debug, Args)]
pub struct LinkMessageArgs {
    /// The link that would deliver the message; --topic is the topic at the other broker
    #[arg(long, value_name = "NAME")]
    link: Option<LinkName>,
    /// The Content Type of the message
    #[arg(long, value_name = "TYPE", requires = "link")]
    content_type: Option<String>,
    /// A User Property of the message, such as id=1; may be repeated
    #[arg(long = "property", value_name = "NAME=VALUE", requires = "link", value_parser = property)]
    properties: Vec<(String, String)>,
}

fn property(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').ok_or_else(|| "expected NAME=VALUE".to_owned())?;
    Ok((pair.0.to_owned(), pair.1.to_owned()))
}

// === impl LinkMessageArgs ===

impl LinkMessageArgs {
    /// What the link makes of the message; `None`: it comes from the local broker.
    pub async fn delivery(
        self,
        config: &Config,
        database: &Database,
        topic: &str,
        payload: &Bytes,
    ) -> Result<Option<Delivery>, Failure> {
        let Some(name) = self.link else { return Ok(None) };
        let Some(path) = &config.links.path else {
            return Err(Failure::usage("there are no links: LINKS_PATH is not set"));
        };
        let links = file::load(path).map_err(|error| Failure::usage(error.to_string()))?;
        let Some(link) = links.find(name.as_str()) else {
            let path = path.display();
            return Err(Failure::usage(format!("link {name} not found in {path}")));
        };
        let node = match &links.node {
            Some(node) => node.clone(),
            None => node(database.pool()).await.map_err(|error| outage(&error))?,
        };
        let (content_type, properties) = (self.content_type, self.properties);
        let (topic, payload) = (topic.to_owned(), payload.clone());
        let message = SampleMessage { topic, payload, content_type, properties };
        Ok(Some(message.delivery(link, &node, clock::now())))
    }
}
