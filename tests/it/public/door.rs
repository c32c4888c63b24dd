//! The check of a credential, as two replicas make it: what one issued the other knows, and time
//! ends it.

use std::sync::OnceLock;

use sluice::access::hooks::guest::GuestRefusal;
use sluice::access::hooks::subject::SubjectKind;
use sluice::config::secret::Secret;
use sluice::config::sections::database::{DatabaseConfig, ExpectedEngine};
use sluice::domain::time::Timestamp;
use sluice::registry::guests::{Credential, GuestIssueError, Guests};
use sluice::store::access::guests;
use sluice::store::connection::database::Database;
use sluice::telemetry::metrics::Metrics;

use crate::support::database::Database as Look;
use crate::support::postgres::Postgres;

const HOUR: i64 = 3600;

/// The client id of these guests.
const FINE: &str = "public-test";

/// A clock that stands at the time Postgres showed first, in seconds since the Unix epoch.
static SECONDS: OnceLock<i64> = OnceLock::new();

fn clock() -> Timestamp {
    Timestamp::default().plus_seconds(*SECONDS.get().unwrap())
}

fn open(look: &Look<'_>) -> Database {
    let config = DatabaseConfig {
        registry_url: None,
        url: Some(Secret::new(look.url())),
        pool_max: 2,
        migrate_on_start: false,
        telemetry_retention_days: None,
        quarantine_retention_days: None,
        certificate_retention_days: None,
        store_engine: ExpectedEngine::Auto,
        columnstore_after_days: None,
    };
    Database::open(&config, Metrics::new().unwrap().store).unwrap()
}

async fn check(
    guests: &Guests,
    given: &Credential,
    now: Timestamp,
) -> Result<Option<Timestamp>, GuestRefusal> {
    let subject = guests.verify(&given.id.to_string(), &given.token, FINE, now).await?;
    assert_eq!((&subject.kind, &*subject.id), (&SubjectKind::Guest, given.id.to_string().as_str()));
    Ok(subject.expires_at)
}

fn real_seconds(look: &Look<'_>) -> i64 {
    look.value("SELECT extract(epoch FROM now())::bigint").parse().unwrap()
}

#[tokio::test]
async fn what_one_replica_issued_another_knows_and_an_hour_ends_it_for_both() {
    let look = Postgres::shared().database();
    SECONDS.get_or_init(|| real_seconds(&look));
    let (pool, other_pool) = (open(&look), open(&look));
    let (one, other) =
        (Guests::new(pool.clone(), 100, clock), Guests::new(other_pool.clone(), 100, clock));
    let begun = clock();
    let given = one.issue().await.unwrap();
    assert_eq!(given.expires_at, begun.plus_seconds(HOUR));
    for replica in [&one, &other] {
        assert_eq!(
            check(replica, &given, begun.plus_seconds(HOUR - 1)).await,
            Ok(Some(given.expires_at))
        );
        assert_eq!(
            check(replica, &given, begun.plus_seconds(HOUR)).await,
            Err(GuestRefusal::Expired)
        );
    }
    let ask = async |user: &str, token: &str, client: &str| {
        one.verify(user, token, client, begun).await.unwrap_err()
    };
    let id = given.id.to_string();
    let second = one.issue().await.unwrap();
    assert_eq!(ask(&id, &second.token, FINE).await, GuestRefusal::WrongToken);
    assert_eq!(ask(&id, "", FINE).await, GuestRefusal::WrongToken);
    assert_eq!(
        ask("guest-00000000000040008000000000000000", &given.token, FINE).await,
        GuestRefusal::Unknown
    );
    assert_eq!(ask("acme/device/pump-1", &given.token, FINE).await, GuestRefusal::NoGuest);
    for client in ["sluice", "", "public", "public-a/device/b"] {
        assert_eq!(ask(&id, &given.token, client).await, GuestRefusal::ClientId, "{client}");
    }

    // Without Postgres, what is remembered holds to its end; what is not cannot be known.
    pool.close().await;
    let later = begun.plus_seconds(600);
    assert_eq!(check(&one, &given, later).await, Ok(Some(given.expires_at)));
    let stranger = other.issue().await.unwrap();
    assert!(matches!(check(&one, &stranger, begun).await, Err(GuestRefusal::Unavailable(_))));
    other_pool.close().await;
}

#[tokio::test]
async fn expired_credentials_are_purged_and_deleted_ones_refused_within_a_minute() {
    let look = Postgres::shared().database();
    SECONDS.get_or_init(|| real_seconds(&look));
    let database = open(&look);
    let guests = Guests::new(database.clone(), 3, clock);
    let (ended, deleted, good) = (
        guests.issue().await.unwrap(),
        guests.issue().await.unwrap(),
        guests.issue().await.unwrap(),
    );
    let Err(full) = guests.issue().await else { panic!("a fourth") };
    assert_eq!(full, GuestIssueError::Full(3));
    assert!(full.to_string().contains("PUBLIC_MAX_GUESTS"), "{full}");

    let aged = format!(
        "SET expires_at = now() - interval '1 second' WHERE guest_id = '{}'",
        ended.id.uuid()
    );
    look.query(&format!("UPDATE guest_credentials {aged}"));
    look.query(&format!("DELETE FROM guest_credentials WHERE guest_id = '{}'", deleted.id.uuid()));
    let (now, later) = (clock(), clock().plus_seconds(60));
    assert!(check(&guests, &deleted, now).await.is_ok(), "it is remembered");
    assert_eq!(check(&guests, &deleted, later).await, Err(GuestRefusal::Unknown));
    assert_eq!(check(&guests, &ended, later).await, Err(GuestRefusal::Expired));
    assert!(check(&guests, &good, later).await.is_ok());
    // Two of the three have made room.
    guests.issue().await.unwrap();

    assert_eq!(guests::purge(database.pool()).await, Ok(1));
    assert_eq!(guests::purge(database.pool()).await, Ok(0));
    assert_eq!(look.value("SELECT count(*) FROM guest_credentials"), "2");
    assert_eq!(check(&guests, &ended, later).await, Err(GuestRefusal::Unknown));
    database.close().await;
}
