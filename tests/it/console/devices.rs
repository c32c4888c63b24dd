//! The pages of devices, as a browser without a script uses them: every list, form and action, with
//! hostile names, and what a viewer may not do.

use serde_json::{Value, json};

use super::browser::{Browser, between, encoded};
use crate::api::client::{Answer, Client, TOKEN, builder};
use crate::support::database::Database;
use crate::support::test_daemon::TestDaemon;

/// A text that would run, if a page took it as HTML.
const HOSTILE: &str = r#""><img src=x onerror=alert(1)>"#;

/// Sixty-two devices; two are silent, one has telemetry, a twin and a refused message.
const FLEET: &str = "INSERT INTO tenants (tenant_id, name) VALUES ('acme', 'A'), ('other', 'O');
    INSERT INTO devices (tenant_id, device_id, site_id) SELECT 'acme', 'pump-' || n, 'north' FROM generate_series(1, 60) n;
    INSERT INTO devices (tenant_id, device_id) VALUES ('other', 'silent'), ('other', 'new');
    INSERT INTO device_state (tenant_id, device_id, last_seen_at, desired, reported, reported_version, reported_at)
    SELECT tenant_id, device_id, now() - interval '30 seconds', '{\"interval\": 60}', '{\"interval\": 30, \"mode\": \"auto\"}', 7, now()
    FROM devices WHERE tenant_id = 'acme';
    INSERT INTO device_state (tenant_id, device_id, last_seen_at) VALUES ('other', 'silent', now() - interval '2 hours');
    INSERT INTO telemetry (time, received_at, tenant_id, device_id, msg_type, metrics, message_id)
    SELECT now() - n * interval '1 minute', now(), 'acme', 'pump-1', 'telemetry',
        jsonb_build_object('temp_c', 20 + n, 'note', '<b>'), gen_random_uuid() FROM generate_series(1, 30) n;
    INSERT INTO quarantine_events (id, quarantined_at, received_at, topic, tenant_id, device_id, reason, detail, payload, message_id)
    VALUES (gen_random_uuid(), now() - interval '1 minute', now(), 't', 'acme', 'pump-1', 'TOKEN_MISSING', 'the message has no token',
        '', gen_random_uuid())";

struct Console {
    it: TestDaemon<(), Database<'static>>,
    admin: Browser,
}

fn console() -> Console {
    let it = builder().database().start();
    it.database.query(FLEET);
    let port = Client::of(it.listening("HTTP_BIND"), None).port;
    Console { it, admin: Browser::signed_in(port, TOKEN) }
}

/// The text of a file that comes in chunks.
fn file(answer: &Answer) -> String {
    assert_eq!(answer.status, 200, "{}", answer.text());
    let (text, mut whole) = (answer.text(), String::new());
    let mut rest = text.as_str();
    while let Some((size, chunk)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap();
        whole.push_str(&chunk[..size]);
        rest = &chunk[size + 2..];
    }
    whole
}

/// The devices of a page of the list, in its order.
fn rows(page: &str) -> Vec<String> {
    let links = page.split("<th scope=\"row\"><a href=\"").skip(1);
    let name = |rest: &str| between(rest, "\">", "</a>").unwrap().to_owned();
    links.map(name).collect()
}

/// The notice of a page, in lower case: the head of an answer is read so.
fn notice(page: &str) -> String {
    let text = between(page, "<div class=\"notice", "</div>").expect("a notice");
    between(text, "<p>", "</p>").unwrap().to_lowercase()
}

#[test]
fn the_list_is_its_address_and_each_control_is_a_term() {
    let Console { it: _it, admin } = console();
    let page = admin.get("/console/devices").page();
    assert_eq!(rows(&page).len(), 50);
    assert!(page.contains("62 found"), "{page}");
    let next = between(&page, "class=\"btn\" href=\"", "\" rel=\"next\"").unwrap();
    let next = next.rsplit('"').next().unwrap().replace("&#38;", "&");
    let second = admin.get(&next).page();
    assert_eq!(rows(&second).len(), 12);
    assert_eq!(rows(&admin.get(&next).page()), rows(&second), "a reload shows the same rows");

    let filtered =
        admin.get("/console/devices/filter?search=-new&heard=silent%3A1h&sort=last_heard");
    let address = filtered.redirected();
    assert_eq!(address, "/console/devices?search=-device%3anew+silent%3a1h&sort=last_heard");
    let page = admin.get(&address).page();
    assert_eq!(rows(&page), ["silent"]);
    assert!(page.contains("1 found") && page.contains("2 h ago"), "{page}");
    assert!(page.contains("sluice device list --search"), "the same by command");

    let refused = admin.get("/console/devices?search=colour%3Ared");
    // A page answers; a browser would log an error of its own otherwise.
    let text = refused.page();
    assert!(text.contains("unknown key `colour`; the keys are tenant, site, status"), "{text}");
    assert!(text.contains("value=\"colour:red\""), "what was typed stays");
    let gone = admin.get("/console/devices/acme/gone").text();
    assert!(gone.contains("Tenant acme has no device gone."), "{gone}");
    assert_eq!(admin.get("/").redirected(), "/console");
    let none = admin.get("/console/devices?search=zzz").page();
    assert!(none.contains("No device matches"), "{none}");
    let hostile = admin.get(&format!("/console/devices?search={}", encoded(HOSTILE)));
    assert!(!hostile.text().contains("<img"), "{}", hostile.text());
}

#[test]
fn the_file_has_all_rows_of_the_filter() {
    let Console { it, admin } = console();
    it.database.query(
        "INSERT INTO devices (tenant_id, device_id) SELECT 'acme', 'more-' || n FROM generate_series(1, 2500) n;
         INSERT INTO devices (tenant_id, device_id, site_id) VALUES ('acme', 'formula', '=1+1,\"x\"')",
    );
    let answer = admin.get("/console/devices.csv?search=more-*");
    assert_eq!(answer.header("content-type").as_deref(), Some("text/csv; charset=utf-8"));
    let text = file(&answer);
    assert_eq!(text.matches("acme,more-").count(), 2500, "{}", &text[..200]);
    assert!(
        text.starts_with("tenant_id,device_id,site_id,status,last_seen_at"),
        "{}",
        &text[..200]
    );
    let formula = file(&admin.get("/console/devices.csv?search=formula"));
    assert!(formula.contains(r#"acme,formula,"'=1+1,""x""",ACTIVE"#), "{formula}");
    let silent = file(&admin.get("/console/devices.csv?search=silent%3A5m"));
    assert!(silent.contains("other,silent") && !silent.contains("pump-1,"), "{silent}");
}

#[test]
fn selected_devices_are_changed_after_a_page_that_says_so() {
    let Console { it, admin } = console();
    let chosen = [("act", "deactivate"), ("device", "acme/pump-1"), ("device", "acme/pump-2")];
    let question = admin.post("/console/devices/selected", &chosen).page();
    assert!(question.contains("Deactivate 2 devices?"), "{question}");
    let rotate = [("act", "rotate"), ("device", "acme/pump-1")];
    let rotate = admin.post("/console/devices/selected", &rotate).page();
    assert!(rotate.contains("ROTATION_GRACE_HOURS"), "{rotate}");
    let inactive = "SELECT count(*) FROM devices WHERE status = 'INACTIVE'";
    assert_eq!(it.database.value(inactive), "0", "the question changes nothing");
    let sure = [&chosen[..], &[("sure", "1"), ("device", "acme/nobody")]].concat();
    assert_eq!(admin.post("/console/devices/selected", &sure).redirected(), "/console/devices");
    assert_eq!(it.database.value(inactive), "2");
    let page = admin.get("/console/devices").page();
    let said = notice(&page);
    assert!(said.contains("2 devices now inactive; 1 device not changed: acme/nobody"), "{said}");
    let none = admin.post("/console/devices/selected", &[("act", "activate")]);
    assert_eq!(none.status, 400);
    assert!(none.text().contains("select 1 to 50 devices"), "{}", none.text());
    let actor = "SELECT DISTINCT actor FROM audit_log WHERE action = 'device.set-status'";
    assert_eq!(it.database.value(actor), "console:admin");
}

#[test]
fn a_device_is_added_with_its_token_once_edited_and_removed_by_its_name() {
    let Console { it, admin } = console();
    let fields = |device: &'static str| {
        [
            ("tenant", "acme"),
            ("device", device),
            ("site", HOSTILE),
            ("metadata", "{\"a\": {\"b\": 1, \"c\": 2}}"),
            ("proof", "token"),
        ]
    };
    let wrong = admin.post("/console/devices/new", &fields("a/b"));
    assert_eq!(wrong.status, 422);
    assert!(
        wrong.text().contains("device_id") && !wrong.text().contains("<img"),
        "{}",
        wrong.text()
    );
    let added = admin.post("/console/devices/new", &fields("fresh")).page();
    let token = between(&added, "<h2>Token</h2>", "</section>").unwrap();
    let token = between(token, "<code>", "</code></pre>").map_or(token, |_| token);
    let token = token.rsplit_once("<pre><code>").unwrap().1.split_once("</code>").unwrap().0;
    assert_eq!(token.len(), 64, "{token}");
    let path = "/console/devices/acme/fresh";
    let page = admin.get(path).page();
    assert!(!page.contains(token) && !page.contains("<img"), "{page}");
    assert!(page.contains("its token auth") && page.contains("Replace the token?"), "{page}");

    let form = admin.get(&format!("{path}/edit")).page();
    let version = between(&form, "name=\"version\" value=\"", "\"").unwrap().to_owned();
    let edit = |version: &str, metadata: &str| {
        admin.post(
            &format!("{path}/edit"),
            &[("version", version), ("site", " west "), ("metadata", metadata)],
        )
    };
    assert_eq!(edit(&version, "[1]").status, 422);
    assert_eq!(edit(&version, "{\"a\": {\"b\": 1}, \"d\": \"<i>\"}").redirected(), path);
    let stored = it
        .database
        .value("SELECT site_id || metadata::text FROM devices WHERE device_id = 'fresh'");
    assert_eq!(stored, r#"west{"a": {"b": 1}, "d": "<i>"}"#);
    let late = edit(&version, "{}");
    assert_eq!(late.status, 422);
    let late = late.text();
    assert!(late.contains("changed meanwhile") && late.contains("/edit\">Load the"), "{late}");
    let large = format!("{{\"large\": \"{}\"}}", "<".repeat(30 * 1024));
    let form = admin.get(&format!("{path}/edit")).page();
    let version = between(&form, "name=\"version\" value=\"", "\"").unwrap().to_owned();
    assert_eq!(edit(&version, &large).redirected(), path);
    let page = admin.get(path).page();
    assert!(page.len() < 150_000 && page.contains("&#60;&#60;"), "{} bytes", page.len());

    let largest = json!({ "metadata": { "large": "<".repeat(64 * 1024) } });
    admin.api("PATCH", "/tenants/acme/devices/fresh", Some(&largest)).ok(200);
    for page in [path.to_owned(), format!("{path}/edit")] {
        assert!(!admin.get(&page).page().contains("<<"), "{page}");
    }
    let renewed = admin.post(&format!("{path}/token"), &[]).page();
    assert!(renewed.contains("has a new token") && !renewed.contains(token), "{renewed}");
    assert_eq!(admin.post(&format!("{path}/remove"), &[("typed", "other")]).redirected(), path);
    assert!(notice(&admin.get(path).page()).contains("nothing was removed"));
    assert_eq!(
        admin.post(&format!("{path}/remove"), &[("typed", "fresh")]).redirected(),
        "/console/devices"
    );
    let gone = admin.get(path);
    assert_eq!(gone.status, 404);
    assert!(gone.text().contains("device=fresh"), "it can be added: {}", gone.text());
}

#[test]
fn the_page_of_a_device_says_why_and_what_differs() {
    let Console { it, admin } = console();
    let path = "/console/devices/acme/pump-1";
    let page = admin.get(path).page();
    let heard = between(&page, "last heard ", "</span>").unwrap();
    let newest = "SELECT to_char(max(received_at) AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS') FROM telemetry";
    assert!(heard.contains(&it.database.value(newest)), "the newest message counts: {heard}");
    for text in [
        "Make a token?",
        "sluice cert issue acme pump-1 --new-key --key-out device.key --out device.crt",
        "No command was sent.",
        "It has neither a certificate nor a token",
        "1 refused message kept in 24 h",
        "TOKEN_MISSING: the message has no token",
        "temp_c",
        "data-plot=\"/console/devices/acme/pump-1/plot?metric=temp_c&#38;range=1h\"",
        "<svg class=\"spark",
        "differs",
        "Refused, kept: 1 in 24 h",
        "sluice device show acme pump-1",
    ] {
        assert!(page.contains(text), "{text} is missing from {page}");
    }
    assert!(!page.contains("<b>\"") && !page.contains("note\":\"<b>"), "{page}");
    assert!(page.len() < 60_000, "{} bytes", page.len());
    let plot = admin.get(&format!("{path}/plot?metric=temp_c&range=24h")).ok(200);
    assert_eq!(plot["labels"][0], "temp_c");
    assert!(!plot["data"][1].as_array().unwrap().is_empty(), "{plot}");
    assert!(admin.get(&format!("{path}?range=7d")).page().contains("range=7d"), "a tab");

    let command = [("command_type", "reboot"), ("params", "{\"delay\": 1}")];
    assert_eq!(admin.post(&format!("{path}/commands"), &command).redirected(), path);
    let page = admin.get(path).page();
    assert!(notice(&page).contains("the command reboot is queued"), "{page}");
    let id = between(&page, "name=\"command\" value=\"", "\"").expect("an open command").to_owned();
    assert_eq!(admin.post(&format!("{path}/cancel"), &[("command", &id)]).redirected(), path);
    assert!(admin.get(path).page().contains("CANCELLED"));
    let odd = [("command_type", "reboot"), ("params", "soon")];
    admin.post(&format!("{path}/commands"), &odd).redirected();
    assert!(notice(&admin.get(path).page()).contains("must be a json object"));
    assert_eq!(
        admin.post(&format!("{path}/desired"), &[("patch", "{\"interval\": 30}")]).redirected(),
        path
    );
    assert!(!admin.get(path).page().contains("differs"), "the twin agrees now");

    let explained = admin
        .post(&format!("{path}/explain"), &[("msg_type", "telemetry"), ("payload", "{")])
        .page();
    assert!(explained.contains("BAD_PAYLOAD"), "{explained}");
    let hostile =
        admin.post(&format!("{path}/explain"), &[("msg_type", HOSTILE), ("payload", HOSTILE)]);
    assert!(!hostile.text().contains("<img"), "{}", hostile.text());

    admin.post(&format!("{path}/status"), &[("status", "REVOKED")]).redirected();
    let page = admin.get(path).page();
    assert!(page.contains("The device is REVOKED") && page.contains("Activate"), "{page}");
    let suspended: Value = json!({ "status": "SUSPENDED" });
    admin.api("PATCH", "/tenants/acme", Some(&suspended)).ok(200);
    assert!(admin.get(path).page().contains("Tenant acme is SUSPENDED"));
    assert_eq!(admin.get("/console/devices/acme/%3Cimg%3E").status, 400);
    drop(it);
}

#[test]
fn a_form_that_is_too_large_is_answered_with_a_sentence() {
    let Console { it: _it, admin } = console();
    let path = "/console/devices/acme/pump-1";
    let edit = |bytes: usize| {
        let form = admin.get(&format!("{path}/edit")).page();
        let version = between(&form, "name=\"version\" value=\"", "\"").unwrap().to_owned();
        // Each takes three bytes of the form.
        let metadata = format!("{{\"large\": \"{}\"}}", "<".repeat(bytes));
        let fields = [("version", version.as_str()), ("site", ""), ("metadata", &metadata)];
        admin.post(&format!("{path}/edit"), &fields)
    };
    assert_eq!(edit(125 * 1024).redirected(), path);
    let refused = edit(127 * 1024 + 1000);
    assert!(matches!(refused.status, 413 | 422), "{}", refused.text());
    assert!(refused.text().contains("bytes"), "{}", refused.text());
    let refused = edit(180 * 1024);
    assert_eq!(refused.status, 413);
    assert!(refused.text().contains("The form is too large"), "{}", refused.text());
    assert!(refused.text().contains("Nothing was changed"), "{}", refused.text());
}

#[test]
fn a_name_that_browsers_resolve_is_refused_and_an_old_one_stays_reachable() {
    let Console { it, admin } = console();
    for name in [".", ".."] {
        let body = json!({ "device_id": name });
        let refused = admin.api("POST", "/tenants/acme/devices", Some(&body));
        refused.problem(422, "refused");
        let body = json!({ "tenant_id": name });
        admin.api("POST", "/tenants", Some(&body)).problem(422, "refused");
        let failed = it.settings.command(&["device", "add", "acme", name]).output().unwrap();
        let said = String::from_utf8_lossy(&failed.stderr).into_owned();
        assert_eq!(failed.status.code(), Some(64), "{said}");
        assert!(said.contains("no web address can contain this name"), "{said}");
    }
    // An earlier version has added it.
    it.database
        .query("INSERT INTO devices (tenant_id, device_id) VALUES ('acme', '..'), ('acme', '.')");
    let list = admin.get("/console/devices?search=..").page();
    let path = "/console/devices/acme/~..";
    assert!(list.contains(&format!("href=\"{path}\"")), "{list}");
    let page = admin.get(path).page();
    assert!(page.contains("acme / ..") && page.contains("curl --path-as-is"), "{page}");
    assert!(!page.contains("could not be read"), "{page}");
    admin.post(&format!("{path}/status"), &[("status", "INACTIVE")]).redirected();
    let status = "SELECT status FROM devices WHERE device_id = '..'";
    assert_eq!(it.database.value(status), "INACTIVE");
    assert_eq!(
        admin.post(&format!("{path}/remove"), &[("typed", "..")]).redirected(),
        "/console/devices"
    );
    assert_eq!(it.database.value("SELECT count(*) FROM devices WHERE device_id = '.'"), "1");
}

#[test]
fn a_viewer_reads_and_changes_nothing() {
    let Console { it, .. } = console();
    let token = format!("sluice_op_{}", "7".repeat(64));
    it.database.query(&format!(
        "INSERT INTO operators (name, role, tenant_id, token_sha256) VALUES ('vera', 'viewer', 'acme', sha256('{token}'))"
    ));
    let viewer = Browser::signed_in(it.listening("HTTP_BIND"), &token);
    let page = viewer.get("/console/devices").page();
    assert!(page.contains("60 found") && !page.contains("other"), "only the own tenant: {page}");
    assert!(!page.contains("type=\"checkbox\"") && !page.contains("Add a device"), "{page}");
    let path = "/console/devices/acme/pump-1";
    let page = viewer.get(path).page();
    for action in ["Deactivate", "New token", "Remove", "Send a command", "/edit", "/explain"] {
        assert!(!page.contains(action), "{action} is offered to a viewer");
    }
    assert!(viewer.get("/console/devices/new").page().contains("needs the role admin"));
    assert_eq!(viewer.get("/console/devices/other/new").status, 403);
    for (action, fields) in [
        (
            "/console/devices/selected",
            &[("act", "deactivate"), ("device", "acme/pump-1"), ("sure", "1")][..],
        ),
        ("/console/devices/acme/pump-1/status", &[("status", "INACTIVE")]),
        ("/console/devices/acme/pump-1/remove", &[("typed", "pump-1")]),
        ("/console/devices/acme/pump-1/token", &[]),
        ("/console/devices/acme/pump-1/commands", &[("command_type", "reboot")]),
        ("/console/devices/acme/pump-1/desired", &[("patch", "{\"a\": 1}")]),
        ("/console/devices/acme/pump-1/edit", &[("version", "1"), ("site", "x")]),
        ("/console/devices/new", &[("tenant", "acme"), ("device", "x")]),
    ] {
        let answer = viewer.post(action, fields);
        assert!(matches!(answer.status, 303 | 403), "{action}: {}", answer.status);
    }
    let unchanged = "SELECT (SELECT count(*) FROM devices WHERE status <> 'ACTIVE' OR site_id = 'x' OR provision_token_hash IS NOT NULL),
        (SELECT count(*) FROM devices), (SELECT count(*) FROM device_commands)";
    assert_eq!(it.database.query(unchanged), [["0", "62", "0"]]);
}
