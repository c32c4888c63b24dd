//! Starts the listeners: ops, API, EST and public. The hooks have a file of their own.
//!
//! They start before Postgres is available and answer with an error until it is.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::{Daemon, RunError};
use crate::clock;
use crate::console::console_router;
use crate::domain::ids::DeviceKey;
use crate::http::{self, CachedGrantReader, EstApi, EstTls, EstTlsFiles, PageApi, PublicApi};
use crate::ingest::grants::view::GrantView;
use crate::lifecycle::Tasks;

/// Listens on the address of a setting, and logs the address: a setting with port 0 does not say it.
pub(super) async fn listen(
    setting: &'static str,
    bind: SocketAddr,
) -> Result<TcpListener, RunError> {
    let refused = |error| RunError::Bind { setting, bind, error };
    let listener = TcpListener::bind(bind).await.map_err(refused)?;
    let address = listener.local_addr().map_err(refused)?;
    tracing::info!(setting, %address, "Sluice listens");
    Ok(listener)
}

// === impl Daemon ===

impl Daemon {
    /// Starts liveness, readiness and metrics: first to start, last to stop.
    pub(super) async fn start_ops(&self, stop: CancellationToken) -> Result<Tasks, RunError> {
        let listener = listen("OPS_BIND", self.config.http.ops_bind).await?;
        let grants = self.grants.clone();
        let cached: CachedGrantReader = Arc::new(move |key: &DeviceKey| {
            let view = grants.view();
            let grant = view.get(key.identity())?;
            Some(GrantView::of(&grant, clock::now(), view.now()))
        });
        let (metrics, readiness) = (self.metrics.clone(), self.readiness.clone());
        let mut ops = Tasks::default();
        ops.spawn("ops", http::serve_ops(listener, metrics, readiness, cached, stop));
        Ok(ops)
    }

    /// Starts the API. It stops with `stop`.
    pub(super) async fn start_api(&self, tasks: &mut Tasks) -> Result<(), RunError> {
        let listener = listen("HTTP_BIND", self.config.http.api_bind).await?;
        let api = self.api.clone();
        let pages = self.config.console.is_on.then(|| console_router(&PageApi::new(api.clone())));
        tasks.spawn("console_sessions", api.sessions.clone().keep(self.stop.clone()));
        let metrics = self.metrics.http.api.clone();
        tasks.spawn("api", http::serve_api(listener, api, pages, metrics, self.stop.clone()));
        Ok(())
    }

    /// Starts the EST listener if `EST_BIND` is set.
    pub(super) async fn start_est(&self, tasks: &mut Tasks) -> Result<(), RunError> {
        let certificates = &self.config.certificates;
        let (Some(settings), Some(authority)) =
            (&self.config.est.listener, &certificates.ca_cert_path)
        else {
            return Ok(());
        };
        let metrics = self.metrics.est.clone();
        let of_cells = certificates.cell_authorities_dir.as_deref();
        let tls = EstTls::open(EstTlsFiles::new(settings, authority, of_cells), metrics.clone())?;
        let listener = listen("EST_BIND", settings.bind).await?;
        let metrics = (metrics, self.metrics.certificates.clone());
        let est = EstApi::new(certificates.clone(), self.database.clone(), metrics, clock::now);
        let metrics = self.metrics.http.est.clone();
        tasks.spawn("est", http::serve_est(listener, est, tls, metrics, self.stop.clone()));
        Ok(())
    }

    /// Starts the public listener if `PUBLIC_BIND` is set.
    pub(super) async fn start_public(&self, tasks: &mut Tasks) -> Result<(), RunError> {
        let Some(bind) = self.config.public.bind else { return Ok(()) };
        let listener = listen("PUBLIC_BIND", bind).await?;
        let public = PublicApi::new(
            &self.config.public,
            self.guests.clone(),
            self.metrics.guests.clone(),
            clock::now,
        );
        let metrics = self.metrics.http.public.clone();
        tasks.spawn("public", http::serve_public(listener, public, metrics, self.stop.clone()));
        Ok(())
    }
}
