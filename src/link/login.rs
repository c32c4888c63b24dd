//! How a lane logs in: from the settings of a link to the target of one connect.
//!
//! It is called inside the connect loop, so no connection is made with an old token, password or
//! signature. Files are read at each connect. It opens no connection to the other broker.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::timeout;

use crate::broker::remote::target::{PACKET_PATIENCE, RemoteTarget, WebSocketRequest};
use crate::broker::setting_names::SettingNames;
use crate::config::secret::Secret;
use crate::config::sections::broker::{BrokerConfig, BrokerTls, JwtPlace};
use crate::disk;
use crate::domain::time::{Clock, Timestamp};
use crate::link::aws::credentials::{CredentialError, CredentialSource};
use crate::link::aws::identity::IdentityKeeper;
use crate::link::aws::presign;
use crate::link::aws::protocol_names::protocol_names;
use crate::link::aws::sigv4::host_header;
use crate::link::limits::LinkLimits;
use crate::link::settings::{LinkAuth, LinkSettings};

/// The keepalive, unless the file or the kind sets a shorter one.
const KEEPALIVE_SECONDS: u16 = 60;

/// Messages of the other broker that may be in flight to Sluice.
const RECEIVE_MAXIMUM: u16 = 1000;

/// The largest packet of the other broker that is read whole.
const MAX_PACKET_BYTES: usize = 16 * 1024 * 1024;

/// Longest password file.
const MAX_PASSWORD_BYTES: u64 = 64 * 1024;

/// Upper bound for getting credentials.
const PATIENCE: Duration = Duration::from_secs(30);

/// The port of HTTPS.
const HTTPS: u16 = 443;
/// The port of HTTP.
const HTTP: u16 = 80;

/// Logs in for one link; all its lanes share it.
#[derive(Debug)]
pub struct LoginSource {
    credentials: Option<CredentialSource>,
    clock: Clock,
}

/// Why there is no login.
#[derive(Debug, thiserror::Error)]
pub enum LinkLoginError {
    /// The password file cannot be used.
    #[error("the password file {} cannot be read: {}", .0.path.display(), .0.why)]
    Password(PasswordFault),
    /// No credentials of AWS.
    #[error(transparent)]
    Credentials(#[from] CredentialError),
    /// They did not come in time.
    #[error("the credentials did not come within {} s", PATIENCE.as_secs())]
    Late,
}

/// A password file that cannot be used.
#[derive(Clone, Debug)]
pub struct PasswordFault {
    /// The file.
    pub path: PathBuf,
    /// Why.
    pub why: String,
}

// === impl LoginSource ===

impl LoginSource {
    /// The login of a link; `identities` keeps the identity of a guest.
    pub fn new(settings: &LinkSettings, identities: IdentityKeeper, clock: Clock) -> Self {
        let ca_cert = settings.ca_cert.as_deref();
        let credentials = CredentialSource::of_link(&settings.auth, ca_cert, identities, clock);
        Self { credentials, clock }
    }

    /// Where and how a lane connects now.
    pub async fn target(
        &self,
        settings: &LinkSettings,
        lane: u16,
    ) -> Result<RemoteTarget, LinkLoginError> {
        let mut broker = plain(settings, lane);
        let is_persistent = lane == 0 && !settings.ingest.is_empty();
        if !is_persistent {
            broker.session_expiry_seconds = 0;
        }
        match &settings.auth {
            LinkAuth::Anonymous | LinkAuth::SigV4 { .. } | LinkAuth::Cognito { .. } => {}
            LinkAuth::Password { username, password_file } => {
                broker.username = Some(username.clone());
                broker.password = Some(password(password_file).await?);
            }
            LinkAuth::Jwt { token, username } => {
                broker.username.clone_from(username);
                if token.place == JwtPlace::Username {
                    broker.username = None;
                }
                broker.jwt = Some(token.clone());
            }
            LinkAuth::Certificate { cert, key, username } => {
                broker.username.clone_from(username);
                if let Some(tls) = &mut broker.tls {
                    tls.identity = Some((cert.clone(), key.clone()));
                }
            }
        }
        let websocket = self.websocket(settings).await?;
        let names = SettingNames::Link(settings.name.clone());
        let alpn = protocol_names(settings);
        Ok(RemoteTarget {
            broker,
            names,
            alpn,
            websocket,
            clean_start: !is_persistent,
            packet_patience: PACKET_PATIENCE,
        })
    }

    /// The other broker refused the signature. Returns whether the next connect has other
    /// credentials.
    pub async fn refused(&self) -> bool {
        match &self.credentials {
            Some(credentials) => credentials.refused().await,
            None => false,
        }
    }

    /// The end of the credentials of AWS, if there are some.
    pub fn credentials_expire(&self) -> Option<Timestamp> {
        self.credentials.as_ref().and_then(CredentialSource::expires)
    }

    /// The end of a token that is made now.
    pub fn token_expires(&self, settings: &LinkSettings) -> Option<Timestamp> {
        let LinkAuth::Jwt { token, .. } = &settings.auth else { return None };
        let lifetime = i64::try_from(token.lifetime.as_secs()).unwrap_or(i64::MAX);
        Some((self.clock)().plus_seconds(lifetime))
    }

    /// Where the credentials of AWS come from, for those who show it.
    pub const fn credentials(&self) -> Option<&CredentialSource> {
        self.credentials.as_ref()
    }

    async fn websocket(
        &self,
        settings: &LinkSettings,
    ) -> Result<Option<WebSocketRequest>, LinkLoginError> {
        if !settings.transport.is_websocket() {
            return Ok(None);
        }
        let usual = if settings.transport.is_encrypted() { HTTPS } else { HTTP };
        let host = host_header(&settings.host, settings.port, usual);
        let path_and_query = match (&settings.auth, &self.credentials) {
            (LinkAuth::SigV4 { region, .. } | LinkAuth::Cognito { region, .. }, Some(source)) => {
                let credentials = timeout(PATIENCE, source.current())
                    .await
                    .map_err(|_| LinkLoginError::Late)??;
                presign(&host, region, &credentials, (self.clock)())
            }
            _ => Secret::new("/mqtt".to_owned()),
        };
        Ok(Some(WebSocketRequest { path_and_query, host }))
    }
}

// --- private helpers ---

/// Address, limits and TLS.
fn plain(settings: &LinkSettings, lane: u16) -> BrokerConfig {
    let limits = &settings.limits;
    let preset = LinkLimits::of(settings.kind).keepalive_seconds;
    let is_set = limits.keepalive_seconds != preset;
    let keepalive = if is_set { limits.keepalive_seconds } else { preset.min(KEEPALIVE_SECONDS) };
    let tls = settings.transport.is_encrypted();
    BrokerConfig {
        host: settings.host.clone(),
        port: settings.port,
        username: None,
        password: None,
        jwt: None,
        client_id: settings.client_id_of(lane),
        topic: String::new(),
        share_group: None,
        tls: tls.then(|| BrokerTls { ca_cert: settings.ca_cert.clone(), identity: None }),
        keepalive: Duration::from_secs(keepalive.into()),
        session_expiry_seconds: limits.session_expiry_seconds,
        receive_maximum: RECEIVE_MAXIMUM.min(limits.unacked),
        max_packet_bytes: MAX_PACKET_BYTES,
    }
}

async fn password(path: &Path) -> Result<Secret, LinkLoginError> {
    let owned = path.to_owned();
    let read = disk::run(path, move || disk::read_text(&owned, MAX_PASSWORD_BYTES)).await;
    let read = read.map_err(|error| error.to_string());
    match read.and_then(|text| text.map_err(|error| error.to_string())) {
        Ok(text) => Ok(Secret::new(text.trim_end_matches(['\r', '\n']).to_owned())),
        Err(why) => Err(LinkLoginError::Password(PasswordFault { path: path.to_owned(), why })),
    }
}
