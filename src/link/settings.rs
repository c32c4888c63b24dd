//! One link, as the links file describes it, after all checks.
//!
//! It reads no file and opens no connection.
//!
//! The limits in it are what the link uses; what its kind allows is the preset.

use std::path::PathBuf;
use std::time::Duration;

use crate::config::sections::broker::BrokerJwt;
use crate::domain::forwarding::{ForwardPlan, ForwardRule, LinkRoutes};
use crate::domain::link::LinkName;
use crate::link::kind::{LinkKind, LinkTransport};
use crate::link::limits::LinkLimits;

/// All links.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LinkSet {
    /// The name of this installation; `None`: the one that the database has.
    pub node: Option<String>,
    /// The links, by name.
    pub links: Vec<LinkSettings>,
}

/// One link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkSettings {
    /// Its name: the key of its table in the file.
    pub name: LinkName,
    /// `kind`.
    pub kind: LinkKind,
    /// `host`.
    pub host: String,
    /// `port`.
    pub port: u16,
    /// `transport`.
    pub transport: LinkTransport,
    /// `ca_cert`; `None`: the system's roots.
    pub ca_cert: Option<PathBuf>,
    /// `client_id`. With more than one lane, each lane adds `-<lane>`.
    pub client_id: String,
    /// `auth` and its keys.
    pub auth: LinkAuth,
    /// `lanes`: connections that share the messages by device.
    pub lanes: u16,
    /// What the other broker accepts: the preset of the kind, lowered by the file. `keepalive`,
    /// `session_expiry`, `max_rate`, `max_unacked` and `max_packet_bytes` are in it.
    pub limits: LinkLimits,
    /// `publish`.
    pub publish: Vec<ForwardRule>,
    /// `ingest`.
    pub ingest: Vec<IngestRule>,
    /// `backlog_max_bytes`.
    pub backlog_max_bytes: u64,
    /// `backlog_max_age`: older messages are not sent any more.
    pub backlog_max_age: Duration,
    /// `refuse_after`: how long a topic that the other broker refuses is tried again.
    pub refuse_after: Duration,
    /// `replace_after`: how long one connection is used; `None`: as long as it lives.
    pub replace_after: Option<Duration>,
}

/// How Sluice logs in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkAuth {
    /// `none`: no login.
    Anonymous,
    /// `password`: a user name, and a file with the password.
    Password {
        /// `username`.
        username: String,
        /// `password_file`.
        password_file: PathBuf,
    },
    /// `jwt`: a token that Sluice signs.
    Jwt {
        /// The key, the claims and the place of the token.
        token: BrokerJwt,
        /// `username`.
        username: Option<String>,
    },
    /// `certificate`: a client certificate.
    Certificate {
        /// `cert`.
        cert: PathBuf,
        /// `key`.
        key: PathBuf,
        /// `username`: Event Grid's authentication name.
        username: Option<String>,
    },
    /// `sigv4`: a signed URL with credentials of AWS.
    SigV4 {
        /// `region`.
        region: String,
        /// `credentials_file`, with `profile`; `None`: the environment.
        credentials: Option<AwsProfile>,
    },
    /// `cognito`: a signed URL with credentials of a guest.
    Cognito {
        /// `region`.
        region: String,
        /// `identity_pool_id`.
        identity_pool_id: String,
        /// `cognito_endpoint`; `None`: that of the region.
        endpoint: Option<String>,
        /// `public_prefix`: client ids begin with it and `-`, topics with it and `/`. `None`: any.
        public_prefix: Option<String>,
    },
}

/// A section of a file of credentials of AWS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AwsProfile {
    /// `credentials_file`.
    pub path: PathBuf,
    /// `profile`.
    pub profile: String,
}

/// Which messages of the other broker become messages of which device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IngestRule {
    /// `filter`, at the other broker.
    pub filter: String,
    /// `tenant`.
    pub tenant: IngestName,
    /// `device`.
    pub device: IngestName,
    /// `type`: the path of the local topic after the device.
    pub msg_type: IngestName,
    /// `lenient`: a JSON object with all four attributes is a CloudEvent without the content type.
    pub lenient: bool,
}

/// A name in an ingest rule: text and levels of the topic, `{1}` is the first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IngestName(pub Vec<IngestNamePart>);

/// A piece of a name in an ingest rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IngestNamePart {
    /// Text as it is.
    Text(String),
    /// A level of the topic, from 1.
    Level(usize),
}

// === impl LinkSet ===

impl LinkSet {
    /// The link of this name.
    pub fn find(&self, name: &str) -> Option<&LinkSettings> {
        self.links.iter().find(|link| link.name.as_str() == name)
    }

    /// Which messages go over which link. A link without `publish` has no part in it.
    pub fn plan(&self) -> ForwardPlan {
        let links = self.links.iter().filter(|link| !link.publish.is_empty());
        ForwardPlan { links: links.map(LinkSettings::routes).collect() }
    }
}

// === impl LinkSettings ===

impl LinkSettings {
    /// The address as `host:port`.
    pub fn address(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// The client id of a lane.
    pub fn client_id_of(&self, lane: u16) -> String {
        if self.lanes <= 1 { self.client_id.clone() } else { format!("{}-{lane}", self.client_id) }
    }

    /// Its rules, for ingest and for refilling a gap.
    pub fn routes(&self) -> LinkRoutes {
        LinkRoutes {
            link: self.name.clone(),
            lanes: self.lanes,
            backlog_max_bytes: self.backlog_max_bytes,
            rules: self.publish.clone(),
        }
    }
}

// === impl LinkAuth ===

impl LinkAuth {
    /// Its name in the file.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Anonymous => "none",
            Self::Password { .. } => "password",
            Self::Jwt { .. } => "jwt",
            Self::Certificate { .. } => "certificate",
            Self::SigV4 { .. } => "sigv4",
            Self::Cognito { .. } => "cognito",
        }
    }
}
