//! `sluice cell status`: the copy of a cell, or the cells of a registry.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::databases::{AdminArgs, failed, registry_url};
use crate::clock;
use crate::command::context::{CommandContext, outage, printed};
use crate::command::failure::{Exit, Failure};
use crate::command::table::{OutputFormat, fields, note, rows};
use crate::command::text::{NONE, moment, moment_or_none};
use crate::config::Config;
use crate::domain::ports::Outage;
use crate::domain::time::Timestamp;
use crate::store::cells::CellError;
use crate::store::cells::age::{self, Newer, older_registry};
use crate::store::cells::cell_side::{self, SubscriptionState};
use crate::store::cells::contents::TableContent;
use crate::store::cells::membership::{self, CellRole, Membership};
use crate::store::cells::registry_link::RegistryLink;
use crate::store::cells::registry_side::{self, CellOverview};
use crate::store::connection::database::Database;

/// How long a sign of life may take to come back.
const ECHO_PATIENCE: Duration = Duration::from_secs(2);
/// Time between two looks for it.
const ECHO_PERIOD: Duration = Duration::from_millis(10);

/// What the registry says.
struct RegistryView {
    cell: Option<CellOverview>,
    counts: Vec<TableContent>,
    link: RegistryLink,
}

/// Runs the command.
pub async fn run(config: &Config, output: OutputFormat) -> Result<Exit, Failure> {
    let operator = CommandContext::open(config).await?;
    let pool = operator.database.pool();
    match membership::role(pool).await.map_err(|why| outage(&why))? {
        CellRole::Alone => Err(Failure::new(
            Exit::Negative,
            "this database is no cell and has no cells: `sluice cell join` makes it one",
        )),
        CellRole::Registry => {
            let cells = registry_side::overview(pool).await.map_err(|why| outage(&why))?;
            let headings = ["CELL", "SEEN", "CONNECTED", "WAL", "BEHIND", "WAL KEPT"];
            rows(output, &headings, &cells, of_registry)?;
            for cell in &cells {
                if let Some(fault) = cell.slot_fault() {
                    note!(
                        "Cell {} cannot catch up: {fault}. In the cell, run `sluice cell leave --force`, then `sluice cell join \
                         --replace`.",
                        cell.cell_id
                    );
                }
            }
            let is_wrong = cells.iter().any(|cell| cell.slot_fault().is_some() || !cell.is_active);
            Ok(if is_wrong { Exit::Negative } else { Exit::Done })
        }
        CellRole::Cell(membership) => {
            of_cell(&operator.database, &membership, config, output).await
        }
    }
}

// --- private helpers ---

fn of_registry(cell: &CellOverview) -> Vec<String> {
    let no_slot = || "no slot".to_owned();
    let wal = cell.wal_status.clone().filter(|_| cell.has_slot).unwrap_or_else(no_slot);
    vec![
        cell.cell_id.clone(),
        format!("{:.0} s ago", cell.seen_seconds),
        if cell.is_active { "yes".to_owned() } else { "no".to_owned() },
        wal,
        format!("{} bytes", cell.lag_bytes),
        format!("{} bytes", cell.held_bytes),
    ]
}

async fn of_cell(
    database: &Database,
    membership: &Membership,
    config: &Config,
    output: OutputFormat,
) -> Result<Exit, Failure> {
    let pool = database.pool();
    let schema =
        cell_side::state(pool).await.map_err(|why| outage(&why))?.schema.unwrap_or_default();
    let subscription = cell_side::subscription(pool, &membership.subscription)
        .await
        .map_err(|why| outage(&why))?;
    let (admin, source) = AdminArgs { admin_url_file: None }.url(config)?;
    let mut own = RegistryLink::open(&admin, "the cell's Postgres", source)
        .await
        .map_err(|why| failed(CellError::Outage(why)))?;
    let known = cell_side::echo(pool, &membership.cell_id).await.map_err(|why| outage(&why))?;
    let mut view = match registry_url(config) {
        Ok(url) => ask(url, membership, known).await,
        Err(failure) => Err(Outage(failure.message)),
    };
    let counts = own.count(&schema).await.map_err(|why| outage(&why))?;
    let cell = view.as_ref().ok().and_then(|view| view.cell.clone());
    let (echo, lag_seconds) =
        measure(database, &membership.cell_id, cell.as_ref()).await.map_err(|why| outage(&why))?;
    let newer = match &mut view {
        Ok(view) => view.newer(&mut own, &schema, known).await.map_err(|why| outage(&why))?,
        Err(_) => None,
    };
    own.close().await;
    // What did not come back from the registry as it is now says nothing about the lag.
    let lag_seconds =
        if matches!(newer, Some(Newer::SignOfLife { .. })) { None } else { lag_seconds };
    let older = membership.older_registry.clone().or(newer.map(|newer| newer.sentence()));
    let trouble = trouble(subscription.as_ref(), &view, membership, older);
    let lines =
        lines(membership, subscription.as_ref(), &view, &counts, lag_seconds, trouble.as_ref());
    let value = json!({
        "cell": membership.cell_id, "registry": membership.registry, "joined_at": membership.joined_at,
        "subscription": subscription, "lag_seconds": lag_seconds, "last_sign_of_life_at": echo,
        "at_registry": cell, "registry_error": view.as_ref().err().map(|Outage(why)| why),
        "rows": counts_json(&counts), "registry_rows": view.as_ref().ok().map(|view| counts_json(&view.counts)),
        "trouble": trouble,
    });
    printed(fields(output, &value, &lines))?;
    Ok(if trouble.is_some() { Exit::Negative } else { Exit::Done })
}

/// Waits until the sign of life that [`ask`] wrote comes back: the time is the lag. If it does not, the
/// lag is the age of the last one that did.
async fn measure(
    database: &Database,
    cell_id: &str,
    sent: Option<&CellOverview>,
) -> Result<(Option<DateTime<Utc>>, Option<f64>), Outage> {
    let started_at = Instant::now();
    loop {
        let echo = cell_side::echo(database.pool(), cell_id).await?;
        match (echo, sent) {
            (Some(echo), Some(sent)) if echo >= sent.seen_at => {
                return Ok((Some(echo), Some(started_at.elapsed().as_secs_f64())));
            }
            (_, Some(_)) if started_at.elapsed() < ECHO_PATIENCE => sleep(ECHO_PERIOD).await,
            (echo, sent) => {
                let now = sent.map_or_else(clock::now, |sent| Timestamp::from(sent.seen_at));
                let lag = echo.map(|echo| now.seconds_since(Timestamp::from(echo)).max(0.0));
                return Ok((echo, lag));
            }
        }
    }
}

async fn ask(
    url: &crate::config::secret::Secret,
    membership: &Membership,
    known: Option<DateTime<Utc>>,
) -> Result<RegistryView, Outage> {
    let mut link = RegistryLink::open_registry(url).await?;
    let schema = link.facts().await?.schema.unwrap_or_default();
    link.beat(&membership.cell_id, known).await?;
    let cell = link.overview_of(&membership.cell_id).await?;
    let counts = link.count(&schema).await?;
    Ok(RegistryView { cell, counts, link })
}

// === impl RegistryView ===

impl RegistryView {
    /// What the copy has and the registry lacks. `known` came back before the registry was asked.
    async fn newer(
        &mut self,
        own: &mut RegistryLink,
        schema: &str,
        known: Option<DateTime<Utc>>,
    ) -> Result<Option<Newer>, Outage> {
        let Some(cell) = &self.cell else { return Ok(None) };
        if let Some(newer) = cell.is_older_than(known) {
            return Ok(Some(newer));
        }
        let found = age::newer_in_cell(own, &mut self.link, schema).await?;
        if found.is_none() {
            return Ok(None);
        }
        // A deletion at the registry may have been on its way.
        sleep(ECHO_PATIENCE).await;
        age::newer_in_cell(own, &mut self.link, schema).await
    }
}

/// What a person must do something about.
fn trouble(
    subscription: Option<&SubscriptionState>,
    view: &Result<RegistryView, Outage>,
    membership: &Membership,
    older: Option<String>,
) -> Option<String> {
    let join_again = "run `sluice cell leave --force`, then `sluice cell join --replace`";
    let found = match (view, subscription) {
        (_, None) => Some(format!("the subscription does not exist: {join_again}")),
        (Err(Outage(why)), _) => Some(format!("{why}; this cell decides by its copy")),
        (Ok(RegistryView { cell: None, .. }), _) => {
            Some(format!("the registry does not know cell {}: {join_again}", membership.cell_id))
        }
        (Ok(RegistryView { cell: Some(cell), .. }), Some(state)) => match cell.slot_fault() {
            Some(fault) => Some(format!("{fault}: {join_again}")),
            None if !state.is_running => {
                Some("the subscription does not run: the log of this Postgres says why".to_owned())
            }
            None => None,
        },
    };
    let older = older.map(|why| older_registry(&membership.registry, &why));
    match (older, found) {
        (None, found) => found,
        (Some(older), None) => Some(format!("{older}: {join_again}")),
        (Some(older), Some(found)) => Some(format!("{older}; {found}")),
    }
}

fn lines(
    membership: &Membership,
    subscription: Option<&SubscriptionState>,
    view: &Result<RegistryView, Outage>,
    counts: &[TableContent],
    lag_seconds: Option<f64>,
    trouble: Option<&String>,
) -> Vec<(&'static str, String)> {
    let cell = view.as_ref().ok().and_then(|view| view.cell.as_ref());
    let none = || NONE.to_owned();
    let state = match subscription {
        None => "missing".to_owned(),
        Some(state) if !state.is_running => "not running".to_owned(),
        Some(state) if state.copying > 0 => format!("copying: {} tables are left", state.copying),
        Some(_) => "running".to_owned(),
    };
    let rows_of = |counts: &[TableContent]| {
        let one = |content: &TableContent| format!("{} {}", content.rows, content.table);
        counts.iter().map(one).collect::<Vec<_>>().join(", ")
    };
    vec![
        ("Cell", membership.cell_id.clone()),
        ("Registry", membership.registry.clone()),
        ("Joined", moment(membership.joined_at)),
        ("Subscription", state),
        ("Last message", moment_or_none(subscription.and_then(|state| state.last_message_at))),
        ("Behind", lag_seconds.map_or_else(none, |seconds| format!("{seconds:.1} s"))),
        ("Behind in WAL", cell.map_or_else(none, |cell| format!("{} bytes", cell.lag_bytes))),
        (
            "Slot",
            cell.map_or_else(none, |cell| match cell.slot_fault() {
                Some(fault) => fault.to_owned(),
                None => cell.wal_status.clone().unwrap_or_else(none),
            }),
        ),
        ("WAL kept for it", cell.map_or_else(none, |cell| format!("{} bytes", cell.held_bytes))),
        ("Rows here", rows_of(counts)),
        ("Rows there", view.as_ref().map_or_else(|_| none(), |view| rows_of(&view.counts))),
        ("Trouble", trouble.cloned().unwrap_or_else(|| "none".to_owned())),
    ]
}

fn counts_json(counts: &[TableContent]) -> Value {
    counts.iter().map(|content| (content.table.to_owned(), Value::from(content.rows))).collect()
}
