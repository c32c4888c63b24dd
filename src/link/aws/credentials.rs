//! Which credentials a connection to AWS uses, and when to get others.
//!
//! The connect loop asks for them, so a connection is never signed with credentials that have ended.
//! A live connection outlasts its credentials: nothing here ends it.

use std::fmt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::domain::time::{Clock, Timestamp};
use crate::lifecycle::health_reporter::{HealthReporter, HealthTexts};
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

/// How often the end of the credentials is compared with the clock: it may be set meanwhile.
const LOOK: Duration = Duration::from_secs(1);

/// The pause after a failed renewal.
const RETRY: Duration = Duration::from_secs(15);

const HEALTH_TEXTS: HealthTexts = HealthTexts {
    failed: "renewing the credentials of a guest failed",
    action: "retrying; the former ones are used to their end",
    recovered: "the credentials of a guest are renewed again",
};

/// Gets the credentials of one link; all its lanes share it.
pub struct CredentialSource {
    origin: Origin,
    clock: Clock,
    /// Held while credentials are requested, so that lanes request them once.
    cached: tokio::sync::Mutex<CachedCredentials>,
    /// The end of the last ones, for observers.
    expires: Mutex<Option<Timestamp>>,
}

struct CachedCredentials {
    /// The last ones, unless they were refused.
    last: Option<AwsCredentials>,
    health: HealthReporter,
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
        let health = HealthReporter::log_only("credentials", HEALTH_TEXTS);
        let cached = tokio::sync::Mutex::new(CachedCredentials { last: None, health });
        Self { origin, clock, cached, expires: Mutex::default() }
    }

    /// Credentials to sign with. Those of a guest are kept until little is left of them; if the
    /// pool gives no others then, they are used to their end.
    pub async fn current(&self) -> Result<AwsCredentials, CredentialError> {
        let mut cached = self.cached.lock().await;
        let now = (self.clock)();
        if let Some(kept) = cached.last.as_ref().filter(|kept| self.may_keep(kept, now)) {
            return Ok(kept.clone());
        }
        self.renew(&mut cached, now).await
    }

    /// Renews the credentials of a guest before little is left of them, so that a connection that is
    /// cut does not depend on the pool at once. `renewed` gets their end. Runs until `stop`, or ends
    /// at once where nothing is renewed; it requests none before [`Self::current`] has.
    pub async fn keep_fresh(&self, stop: &CancellationToken, renewed: impl Fn(Option<Timestamp>)) {
        let mut pause = LOOK;
        while self.guest().is_some() {
            tokio::select! {
                () = stop.cancelled() => return,
                is_due = self.renew_if_due(pause) => pause = if is_due { RETRY } else { LOOK },
            }
            renewed(self.expires());
        }
    }

    /// Waits, then renews the credentials if little is left of them. Returns whether that is still
    /// so.
    async fn renew_if_due(&self, pause: Duration) -> bool {
        sleep(pause).await;
        let mut cached = self.cached.lock().await;
        let is_due = |kept: &Option<AwsCredentials>| {
            let now = (self.clock)();
            kept.as_ref().is_some_and(|kept| kept.is_renewal_due(now))
        };
        if is_due(&cached.last) {
            // A failure is in the log, and stays due.
            let _ = self.renew(&mut cached, (self.clock)()).await;
        }
        is_due(&cached.last)
    }

    async fn renew(
        &self,
        cached: &mut CachedCredentials,
        now: Timestamp,
    ) -> Result<AwsCredentials, CredentialError> {
        let error = match self.request(now).await {
            Ok(found) => {
                *self.expires.lock().unwrap_or_else(PoisonError::into_inner) = found.expires;
                cached.health.worked(Instant::now().into_std());
                return Ok(cached.last.insert(found).clone());
            }
            Err(error) => error,
        };
        let Some(kept) = cached.last.as_ref().filter(|_| self.guest().is_some()) else {
            return Err(error);
        };
        let cause = format!("{error}: {}", error.advice());
        cached.health.failed(&cause, Instant::now().into_std());
        if kept.is_usable((self.clock)()) { Ok(kept.clone()) } else { Err(error) }
    }

    /// The other broker refused a signature: if the credentials are older than a minute, the next
    /// connection gets others. Returns whether it does.
    pub async fn refused(&self) -> bool {
        let mut cached = self.cached.lock().await;
        let now = (self.clock)();
        cached.last.take_if(|kept| now.seconds_since(kept.obtained) > REFUSED_SECONDS).is_some()
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
