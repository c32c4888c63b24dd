//! Which credentials a connection to AWS uses, and when to get others.
//!
//! The connect loop asks for them, so a connection is never signed with credentials that have ended.
//! A live connection outlasts its credentials: nothing here ends it.

use std::fmt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use crate::domain::time::{Clock, Timestamp};
use crate::link::aws::cognito::{CognitoGuest, CognitoPool};
use crate::link::aws::cognito_error::CognitoError;
use crate::link::aws::environment::{self, Lookup, NotInEnvironment};
use crate::link::aws::identity::IdentityKeeper;
use crate::link::aws::profile::{self, AwsProfileError};
use crate::link::aws::server_date::ClockDifference;
use crate::link::aws::signing_keys::AwsCredentials;
use crate::link::settings::{AwsProfile, LinkAuth};

/// After a refused signature, credentials older than this are not used again.
const REFUSED_SECONDS: f64 = 60.0;

/// Gets the credentials of one link; all its lanes share it.
pub struct CredentialSource {
    origin: Origin,
    clock: Clock,
    /// Held while credentials are requested, so that lanes request them once.
    cached: tokio::sync::Mutex<Option<AwsCredentials>>,
    /// The end of the last ones, for observers.
    expires: Mutex<Option<Timestamp>>,
}

enum Origin {
    Environment(Lookup),
    Profile(AwsProfile),
    Guest(CognitoGuest),
}

/// Why there are no credentials.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    /// The environment has none.
    #[error(transparent)]
    Environment(#[from] NotInEnvironment),
    /// The file has none.
    #[error(transparent)]
    Profile(#[from] AwsProfileError),
    /// The identity pool gives none.
    #[error(transparent)]
    Cognito(#[from] CognitoError),
    /// The file has temporary ones that have ended.
    #[error("the credentials have ended at {0}")]
    Ended(Timestamp),
}

// === impl CredentialSource ===

impl CredentialSource {
    /// The source of a link; `None`: its login needs no credentials of AWS. `identities` keeps the
    /// identity of a guest.
    pub fn of_link(
        auth: &LinkAuth,
        ca_cert: Option<&Path>,
        identities: IdentityKeeper,
        clock: Clock,
    ) -> Option<Self> {
        let origin = match auth {
            LinkAuth::SigV4 { credentials: None, .. } => {
                Origin::Environment(environment::of_process)
            }
            LinkAuth::SigV4 { credentials: Some(profile), .. } => Origin::Profile(profile.clone()),
            LinkAuth::Cognito { region, identity_pool_id, endpoint, .. } => {
                let (id, endpoint) = (identity_pool_id, endpoint.as_deref());
                let pool = CognitoPool { id, region, endpoint, ca_cert };
                Origin::Guest(CognitoGuest::new(pool, identities, clock))
            }
            _ => return None,
        };
        Some(Self::new(origin, clock))
    }

    fn new(origin: Origin, clock: Clock) -> Self {
        Self { origin, clock, cached: tokio::sync::Mutex::default(), expires: Mutex::default() }
    }

    /// Credentials to sign with. Those of a guest are kept until little is left of them; if the
    /// pool cannot be reached then, they are used to their end.
    pub async fn current(&self) -> Result<AwsCredentials, CredentialError> {
        let mut cached = self.cached.lock().await;
        let now = (self.clock)();
        if let Some(kept) = cached.as_ref().filter(|kept| self.may_keep(kept, now)) {
            return Ok(kept.clone());
        }
        match self.request(now).await {
            Ok(found) => {
                *self.expires.lock().unwrap_or_else(PoisonError::into_inner) = found.expires;
                Ok(cached.insert(found).clone())
            }
            Err(error) => match cached.as_ref().filter(|kept| self.may_outlast(kept)) {
                Some(kept) => {
                    let left = kept.seconds_left((self.clock)());
                    tracing::warn!(
                        "renewing the credentials of a guest failed: {error}; Sluice uses the former ones, \
                         which end in {left:.0} s"
                    );
                    Ok(kept.clone())
                }
                None => Err(error),
            },
        }
    }

    /// The other broker refused a signature: if the credentials are older than a minute, the next
    /// connection gets others. Returns whether it does.
    pub async fn refused(&self) -> bool {
        let mut cached = self.cached.lock().await;
        let now = (self.clock)();
        cached.take_if(|kept| now.seconds_since(kept.obtained) > REFUSED_SECONDS).is_some()
    }

    /// The end of the credentials, if it is known.
    pub fn expires(&self) -> Option<Timestamp> {
        *self.expires.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The guest whose credentials these are.
    pub const fn guest(&self) -> Option<&CognitoGuest> {
        match &self.origin {
            Origin::Guest(guest) => Some(guest),
            Origin::Environment(_) | Origin::Profile(_) => None,
        }
    }

    /// How the clock of this machine differed from that of the identity pool.
    pub fn clock_difference(&self) -> Option<ClockDifference> {
        self.guest().and_then(CognitoGuest::clock_difference)
    }

    /// Files and variables are read again each time: a withdrawn key is not used again.
    fn may_keep(&self, kept: &AwsCredentials, now: Timestamp) -> bool {
        self.guest().is_some() && !kept.is_renewal_due(now)
    }

    fn may_outlast(&self, kept: &AwsCredentials) -> bool {
        self.guest().is_some() && kept.is_usable((self.clock)())
    }

    async fn request(&self, now: Timestamp) -> Result<AwsCredentials, CredentialError> {
        let found = match &self.origin {
            Origin::Environment(lookup) => environment::read(*lookup, now)?,
            Origin::Profile(wanted) => profile::read(wanted, now).await?,
            Origin::Guest(guest) => return Ok(guest.credentials().await?),
        };
        match found.expires {
            Some(ended) if ended <= now => Err(CredentialError::Ended(ended)),
            _ => Ok(found),
        }
    }
}

impl fmt::Debug for CredentialSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.origin {
            Origin::Environment(_) => "CredentialSource(environment)",
            Origin::Profile(_) => "CredentialSource(file)",
            Origin::Guest(_) => "CredentialSource(guest)",
        })
    }
}

// === impl CredentialError ===

impl CredentialError {
    /// What to do.
    pub const fn advice(&self) -> &'static str {
        match self {
            Self::Environment(_) => "give the service these variables",
            Self::Profile(_) => "check `credentials_file` and `profile`",
            Self::Cognito(error) => error.advice(),
            Self::Ended(_) => {
                "renew the credentials in the file; Sluice reads it for each connection"
            }
        }
    }
}
