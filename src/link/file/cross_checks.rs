//! Compares the links of a file with each other.

use std::collections::HashMap;

use super::loops;
use crate::config::document::reader::ValueReader;
use crate::link::settings::LinkSettings;

/// Records a fault for each link that another one excludes.
pub(super) fn check(values: &mut ValueReader, links: &[LinkSettings]) {
    same_client_id(values, links);
    returns_by_another(values, links);
}

// --- private helpers ---

/// A broker ends the connection of a client when another one connects with its client id.
fn same_client_id(values: &mut ValueReader, links: &[LinkSettings]) {
    let mut owners: HashMap<(String, String), &LinkSettings> = HashMap::new();
    for link in links {
        for lane in 0..link.lanes {
            let address = link.address().to_ascii_lowercase();
            let client_id = link.client_id_of(lane);
            let Some(owner) = owners.insert((address, client_id.clone()), link) else { continue };
            let why = format!(
                "link {} connects to {} with the client id {client_id:?} too, and the broker would end one connection for the \
                 other: choose another one",
                owner.name,
                link.address()
            );
            values.fault(format!("link.{}.client_id", link.name), why);
            break;
        }
    }
}

/// What one link sends to a broker, another link may take in from it.
fn returns_by_another(values: &mut ValueReader, links: &[LinkSettings]) {
    for taking in links {
        let others = links.iter().filter(|link| {
            link.name != taking.name && link.address().eq_ignore_ascii_case(&taking.address())
        });
        for sending in others {
            for (index, taken) in taking.ingest.iter().enumerate() {
                if let Some((forwarded, topic)) = loops::first_return(&sending.publish, taken) {
                    let why = format!(
                        "link.{}.publish[{forwarded}] and this rule map {topic:?} onto itself, so each message would come back: \
                         forward and take in different topics",
                        sending.name
                    );
                    values.fault(format!("link.{}.ingest[{index}]", taking.name), why);
                }
            }
        }
    }
}
