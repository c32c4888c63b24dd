//! One route: its path, its handler, and the schemas that follow from the types of the handler.
//!
//! The router and the document both use it, so they cannot disagree.

use std::future::Future;

use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, MethodRouter, on};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::access::{ActingApi, RouteAccess, RouteScope};
use super::extract::{Body, Call, HeaderParam, NoBody, NoParams};
use super::problem::{Problem, ProblemKind};
use super::state::Api;
use crate::domain::caller::CallerRole;

/// A row of the table.
pub(super) struct Route {
    /// The method in lower case, as in the document.
    pub method: &'static str,
    pub path: &'static str,
    pub summary: &'static str,
    /// Whether the route requires the admin token.
    pub is_guarded: bool,
    /// Whether the route may wait long; it then takes a working permit only while it works.
    pub is_patient: bool,
    /// Old names of query parameters, which are still accepted.
    pub renamed: &'static [Renamed],
    /// What the route demands of its caller.
    pub access: RouteAccess,
    pub endpoint: MethodRouter<Api>,
    pub shapes: fn(&mut SchemaGenerator) -> Shapes,
}

/// A query parameter that has a new name.
#[derive(Clone, Copy, Debug)]
pub(super) struct Renamed {
    pub old: &'static str,
    pub new: &'static str,
}

/// The schemas of a request and its response.
pub(super) struct Shapes {
    pub path: Schema,
    pub query: Schema,
    pub body: Option<Schema>,
    pub headers: &'static [HeaderParam],
    pub status: StatusCode,
    /// The status of a repeated request, if it has its own.
    pub repeated: Option<StatusCode>,
    pub media_type: &'static str,
    pub answer: Option<Schema>,
    pub answer_headers: &'static [HeaderParam],
}

/// A type of response: how it is written, and its schema.
pub(crate) trait Answer: IntoResponse {
    const STATUS: StatusCode;
    const MEDIA_TYPE: &'static str;
    const REPEATED: Option<StatusCode> = None;
    const HEADERS: &'static [HeaderParam] = &[];

    fn schema(generator: &mut SchemaGenerator) -> Option<Schema>;
}

/// A JSON response with status 200.
#[derive(Debug)]
pub(crate) struct OkJson<T>(pub T);

/// A JSON response with status 201, or 200 if an equal request was answered before.
#[derive(Debug)]
pub(crate) struct QueuedJson<T> {
    pub is_new: bool,
    pub value: T,
}

/// A JSON response with status 201.
#[derive(Debug)]
pub(crate) struct CreatedJson<T>(pub T);

macro_rules! method {
    ($name:ident, $filter:ident, $doc:literal) => {
        #[doc = $doc]
        pub(super) fn $name<P, Q, B, A, H, F>(
            path: &'static str,
            summary: &'static str,
            handler: H,
        ) -> Route
        where
            P: DeserializeOwned + JsonSchema + Send + 'static,
            Q: DeserializeOwned + JsonSchema + Send + 'static,
            B: Body + 'static,
            A: Answer + 'static,
            H: Fn(Api, Call<P, Q, B>) -> F + Clone + Send + Sync + 'static,
            F: Future<Output = Result<A, Problem>> + Send + 'static,
        {
            let answer = move |ActingApi(api): ActingApi, call: Call<P, Q, B>| handler(api, call);
            let endpoint = on(MethodFilter::$filter, answer);
            let shapes = Shapes::of::<P, Q, B, A>;
            Route {
                method: stringify!($name),
                path,
                summary,
                is_guarded: true,
                is_patient: false,
                renamed: &[],
                access: RouteAccess::of(stringify!($name), path),
                endpoint,
                shapes,
            }
        }
    };
}

method!(get, GET, "It reads.");
method!(post, POST, "It adds or acts.");
method!(put, PUT, "It replaces.");
method!(patch, PATCH, "It changes.");
method!(delete, DELETE, "It removes.");

/// It reads over HTTP only, and its response is a stream of events, which holds no permit. `R` is what
/// the handler takes of the request itself.
pub(super) fn stream<R, Q, A, H, F>(path: &'static str, summary: &'static str, handler: H) -> Route
where
    R: FromRequestParts<Api> + Send + 'static,
    Q: DeserializeOwned + JsonSchema + Send + 'static,
    A: Answer + 'static,
    H: Fn(Api, R, Call<NoParams, Q, NoBody>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Result<A, Problem>> + Send + 'static,
{
    let answer = move |ActingApi(api): ActingApi, request: R, call: Call<NoParams, Q, NoBody>| {
        handler(api, request, call)
    };
    Route {
        method: "get",
        path,
        summary,
        is_guarded: true,
        is_patient: false,
        renamed: &[],
        access: RouteAccess::of("get", path),
        endpoint: on(MethodFilter::GET, answer),
        shapes: Shapes::of::<NoParams, Q, NoBody, A>,
    }
}

// === impl Route ===

impl Route {
    /// Makes the route available without the admin token.
    pub(super) fn open(self) -> Self {
        Self { is_guarded: false, ..self }.public()
    }

    /// Answers everyone over MQTT: the response is the same for all and no secret.
    pub(super) fn public(self) -> Self {
        let access = RouteAccess { is_public: true, scope: RouteScope::Nothing, ..self.access };
        Self { access, ..self }
    }

    /// Says which role a caller needs, and where a request names its tenant, if neither
    /// follows from the path.
    pub(super) fn for_role(self, role: CallerRole, scope: RouteScope) -> Self {
        Self { access: RouteAccess { role, scope, ..self.access }, ..self }
    }

    /// Says for which bodies the response contains a new secret.
    pub(super) fn secret(self, gives_secret: fn(&[u8]) -> bool) -> Self {
        Self { access: RouteAccess { gives_secret, ..self.access }, ..self }
    }

    /// Says which fields of the response hold payloads of messages: viewers do not see them.
    pub(super) fn payloads(self, payloads: &'static [&'static str]) -> Self {
        Self { access: RouteAccess { payloads, ..self.access }, ..self }
    }

    /// Says which role a caller needs, where the path names the tenant.
    pub(super) fn role(self, role: CallerRole) -> Self {
        Self { access: RouteAccess { role, ..self.access }, ..self }
    }

    /// Keeps the old names of parameters. The type of the query accepts each as an alias.
    pub(super) fn renamed(self, renamed: &'static [Renamed]) -> Self {
        Self { renamed, ..self }
    }

    /// Marks a route that may wait long.
    pub(super) fn patient(self) -> Self {
        Self { is_patient: true, ..self }
    }
}

// === impl Shapes ===

impl Shapes {
    fn of<P: JsonSchema, Q: JsonSchema, B: Body, A: Answer>(
        generator: &mut SchemaGenerator,
    ) -> Self {
        Self {
            path: P::json_schema(generator),
            query: Q::json_schema(generator),
            body: B::schema(generator),
            headers: B::HEADERS,
            status: A::STATUS,
            repeated: A::REPEATED,
            media_type: A::MEDIA_TYPE,
            answer: A::schema(generator),
            answer_headers: A::HEADERS,
        }
    }
}

// === impl Answer ===

impl<T: Serialize + JsonSchema> Answer for OkJson<T> {
    const STATUS: StatusCode = StatusCode::OK;
    const MEDIA_TYPE: &'static str = "application/json";

    fn schema(generator: &mut SchemaGenerator) -> Option<Schema> {
        Some(generator.subschema_for::<T>())
    }
}

impl<T: Serialize> IntoResponse for OkJson<T> {
    fn into_response(self) -> Response {
        encode(StatusCode::OK, &self.0)
    }
}

impl<T: Serialize + JsonSchema> Answer for CreatedJson<T> {
    const STATUS: StatusCode = StatusCode::CREATED;
    const MEDIA_TYPE: &'static str = "application/json";

    fn schema(generator: &mut SchemaGenerator) -> Option<Schema> {
        Some(generator.subschema_for::<T>())
    }
}

impl<T: Serialize> IntoResponse for CreatedJson<T> {
    fn into_response(self) -> Response {
        encode(StatusCode::CREATED, &self.0)
    }
}

impl<T: Serialize + JsonSchema> Answer for QueuedJson<T> {
    const STATUS: StatusCode = StatusCode::CREATED;
    const MEDIA_TYPE: &'static str = "application/json";
    const REPEATED: Option<StatusCode> = Some(StatusCode::OK);

    fn schema(generator: &mut SchemaGenerator) -> Option<Schema> {
        Some(generator.subschema_for::<T>())
    }
}

impl<T: Serialize> IntoResponse for QueuedJson<T> {
    fn into_response(self) -> Response {
        encode(if self.is_new { StatusCode::CREATED } else { StatusCode::OK }, &self.value)
    }
}

// === private helpers ===

fn encode(status: StatusCode, value: &impl Serialize) -> Response {
    match serde_json::to_vec(value) {
        // The response can contain a token that is shown once.
        Ok(body) => {
            (status, [(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-store")], body)
                .into_response()
        }
        Err(error) => {
            tracing::error!(%error, "encoding a response of the API failed; the client gets a problem instead");
            Problem::new(
                ProblemKind::Internal,
                "Sluice could not encode the response; its log has the cause",
            )
            .into_response()
        }
    }
}
