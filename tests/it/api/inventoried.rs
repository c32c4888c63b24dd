//! The search for certificates, their ends by week, and the authority and its CRL over HTTP; the
//! command line finds the same.

use serde_json::Value;

use super::with_authority::{ApiWithAuthority, id};
use crate::support::wait::for_some;

/// Certificates as a fleet has them, without an authority: 60 that end in steps of days, one past
/// its end, a pair of which one replaces the other, and a revoked one.
const FLEET: &str = "INSERT INTO device_certificates (id, tenant_id, device_id, fingerprint_sha256, serial_number, common_name,
        issuer, status, not_before, not_after, replaces, revoked_at)
    SELECT ('00000000-0000-0000-0000-' || lpad(n::text, 12, '0'))::uuid, CASE WHEN n % 2 = 0 THEN 'acme' ELSE 'zeta' END,
        'm-' || n, lpad(to_hex(n), 2, '0') || repeat('e', 62), lpad(to_hex(n), 4, '0'), 'line ' || n, 'CN=Old', 'ACTIVE',
        now() - interval '1 year', now() + make_interval(days => n), NULL, NULL FROM generate_series(1, 60) n;
    INSERT INTO device_certificates (id, tenant_id, device_id, fingerprint_sha256, serial_number, common_name, issuer,
        status, not_before, not_after, replaces, revoked_at) VALUES
    (gen_random_uuid(), 'acme', 'past', repeat('a1', 32), 'a1', 'past', 'CN=Old', 'ACTIVE', now() - interval '2 years',
        now() - interval '1 minute', NULL, NULL),
    (gen_random_uuid(), 'acme', 'm-2', repeat('a2', 32), 'a2', 'next', 'CN=Old', 'ACTIVE', now() - interval '1 day',
        now() + interval '400 days', '00000000-0000-0000-0000-000000000002', NULL),
    (gen_random_uuid(), 'acme', 'lost', repeat('a3', 32), 'a3', 'lost', 'CN=Old', 'REVOKED', now() - interval '1 day',
        now() + interval '400 days', NULL, now())";

fn devices(api: &ApiWithAuthority, query: &str) -> Vec<String> {
    let page = api.get(&format!("/certificates?{query}")).ok(200);
    let name = |item: &Value| item["device_id"].as_str().unwrap().to_owned();
    page["items"].as_array().unwrap().iter().map(name).collect()
}

#[test]
fn a_search_finds_certificates_by_each_key_and_the_command_line_finds_the_same() {
    let api = ApiWithAuthority::start();
    api.ca.database.query(FLEET);
    let cases: [(&str, &[&str]); 12] = [
        ("ends:past", &["past"]),
        ("ends:<84h status:ACTIVE -ends:past&sort=end", &["m-1", "m-2", "m-3"]),
        ("ends:<84h replaced:no -ends:past&sort=end", &["m-1", "m-3"]),
        ("replaced:yes", &["m-2"]),
        ("ends:>300d -status:REVOKED", &["m-2"]),
        ("status:revoked", &["lost"]),
        ("proven:no", &["lost"]),
        ("proven:yes", &[]),
        ("fingerprint:A1:A1*", &["past"]),
        ("serial:a3", &["lost"]),
        (
            "cn:\"line 5\"*&sort=end",
            &[
                "m-5", "m-50", "m-51", "m-52", "m-53", "m-54", "m-55", "m-56", "m-57", "m-58",
                "m-59",
            ],
        ),
        ("tenant:zeta m-1 m-3 m-2", &["m-1", "m-3"]),
    ];
    for (search, found) in cases {
        let query =
            search.replace(' ', "%20").replace('"', "%22").replace('<', "%3C").replace('>', "%3E");
        assert_eq!(devices(&api, &format!("search={query}")), found, "{search}");
        let (text, sort) = search.split_once("&sort=").unwrap_or((search, "name"));
        let said = api.ca.done(&["cert", "list", "--search", text, "--sort", sort]);
        let names: Vec<&str> =
            said.as_array().unwrap().iter().map(|row| row["device_id"].as_str().unwrap()).collect();
        assert_eq!(names, found, "{search} by the command line");
    }
    let wrong = api.get("/certificates?search=ends:soon");
    assert_eq!(wrong.blamed(), "search");
    assert!(wrong.text().contains("2027-03"), "{}", wrong.text());

    // Page by page in both orders: each once.
    for sort in ["name", "end"] {
        let (mut all, mut cursor) = (Vec::new(), String::new());
        loop {
            let path = format!(
                "/certificates?search=status:ACTIVE%20-past&sort={sort}&limit=25&count=true{cursor}"
            );
            let page = api.get(&path).ok(200);
            assert_eq!(
                (&page["found"]["rows"], &page["found"]["more"]),
                (&61.into(), &false.into())
            );
            all.extend(page["items"].as_array().unwrap().iter().map(|item| id(item).to_owned()));
            let Some(next) = page["next"].as_str() else { break };
            cursor = format!("&cursor={next}");
        }
        assert_eq!(all.len(), 61, "{sort}");
        all.sort();
        all.dedup();
        assert_eq!(all.len(), 61, "{sort}");
    }
}

#[test]
fn ends_are_counted_by_week_and_the_bars_lead_to_what_was_counted() {
    let api = ApiWithAuthority::start();
    api.ca.database.query(FLEET);
    // The daemon marks what has ended EXPIRED, once a minute.
    let past =
        "SELECT count(*) FROM device_certificates WHERE status = 'ACTIVE' AND not_after < now()";
    let expiry = for_some("the counts agree", || {
        let expiry = api.get("/certificates/expiry").ok(200);
        (api.ca.database.value(past).parse().ok() == expiry["past"]["ending"].as_i64())
            .then_some(expiry)
    });
    assert_eq!(expiry["later"]["ending"], 1);
    // The 30th ends at the bound itself, a moment later.
    assert!(expiry["due"]["ending"].as_u64().unwrap() >= 29, "{expiry}");
    let due = expiry["due"]["ending"].as_u64().unwrap();
    assert_eq!(expiry["due"]["unreplaced"], due - 1);
    let weeks = expiry["weeks"].as_array().unwrap();
    assert_eq!(weeks.len(), 26);
    let sum: u64 = weeks.iter().map(|week| week["ending"].as_u64().unwrap()).sum();
    assert_eq!(sum, 60);
    let of_tenant = api.get("/certificates/expiry?tenant=zeta").ok(200);
    assert_eq!(of_tenant["past"]["ending"], 0);
    for (week, next) in weeks.iter().zip(&weeks[1..]).take(4) {
        let (first, after) =
            (week["first_day"].as_str().unwrap(), next["first_day"].as_str().unwrap());
        let query = format!("SELECT count(*) FROM device_certificates WHERE status = 'ACTIVE' AND not_after >= now()
            AND not_after >= '{first} 00:00Z' AND not_after < '{after} 00:00Z'");
        assert_eq!(api.ca.database.value(&query), week["ending"].to_string(), "{week}");
    }
    let said = api.ca.done(&["cert", "expiry", "--tenant", "zeta"]);
    assert_eq!(said["weeks"], of_tenant["weeks"]);
}

#[test]
fn the_authority_its_crl_and_a_certificate_are_shown_in_words() {
    let api = ApiWithAuthority::start();
    let issued = api.issued("dev");
    let shown = api.get(&format!("/certificates/{}", id(&issued))).ok(200);
    let decoded = &shown["decoded"];
    let judge = |option: &str| {
        api.ca.openssl.dir.write("dev.crt", issued["cert_pem"].as_str().unwrap());
        api.ca.openssl.done(&format!("x509 -in dev.crt -noout {option}"))
    };
    let serial = decoded["serial"].as_str().unwrap().replace(':', "").to_uppercase();
    assert!(judge("-serial").contains(&serial), "{decoded}");
    assert_eq!(decoded["extended_key_usage"], serde_json::json!(["clientAuth"]));
    assert_eq!((&decoded["key"], &decoded["is_authority"]), (&"ECDSA P-256".into(), &false.into()));
    assert!(
        judge("-ext subjectKeyIdentifier")
            .to_lowercase()
            .replace(':', "")
            .contains(decoded["subject_key_id"].as_str().unwrap())
    );

    let authority = api.get("/ca").ok(200);
    let own = &authority["certificates"][0];
    assert_eq!((&own["role"], &own["active_certificates"]), (&"signer".into(), &1.into()));
    assert_eq!(own["active_of_others"], 0);
    assert!((398..=400).contains(&own["days_left"].as_i64().unwrap()), "{own}");
    assert_eq!(own["decoded"]["is_authority"], true);

    let crl = api.get("/crl").ok(200);
    assert_eq!(crl["growth"].as_array().unwrap().len(), 26, "{crl}");
    assert_eq!(crl["unproven"], 0);
    api.act(id(&issued), "revoke", &serde_json::json!({})).ok(200);
    let crl = api.get("/crl").ok(200);
    assert_eq!((&crl["unproven"], &crl["growth"][25]["revoked"]), (&1.into(), &1.into()), "{crl}");
}
