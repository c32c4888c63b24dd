//! The quarantine as a person at the console works on it, by links and forms alone: see why, fix it, dry
//! run, replay; and one message, whatever it contains.

use super::browser::{Browser, between};
use crate::api::client::{TOKEN, builder};
use crate::support::database::Database;
use crate::support::test_daemon::TestDaemon;
use crate::support::wait;

const REFUSED: &str = "INSERT INTO tenants (tenant_id, name) VALUES ('acme', 'Acme'), ('zeta', 'Zeta');
    INSERT INTO quarantine_events (id, quarantined_at, received_at, topic, tenant_id, device_id, msg_type, reason, detail, payload,
        message_id)
    SELECT ('00000000-0000-0000-0000-00000000000' || n)::uuid, now() - n * interval '1 minute', now(),
        'tenant/' || t || '/device/' || d || '/telemetry', t, d, 'telemetry', r, 'because', '{\"metrics\":{\"t\":1}}', gen_random_uuid()
    FROM (VALUES (1, 'acme', 'pump-99', 'UNREGISTERED_DEVICE'), (2, 'acme', 'pump-99', 'UNREGISTERED_DEVICE'),
        (3, 'acme', 'pump-98', 'UNREGISTERED_DEVICE'), (4, 'zeta', 'z', 'BAD_PAYLOAD')) v (n, t, d, r);
    INSERT INTO quarantine_counters_minute SELECT date_trunc('minute', now()) - interval '2 minutes', t, r, n
    FROM (VALUES ('acme', 'UNREGISTERED_DEVICE', 12481), ('zeta', 'BAD_PAYLOAD', 7)) v (t, r, n)";

const VIEWER: &str = "sluice_op_1111111111111111111111111111111111111111111111111111111111111111";
const OF_ZETA: &str = "sluice_op_2222222222222222222222222222222222222222222222222222222222222222";

fn daemon(sql: &str) -> (TestDaemon<(), Database<'static>>, Browser) {
    let people = format!(
        "INSERT INTO tenants (tenant_id, name) VALUES ('zeta', 'Zeta') ON CONFLICT DO NOTHING;
         INSERT INTO operators (name, role, tenant_id, token_sha256) VALUES ('eve', 'viewer', NULL, sha256('{VIEWER}')),
            ('zoe', 'operator', 'zeta', sha256('{OF_ZETA}'))"
    );
    let it = builder().registry(&format!("{sql}; {people}")).set("REQUIRE_TOKEN", "0").start();
    let port = it.listening("HTTP_BIND");
    wait::until("the login works", || {
        Browser::new(port).post("/console/login", &[("token", TOKEN)]).status == 303
    });
    (it, Browser::signed_in(port, TOKEN))
}

/// The address of the first link whose text begins so.
fn link<'a>(page: &'a str, before: &str) -> &'a str {
    between(
        page.split_once(before).unwrap_or_else(|| panic!("{before} in\n{page}")).1,
        "href=\"",
        "\"",
    )
    .unwrap()
}

#[test]
fn refusals_are_found_fixed_dry_run_and_replayed_by_links_and_forms() {
    let (it, admin) = daemon(REFUSED);
    let page = admin.get("/console/quarantine").page();
    for text in
        ["12,488", "12,481", "UNREGISTERED_DEVICE", "acme/pump-99", "All between", "Dry run 4"]
    {
        assert!(page.contains(text), "{text} in\n{page}");
    }
    assert!(page.len() < 60_000, "{} bytes", page.len());
    let by_reason = link(&page, "<h3>Reason</h3>").replace("&#38;", "&");
    assert_eq!(by_reason, "/console/quarantine?search=reason%3AUNREGISTERED_DEVICE");
    let page = admin.get(&by_reason).page();
    assert!(page.contains("What fixes UNREGISTERED_DEVICE"), "{page}");
    assert!(page.contains("value=\"acme/pump-98\"") && !page.contains(">zeta/z<"), "{page}");

    let search = ("search", "reason:UNREGISTERED_DEVICE");
    let fields = [search, ("shown", ""), ("device", "acme/pump-99")];
    let back = admin.post("/console/quarantine/devices", &fields).redirected();
    assert!(back.starts_with("/console/quarantine?search="), "{back}");
    assert!(admin.get(&by_reason).page().contains("1 device added"));
    assert_eq!(it.database.value("SELECT string_agg(device_id, '') FROM devices"), "pump-99");

    let fields = [("search", "reason:UNREGISTERED_DEVICE replayed:no"), ("text", search.1)];
    let job = admin.post("/console/quarantine/dry-run", &fields).redirected();
    let id = job.rsplit("replay=").next().unwrap().to_owned();
    let page = wait::for_some("the dry run is done", || {
        Some(admin.get(&job).page()).filter(|page| page.contains("Dry run done"))
    });
    for text in [
        "Replay these 2",
        "2 would be stored",
        "refused again: UNREGISTERED_DEVICE",
        "3 of 3 messages",
    ] {
        assert!(page.contains(text), "{text} in\n{page}");
    }
    assert_eq!(it.database.value("SELECT count(*) FROM telemetry"), "0");
    let part = admin.get_with(&format!("/console/quarantine/replays/{id}"), "HX-Request: true\r\n");
    assert_eq!(part.header("x-sluice-live").as_deref(), Some("end"));
    assert!(!part.page().contains("<html"));

    let started = admin.post(&format!("/console/quarantine/replays/{id}/start"), &[]).redirected();
    wait::until("the replay is done", || admin.get(&started).page().contains("Replay done"));
    assert!(admin.get(&started).page().contains("Show the list as it is now"));
    assert_eq!(it.database.value("SELECT count(*) FROM telemetry"), "2");
    let again = admin.post(&format!("/console/quarantine/replays/{id}/start"), &[]);
    assert!(admin.get(&again.redirected()).page().contains("is done"));
    let by = "SELECT DISTINCT actor FROM audit_log WHERE action LIKE 'quarantine.%'";
    assert_eq!(it.database.value(by), "console:admin");
    // What was replayed is not in the list any more, unless the person wants it.
    assert!(!admin.get("/console/quarantine").page().contains(">replayed</span>"));
    assert!(admin.get("/console/quarantine?shown=all").page().contains(">replayed</span>"));

    let fault = admin.get("/console/quarantine?search=colour%3Ared").page();
    assert!(fault.contains("unknown key") && fault.contains("value=\"colour:red\""), "{fault}");
    let newer = "/console/quarantine/newer?after=2020-01-01T00%3A00%3A00Z&shown=all";
    assert!(admin.get(newer).page().contains("4 newer messages"));

    let page = admin.get("/console/quarantine/discard?search=tenant%3Azeta").page();
    let bounded = between(&page, "name=\"search\" value=\"", "\"").unwrap().to_owned();
    assert!(page.contains("This deletes <b>1 message</b>"), "{page}");
    let discard = |typed| {
        let fields = [("search", bounded.as_str()), ("events", "1"), ("typed", typed)];
        admin.post("/console/quarantine/discard", &fields).redirected()
    };
    discard("2");
    assert_eq!(it.database.value("SELECT count(*) FROM quarantine_events"), "4");
    assert_eq!(discard("1"), "/console/quarantine");
    assert_eq!(it.database.value("SELECT count(*) FROM quarantine_events"), "3");
}

#[test]
fn the_page_says_of_which_time_and_conditions_it_is() {
    let (it, admin) = daemon(REFUSED);
    let page = admin.get("/console/quarantine").page();
    assert!(page.contains("4</b> kept messages match"), "{page}");
    let until = page.split_once("All between").unwrap().1.split_once(" and ").unwrap().1;
    let until = between(until, "datetime=\"", "\"").unwrap();
    let is_past = format!("SELECT '{until}' <= now()");
    assert_eq!(it.database.value(&is_past), "t", "nothing was refused in the future");
    let day = it.database.value("SELECT (now() AT TIME ZONE 'UTC' - interval '2 days')::date");
    let page = admin.get(&format!("/console/quarantine?search=since%3A{day}")).page();
    assert!(page.contains("Dry run 4"), "a day is a time: {page}");
    let page = admin.get("/console/quarantine?search=device%3Apump-99").page();
    assert!(page.contains("<h3>Reason <span class=\"muted\">of all messages"), "{page}");
}

#[test]
fn the_rows_of_a_search_are_a_file_without_payloads() {
    let (it, admin) = daemon(REFUSED);
    it.database.query(
        "INSERT INTO quarantine_events (id, quarantined_at, received_at, topic, tenant_id, device_id, reason, detail, payload,
            message_id)
         SELECT gen_random_uuid(), now() - interval '1 day', now(), '=topic', 'acme', 'more', 'BAD_PAYLOAD', 'a, b', 'secret',
            gen_random_uuid() FROM generate_series(1, 1200)",
    );
    let page = admin.get("/console/quarantine?search=device%3Apump-99").page();
    assert!(page.contains("href=\"/console/quarantine.csv?search=device%3Apump-99\""), "{page}");
    let viewer = Browser::signed_in(admin.port, VIEWER);
    for person in [&admin, &viewer] {
        let file = person.get("/console/quarantine.csv?search=device%3Apump-99");
        assert_eq!(file.header("content-type").as_deref(), Some("text/csv; charset=utf-8"));
        let text = file.text();
        assert_eq!(text.matches(",acme,pump-99,UNREGISTERED_DEVICE,because,").count(), 2, "{text}");
        assert!(!text.contains("metrics") && !text.contains("pump-98"), "{text}");
    }
    let many = admin.get("/console/quarantine.csv?search=device%3Amore").text();
    assert_eq!(many.matches(",acme,more,BAD_PAYLOAD,\"a, b\",'=topic,").count(), 1200);
    assert!(!many.contains("secret") && !many.contains("INCOMPLETE"));
    let zoe = Browser::signed_in(admin.port, OF_ZETA).get("/console/quarantine.csv").text();
    assert!(zoe.contains(",zeta,z,") && !zoe.contains("acme"), "{zoe}");
    assert_eq!(admin.get("/console/quarantine.csv?search=colour%3Ared").status, 400);
}

#[test]
fn a_viewer_reads_without_payloads_and_a_person_of_a_tenant_only_there() {
    let (_it, admin) = daemon(REFUSED);
    let viewer = Browser::signed_in(admin.port, VIEWER);
    let page = viewer.get("/console/quarantine").page();
    assert!(page.contains("acme/pump-99"), "{page}");
    for change in ["data-key=\"d\"", "/console/quarantine/discard", "/console/quarantine/dry-run"] {
        assert!(!page.contains(change), "{change} in {page}");
    }
    let message = "/console/quarantine/00000000-0000-0000-0000-000000000001";
    let page = viewer.get(message).page();
    assert!(page.contains("CONSOLE_VIEWER_PAYLOADS") && !page.contains("metrics"), "{page}");
    assert!(!page.contains("Replay this one"), "{page}");
    assert!(admin.get(message).page().contains("metrics"));
    let ordered =
        viewer.post("/console/quarantine/dry-run", &[("search", "tenant:acme")]).redirected();
    assert!(!ordered.contains("replay="), "{ordered}");
    viewer.api("GET", "/quarantine/00000000-0000-0000-0000-000000000001", None).ok(200)["payload"]
        .as_null()
        .unwrap();

    let zoe = Browser::signed_in(admin.port, OF_ZETA);
    let page = zoe.get("/console/quarantine").page();
    assert!(
        page.contains("zeta/z") && !page.contains("acme/") && !page.contains("12,481"),
        "{page}"
    );
    assert_eq!(zoe.get(message).status, 404);
    let job = zoe.post("/console/quarantine/dry-run", &[("search", "replayed:no")]).redirected();
    wait::until("the dry run is done", || zoe.get(&job).page().contains("1 of 1 message"));
    let id = job.rsplit("replay=").next().unwrap();
    let of_all =
        admin.post("/console/quarantine/dry-run", &[("search", "replayed:no")]).redirected();
    let of_all = of_all.rsplit("replay=").next().unwrap();
    assert_eq!(zoe.get(&format!("/console/quarantine/replays/{id}")).status, 303);
    assert_eq!(zoe.get(&format!("/console/quarantine/replays/{of_all}")).status, 404);
}

const EVIL: &str = "\"><img src=x onerror=alert(1)>";

#[test]
fn a_message_is_shown_as_text_whatever_it_contains() {
    let (it, admin) = daemon(
        "INSERT INTO tenants (tenant_id, name) VALUES ('acme', 'Acme'); INSERT INTO devices (tenant_id, device_id) VALUES ('acme', 'a');
         INSERT INTO quarantine_events (id, quarantined_at, received_at, topic, tenant_id, device_id, site_id, reason, detail,
            payload, message_id)
         SELECT ('00000000-0000-0000-0000-00000000000' || n)::uuid, now() - n * interval '1 minute', now(), topic, 'acme', device,
            device, 'BAD_PAYLOAD', device, payload, gen_random_uuid()
         FROM (VALUES (1, '\"><img src=x onerror=alert(1)>', '\"><img src=x onerror=alert(1)>', convert_to(repeat('<', 65536), 'UTF8')),
            (2, 'tenant/acme/device/a/telemetry', 'a', '\\xff00fe41'::bytea),
            (3, 'tenant/acme/device/a/telemetry', 'a', '{\"metrics\":{\"t\":1}}')) v (n, topic, device, payload)",
    );
    let path = |n: u32| format!("/console/quarantine/00000000-0000-0000-0000-00000000000{n}");
    for page in [admin.get("/console/quarantine").page(), admin.get(&path(1)).page()] {
        assert!(!page.contains("<img") && !page.contains(EVIL), "{page}");
        assert!(page.len() < 150_000, "{} bytes", page.len());
    }
    let whole = admin.get(&format!("{}?view=text&whole=1", path(1))).page();
    assert_eq!(whole.matches("&#60;").count() / 65_536, 1, "all of it, as text");
    let page = admin.get(&path(2)).page();
    assert!(page.contains("ff 00 fe 41") && page.contains("not UTF-8"), "{page}");
    assert!(page.contains(&format!("{}\" data-previous", path(1))), "{page}");
    assert!(page.contains(&format!("{}\" data-next", path(3))), "{page}");
    assert!(admin.get(&format!("{}?view=text", path(2))).page().contains('\u{fffd}'));
    let page = admin.get(&path(3)).page();
    assert!(page.contains("&#34;t&#34;: 1") && page.contains("would be stored"), "{page}");
    assert!(page.contains("BAD_TOPIC_FORMAT") && page.contains("sluice quarantine show"), "{page}");

    let back = admin.post(&format!("{}/replay", path(3)), &[]).redirected();
    assert_eq!(back, path(3));
    let page = admin.get(&back).page();
    assert!(page.contains("The message: stored"), "{page}");
    let back = admin.post(&format!("{}/replay", path(2)), &[]).redirected();
    assert!(admin.get(&back).page().contains("Refused again: BAD_PAYLOAD"));
    assert!(
        admin.get(&back).page().contains("Replays that refused it again</dt><dd class=\"num\">1")
    );
    let discard =
        |typed| admin.post(&format!("{}/discard", path(1)), &[("typed", typed)]).redirected();
    assert_eq!(discard("x"), path(1));
    assert_eq!(discard("00000000"), "/console/quarantine");
    assert_eq!(it.database.value("SELECT count(*) FROM quarantine_events"), "2");
    assert_eq!(admin.get(&path(1)).status, 404);
}
