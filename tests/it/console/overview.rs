//! The overview: one look says whether all is well, also while Postgres is away; and the frame that
//! every page has.

use std::time::{Duration, Instant};

use super::browser::Browser;
use crate::api::client::{TOKEN, builder};
use crate::support::postgres::Postgres;
use crate::support::wait::for_some;

/// A flood that began 20 minutes ago, a device that is silent, one that was never received.
const FLEET: &str = "INSERT INTO tenants (tenant_id, name) VALUES ('acme', 'Acme'), ('globex', 'Globex');
    INSERT INTO devices (tenant_id, device_id) VALUES ('acme', 'pump-1'), ('acme', 'pump-2'), ('globex', 'meter-1');
    INSERT INTO device_state (tenant_id, device_id, last_seen_at)
        VALUES ('acme', 'pump-1', now() - interval '90 minutes'), ('globex', 'meter-1', now());
    INSERT INTO quarantine_counters_minute (bucket_minute, tenant_id, reason, cnt)
        SELECT date_trunc('minute', now()) - make_interval(mins => m), 'acme', 'TOKEN_INVALID', 7 FROM generate_series(1, 20) m
        UNION ALL SELECT date_trunc('minute', now()) - make_interval(mins => m), 'globex', 'BAD_PAYLOAD', 1
            FROM generate_series(1, 23 * 60) m";

/// Three daemons: one runs, one has not for two hours, one for three days; and a replay that another daemon works on.
const OTHERS: &str = "INSERT INTO broker_sessions (client_id, broker, subscribed_at, seen_at, filters) VALUES
        ('runs', 'b:1883', now() - interval '9 days', now() + interval '1 hour', '{}'),
        ('gone', 'b:1883', now() - interval '9 days', now() - interval '2 hours', '{$share/g/a}'),
        ('ancient', 'b:1883', now() - interval '9 days', now() - interval '3 days', '{}');
    INSERT INTO quarantine_replays (tenant_id, replay_id, selection, until_at, created_by, worker, lease_until)
        VALUES ('acme', gen_random_uuid(), '{}', now(), 'cli:a', gen_random_uuid(), now() + interval '1 hour')";

/// The second rule never matches.
const POLICY: &str = "[[rules]]\ntopics = [\"plant/#\"]\nactions = [\"read\"]\nsubjects = { ids = [\"bob\"] }\n\n\
    [[rules]]\ntopics = [\"plant/*/x\"]\nactions = [\"read\"]\nsubjects = { ids = [\"bob\"] }\n";

#[test]
fn daemons_that_are_gone_are_told_apart_and_doubtful_rules_are_a_warning() {
    let it = builder()
        .registry(&format!("{FLEET}; {OTHERS}"))
        .file("ACL_RULES_PATH", "policy.toml", POLICY)
        // A replica counts as seen since the start of Postgres.
        .set("ORPHAN_AFTER_SECONDS", "3")
        .start();
    let admin = Browser::signed_in(it.listening("HTTP_BIND"), TOKEN);
    it.listening("HOOKS_BIND");
    let view = for_some("the numbers of the fleet", || {
        let view = admin.api("GET", "/overview", None).ok(200);
        (view["replicas"][0]["is_running"] == false).then_some(view)
    });
    let replicas: Vec<_> = view["replicas"].as_array().unwrap().iter().collect();
    let named = |row: &&serde_json::Value| (row["client_id"].clone(), row["is_running"].clone());
    assert_eq!(
        replicas.iter().map(named).collect::<Vec<_>>(),
        [("gone".into(), false.into()), ("runs".into(), true.into())],
        "{view}"
    );
    assert_eq!(view["replays_running"], 1);
    let of_globex = admin.api("GET", "/overview?tenant=globex", None).ok(200);
    assert_eq!(of_globex["replays_running"], 0, "{of_globex}");
    let health = view["health"].as_array().unwrap();
    let policy = health.iter().find(|row| row["component"] == "policy").unwrap();
    assert_eq!((&policy["state"], &policy["label"]), (&"warning".into(), &"Access policy".into()));
    let page = for_some("the page", || {
        let page = admin.get("/console").page();
        page.contains("1 replay runs").then_some(page)
    });
    for text in
        ["(orphaned, last seen", "href=\"/console/access\">Access policy</a>", ": see Access"]
    {
        assert!(page.contains(text), "{text} is missing from\n{page}");
    }
    assert!(!page.contains("ancient"), "{page}");
    let settings = admin.get("/console/settings").page();
    assert!(settings.contains("orphaned, last seen"), "{settings}");
}

#[test]
fn one_look_says_how_the_fleet_is() {
    let it = builder().registry(FLEET).start();
    let admin = Browser::signed_in(it.listening("HTTP_BIND"), TOKEN);
    let view = for_some("the numbers of the fleet", || {
        let view = admin.api("GET", "/overview", None).ok(200);
        (!view["devices"].is_null()).then_some(view)
    });
    assert_eq!(view["devices"]["active"], 3, "{view}");
    assert_eq!(view["devices"]["silent"], 1);
    assert_eq!(view["devices"]["newly_silent"], 1);
    assert_eq!(view["devices"]["never"], 1);
    assert_eq!(view["refusals"][0]["reason"], "TOKEN_INVALID");
    assert_eq!(view["refusals"][0]["messages"], 140);
    assert_eq!(view["refusals"][0]["is_new"], true);
    assert_eq!(view["refusals"][0]["top_tenant"], "acme");
    assert_eq!(view["refusals"][1]["is_new"], false);
    assert_eq!(view["health"][0]["component"], "broker");
    assert_eq!(view["health"][0]["state"], "failed", "no broker runs");

    let of_tenant = admin.api("GET", "/overview?tenant=globex", None).ok(200);
    assert_eq!(of_tenant["devices"]["active"], 1, "{of_tenant}");
    assert!(of_tenant["flow"].is_null() && of_tenant["links"].as_array().unwrap().is_empty());
    assert_eq!(of_tenant["refusals"].as_array().unwrap().len(), 1);

    // One rendered part serves all for a second.
    let page = for_some("the page shows the reasons", || {
        let page = admin.get("/console").page();
        page.contains("TOKEN_INVALID").then_some(page)
    });
    for text in [
        "<h1>Overview</h1>",
        "href=\"/console/quarantine?search=reason%3ATOKEN_INVALID+since%3A1h\"",
        "href=\"/console/devices?search=status%3AACTIVE+silent%3A1h+heard%3Aever\"",
        "aria-current=\"page\"",
        "curl -H &#34;Authorization: Bearer $TOKEN&#34;",
        "data-theme=\"system\"",
    ] {
        assert!(page.contains(text), "{text} is missing from\n{page}");
    }
    assert!(!page.contains("style=") && !page.contains("onclick"), "{page}");
    assert!(page.len() < 50_000, "the page has {} bytes", page.len());

    let part = admin.get_with("/console/overview/part", "HX-Request: true\r\n").page();
    assert!(part.contains("<ul class=\"health\"") && !part.contains("<html"), "{part}");
}

#[test]
fn the_frame_keeps_what_a_browser_prefers_and_errors_are_pages() {
    let it = builder().registry(FLEET).start();
    let admin = Browser::signed_in(it.listening("HTTP_BIND"), TOKEN);
    let choice = [("name", "theme"), ("value", "dark"), ("back", "/console/nothing?x=1")];
    assert_eq!(admin.post("/console/preferences", &choice).redirected(), "/console/nothing?x=1");
    let nothing = admin.get("/console/nothing?x=1");
    assert_eq!(nothing.status, 404);
    let text = nothing.text();
    assert!(
        text.contains("data-theme=\"dark\"") && text.contains("no page at this address"),
        "{text}"
    );
    let foreign = [("name", "zone"), ("value", "local"), ("back", "//evil.example/console/")];
    assert_eq!(admin.post("/console/preferences", &foreign).redirected(), "/console");

    let css = between_quotes(&text, "stylesheet\" href=\"");
    let style = Browser::new(admin.port).get(&css);
    assert_eq!(style.status, 200);
    assert!(style.head.contains("immutable") && style.head.contains("text/css"), "{}", style.head);

    let typed = "/console/go?search=tenant%2Fglobex%2Fdevice%2Fmeter-1%2Ftelemetry";
    assert_eq!(admin.get(typed).redirected(), "/console/devices/globex/meter-1");
    let unknown = admin.get("/console/go?search=0199b0f2-0000-7000-8000-000000000001");
    assert_eq!(unknown.status, 404);
    let hostile = "/console/palette?search=%22%3E%3Cimg+src%3Dx+onerror%3Dalert(1)%3E";
    assert!(!admin.get(hostile).page().contains("<img"));
}

#[test]
fn without_postgres_the_broker_side_stays_and_says_what_is_missing() {
    let postgres = Postgres::private();
    let database = postgres.database();
    let it = builder().on_database(&database).start();
    let admin = Browser::signed_in(it.listening("HTTP_BIND"), TOKEN);
    for_some("the numbers of the fleet", || {
        (!admin.api("GET", "/overview", None).ok(200)["devices"].is_null()).then_some(())
    });
    postgres.stop();
    let stopped_at = Instant::now();
    let page = for_some("the page says that Postgres is away", || {
        let page = admin.get("/console");
        page.text().contains("Postgres does not answer.").then_some(page)
    });
    assert_eq!(page.status, 200, "{}", page.text());
    assert!(stopped_at.elapsed() < Duration::from_secs(8), "{:?}", stopped_at.elapsed());
    assert!(page.text().contains("Broker"), "{}", page.text());
    // What needs Postgres says so, with the right status.
    let devices = admin.get("/console/go?search=0199b0f2-0000-7000-8000-000000000001");
    assert_eq!(devices.status, 503, "{}", devices.text());
    let change = [("name", "theme"), ("value", "dark"), ("back", "/console")];
    assert_eq!(admin.post("/console/preferences", &change).status, 503);
}

fn between_quotes(text: &str, start: &str) -> String {
    text.split_once(start).unwrap().1.split_once('"').unwrap().0.to_owned()
}
