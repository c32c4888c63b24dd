//! Requests of devices: `tenant/<t>/device/<d>/request/<route>`.
//!
//! Who asks follows from the topic, which the broker's access rules guarantee; the registry decides
//! as it does for messages. A device gets answers about itself only. Read it in this order:
//!
//! 1. [`address`] reads the topic, [`budget`] limits each device;
//! 2. [`request`] reads the payload, [`call`] is a request that is accepted;
//! 3. [`routes`] lists the routes; each has a file of its own;
//! 4. [`reply`] writes the response, [`response_topic`] chooses its topic;
//! 5. [`database_patience`] ends a wait for Postgres.

mod address;
mod budget;
mod call;
mod certificate;
mod commands;
mod database_patience;
mod device;
mod explain;
mod reply;
mod request;
mod response_topic;
mod routes;
mod shadow;
mod time;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::turns::{Sender, SenderGroup};
use crate::config::Config;
use crate::domain::device::{Device, RegistryAnswer};
use crate::domain::exchange::{MAX_CORRELATION, OutgoingMessage, RequestMessage};
use crate::domain::ids::DeviceKey;
use crate::domain::ports::Outage;
use crate::domain::publisher::Publisher;
use crate::domain::refusal::Refusal;
use crate::domain::time::{Clock, Timestamp};
use crate::http::api::problem::{Problem, ProblemKind};
use crate::ingest::authorize::judge::{AuthRequirements, Authentication, PublishedBy};
use crate::ingest::grants::lookup::GrantLookup;
use crate::ingest::publisher::ProofVerifier;
use crate::store::connection::database::Database;
use crate::store::registry::directory::PgDirectory;
use crate::telemetry::certificates::CertificateMetrics;
use crate::telemetry::ingest::ProofMetrics;
use crate::telemetry::mqtt_api::{MqttApiMetrics, RequestDrop};
use address::RequestAddress;
use budget::{DeviceBudgets, Verdict};
use call::{DeviceCall, DeviceServices};
use database_patience::{DatabasePatience, PATIENCE};
use reply::{Rejection, Reply, ReplyResult};
use request::DeviceRequest;
use routes::DeviceRoute;

/// Requests of one device that are answered at a time.
const AT_WORK_MAX: usize = 2;

/// Connections of the routes. They have a pool of their own: rows that are locked for long must not
/// take the connections of ingest.
const CONNECTIONS: u32 = 2;

/// Seconds after which a device may send its request again if Postgres is away.
const RETRY_SECONDS: u64 = 2;

/// Answers requests of devices.
#[derive(Debug)]
pub struct DeviceApi {
    services: DeviceServices,
    registry: GrantLookup<PgDirectory>,
    requirements: AuthRequirements,
    proofs: Mutex<ProofVerifier>,
    budgets: Mutex<DeviceBudgets>,
    patience: DatabasePatience,
    metrics: MqttApiMetrics,
    clock: Clock,
}

/// Whether a request gets a place.
#[derive(Debug)]
pub enum Admission {
    /// It waits in the line of this sender.
    Admitted(Sender),
    /// It is refused with this response.
    Refused(Box<OutgoingMessage>),
    /// It gets no response.
    Dropped(RequestDrop),
}

// === impl DeviceApi ===

impl DeviceApi {
    /// Answers with these settings and this database; `registry` has what the spine has cached.
    pub fn new(
        config: Arc<Config>,
        database: &Database,
        registry: GrantLookup<PgDirectory>,
        (metrics, proofs): (MqttApiMetrics, ProofMetrics),
        certificates: CertificateMetrics,
        clock: Clock,
    ) -> Self {
        let database = database.with_own_pool(CONNECTIONS, PATIENCE);
        Self {
            requirements: AuthRequirements::from(&config.ingest),
            proofs: Mutex::new(ProofVerifier::new(&config.ingest.proofs, proofs)),
            budgets: Mutex::new(DeviceBudgets::new(&config.mqtt_api)),
            patience: DatabasePatience::new(clock),
            services: DeviceServices { config, database, certificates },
            registry,
            metrics,
            clock,
        }
    }

    /// Charges a request to its device, before anything else is read of it.
    pub fn admit(&self, request: &RequestMessage, now: Timestamp) -> Admission {
        let Some(address) = RequestAddress::parse(&request.topic) else {
            return Admission::Dropped(RequestDrop::Topic);
        };
        let verdict = self.lock_budgets().charge(&address.device, now);
        match verdict {
            Verdict::Allowed => Admission::Admitted(Sender {
                name: address.device.identity().into(),
                at_work_max: AT_WORK_MAX,
                group: SenderGroup::Devices,
            }),
            Verdict::Refused { retry_after } => {
                let problem = Problem::new(
                    ProblemKind::TooManyRequests,
                    format!(
                        "the device sent more requests than DEVICE_API_RPS and DEVICE_API_BURST \
                         allow: wait {retry_after} s"
                    ),
                );
                let rejection = Rejection::from(problem).retry_after(retry_after);
                self.reject_unread(request, &address, rejection, now)
                    .map_or(Admission::Dropped(RequestDrop::Topic), |response| {
                        Admission::Refused(Box::new(response))
                    })
            }
            Verdict::Silent => Admission::Dropped(RequestDrop::Budget),
        }
    }

    /// The response to a request that has no place in the queue, while the device's budget of
    /// refusals lasts.
    pub fn busy(&self, request: &RequestMessage, now: Timestamp) -> Option<OutgoingMessage> {
        let address = RequestAddress::parse(&request.topic)?;
        if !self.lock_budgets().may_refuse(&address.device, now) {
            return None;
        }
        let detail = "Sluice answers as many requests as it can: try again";
        let problem = Problem::new(ProblemKind::Unavailable, detail);
        let rejection = Rejection::from(problem).retry_after(RETRY_SECONDS);
        self.reject_unread(request, &address, rejection, now)
    }

    /// The response to a request whose turn it is.
    pub async fn answer(&self, request: &RequestMessage) -> Option<OutgoingMessage> {
        let address = RequestAddress::parse(&request.topic)?;
        let (id, result) = match DeviceRequest::read(request) {
            Ok(read) => {
                let id = read.id.clone();
                (id, self.decide(request, &address, read).await)
            }
            Err(unread) => (unread.id, Err(Rejection::from(unread.problem))),
        };
        self.respond(request, &address, Reply { id, result }, (self.clock)())
    }

    async fn decide(
        &self,
        request: &RequestMessage,
        address: &RequestAddress,
        read: DeviceRequest,
    ) -> ReplyResult {
        if request.correlation.as_ref().is_some_and(|given| given.len() > MAX_CORRELATION) {
            let detail = format!("the Correlation Data has more than {MAX_CORRELATION} bytes");
            return Err(Problem::new(ProblemKind::BadRequest, detail).into());
        }
        let route = DeviceRoute::named(&address.route);
        let publisher = self.publisher_of(request);
        let found = self.registry.of(&address.device).await;
        let gateway = self.gateway_of(&publisher, &address.device).await;
        let now = (self.clock)();
        let (registered, route) = match (found, route) {
            (Ok(answer), route) => {
                let proves_itself = route.is_some_and(|route| route.proves_itself(&read.params));
                let gateway = gateway.map_err(Problem::from)?;
                let sender = PublishedBy { publisher: &publisher, gateway: gateway.as_ref() };
                let identity = address.device.identity();
                let identified = self.requirements.identify(sender, identity, &answer);
                (self.authenticate(identified, &read, proves_itself, now)?, route)
            }
            // The time needs no database, and is given to everyone who may send the request.
            (Err(_), Some(DeviceRoute::Time)) => (None, route),
            (Err(outage), _) => {
                return Err(Rejection::from(Problem::from(outage)).retry_after(RETRY_SECONDS));
            }
        };
        let route = route.ok_or_else(|| routes::no_such_route(&address.route))?;
        let call = DeviceCall {
            services: &self.services,
            device: &address.device,
            registered: registered.as_ref(),
            publisher,
            token: read.token,
            params: read.params,
            received_at: request.received_at,
            now,
            clock: self.clock,
        };
        if route == DeviceRoute::Time {
            return time::answer(&call);
        }
        self.patience.run(routes::answer(route, &call)).await
    }

    /// Who published a request.
    fn publisher_of(&self, request: &RequestMessage) -> Publisher {
        if request.cut_from.is_some() {
            // The proof covers the whole payload.
            return Publisher::Missing;
        }
        // The keys behind a poisoned lock are still valid.
        let mut proofs = self.proofs.lock().unwrap_or_else(PoisonError::into_inner);
        proofs.publisher(&request.properties, &request.topic, &request.payload)
    }

    /// The registry's answer for a publisher that is a gateway.
    async fn gateway_of(
        &self,
        publisher: &Publisher,
        device: &DeviceKey,
    ) -> Result<Option<RegistryAnswer>, Outage> {
        match self.requirements.gateway(publisher, device.identity()) {
            Some(gateway) => self.registry.of(&gateway).await.map(Some),
            None => Ok(None),
        }
    }

    /// The registered device, if it may send requests. A request that `proves_itself` needs neither
    /// a token nor a valid certificate.
    fn authenticate(
        &self,
        identified: Result<(&Device, Option<Authentication>), Refusal>,
        read: &DeviceRequest,
        proves_itself: bool,
        now: Timestamp,
    ) -> Result<Option<Device>, Rejection> {
        let judge = || -> Result<Device, Refusal> {
            let (device, proven) = identified?;
            if !proves_itself && proven.is_none() {
                self.requirements.authenticate(&read.token, device, now)?;
            }
            Ok(device.clone())
        };
        judge().map(Some).map_err(|refusal| Rejection::from(&refusal))
    }

    /// Refuses a request of which only the identifier is read.
    fn reject_unread(
        &self,
        request: &RequestMessage,
        address: &RequestAddress,
        rejection: Rejection,
        now: Timestamp,
    ) -> Option<OutgoingMessage> {
        let id = request::recover_id(&request.payload);
        self.respond(request, address, Reply { id, result: Err(rejection) }, now)
    }

    fn respond(
        &self,
        request: &RequestMessage,
        address: &RequestAddress,
        reply: Reply,
        now: Timestamp,
    ) -> Option<OutgoingMessage> {
        let chosen = response_topic::choose(request, address)?;
        if chosen.is_ignored {
            self.metrics.plain.bad_response_topics.inc();
        }
        let (response, status) = reply.into_message(chosen, request.correlation.as_ref(), now);
        let label = DeviceRoute::named(&address.route).map_or("other", DeviceRoute::name);
        self.metrics.responded(label, status);
        Some(response)
    }

    fn lock_budgets(&self) -> MutexGuard<'_, DeviceBudgets> {
        // The budgets behind a poisoned lock are still valid.
        self.budgets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
