//! First certificates: the forms of requests, what a code gives and what it leaves in the registry.

use super::est_daemon::EstDaemon;

#[test]
fn the_authority_is_open_and_other_functions_are_absent() {
    let est = EstDaemon::start();
    let authority = est.curl("/cacerts", &[]);
    assert!(
        authority.headers.contains("content-type: application/pkcs7-mime\r\n"),
        "{authority:?}"
    );
    assert!(authority.headers.contains("content-transfer-encoding: base64\r\n"), "{authority:?}");
    assert!(authority.headers.contains("content-length: "), "{authority:?}");
    assert!(authority.body.lines().all(|line| line.len() <= 64), "{authority:?}");
    est.ca.openssl.dir.write("cacerts.b64", &authority.body);
    est.ca.openssl.done("base64 -d -in cacerts.b64 -out cacerts.p7");
    let printed = est.ca.openssl.done("pkcs7 -inform DER -in cacerts.p7 -print_certs");
    let ca = String::from_utf8(est.ca.openssl.read("ca.crt")).unwrap();
    assert!(printed.contains(ca.trim()), "{printed}");
    assert_eq!(est.curl("/acme/cacerts", &[]).body, authority.body);
    assert_eq!(est.curl("/cacerts", &["-I"]).status, 200);
    assert_eq!(est.curl("/csrattrs", &[]).status, 204);
    for (path, arguments, status) in [
        ("/serverkeygen", &["-X", "POST"][..], 404),
        ("/fullcmc", &["-X", "POST"], 404),
        ("/nothing", &[], 404),
        ("/simpleenroll", &[], 405),
        ("/cacerts", &["-X", "POST"], 405),
    ] {
        assert_eq!(est.curl(path, arguments).status, status, "{path}");
    }
}

#[test]
fn a_code_adds_its_device_and_gives_one_certificate_to_one_key() {
    let est = EstDaemon::start();
    // Not registered: the code adds the device.
    let made = est.made(&["--device", "pump-3", "--site", "north"]);
    let code = made["code"].as_str().unwrap();
    let csr = est.ca.request("pump-3", "/CN=acme\\/device\\/pump-3");
    let answer = est.enrol("pump-3", code, &csr);
    assert!(
        answer.headers.contains("content-type: application/pkcs7-mime; smime-type=certs-only\r\n"),
        "{answer:?}"
    );
    assert!(answer.headers.contains("content-transfer-encoding: base64\r\n"), "{answer:?}");
    est.keep(&answer, "pump-3");
    let subject = est.ca.openssl.done("x509 -in pump-3.crt -noout -subject -ext subjectAltName");
    assert!(subject.contains("acme/device/pump-3"), "{subject}");
    assert!(subject.contains("URI:urn:sluice:acme:pump-3"), "{subject}");
    // The answer may be lost: the same key gets the same certificate, without another use.
    let repeated = est.enrol("pump-3", &code.to_lowercase().replace('-', ""), &csr);
    assert_eq!(repeated.body, answer.body);
    let other = est.ca.request("other", "/");
    assert_eq!(est.enrol("pump-3", code, &other).status, 401);

    let database = &est.ca.database;
    assert_eq!(
        database.query(
            "SELECT d.site_id, d.status, c.uses::text, (SELECT count(*)::text FROM device_certificates),
                 (SELECT count(*)::text FROM enrolment_uses)
             FROM devices d JOIN enrolment_codes c USING (tenant_id, device_id) WHERE device_id = 'pump-3'"
        ),
        [["north", "ACTIVE", "1", "1", "1"]]
    );
    let audited = database.query(
        "SELECT actor || ' ' || action FROM audit_log WHERE device_id = 'pump-3' ORDER BY id",
    );
    let expected = [
        "cli:alice enrolment_code.add",
        "est device.add",
        "est certificate.issue",
        "est enrolment_code.use",
    ];
    assert_eq!(audited.concat(), expected);
    assert!(
        (est.daemon.metric("sluice_certificates_enrolled_total{by=\"est\"}") - 1.0).abs() < 0.1
    );
    let requests = "sluice_est_requests_total{route=\"simpleenroll\",status=\"200\"}";
    assert!((est.daemon.metric(requests) - 2.0).abs() < 0.1);
    let dump = database.value("SELECT string_agg(c::text, ' ') FROM enrolment_codes c");
    assert!(
        !dump.contains(code) && !est.daemon.log().contains(code),
        "the code is stored or logged"
    );
}

#[test]
fn every_form_of_request_and_both_versions_of_tls_are_served() {
    let est = EstDaemon::start();
    let openssl = &est.ca.openssl;
    let forms = ["pem", "der", "line", "wrapped", "crlf", "attributes"];
    for (form, tls) in forms.iter().zip(["1.2", "1.3"].iter().cycle()) {
        let name = format!("valve-{form}");
        est.ca.request(&name, "/");
        openssl.done(&format!("req -in {name}.csr -outform DER -out {name}.der"));
        openssl.done(&format!("base64 -in {name}.der -out {name}.b64"));
        openssl.done(&format!("base64 -A -in {name}.der -out {name}.line"));
        let wrapped = String::from_utf8(openssl.read(&format!("{name}.b64"))).unwrap();
        openssl.dir.write(&format!("{name}.crlf"), wrapped.replace('\n', "\r\n"));
        openssl.done(&format!(
            "req -new -key {name}.key -subj /CN=acme\\/{name} -addext keyUsage=digitalSignature -out {name}.attributes.csr"
        ));
        let file = match *form {
            "pem" => format!("{name}.csr"),
            "wrapped" => format!("{name}.b64"),
            "attributes" => format!("{name}.attributes.csr"),
            other => format!("{name}.{other}"),
        };
        let code = est.code(&["--device", &name]);
        // With a tenant in the path the user name may omit it.
        let (path, user) = match *tls {
            "1.2" => ("/acme/simpleenroll", name.clone()),
            _ => ("/simpleenroll", format!("acme/{name}")),
        };
        let version = format!("--tlsv{tls}");
        let login = format!("{user}:{code}");
        let more = ["-u", &login, &version, "--tls-max", tls, "-H", "Expect: 100-continue"];
        let answer = est.post(path, &file, &more);
        est.keep(&answer, &name);
    }
    assert_eq!(
        est.ca.database.value("SELECT count(*) FROM device_certificates"),
        forms.len().to_string()
    );
}

#[test]
fn one_code_of_twenty_devices_at_once_gives_one_certificate() {
    let est = EstDaemon::start();
    let code = est.code(&["--pattern", "pump-*"]);
    let same = est.code(&["--device", "valve"]);
    est.ca.request("valve", "/");
    for number in 0..10 {
        est.ca.request(&format!("pump-{number}x"), "/");
    }
    let answers = std::thread::scope(|scope| {
        let (est, code, same) = (&est, &code, &same);
        let ask = |number: usize| {
            scope.spawn(move || {
                let name = format!("pump-{}x", number / 2);
                // Two of the twenty are one device, with one key.
                let race = est.enrol(&name, code, &format!("{name}.csr"));
                (name, race, est.enrol("valve", same, "valve.csr"))
            })
        };
        let asked: Vec<_> = (0..20).map(ask).collect();
        asked.into_iter().map(|one| one.join().unwrap()).collect::<Vec<_>>()
    });
    let winners: Vec<_> = answers.iter().filter(|(_, race, _)| race.status == 200).collect();
    assert!((1..=2).contains(&winners.len()), "{answers:?}");
    assert!(winners.iter().all(|(name, ..)| *name == winners[0].0), "{winners:?}");
    let late = answers.iter().filter(|(_, race, _)| race.status != 200);
    for (_, race, _) in late {
        // A busy machine may refuse one for the time being; it never gets a certificate.
        assert!([401, 429, 503].contains(&race.status), "{race:?}");
    }
    for (.., valve) in &answers {
        assert!([200, 429, 503].contains(&valve.status), "{valve:?}");
        if valve.status == 200 {
            assert_eq!(est.keep(valve, "valve"), est.keep(valve, "valve"));
        }
    }
    let bodies: std::collections::BTreeSet<_> = answers
        .iter()
        .filter(|(.., valve)| valve.status == 200)
        .map(|(.., valve)| &valve.body)
        .collect();
    assert_eq!(bodies.len(), 1, "one key has one certificate");
    assert_eq!(est.ca.database.value("SELECT count(*) FROM device_certificates"), "2");
    assert_eq!(est.ca.database.value("SELECT sum(uses) FROM enrolment_codes"), "2");
    assert_eq!(
        est.ca.database.value("SELECT count(*) FROM devices WHERE device_id LIKE 'pump-%x'"),
        "1"
    );
}
