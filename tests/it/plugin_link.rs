//! The link to the broker's plugin, with a client that speaks its frames over the real socket.

mod decisions;
mod logins;
mod plugin_client;
mod registry;
mod revoking;
mod wire;
