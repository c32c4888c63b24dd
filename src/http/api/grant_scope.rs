//! Confines a request to the tenant of its caller.
//!
//! What belongs to another tenant is answered like what does not exist. It changes one thing: a list
//! of all tenants becomes the list of the caller's tenant.

use axum::body::Bytes;
use axum::extract::{Query, RawPathParams};
use axum::http::Uri;
use axum::http::request::Parts;
use serde::Deserialize;
use serde::de::IgnoredAny;
use uuid::Uuid;

use super::access::{RouteAccess, RouteScope};
use super::params::TextParam;
use super::problem::{Problem, ProblemKind};
use super::state::Api;
use crate::domain::ids::TenantId;
use crate::domain::link::LinkName;
use crate::store::certificates::{self, CertificateDetail, CertificateError, Handle};
use crate::store::links::refused_detail;

/// A request whose body has arrived.
pub(super) struct ScopedRequest<'a> {
    pub api: &'a Api,
    pub path: &'a RawPathParams,
    pub parts: Parts,
    pub body: Bytes,
}

/// The field of a body that names a tenant.
#[derive(Deserialize)]
struct TenantField {
    tenant: Option<String>,
}

/// The fields of a body that name a topic, and the link that it comes over.
#[derive(Deserialize)]
struct TopicField {
    topic: String,
    link: Option<IgnoredAny>,
}

/// Refuses a request about another tenant than this one.
pub(super) async fn confine(
    request: &mut ScopedRequest<'_>,
    access: RouteAccess,
    tenant: &TenantId,
) -> Result<(), Problem> {
    match access.scope {
        RouteScope::Nothing => Ok(()),
        RouteScope::Tenant if request.path_value("tenant") == Some(tenant.as_str()) => Ok(()),
        RouteScope::Everything | RouteScope::Tenant => Err(foreign(tenant)),
        RouteScope::Links => Err(links_of_all(tenant)),
        RouteScope::Certificate => request.check_certificate(tenant).await,
        RouteScope::Event => request.check_event(tenant).await,
        RouteScope::Replay => request.check_replay(tenant).await,
        RouteScope::DeadLetter => request.check_dead_letter(tenant).await,
        RouteScope::Query => request.confine_query(tenant).await,
        RouteScope::Body => {
            // A body that cannot be read names no tenant.
            let field: Option<TenantField> = serde_json::from_slice(&request.body).ok();
            let named = field.and_then(|TenantField { tenant }| tenant);
            if named.as_deref() == Some(tenant.as_str()) { Ok(()) } else { Err(no_tenant(tenant)) }
        }
        RouteScope::Topic => {
            let field: Option<TopicField> = serde_json::from_slice(&request.body).ok();
            let prefix = format!("tenant/{tenant}/");
            // The topic at another broker names no tenant: the rules of the link do.
            match field {
                Some(TopicField { link: Some(_), .. }) => Err(links_of_all(tenant)),
                Some(TopicField { topic, .. }) if topic.starts_with(&prefix) => Ok(()),
                _ => Err(foreign(tenant)),
            }
        }
    }
}

// === impl ScopedRequest ===

impl ScopedRequest<'_> {
    fn path_value(&self, name: &str) -> Option<&str> {
        self.path.iter().find_map(|(key, value)| (key == name).then_some(value))
    }

    async fn check_certificate(&self, tenant: &TenantId) -> Result<(), Problem> {
        let handle = self.path_value("certificate").and_then(|text| Handle::read(text).ok());
        // A text that is no handle is refused later.
        let Some(handle) = handle else { return Ok(()) };
        let found = self.find_certificate(&handle).await?;
        if found.certificate.tenant_id == tenant.as_str() {
            return Ok(());
        }
        Err(CertificateError::Unknown(handle).into())
    }

    /// A lookup takes a permit as the endpoint does, which runs after it.
    async fn find_certificate(
        &self,
        handle: &Handle,
    ) -> Result<CertificateDetail, CertificateError> {
        self.api.run_with_permit(certificates::find(self.api.database.pool(), handle)).await
    }

    async fn check_event(&self, tenant: &TenantId) -> Result<(), Problem> {
        let id = self.path_value("id").and_then(|text| Uuid::read(text).ok());
        // A text that is no identifier is refused later.
        let Some(id) = id else { return Ok(()) };
        let quarantine = self.api.quarantine();
        let found = self.api.run_with_permit(quarantine.find(id)).await?;
        let of = found.and_then(|record| record.summary.tenant_id);
        if of.as_deref() == Some(tenant.as_str()) { Ok(()) } else { Err(Problem::no_event(id)) }
    }

    async fn check_replay(&self, tenant: &TenantId) -> Result<(), Problem> {
        let id = self.path_value("id").and_then(|text| Uuid::read(text).ok());
        // A text that is no identifier is refused later.
        let Some(id) = id else { return Ok(()) };
        let quarantine = self.api.quarantine();
        let found = self.api.run_with_permit(quarantine.find_replay(id)).await?;
        let of = found.and_then(|job| job.tenant);
        if of.as_deref() == Some(tenant.as_str()) { Ok(()) } else { Err(Problem::no_replay(id)) }
    }

    async fn check_dead_letter(&self, tenant: &TenantId) -> Result<(), Problem> {
        let link = self.path_value("name").and_then(|text| LinkName::read(text).ok());
        let id = self.path_value("id").and_then(|text| i64::read(text).ok());
        // A text that is no name or no identifier is refused later.
        let (Some(link), Some(id)) = (link, id) else { return Ok(()) };
        let find = refused_detail::find(self.api.database.pool(), &link, id);
        let found = self.api.run_with_permit(find).await?;
        let is_own = found.is_some_and(|row| row.summary.tenant_id == tenant.as_str());
        if is_own { Ok(()) } else { Err(Problem::no_dead_letter(&link, id)) }
    }

    /// Sets the parameter `tenant`, and checks the one that is there.
    async fn confine_query(&mut self, tenant: &TenantId) -> Result<(), Problem> {
        let pairs = Query::<Vec<(String, String)>>::try_from_uri(&self.parts.uri);
        // A query that cannot be read is refused later, with its tenant or without it.
        let mut pairs = pairs.map(|Query(pairs)| pairs).map_err(|_| foreign(tenant))?;
        let mut named = pairs.iter().filter(|(name, _)| name == "tenant").map(|(_, value)| value);
        if named.clone().any(|value| value != tenant.as_str()) {
            return Err(foreign(tenant));
        }
        if named.next().is_none() {
            pairs.push(("tenant".to_owned(), tenant.to_string()));
            self.parts.uri = with_query(&self.parts.uri, &pairs).ok_or_else(|| foreign(tenant))?;
        }
        let cursor = pairs.iter().find(|(name, _)| name == "cursor").map(|(_, value)| value);
        self.check_cursor(cursor.map(String::as_str), tenant).await
    }

    /// The cursor of certificates is looked up: one of another tenant would show that it exists.
    async fn check_cursor(&self, cursor: Option<&str>, tenant: &TenantId) -> Result<(), Problem> {
        if self.parts.uri.path() != "/api/v1/certificates" {
            return Ok(());
        }
        let Some(id) = cursor.and_then(|text| Uuid::read(text).ok()) else { return Ok(()) };
        match self.find_certificate(&Handle::Id(id)).await {
            Ok(found) if found.certificate.tenant_id == tenant.as_str() => Ok(()),
            Ok(_) | Err(CertificateError::Unknown(_)) => {
                Err(Problem::field("cursor", "expected the `next` of an earlier page"))
            }
            Err(error) => Err(error.into()),
        }
    }
}

// === private helpers ===

fn with_query(uri: &Uri, pairs: &[(String, String)]) -> Option<Uri> {
    let query = serde_urlencoded::to_string(pairs).ok()?;
    format!("{}?{query}", uri.path()).parse().ok()
}

fn foreign(tenant: &TenantId) -> Problem {
    let detail = format!("the caller may read and change only the tenant {tenant}");
    Problem::new(ProblemKind::Forbidden, detail)
}

fn links_of_all(tenant: &TenantId) -> Problem {
    let detail = format!(
        "links serve all tenants, and the caller may read and change only the tenant {tenant}: `GET \
         /api/v1/tenants/{tenant}/links` lists what links did not accept of it"
    );
    Problem::new(ProblemKind::Forbidden, detail)
}

fn no_tenant(tenant: &TenantId) -> Problem {
    let detail = format!(
        "the caller may read and change only the tenant {tenant}: send `\"tenant\": \"{tenant}\"` in the body"
    );
    Problem::new(ProblemKind::Forbidden, detail)
}
