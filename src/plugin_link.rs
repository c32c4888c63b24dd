//! The link to the broker's plugin: it gets the registry, the policy and answers to logins, and closes
//! sessions on order.
//!
//! In reading order: [`listener`] accepts plugins at `PLUGIN_SOCKET`, and [`connection`] serves one.
//! [`feed`] sends what the plugin decides by, and keeps it current; [`pending`] gathers the changes that it
//! has not sent. [`questions`] answers logins by the code of the hooks. [`control`] is what other parts of
//! the daemon order: to close sessions, and to admit Sluice's own probes. [`peers`] are the connected
//! plugins, and [`sources`] is what the link works with.
//!
//! The registry alone decides which certificate may connect: `CERT_AUTH_ENABLED` and `REQUIRE_TOKEN` are
//! about messages. The link holds no copy of the registry, and it decides nothing by itself.

pub(crate) mod connection;
pub(crate) mod control;
mod feed;
pub(crate) mod listener;
mod peers;
mod pending;
pub(crate) mod questions;
mod sources;

pub use control::PluginControl;
pub use listener::{PluginListener, SocketError};
pub use questions::Questions;
pub use sources::LinkSources;
