//! Joins a registry: checks both sides, says what it would run, and runs it.
//!
//! It never overwrites rows: the cell's own tables must be empty, or equal to those of the registry, or a
//! former copy of the same registry that the operator wants to replace. The slot comes first, so that no
//! change between the comparison and the subscription is lost. What fails is undone.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::conditions::{check_cell, check_rights, check_server, refused};
use crate::config::secret::Secret;
use crate::domain::ports::Outage;
use crate::store::cells::cell_side::{self, Joining};
use crate::store::cells::membership::Membership;
use crate::store::cells::registry_link::RegistryLink;
use crate::store::cells::registry_side::{RegistryFacts, RegistryRights};
use crate::store::cells::{CellError, publication_statement, slot_of};
use crate::store::cells::{age, contents};
use crate::store::connection::database::Database;

/// Time between two looks at the first copy.
const PERIOD: Duration = Duration::from_millis(200);

/// What joins what.
#[derive(Debug)]
pub struct JoinRequest<'a> {
    /// The name of the cell.
    pub cell_id: &'a str,
    /// `REGISTRY_URL`.
    pub url: &'a Secret,
    /// A role of the cell's Postgres that may create subscriptions.
    pub admin_url: &'a Secret,
    /// The source of that URL.
    pub admin_source: &'static str,
    /// Whether a former copy of this registry is replaced.
    pub replace: bool,
    /// Whether that also holds where the copy has what the registry lacks.
    pub accept_older: bool,
    /// Whether the registry may keep WAL for the cell without a bound.
    pub accept_unbounded: bool,
}

/// A join whose checks have passed.
pub struct JoinPlan<'a> {
    request: JoinRequest<'a>,
    registry: RegistryLink,
    cell: RegistryLink,
    membership: Membership,
    schema: String,
    makes_publication: bool,
    copy: bool,
    /// What the operator should know, and what does not prevent the join.
    pub warnings: Vec<String>,
}

/// What a plan runs, for people.
#[derive(Debug, serde::Serialize)]
pub struct PlannedSql {
    /// At the registry.
    pub registry: Vec<String>,
    /// In the cell.
    pub cell: Vec<String>,
}

/// Checks both sides.
pub async fn plan<'a>(
    database: &Database,
    request: JoinRequest<'a>,
) -> Result<JoinPlan<'a>, CellError> {
    let state = cell_side::state(database.pool()).await?;
    if let Some(cell) = &state.is_cell {
        return refused(format!(
            "this database is cell {cell} already: `sluice cell leave` comes first"
        ));
    }
    if state.cells > 0 {
        return refused(
            "this database is a registry with cells: a registry joins no other".to_owned(),
        );
    }
    let mut registry = RegistryLink::open_registry(request.url).await?;
    let (there, rights) = examine_registry(&mut registry, request.cell_id).await?;
    if is_unbounded(&there) && !request.accept_unbounded {
        return refused(format!("{UNBOUNDED}, or add --accept-unbounded"));
    }
    let mut cell =
        RegistryLink::open(request.admin_url, "the cell's Postgres", request.admin_source).await?;
    let facts = cell.cell_facts().await?;
    check_cell(&facts, request.replace)?;
    if cell.is_same_database(&mut registry).await? {
        return refused("REGISTRY_URL names the database of this cell itself".to_owned());
    }
    let schema = state.schema.unwrap_or_default();
    if there.schema.as_deref() != Some(schema.as_str()) {
        return refused(format!(
            "the tables are in schema {schema} here, and in {} at the registry: both must have one name",
            there.schema.unwrap_or_default()
        ));
    }
    let is_empty = contents::is_empty(&cell.count(&schema).await?);
    if !is_empty && request.replace && state.former_registry.as_ref() != Some(&there.id) {
        return refused(
            "--replace deletes a former copy of this registry, and the rows of this database are no such copy: \
             empty tenants, devices, device_certificates and revoked_certificates yourself"
                .to_owned(),
        );
    }
    let copy = is_empty || request.replace;
    if !copy {
        compare(&mut cell, &mut registry, &schema).await?;
    }
    let lost = if !is_empty && request.replace {
        what_is_lost(&mut cell, &mut registry, &schema, request.accept_older).await?
    } else {
        None
    };
    let subscription = slot_of(request.cell_id);
    let membership = Membership {
        cell_id: request.cell_id.to_owned(),
        registry: registry.place().to_owned(),
        registry_id: there.id.clone(),
        subscription,
        joined_at: crate::clock::now().to_utc(),
        older_registry: None,
    };
    let makes_publication = !rights.has_publication;
    let unbounded = is_unbounded(&there).then(|| UNBOUNDED.to_owned());
    let warnings = unbounded.into_iter().chain(lost).collect();
    Ok(JoinPlan { request, registry, cell, membership, schema, makes_publication, copy, warnings })
}

// === impl JoinPlan ===

impl JoinPlan<'_> {
    /// What it runs, with the password masked.
    pub fn shown(&self) -> PlannedSql {
        let slot = &self.membership.subscription;
        let publication = self.makes_publication.then(publication_statement);
        let registry = publication.into_iter().chain([
            format!("SELECT pg_create_logical_replication_slot('{slot}', 'pgoutput')"),
            format!(
                "INSERT INTO cells (cell_id, slot) VALUES ('{}', '{slot}')",
                self.membership.cell_id
            ),
        ]);
        PlannedSql { registry: registry.collect(), cell: self.joining().shown() }
    }

    /// Whether the rows of the registry are copied first.
    pub const fn copies(&self) -> bool {
        self.copy
    }

    /// The registry that the cell will belong to.
    pub fn registry(&self) -> &str {
        &self.membership.registry
    }

    /// Runs it. What was done at the registry is undone when the cell fails.
    pub async fn carry_out(mut self) -> Result<Membership, CellError> {
        let slot = self.membership.subscription.clone();
        if self.makes_publication {
            self.registry.execute(&publication_statement()).await?;
        }
        self.registry.create_slot(&slot).await?;
        let joined = self.join_after_the_slot().await;
        if let Err(error) = joined {
            let undone = self.registry.remove_cell(&self.membership.cell_id, &slot).await;
            let left = undone.err().map(|why| {
                format!(
                    "; the slot {slot} is still at the registry ({why}): drop it there with \
                     SELECT pg_drop_replication_slot('{slot}')"
                )
            });
            let left = left.unwrap_or_default();
            return Err(match error {
                CellError::Refused(why) => CellError::Refused(why + &left),
                CellError::Outage(Outage(why)) => CellError::Outage(Outage(why + &left)),
            });
        }
        self.registry.close().await;
        self.cell.close().await;
        Ok(self.membership)
    }

    async fn join_after_the_slot(&mut self) -> Result<(), CellError> {
        if !self.copy {
            // Since the slot exists, what is equal now stays equal.
            compare(&mut self.cell, &mut self.registry, &self.schema).await?;
        }
        let slot = &self.membership.subscription;
        self.registry.add_cell(&self.membership.cell_id, slot).await?;
        let joining = Joining {
            membership: &self.membership,
            url: self.request.url,
            copy: self.copy,
            replace: self.request.replace,
            schema: &self.schema,
        };
        cell_side::join(&mut self.cell, &joining).await?;
        Ok(())
    }

    fn joining(&self) -> Joining<'_> {
        Joining {
            membership: &self.membership,
            url: self.request.url,
            copy: self.copy,
            replace: self.request.replace,
            schema: &self.schema,
        }
    }
}

/// Waits for the first copy; whether it is complete after `patience`.
pub async fn wait_for_copy(
    database: &Database,
    membership: &Membership,
    patience: Duration,
) -> Result<bool, Outage> {
    let deadline = Instant::now() + patience;
    loop {
        let state = cell_side::subscription(database.pool(), &membership.subscription).await?;
        let echo = cell_side::echo(database.pool(), &membership.cell_id).await?;
        if state.is_some_and(|state| state.copying == 0) && echo.is_some() {
            return Ok(true);
        }
        if Instant::now() >= deadline {
            return Ok(false);
        }
        sleep(PERIOD).await;
    }
}

// --- private helpers ---

/// Reads what the registry is and allows, and checks it.
async fn examine_registry(
    registry: &mut RegistryLink,
    cell_id: &str,
) -> Result<(RegistryFacts, RegistryRights), CellError> {
    let there = registry.facts().await?;
    check_server(&there)?;
    let rights = registry.rights(cell_id).await?;
    check_rights(&there, &rights, cell_id)?;
    let schema_state = registry.schema().await?;
    schema_state.check().map_err(|why| {
        CellError::Refused(format!(
            "the registry and the cell need the same schema; at the registry: {why}"
        ))
    })?;
    if let Some(name) = registry.own_cell().await? {
        return refused(format!(
            "the database of REGISTRY_URL is itself cell {name}: name its registry"
        ));
    }
    Ok((there, rights))
}

const UNBOUNDED: &str = "max_slot_wal_keep_size is -1 at the registry: a cell that is away fills its disk with WAL, \
    and Postgres ends there; set a bound, such as 50GB, in postgresql.conf of the registry";

fn is_unbounded(there: &RegistryFacts) -> bool {
    there.keep_megabytes.is_none_or(|megabytes| megabytes < 0)
}

/// What a replaced copy loses, because the registry is older. Refused unless that is accepted.
async fn what_is_lost(
    cell: &mut RegistryLink,
    registry: &mut RegistryLink,
    schema: &str,
    is_accepted: bool,
) -> Result<Option<String>, CellError> {
    let Some(newer) = age::newer_in_cell(cell, registry, schema).await? else { return Ok(None) };
    let lost = newer.sentence();
    if is_accepted {
        return Ok(Some(format!(
            "the registry is older than the copy here, which is deleted: {lost}"
        )));
    }
    refused(format!(
        "the registry is older than the copy here: {lost}. Is it a restored backup? Name the registry that is current, or add \
         --accept-older: then what only this copy has is deleted"
    ))
}

async fn compare(
    cell: &mut RegistryLink,
    registry: &mut RegistryLink,
    schema: &str,
) -> Result<(), CellError> {
    let (own, other) = (cell.digest(schema).await?, registry.digest(schema).await?);
    match contents::first_difference(&own, &other) {
        None => Ok(()),
        Some(table) => refused(format!(
            "this database has rows of its own that differ from the registry's: {table}. A join overwrites no row: move \
             these devices to the registry and empty the table here; a former copy goes with --replace"
        )),
    }
}
