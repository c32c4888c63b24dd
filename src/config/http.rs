//! Where the daemon listens.

use std::net::SocketAddr;

use super::secret::Secret;

/// The listeners' settings.
#[derive(Clone, Debug)]
pub struct HttpConfig {
    /// `HTTP_BIND`.
    pub api_bind: SocketAddr,
    /// `OPS_BIND`.
    pub ops_bind: SocketAddr,
    /// `HOOKS_BIND`.
    pub hooks_bind: SocketAddr,
    /// `ADMIN_TOKEN`.
    pub admin_token: Option<Secret>,
}
