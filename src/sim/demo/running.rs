//! A running demonstration: its devices publish while the screen shows the daemon's figures, until
//! it ends or fails.
//!
//! It registers nothing and starts no daemon.

use std::io;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::daemon_process::DaemonProcess;
use super::prepare::{PATIENCE, POLL_INTERVAL, no_figures};
use super::revocation::{ConnectAttempts, DeviceToRevoke, RevocationPlan};
use super::revocation_report::RevocationReport;
use super::screen::Screen;
use super::summary::RevocationResults;
use super::traffic::{DeviceGroup, TrafficTally};
use super::way_back::{WayBack, WayBackReport};
use crate::command::failure::Failure;
use crate::command::table::OutputFormat;
use crate::lifecycle::Tasks;
use crate::sim::daemon_metrics::{self, DaemonFigures};

/// Interval between two redraws.
const REDRAW: Duration = Duration::from_secs(1);

/// Capacity of the queue of reports; one device produces them.
const REPORT_QUEUE: usize = 4;

/// Reports the summary keeps; a run of a day has thousands.
const REPORTS_KEPT: usize = 3;

/// The state of a running demonstration.
pub struct RunningDemo {
    /// The daemon.
    pub daemon: DaemonProcess,
    /// The daemon's figures before the first message of this run.
    pub before: DaemonFigures,
    /// Messages of all devices.
    pub tally: TrafficTally,
    /// Reconnects of the revoked device.
    pub attempts: ConnectAttempts,
    /// Revocations so far, with the last `REPORTS_KEPT` reports.
    pub revocations: RevocationResults,
    /// The command that a device answered, and the certificate that it renewed.
    pub way_back: Option<WayBackReport>,
    /// Where it draws.
    pub screen: Screen,
    /// Table or JSON.
    pub output: OutputFormat,
    /// When the devices began to publish.
    pub started: Instant,
}

/// The connected devices.
pub struct DemoDevices {
    /// Devices that publish, in groups.
    pub groups: Vec<DeviceGroup>,
    /// The device whose certificate is revoked.
    pub device_to_revoke: DeviceToRevoke,
    /// The device that answers a command and renews its certificate.
    pub way_back: Option<WayBack>,
}

// === impl RunningDemo ===

impl RunningDemo {
    /// Runs the devices and redraws the figures; returns how long they published.
    pub async fn publish(
        &mut self,
        devices: DemoDevices,
        plan: RevocationPlan,
        limit: Option<Duration>,
        stop: &CancellationToken,
    ) -> Result<Duration, Failure> {
        let (mut tasks, enough) = (Tasks::default(), stop.child_token());
        let (failure_sender, mut failures) = mpsc::channel(1);
        let (report_sender, mut reports) = mpsc::channel(REPORT_QUEUE);
        self.started = Instant::now();
        for group in devices.groups {
            tasks.spawn("device group", group.run(enough.clone(), failure_sender.clone()));
        }
        drop(failure_sender);
        let revoked = devices.device_to_revoke.run(plan, enough.clone(), report_sender);
        tasks.spawn("device to revoke", revoked);
        let answered = devices.way_back.map(|way_back| {
            let (report_sender, report) = oneshot::channel();
            tasks.spawn("way back", way_back.run(report_sender));
            report
        });
        let watched = tokio::select! {
            watched = self.watch(&mut reports) => watched,
            Some(failure) = failures.recv() => Err(failure),
            () = pause(limit) => Ok(()),
            () = stop.cancelled() => Ok(()),
        };
        enough.cancel();
        let span = self.started.elapsed();
        // A revocation that has begun completes.
        tasks.finish(PATIENCE + PATIENCE).await;
        watched?;
        if let Some(mut answered) = answered {
            self.way_back = Some(answered.try_recv().unwrap_or_else(|_| WayBackReport::missing()));
        }
        while let Ok(report) = reports.try_recv() {
            self.record(report?);
        }
        failures.recv().await.map_or(Ok(span), Err)
    }

    /// Waits until every message the broker acknowledged is kept; returns the last figures.
    pub async fn wait_until_kept(&mut self) -> Result<DaemonFigures, Failure> {
        let (mut progress, mut seen) = (Instant::now(), 0);
        loop {
            let figures = daemon_metrics::figures(self.daemon.ops())
                .await
                .map_err(no_figures)?
                .since(&self.before);
            if figures.kept() != seen {
                (progress, seen) = (Instant::now(), figures.kept());
            }
            let complete = seen >= self.tally.acknowledged() && figures.in_flight == 0;
            if complete || progress.elapsed() > PATIENCE {
                // A closed output must not hide the result.
                let _ = self.draw(&figures);
                return Ok(figures);
            }
            tokio::select! {
                failure = self.daemon.died() => return Err(failure),
                () = tokio::time::sleep(POLL_INTERVAL) => {}
            }
        }
    }

    /// Redraws every second. Returns when the screen is gone, or when the broker refuses devices
    /// their own topics.
    async fn watch(
        &mut self,
        reports: &mut mpsc::Receiver<Result<RevocationReport, Failure>>,
    ) -> Result<(), Failure> {
        let mut ticks = tokio::time::interval(REDRAW);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                Some(report) = reports.recv() => self.record(report?),
                failure = self.daemon.died() => return Err(failure),
            }
            let figures = daemon_metrics::figures(self.daemon.ops()).await.map_err(no_figures)?;
            if let Err(error) = self.draw(&figures.since(&self.before)) {
                tracing::debug!(%error, "the output is closed; ending the demonstration");
                return Ok(());
            }
            if self.tally.own_topic_refused() > 0 {
                return Ok(());
            }
        }
    }

    /// Prints a revocation report and keeps it for the summary.
    fn record(&mut self, report: RevocationReport) {
        if self.output == OutputFormat::Table {
            // The next redraw reports a closed output.
            let _ = self.screen.print_above(&report.lines());
        }
        self.revocations.add(report, REPORTS_KEPT);
    }

    fn draw(&mut self, figures: &DaemonFigures) -> io::Result<()> {
        match self.output {
            OutputFormat::Table => {
                self.screen.draw(self.started.elapsed(), self.tally.published(), figures)
            }
            OutputFormat::Json => Ok(()),
        }
    }
}

// === private helpers ===

/// Waits for `limit`; `None` never returns.
async fn pause(limit: Option<Duration>) {
    match limit {
        Some(limit) => tokio::time::sleep(limit).await,
        None => std::future::pending().await,
    }
}
