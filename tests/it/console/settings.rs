//! The settings in force: masked, with their sources, filtered by the address, for admins only.

use serde_json::{Value, json};

use super::browser::Browser;
use crate::api::client::{TOKEN, builder};
use crate::support::postgres::PASSWORD;

const SECRET: &str = "the-secret-of-the-hooks-of-this-test";

fn row<'a>(view: &'a Value, name: &str) -> &'a Value {
    view["settings"].as_array().unwrap().iter().find(|row| row["name"] == name).unwrap()
}

#[test]
fn settings_are_shown_with_their_sources_and_secrets_are_not() {
    let it = builder()
        .database()
        .set("HOOKS_SECRET", SECRET)
        .set("BATCH_SIZE", "900")
        .set("REQUIRE_TOKEN", "true")
        .start();
    let admin = Browser::signed_in(it.listening("HTTP_BIND"), TOKEN);
    let view = admin.api("GET", "/settings", None).ok(200);
    let batch = row(&view, "BATCH_SIZE");
    assert_eq!((&batch["value"], &batch["default"]), (&"900".into(), &"1000".into()));
    assert_eq!((&batch["source"], &batch["is_changed"]), (&"environment".into(), &true.into()));
    assert_eq!(batch["unit"], "messages", "{batch}");
    assert_eq!(row(&view, "REQUIRE_TOKEN")["is_changed"], false);
    assert_eq!(row(&view, "MQTT_KEEPALIVE_SECONDS")["source"], "default");
    for name in ["HOOKS_SECRET", "ADMIN_TOKEN", "DATABASE_URL"] {
        assert_eq!(
            (&row(&view, name)["value"], &row(&view, name)["is_secret"]),
            (&"***".into(), &true.into())
        );
    }
    let all = view["total"].as_u64().unwrap();
    assert_eq!(all, view["settings"].as_array().unwrap().len() as u64);

    let changed = admin.api("GET", "/settings?changed=true&search=batch", None).ok(200);
    let names: Vec<_> =
        changed["settings"].as_array().unwrap().iter().map(|row| &row["name"]).collect();
    assert!(names.contains(&&json!("BATCH_SIZE")), "{names:?}");
    assert!((names.len() as u64) < changed["changed"].as_u64().unwrap());

    let page = admin.get("/console/settings?changed=true").page();
    assert!(page.contains("BATCH_SIZE") && !page.contains("MQTT_KEEPALIVE_SECONDS"), "{page}");
    assert!(page.contains("ADMIN_TOKEN") && page.contains("***"), "{page}");
    let found = admin.get("/console/settings?search=keepalive").page();
    assert!(found.contains("MQTT_KEEPALIVE_SECONDS") && !found.contains("BATCH_SIZE"));
    let nothing = admin.get("/console/settings?search=%3Cimg+src%3Dx%3E").page();
    assert!(nothing.contains("No setting matches") && !nothing.contains("<img"), "{nothing}");
    for secret in [TOKEN, SECRET, PASSWORD] {
        for text in [&view.to_string(), &page, &found] {
            assert!(!text.contains(secret), "{secret} is in {text}");
        }
    }

    let order = json!({ "name": "vera", "role": "viewer" });
    let token = admin.api("POST", "/operators", Some(&order)).ok(201)["token"].clone();
    let viewer = Browser::signed_in(admin.port, token.as_str().unwrap());
    assert_eq!(viewer.api("GET", "/settings", None).status, 403);
    let refused = viewer.get("/console/settings");
    assert_eq!(refused.status, 403);
    assert!(!refused.text().contains("BATCH_SIZE"));
}
