//! The audit log: one daemon answers it by the API, the command and the page, to people of different
//! rights.

use serde_json::{Value, json};

use super::browser::{Browser, between};
use crate::api::client::{TOKEN, ask, builder};

const ROWS: &str = "
    INSERT INTO tenants (tenant_id, name) VALUES ('acme', 'Acme'), ('zeta', 'Zeta');
    INSERT INTO audit_log (at, actor, action, tenant_id, device_id, detail)
        SELECT now() - n * interval '1 minute', 'cli:bulk', 'device.add', 'acme', 'pump-' || n, '{}'
        FROM generate_series(1, 120) n;
    INSERT INTO audit_log (at, actor, action, tenant_id, device_id, detail) VALUES
        (now() - interval '3 days', 'console:alice', 'device.status', 'acme', 'pump-1',
            '{\"from\": \"ACTIVE\", \"to\": \"<b>INACTIVE</b>\"}'),
        (now() - interval '2 days', 'console:bob', 'tenant.add', 'zeta', NULL, '{\"of\": \"zeta-mark\"}'),
        (now() - interval '1 day', '=cmd', 'session.end', NULL, NULL, '{}')";

fn found(page: &Value) -> Vec<String> {
    let items = page["items"].as_array().unwrap();
    let shown = |row: &Value| {
        let text = |name: &str| row[name].as_str().unwrap_or("-").to_owned();
        format!("{} {} {}", text("actor"), text("action"), text("device_id"))
    };
    items.iter().map(shown).collect()
}

#[test]
fn the_audit_log_is_found_by_api_command_and_page() {
    let it = builder().registry(ROWS).start();
    let port = it.listening("HTTP_BIND");
    let admin = Browser::signed_in(port, TOKEN);
    let get = |search: &str| admin.api("GET", &format!("/audit?search={search}"), None).ok(200);

    // Each key, together and negated.
    let alice = ["console:alice device.status pump-1"];
    for search in [
        "actor:console:alice",
        "actor:console:*+-actor:console:bob+until:2d+tenant:acme",
        "action:device.status+pump-*",
        "device:pump-1+-since:1d",
        "tenant:acme+-actor:cli:*",
    ] {
        assert_eq!(found(&get(search)), alice, "{search}");
    }
    // What has no tenant is not of the excluded one.
    assert_eq!(
        found(&get("-tenant:acme+until:1h"))[..2],
        ["=cmd session.end -", "console:bob tenant.add -"]
    );
    let wrong = admin.api("GET", "/audit?search=colour:red", None);
    assert_eq!(wrong.problem(400, "bad-request")["errors"][0]["field"], "search");

    // Page by page each entry once, though entries are added meanwhile.
    let mut target = "/audit?search=actor:cli:bulk&limit=50".to_owned();
    let mut devices = Vec::new();
    loop {
        let page = admin.api("GET", &target, None).ok(200);
        devices.extend(found(&page));
        it.database.query("INSERT INTO audit_log (actor, action) VALUES ('cli:bulk', 'newer')");
        let Some(next) = page["next"].as_str() else { break };
        target = format!("/audit?search=actor:cli:bulk&limit=50&cursor={next}");
    }
    let expected: Vec<_> = (1..=120).map(|n| format!("cli:bulk device.add pump-{n}")).collect();
    assert_eq!(devices, expected);

    // A beginning holds no wildcard, and ends where the names do.
    let odd = "INSERT INTO audit_log (actor, action) VALUES ('pre%x', 'a'), ('pre', 'a'), ('prf', 'a'), ('pr\u{fc}', 'a')";
    it.database.query(odd);
    assert_eq!(found(&get("actor:pre*")).len(), 2);
    assert_eq!(found(&get("actor:pre%25*")).len(), 1);
    assert_eq!(found(&get("actor:pr*")).len(), 4);

    // The command prints the same rows.
    let command = ["audit", "list", "--search", "actor:console:*", "--output", "json"];
    let printed: Value = serde_json::from_str(&it.settings.run(&command)).unwrap();
    assert_eq!(printed, get("actor:console:*")["items"]);
    let table = it.settings.run(&["audit", "list", "--limit", "1", "--search", "tenant:acme"]);
    assert!(table.contains("pump-1") && !table.contains("pump-2"), "{table}");

    is_shown_by_the_page(&admin);

    // A viewer of one tenant sees its entries alone.
    let add =
        ["operator", "add", "zed", "--role", "viewer", "--tenant", "acme", "--output", "json"];
    let made: Value = serde_json::from_str(&it.settings.run(&add)).unwrap();
    let zed = Browser::signed_in(port, made["token"].as_str().unwrap());
    for search in ["", "tenant:zeta", "actor:console:bob"] {
        let seen = zed.api("GET", &format!("/audit?search={search}"), None).ok(200);
        assert!(!seen.to_string().contains("zeta"), "{search}: {seen}");
        assert_eq!(found(&seen).is_empty(), !search.is_empty(), "{search}");
    }
    assert!(!zed.get("/console/audit").page().contains("console:bob"));
    zed.api("GET", "/audit?tenant=zeta", None).problem(403, "forbidden");
    assert_eq!(ask(port, "GET", "/api/v1/audit", "Host: localhost\r\n", b"").status, 401);
    assert_eq!(json!(zed.api("GET", "/audit?cursor=x", None).status), 400);
}

fn is_shown_by_the_page(admin: &Browser) {
    // Rows, links, an escaped change, the search that cannot be read, the file.
    let page = admin.get("/console/audit?search=action%3Adevice.status").page();
    assert!(page.contains("/console/devices/acme/pump-1"), "{page}");
    assert!(page.contains("from: ACTIVE") && !page.contains("<b>INACTIVE"), "{page}");
    assert!(page.contains("sluice audit list --search action:device.status"), "{page}");
    let page = admin.get("/console/audit?search=actor%3Acli%3Abulk").page();
    let next = between(&page, "/console/audit?search=actor%3Acli%3Abulk&#38;cursor=", "\"");
    let next = next.unwrap_or_else(|| panic!("no next page: {page}"));
    let older = format!("/console/audit?search=actor%3Acli%3Abulk&cursor={next}");
    assert!(admin.get(&older).page().contains("/console/devices/acme/pump-60"));
    let page = admin.get("/console/audit?search=colour%3Ared").page();
    assert!(page.contains("actor, action, tenant, device, since, until"), "{page}");
    assert!(admin.get("/console/audit?search=nothing").page().contains("No change matches"));
    let file = admin.get("/console/audit.csv?search=-actor%3Acli%3A*+until%3A1h");
    assert_eq!(file.header("content-type").as_deref(), Some("text/csv; charset=utf-8"));
    let lines: Vec<_> = file.text().lines().map(str::to_owned).collect();
    assert_eq!(lines.len(), 4, "{lines:?}");
    assert!(lines[1].contains(",'=cmd,session.end,"), "{lines:?}");
}
