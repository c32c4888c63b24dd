//! Renewal with the certificate of the connection: what it gives, and what ends it at once.

use super::est_daemon::EstDaemon;
use crate::certificates::ca_fixture::CaFixture;
use crate::support::wait;

/// OpenSSL signs with dates in the past only with a configuration.
const EXPIRED: &str = "[ca]\ndefault_ca=own\n[own]\nnew_certs_dir=.\ndatabase=index.txt\nserial=serial\n\
    default_md=sha256\npolicy=names\nx509_extensions=client\n[names]\ncommonName=supplied\n\
    [client]\nextendedKeyUsage=clientAuth\n";

const SIGNED: &str = "SELECT count(*) FROM certificate_serials";

#[test]
fn a_device_renews_with_its_certificate_and_a_revocation_acts_at_once() {
    let est = EstDaemon::start();
    let database = &est.ca.database;
    let old = est.enrolled("pump-3");
    est.ca.request("next", "/CN=acme\\/device\\/pump-3");
    let answer = est.renew("pump-3", "next.csr");
    est.keep(&answer, "next");
    assert!(answer.headers.contains("application/pkcs7-mime; smime-type=certs-only"), "{answer:?}");
    // The answer may be lost; the same key is the same request.
    assert_eq!(est.renew("pump-3", "next.csr").body, answer.body);
    let new = database.value("SELECT id FROM device_certificates ORDER BY created_at DESC LIMIT 1");
    assert_eq!(
        database.query(&format!(
            "SELECT n.replaces::text, round(extract(epoch FROM o.retire_at - now()) / 3600)::text, n.status, o.status
             FROM device_certificates n JOIN device_certificates o ON o.id = n.replaces WHERE n.id = '{new}'"
        )),
        [[old.as_str(), "24", "ACTIVE", "ACTIVE"]]
    );
    assert_eq!(est.certificates("pump-3"), "2");
    let renewed = "sluice_certificates_renewed_total{by=\"est\"}";
    assert!((est.daemon.metric(renewed) - 1.0).abs() < 0.1);

    // Some clients renew at simpleenroll, without credentials.
    est.ca.request("third", "/");
    let own = ["--cert", "next.crt", "--key", "next.key"];
    est.keep(&est.post("/acme/simpleenroll", "third.csr", &own), "third");

    for (csr, arguments, status, words) in [
        ("third.csr", &[][..], 403, "connect with the certificate"),
        ("pump-2.csr", &own, 403, "names \"acme/device/pump-2\""),
        ("garbage", &own, 400, "not a certificate request"),
    ] {
        est.ca.request("pump-2", "/CN=acme\\/device\\/pump-2");
        est.ca.openssl.dir.write("garbage", "AAAA");
        let refused = est.post("/simplereenroll", csr, arguments);
        assert_eq!(refused.status, status, "{refused:?}");
        assert!(refused.body.contains(words), "{refused:?}");
    }
    assert_eq!(est.post("/other/simplereenroll", "third.csr", &own).status, 403);

    est.ca.done(&["cert", "revoke", &new]);
    est.ca.request("fourth", "/");
    let revoked = est.renew("next", "fourth.csr");
    assert_eq!(revoked.status, 403, "{revoked:?}");
    assert!(revoked.body.contains("revoked"), "{revoked:?}");
    let signed = database.value(SIGNED);
    for status in ["INACTIVE", "REVOKED"] {
        database
            .query(&format!("UPDATE devices SET status = '{status}' WHERE device_id = 'pump-3'"));
        assert_eq!(est.renew("third", "fourth.csr").status, 403, "{status}");
    }
    database.query("UPDATE devices SET status = 'ACTIVE' WHERE device_id = 'pump-3'");
    database.query("UPDATE tenants SET status = 'SUSPENDED'");
    assert_eq!(est.renew("third", "fourth.csr").status, 403);
    database.query("UPDATE tenants SET status = 'ACTIVE'");
    assert_eq!(database.value(SIGNED), signed, "nothing is signed for a request that is refused");
    est.keep(&est.renew("third", "fourth.csr"), "fourth");
}

#[test]
fn a_device_that_was_removed_and_added_again_renews_with_its_key() {
    let est = EstDaemon::start();
    est.enrolled("pump-9");
    est.ca.done(&["device", "remove", "acme", "pump-9"]);
    let code = est.code(&["--device", "pump-9"]);
    est.keep(&est.enrol("pump-9", &code, "pump-9.csr"), "pump-9");
    assert_eq!(est.renew("pump-9", "pump-9.csr").status, 200);
}

#[test]
fn a_certificate_that_is_expired_or_of_another_authority_or_unknown_renews_nothing() {
    let est = EstDaemon::start();
    let openssl = &est.ca.openssl;
    est.enrolled("pump-3");
    est.ca.request("next", "/");
    // Signed by the authority, and not in the registry.
    est.ca.request("foreign", "/CN=acme\\/device\\/pump-3");
    openssl.dir.write("client.ext", "extendedKeyUsage = clientAuth\n");
    let signed =
        "x509 -req -in foreign.csr -CA ca.crt -CAkey ca.key -CAcreateserial -extfile client.ext";
    openssl.done(&format!("{signed} -days 30 -out foreign.crt"));
    let unknown = est.renew("foreign", "next.csr");
    assert_eq!(unknown.status, 403, "{unknown:?}");
    assert!(unknown.body.contains("not registered"), "{unknown:?}");

    // Of another authority, or expired: the handshake fails.
    let other = CaFixture::new();
    std::fs::copy(other.path("ca.crt"), est.ca.path("other-ca.crt")).unwrap();
    std::fs::copy(other.path("ca.key"), est.ca.path("other-ca.key")).unwrap();
    openssl.done(
        "x509 -req -in foreign.csr -CA other-ca.crt -CAkey other-ca.key -CAcreateserial -extfile client.ext -days 30 \
         -out stranger.crt",
    );
    std::fs::copy(est.ca.path("foreign.key"), est.ca.path("stranger.key")).unwrap();
    let stranger = est.renew("stranger", "next.csr");
    assert_eq!(stranger.status, 0, "{stranger:?}");
    openssl.dir.write("ca.cnf", EXPIRED);
    openssl.dir.write("index.txt", "");
    openssl.dir.write("serial", "01");
    openssl.done(
        "ca -batch -config ca.cnf -cert ca.crt -keyfile ca.key -in foreign.csr -out old.crt -notext \
         -startdate 200101000000Z -enddate 200201000000Z",
    );
    std::fs::copy(est.ca.path("foreign.key"), est.ca.path("old.key")).unwrap();
    assert_eq!(est.renew("old", "next.csr").status, 0);
    wait::until("the failed handshakes are counted", || {
        est.daemon.metric("sluice_est_handshakes_failed_total") >= 2.0
    });
    assert_eq!(est.certificates("pump-3"), "1");
}
