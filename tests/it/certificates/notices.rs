//! A device is notified before its certificate ends: a row for the outbox, written again as the end
//! comes closer, and withdrawn when the certificate is replaced; and hashes of keys that rows lack are
//! filled in.

use serde_json::{Value, json};

use super::renewal_rig::{RenewalRig, TOPICS, wait_answering};
use crate::support::daemon::Daemon;
use crate::support::wait;

const NOTICE: &str =
    "SELECT payload::text FROM device_pushes WHERE kind = 'certificate' AND device_id = 'pump-1'";

fn notice(rig: &RenewalRig) -> Option<Value> {
    let rows = rig.database.query(NOTICE);
    serde_json::from_str(rows.first()?.first()?).ok()
}

fn ends_in(rig: &RenewalRig, days: &str) {
    rig.database.query(&format!(
        "UPDATE device_certificates SET not_after = date_trunc('second', now()) + interval '{days} days' WHERE id = '{}'",
        rig.first
    ));
}

/// Certificates are looked after at the start and each minute; a start is quicker.
fn restart(daemon: &Daemon) {
    daemon.terminate();
    daemon.start_again();
    wait_answering(daemon);
}

#[test]
fn a_notice_follows_the_end_of_the_certificate_until_it_is_replaced() {
    let rig = RenewalRig::new(&[]);
    // A certificate that an earlier version stored, and one that cannot be read.
    rig.database.query(
        "UPDATE device_certificates SET public_key_sha256 = NULL; \
         INSERT INTO device_certificates (id, tenant_id, device_id, fingerprint_sha256, serial_number, common_name, issuer, \
             not_before, not_after, cert_pem) \
         VALUES (gen_random_uuid(), 'acme', 'pump-2', repeat('a', 64), '01', 'acme/device/pump-2', 'x', now(), 'infinity', 'x')",
    );
    ends_in(&rig, "40");
    let daemon = rig.start("sluice");
    let hashes = "SELECT string_agg(length(public_key_sha256)::text, ',' ORDER BY device_id) FROM device_certificates";
    rig.database.wait_until(hashes, "64,0");
    let key = rig.openssl("x509 -in pump-1.crt -noout -pubkey");
    std::fs::write(rig.stack.path("pump-1.pub"), key).unwrap();
    rig.openssl("pkey -pubin -in pump-1.pub -outform DER -out spki.der");
    let hash = String::from_utf8(rig.openssl("dgst -sha256 -r spki.der")).unwrap();
    let stored = rig
        .database
        .value("SELECT public_key_sha256 FROM device_certificates WHERE device_id = 'pump-1'");
    assert_eq!(hash.split_once(' ').unwrap().0, stored);
    assert_eq!(notice(&rig), None, "40 days are left");

    let topic = format!("{TOPICS}/request/certificate/renew");
    for (days, stated) in [("20", 20), ("18", 20), ("13.5", 14), ("0.5", 1)] {
        ends_in(&rig, days);
        restart(&daemon);
        let written = wait::for_some("there is the notice", || {
            notice(&rig).filter(|notice| notice["days_left"] == stated)
        });
        assert_eq!(written["kind"], "certificate-ends");
        assert_eq!(written["certificate_id"], rig.first.as_str());
        assert_eq!(written["renew_topic"], topic.as_str());
    }
    // 18 days are under the same limit as 20: nothing was written for them, but the end was.
    let revision = "SELECT revision::text FROM device_pushes WHERE kind = 'certificate'";
    let revision: u32 = rig.database.value(revision).parse().unwrap();
    assert_eq!(revision, 3);
    let ends = "SELECT (p.expires_at = c.not_after)::text FROM device_pushes p JOIN device_certificates c USING (tenant_id, device_id) \
        WHERE p.kind = 'certificate'";
    assert_eq!(rig.database.value(ends), "true");

    rig.request("new", "/");
    let response = rig.send("pump-1", "certificate/renew", &rig.renewal("new", "pump-1"));
    assert_eq!(response["status"], 200, "{response}");
    // Withdrawn in the transaction of the renewal; the outbox removes the row when the broker has
    // removed the message.
    assert_eq!(notice(&rig), None);
    restart(&daemon);
    assert_eq!(rig.send("pump-1", "time", &json!({}))["status"], 200);
    assert_eq!(notice(&rig), None, "its successor does not end");
}
