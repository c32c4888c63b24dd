//! What the API answers is what its document says: a validator that is not ours compares them.

use std::cell::RefCell;
use std::process::{Command, Output};

use serde_json::{Value, json};

use super::document::validator;
use super::linked;
use super::with_authority::{ApiWithAuthority, OURS, id};
use crate::compose::stack::repository;
use crate::support::dir::Scratch;
use crate::support::wait;

const ROWS: &str = "INSERT INTO telemetry (time, received_at, tenant_id, device_id, msg_type, seq, metrics, message_id)
        VALUES (now() - interval '1 minute', now(), 'acme', 'pump-1', 'telemetry', 7, '{\"t\": 1.5}', gen_random_uuid());
    INSERT INTO quarantine_events (id, quarantined_at, received_at, topic, tenant_id, device_id, msg_type, reason, detail,
        payload, message_id)
    VALUES ('00000000-0000-0000-0000-000000000001', now(), now(), 'tenant/acme/device/x/telemetry', 'acme', 'x',
        'telemetry', 'UNREGISTERED_DEVICE', 'because', '{}', gen_random_uuid());
    INSERT INTO console_sessions (session_sha256, session_id, name, role, method, created_at, seen_at, expires_at)
    VALUES (sha256('x'), '00000000-0000-0000-0000-000000000007', 'alice', 'viewer', 'link', now(), now(),
        now() + interval '1 hour')";

/// Asks, and keeps each answer with the path as it is documented.
struct Recorder<'a> {
    api: &'a ApiWithAuthority,
    answers: RefCell<Vec<Value>>,
}

// === impl Recorder ===

impl Recorder<'_> {
    /// Each of the words takes the place of one `{name}` in the path; a query may follow the path.
    fn ask(&self, method: &str, path: &str, words: &[&str], body: Option<&Value>) -> Value {
        let mut filled = path.to_owned();
        for word in words {
            let (start, end) = (filled.find('{').unwrap(), filled.find('}').unwrap());
            filled.replace_range(start..=end, word);
        }
        let answer = self.api.call(method, &filled, body);
        let documented = format!("/api/v1{}", path.split('?').next().unwrap());
        let kept = json!({ "method": method, "path": documented, "status": answer.status, "body": answer.json() });
        self.answers.borrow_mut().push(kept);
        answer.json()
    }

    fn get(&self, path: &str, words: &[&str]) -> Value {
        self.ask("GET", path, words, None)
    }

    fn post(&self, path: &str, words: &[&str], body: &Value) -> Value {
        self.ask("POST", path, words, Some(body))
    }
}

fn compare(document: &[u8], answers: &Value) -> Output {
    let dir = Scratch::new("answers");
    let (document, answers) =
        (dir.write("document", document), dir.write("answers", answers.to_string()));
    let script = repository("tests/openapi_answers.py");
    Command::new(validator("python3")).arg(script).args([document, answers]).output().unwrap()
}

/// As its own registry, as the registry of a cell, and as a cell.
fn cells(recorder: &Recorder<'_>) {
    let query = |sql: &str| recorder.api.ca.database.query(sql);
    recorder.get("/cells", &[]);
    query("INSERT INTO cells (cell_id, slot) VALUES ('north', 'sluice_north')");
    recorder.get("/cells", &[]);
    query(
        "INSERT INTO cell (cell_id, registry, registry_id, subscription) VALUES ('north', 'reg:5432/sluice', '1/sluice', 'x')",
    );
    recorder.get("/cells", &[]);
    query("DELETE FROM cell; DELETE FROM cells");
}

fn certificates(recorder: &Recorder<'_>) {
    let one = "/certificates/{certificate}";
    let csr = json!({ "csr": recorder.api.request("dev", "/") });
    let issue = "/tenants/{tenant}/devices/{device}/certificates";
    let first = recorder.post(issue, &["acme", "pump-1"], &csr);
    recorder.post(issue, &["acme", "pump-1"], &json!({ "new_key": true }));
    recorder.post(issue, &["acme", "pump-1"], &json!({ "csr": "x" }));
    recorder.post(issue, &["acme", "nobody"], &csr);
    let second = recorder.post(&format!("{one}/renew"), &[id(&first)], &csr);
    let third = recorder.post(&format!("{one}/rotate"), &[id(&second)], &csr);
    recorder.post(&format!("{one}/rotate"), &[id(&second)], &csr);
    recorder.get("/certificates", &[]);
    recorder.get("/certificates?limit=1", &[]);
    recorder.get("/certificates?search=status:ACTIVE&count=true&sort=end", &[]);
    recorder.get("/certificates?search=ends:soon", &[]);
    recorder.get("/certificates/expiry", &[]);
    recorder.get("/ca", &[]);
    cells(recorder);
    recorder.get("/crl", &[]);
    recorder.get(one, &[id(&second)]);
    recorder.get(&format!("{one}/revocation"), &[id(&third)]);
    recorder.post(&format!("{one}/revoke"), &[id(&third)], &json!({ "reason": "superseded" }));
    recorder.post(&format!("{one}/revoke?wait=1"), &[id(&third)], &json!({}));
    recorder.get(&format!("{one}/revocation"), &[id(&third)]);
    let fourth = recorder.post(&format!("{one}/rotate"), &[id(&second)], &csr);
    recorder.ask("POST", &format!("{one}/confirm"), &[id(&fourth)], None);
    let elsewhere = recorder.api.signed("elsewhere", r"/CN=acme\/pump-1", OURS);
    for pem in [&elsewhere, first["cert_pem"].as_str().unwrap(), "x"] {
        recorder.post("/certificates/import", &[], &json!({ "cert_pem": pem }));
    }
}

fn others(recorder: &Recorder<'_>) {
    let device = "/tenants/{tenant}/devices/{device}";
    recorder.post("/tenants", &[], &json!({ "tenant_id": "zeta" }));
    recorder.get("/tenants", &[]);
    recorder.get("/tenants/{tenant}", &["acme"]);
    recorder.ask("PATCH", "/tenants/{tenant}", &["zeta"], Some(&json!({ "status": "SUSPENDED" })));
    recorder.ask("DELETE", "/tenants/{tenant}", &["zeta"], None);
    recorder.post(
        "/tenants/{tenant}/devices",
        &["acme"],
        &json!({ "device_id": "pump-9", "metadata": { "a": 1 } }),
    );
    recorder.get("/overview", &[]);
    recorder.get("/overview?tenant=acme", &[]);
    recorder.get("/doctor", &[]);
    recorder.get("/settings?changed=true", &[]);
    recorder.get("/access/lint", &[]);
    recorder.get("/access/denials", &[]);
    recorder.get("/live/recent", &[]);
    recorder.get("/live/recent?search=colour:red", &[]);
    let question = json!({ "as": "device:acme/pump-1", "topic": "tenant/acme/device/pump-1/event", "actions": ["publish"] });
    recorder.post("/access/check", &[], &question);
    recorder.post("/access/check", &[], &json!({ "as": "x", "topic": "", "actions": [] }));
    recorder.get("/devices", &[]);
    recorder.get("/devices?search=heard%3Anever&sort=last_heard&count=true&limit=1", &[]);
    recorder.get("/devices?search=colour%3Ared", &[]);
    recorder.get("/tenants/{tenant}/devices", &["acme"]);
    recorder.get(device, &["acme", "pump-9"]);
    recorder.ask("PATCH", device, &["acme", "pump-9"], Some(&json!({ "status": "INACTIVE" })));
    let edit = json!({ "site_id": null, "metadata": { "a": null, "b": { "c": 1 } } });
    recorder.ask("PATCH", device, &["acme", "pump-9"], Some(&edit));
    recorder.ask("PATCH", device, &["acme", "pump-9"], Some(&json!({})));
    recorder.ask("POST", &format!("{device}/token"), &["acme", "pump-9"], None);
    recorder.ask("DELETE", &format!("{device}/token"), &["acme", "pump-9"], None);
    recorder.ask("DELETE", device, &["acme", "pump-9"], None);
    recorder.get("/tenants/{tenant}/telemetry/latest", &["acme"]);
    recorder.get(&format!("{device}/telemetry"), &["acme", "pump-1"]);
    recorder.get(&format!("{device}/telemetry/latest"), &["acme", "pump-1"]);
    recorder.get(&format!("{device}/telemetry/buckets?metric=t&step=86400"), &["acme", "pump-1"]);
    recorder.get("/quarantine", &[]);
    recorder.get("/quarantine/{id}", &["00000000-0000-0000-0000-000000000001"]);
    recorder.get("/quarantine/facets", &[]);
    let place = format!("1-{:032x}", 1);
    recorder.get(&format!("/quarantine/neighbours?cursor={place}"), &[]);
    recorder.get("/quarantine/{id}/explain", &["00000000-0000-0000-0000-000000000001"]);
    recorder.get(&format!("{device}/registration"), &["acme", "x"]);
    recorder.post(
        "/tenants/{tenant}/devices",
        &["acme"],
        &json!({ "device_id": "x", "token_of_event": "00000000-0000-0000-0000-000000000001" }),
    );
    replays(recorder);
    recorder.post("/quarantine/replay", &[], &json!({ "all": true }));
    recorder.post("/quarantine/discard", &[], &json!({ "tenant": "acme", "dry_run": true }));
    recorder.ask("DELETE", "/quarantine/{id}", &["00000000-0000-0000-0000-000000000001"], None);
    let message = json!({ "topic": "tenant/acme/device/x/telemetry", "payload": "{}" });
    recorder.post("/explain", &[], &message);
}

fn replays(recorder: &Recorder<'_>) {
    let path = "/quarantine/replays/{id}";
    let job = recorder.post("/quarantine/replays", &[], &json!({ "all": true }));
    let id = job["id"].as_str().unwrap();
    recorder.get("/quarantine/replays", &[]);
    let done = || recorder.get(path, &[id])["status"] == "DONE";
    wait::until("the dry run is done", done);
    recorder.api.ca.database.query(
        "UPDATE quarantine_replays SET status = 'RUNNING', worker = gen_random_uuid(), lease_until = now() + interval '1 hour'",
    );
    recorder.ask("POST", &format!("{path}/stop"), &[id], None);
    recorder.ask("POST", &format!("{path}/start"), &[id], None);
    wait::until("the dry run is done again", done);
}

fn downlink(recorder: &Recorder<'_>) {
    let commands = "/tenants/{tenant}/devices/{device}/commands";
    let id = "00000000-0000-0000-0000-000000000002";
    let command = json!({ "command_id": id, "command_type": "reboot", "params": { "delay": 5 } });
    for _ in 0..2 {
        recorder.post(commands, &["acme", "pump-1"], &command);
    }
    recorder.get(commands, &["acme", "pump-1"]);
    recorder.get(&format!("{commands}/{{command}}"), &["acme", "pump-1", id]);
    recorder.ask("DELETE", &format!("{commands}/{{command}}"), &["acme", "pump-1", id], None);
    let batch =
        json!({ "batch_id": id, "command_type": "reboot", "targets": { "devices": ["pump-1"] } });
    for _ in 0..2 {
        recorder.post("/tenants/{tenant}/commands", &["acme"], &batch);
    }
    recorder.get("/tenants/{tenant}/commands?limit=1", &["acme"]);
    let batches = "/tenants/{tenant}/command-batches/{batch}";
    recorder.get(batches, &["acme", id]);
    recorder.ask("DELETE", batches, &["acme", id], None);
    let (shadow, device) = ("/tenants/{tenant}/devices/{device}/shadow", ["acme", "pump-1"]);
    let desired = format!("{shadow}/desired");
    recorder.get(shadow, &device);
    recorder.ask("PUT", &desired, &device, Some(&json!({ "rate": 5 })));
    recorder.ask("PATCH", &desired, &device, Some(&json!({ "mode": "eco" })));
    recorder.get(shadow, &device);
    recorder.ask("DELETE", &desired, &device, None);
    recorder.get("/tenants/{tenant}/shadows", &["acme"]);
    recorder.get(shadow, &["acme", "nobody"]);
}

fn enrolment(recorder: &Recorder<'_>) {
    let codes = "/tenants/{tenant}/enrolment-codes";
    let made = recorder.post(codes, &["acme"], &json!({ "device_id": "pump-5" }));
    recorder.get(codes, &["acme"]);
    let code = made["code_id"].as_str().unwrap();
    recorder.ask("DELETE", &format!("{codes}/{{code}}"), &["acme", code], None);
}

fn links(recorder: &Recorder<'_>) {
    recorder.get("/links", &[]);
    recorder.get("/links/{name}", &["azure"]);
    recorder.get("/tenants/{tenant}/links", &["acme"]);
    recorder.ask("DELETE", "/links/{name}?dry_run=true", &["old"], None);
    recorder.ask("DELETE", "/links/{name}", &["azure"], None);
    let over = json!({ "topic": "devices/pump-1/in", "payload": "{}", "link": "azure", "properties": { "id": "1" } });
    recorder.post("/explain", &[], &over);
    recorder.get("/links/{name}/refused?limit=1", &["azure"]);
    recorder.get("/links/{name}/refused/{id}", &["azure", "2"]);
    recorder.get("/links/{name}/refused/{id}", &["azure", "9"]);
    let retry = json!({ "reason": "TOO_LARGE" });
    recorder.post("/links/{name}/refused/retry", &["azure"], &retry);
    recorder.ask("DELETE", "/links/{name}/refused/{id}", &["azure", "2"], None);
    recorder.post("/links/{name}/refill", &["azure"], &json!({ "since": "210m" }));
}

fn people(recorder: &Recorder<'_>) {
    recorder.get("/me", &[]);
    recorder.get("/audit?limit=1", &[]);
    recorder.get("/audit?search=colour:red", &[]);
    let one = "/operators/{operator}";
    let alice = json!({ "name": "alice", "role": "viewer", "tenant": "acme" });
    for _ in 0..2 {
        recorder.post("/operators", &[], &alice);
    }
    recorder.post("/operators", &[], &json!({ "name": "admin", "role": "viewer" }));
    recorder.post("/operators", &[], &json!({ "name": "bob", "role": "viewer", "tenant": "none" }));
    recorder.get("/operators?limit=1", &[]);
    recorder.get(one, &["alice"]);
    recorder.get(one, &["nobody"]);
    recorder.ask("PATCH", one, &["alice"], Some(&json!({ "role": "operator" })));
    recorder.ask("POST", &format!("{one}/token"), &["alice"], None);
    recorder.ask("DELETE", one, &["alice"], None);
    recorder.get("/sessions?limit=1", &[]);
    let session = "00000000-0000-0000-0000-000000000007";
    for _ in 0..2 {
        recorder.ask("DELETE", "/sessions/{session}", &[session], None);
    }
}

#[test]
fn every_json_answer_fits_its_documented_shape() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), linked::FILE).unwrap();
    let file = file.path().to_str().unwrap();
    let api = ApiWithAuthority::with(&[("CRL_OUTPUT_PATH", ""), ("LINKS_PATH", file)]);
    let recorder = Recorder { api: &api, answers: RefCell::default() };
    api.ca.database.query(ROWS);
    api.ca.database.query(linked::ROWS);
    certificates(&recorder);
    others(&recorder);
    downlink(&recorder);
    enrolment(&recorder);
    links(&recorder);
    people(&recorder);
    // The last: a daemon that is ordered to drain ends soon.
    recorder.get("/replica/drain", &[]);
    recorder.post("/replica/drain", &[], &json!({}));
    recorder.post("/replica/drain", &[], &json!({ "last": true }));
    let answers = recorder.answers.into_inner();
    let document = api.get("/openapi.json");
    let said = compare(&document.body, &json!(answers));
    assert!(
        said.status.success(),
        "{}{}",
        String::from_utf8_lossy(&said.stdout),
        String::from_utf8_lossy(&said.stderr)
    );
    // No operation that answers with JSON was left out.
    for (path, operations) in document.json()["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            let status = if operation["responses"]["201"].is_null() { 200 } else { 201 };
            let content = &operation["responses"][status.to_string()]["content"];
            let is_json = content["application/json"]["schema"].is_object()
                && !path.ends_with("openapi.json");
            let was_asked = answers.iter().any(|answer| {
                answer["path"] == *path
                    && answer["method"].as_str().unwrap().to_lowercase() == *method
                    && answer["status"] == status
            });
            assert_eq!(is_json, was_asked, "{method} {path}");
        }
    }
    // It finds what is wrong.
    let mut wrong = answers[0].clone();
    wrong["body"]["id"] = json!(7);
    assert!(!compare(&document.body, &json!([wrong])).status.success());
}
