//! What must hold before a cell joins: at the registry, of the role there, and in the cell.
//!
//! Each refusal is one sentence that says what to do. It reads and changes nothing.

use crate::store::cells::cell_side::CellFacts;
use crate::store::cells::registry_side::{RegistryFacts, RegistryRights};
use crate::store::cells::{CellError, OLDEST, publication_statement, slot_of};

pub(super) fn refused<T>(why: String) -> Result<T, CellError> {
    Err(CellError::Refused(why))
}

fn refuse_first(checks: Vec<(bool, String)>) -> Result<(), CellError> {
    match checks.into_iter().find(|(holds, _)| !holds) {
        Some((_, why)) => refused(why),
        None => Ok(()),
    }
}

pub(super) fn check_server(there: &RegistryFacts) -> Result<(), CellError> {
    refuse_first(vec![
        (
            there.version >= OLDEST,
            "the registry's Postgres is older than 15: a cell needs 15 or newer on both sides"
                .to_owned(),
        ),
        (
            !there.is_standby,
            "the registry is a standby: name the primary in REGISTRY_URL".to_owned(),
        ),
        (
            there.wal_level == "logical",
            format!(
                "wal_level is {} at the registry: set it to logical in postgresql.conf there, and restart Postgres",
                there.wal_level
            ),
        ),
        (
            there.may_replicate == Some(true),
            format!(
                "role {} may not replicate: ALTER ROLE {} REPLICATION at the registry",
                there.role, there.role
            ),
        ),
        (
            there.free_slots > 0,
            "the registry has no free replication slot: raise max_replication_slots there"
                .to_owned(),
        ),
        (
            there.free_senders > 0,
            "the registry has no free sender of replication: raise max_wal_senders there"
                .to_owned(),
        ),
    ])
}

pub(super) fn check_rights(
    there: &RegistryFacts,
    rights: &RegistryRights,
    cell_id: &str,
) -> Result<(), CellError> {
    let (role, unreadable, hidden) =
        (&there.role, rights.unreadable.join(", "), rights.hidden.join(", "));
    let is_complete = rights.unpublished.is_empty();
    refuse_first(vec![
        (
            !rights.has_slot,
            format!(
                "the registry has a slot for cell {cell_id} already: choose another name; if that cell is gone, run \
                 SELECT pg_drop_replication_slot('{}') there",
                slot_of(cell_id)
            ),
        ),
        (
            unreadable.is_empty(),
            format!(
                "role {role} may not read {unreadable}: GRANT SELECT ON {unreadable} TO {role} at the registry"
            ),
        ),
        (
            hidden.is_empty(),
            format!(
                "row-level security hides rows of {hidden} from role {role}, and the copy would be empty: \
                 ALTER ROLE {role} BYPASSRLS at the registry"
            ),
        ),
        (
            rights.writes_cells,
            format!(
                "role {role} may not write cells: GRANT INSERT, UPDATE, DELETE ON cells TO {role} at the registry"
            ),
        ),
        (
            is_complete || (!rights.has_publication && rights.may_publish),
            if rights.has_publication {
                format!(
                    "the publication at the registry lacks {0}: ALTER PUBLICATION sluice_registry ADD TABLE {0}, as its \
                     owner",
                    rights.unpublished.join(", ")
                )
            } else {
                format!(
                    "the owner of the tables must first run at the registry: {}",
                    publication_statement()
                )
            },
        ),
    ])
}

pub(super) fn check_cell(facts: &CellFacts, replaces: bool) -> Result<(), CellError> {
    let role = &facts.role;
    refuse_first(vec![
        (
            facts.version >= OLDEST,
            "the cell's Postgres is older than 15: a cell needs 15 or newer on both sides"
                .to_owned(),
        ),
        (
            facts.is_superuser || facts.may_subscribe,
            format!(
                "role {role} may not create a subscription: name a superuser of the cell's Postgres by --admin-url-file{}",
                if facts.version >= 160_000 {
                    format!(
                        ", or GRANT pg_create_subscription TO {role} and CREATE on the database"
                    )
                } else {
                    String::new()
                }
            ),
        ),
        (
            facts.workers > 0,
            "max_logical_replication_workers is 0 in the cell's Postgres: set it to 4 or more"
                .to_owned(),
        ),
        (
            facts.is_superuser || !replaces,
            "--replace needs a superuser of the cell's Postgres: name one by --admin-url-file"
                .to_owned(),
        ),
    ])
}
