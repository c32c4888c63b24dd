//! Requests of operators: the routes of the HTTP API, and a greeting.
//!
//! 1. [`caller`] finds the sender by the topic, and where the response goes;
//! 2. [`rates`] bounds what each sender may send;
//! 3. [`coa`] reads the envelope, and writes the one of the response;
//! 4. [`route`] finds the path that a route means;
//! 5. [`answers`] remembers the responses to changes.
//!
//! Every request gets a response, also one that cannot be read. What a caller may do is decided by the
//! routes of the API, not here.

mod answers;
mod caller;
mod coa;
mod rates;
mod route;

use std::sync::Arc;

use self::answers::{AnswerKey, AnswerMemory};
use self::caller::{CoaSender, TopicCaller};
use self::coa::{CoaFault, CoaRequest};
use self::rates::CallerRates;
use self::route::{RouteFault, RouteTarget};
use crate::config::sections::mqtt_api::OperatorsConfig;
use crate::domain::exchange::{MAX_CORRELATION, OutgoingMessage, RequestMessage};
use crate::domain::time::Clock;
use crate::http::{Api, ApiCall, ApiCaller, ApiReply, CallFault, CallIdentity, CallerProof};
use crate::store::registry::audit::Actor;
use crate::telemetry::mqtt_api::{MqttApiMetrics, RequestDrop};

/// Largest envelope, in bytes: the largest body of the API in base64, and parameters.
const MAX_ENVELOPE: usize = 256 * 1024;

/// How long the broker keeps a response for its reader, in seconds.
const RESPONSE_EXPIRY: u32 = 60;

/// The metadata that becomes headers of the request.
const PASSED_ON: [&str; 4] = ["authorization", "if-match", "if-none-match", "idempotency-key"];

/// The route of the greeting.
const GREETINGS: &str = "greetings";

/// Answers requests of operators.
#[derive(Debug)]
pub struct OperatorApi {
    config: OperatorsConfig,
    api: ApiCaller,
    rates: CallerRates,
    answers: AnswerMemory,
    metrics: MqttApiMetrics,
    clock: Clock,
}

// === impl OperatorApi ===

impl OperatorApi {
    /// With the routes of `api`, whose limits of concurrency it shares.
    pub fn new(config: OperatorsConfig, api: Api, metrics: MqttApiMetrics, clock: Clock) -> Self {
        Self {
            config,
            api: ApiCaller::new(api),
            rates: CallerRates::default(),
            answers: AnswerMemory::default(),
            metrics,
            clock,
        }
    }

    /// The response to a request; `None` if its topic names no sender.
    pub async fn answer(&self, request: &RequestMessage) -> Option<OutgoingMessage> {
        let sender = self.sender(request)?;
        let (reply, request_id) = self.reply(&sender, request).await;
        Some(self.response(&sender, request, &reply, request_id.as_deref()))
    }

    /// The response to a request that has no place in the queue.
    pub fn busy(&self, request: &RequestMessage) -> Option<OutgoingMessage> {
        let sender = self.sender(request)?;
        let reply = ApiReply::fault(CallFault::Unavailable, "too many requests wait: try again");
        let request_id = coa::recover_request_id(&request.payload);
        Some(self.response(&sender, request, &reply, request_id.as_deref()))
    }

    fn sender<'a>(&'a self, request: &'a RequestMessage) -> Option<CoaSender<'a>> {
        let sender = CoaSender::of_topic(&self.config, &request.topic);
        if sender.is_none() {
            self.metrics.dropped(RequestDrop::Topic).inc();
        }
        sender
    }

    async fn reply(
        &self,
        sender: &CoaSender<'_>,
        request: &RequestMessage,
    ) -> (ApiReply, Option<String>) {
        let recovered = || coa::recover_request_id(&request.payload);
        if !self.rates.try_spend(sender.caller, (self.clock)()) {
            let detail = "the caller sends too many requests: send fewer in a second";
            return (ApiReply::fault(CallFault::TooMany, detail), recovered());
        }
        if request.cut_from.is_some() || request.payload.len() > MAX_ENVELOPE {
            let detail = format!("the request has more than {MAX_ENVELOPE} bytes");
            return (ApiReply::fault(CallFault::TooLarge, &detail), recovered());
        }
        match coa::read(&request.payload) {
            Ok(read) => {
                let reply = self.reply_to(sender.caller, &read, request).await;
                (reply, read.request_id().map(str::to_owned))
            }
            Err(CoaFault { why, request_id }) => {
                (ApiReply::fault(CallFault::Malformed, &why), request_id)
            }
        }
    }

    async fn reply_to(
        &self,
        caller: TopicCaller<'_>,
        read: &CoaRequest,
        request: &RequestMessage,
    ) -> ApiReply {
        let proof = match (read.metadata("authorization"), caller) {
            (Some(_), _) => CallerProof::Token,
            (None, TopicCaller::Shared) => CallerProof::Nothing,
            (None, TopicCaller::Named(caller)) => {
                CallerProof::Named { role: caller.role, tenant: caller.tenant.clone() }
            }
            (None, TopicCaller::Stranger(_)) => {
                let detail = "MQTT_API_CALLERS does not name this caller";
                return ApiReply::fault(CallFault::Forbidden, detail);
            }
        };
        let tenant = match &proof {
            CallerProof::Named { tenant, .. } => tenant.as_ref(),
            CallerProof::Nothing | CallerProof::Token => None,
        };
        let target = match route::resolve(&read.route, &read.parameters, tenant) {
            Ok(RouteTarget::Greetings) => return greeting(&read.method),
            Ok(RouteTarget::Api(target)) => target,
            Err(RouteFault { fault, why }) => return ApiReply::fault(fault, &why),
        };
        let call = self.call(caller, proof, read, target);
        // A request without proof changes nothing, and would take the place of those with one.
        let is_remembered = call.is_change() && self.api.is_proven(&call);
        // On the heap: the state of a call is large.
        let reply = Box::pin(self.api.call(call));
        match request_name(read, request).filter(|_| is_remembered) {
            Some(id) => {
                let key = AnswerKey::new(caller.share(), [&request.topic, id, &request.payload]);
                self.answers.answer_once(key, (self.clock)(), reply).await
            }
            None => reply.await,
        }
    }

    fn call(
        &self,
        caller: TopicCaller<'_>,
        proof: CallerProof,
        read: &CoaRequest,
        target: String,
    ) -> ApiCall {
        let actor = caller.name().map_or_else(|| "mqtt".to_owned(), |name| format!("mqtt:{name}"));
        let header = |name: &&str| Some(((*name).to_owned(), read.metadata(name)?.to_owned()));
        ApiCall {
            method: read.method.clone(),
            target,
            content_type: read.content_type.clone(),
            headers: PASSED_ON.iter().filter_map(header).collect(),
            body: read.body.clone(),
            identity: CallIdentity {
                actor: Arc::new(Actor::new(&actor)),
                proof,
                may_receive_secrets: self.config.secrets,
                is_person: false,
            },
        }
    }

    fn response(
        &self,
        sender: &CoaSender<'_>,
        request: &RequestMessage,
        reply: &ApiReply,
        request_id: Option<&str>,
    ) -> OutgoingMessage {
        self.metrics.responded(reply.route.unwrap_or("other"), reply.status);
        let named = request.response_topic.as_ref();
        let named = named.map(|topic| sender.response_topic(&self.config, topic));
        if named == Some(None) {
            self.metrics.plain.bad_response_topics.inc();
        }
        let topic = named.flatten().unwrap_or_else(|| sender.responses.clone());
        let correlation = request.correlation.clone();
        OutgoingMessage {
            correlation: correlation.filter(|data| data.len() <= MAX_CORRELATION),
            ..OutgoingMessage::json(topic, coa::write(reply, request_id)).expiring(RESPONSE_EXPIRY)
        }
    }
}

// === private helpers ===

fn greeting(method: &str) -> ApiReply {
    if !["GET", "POST"].contains(&method) {
        let fault = ApiReply::fault(CallFault::Method, "greetings accepts GET and POST");
        return ApiReply { route: Some(GREETINGS), ..fault };
    }
    ApiReply {
        status: 200,
        content_type: "text/plain".to_owned(),
        headers: Vec::new(),
        body: format!("Hello from Sluice {}", env!("CARGO_PKG_VERSION")).into(),
        route: Some(GREETINGS),
    }
}

/// What names a request among those of its sender: the request id, or else the Correlation Data.
fn request_name<'a>(read: &'a CoaRequest, request: &'a RequestMessage) -> Option<&'a [u8]> {
    read.request_id().map(str::as_bytes).or(request.correlation.as_deref())
}
