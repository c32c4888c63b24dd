//! `scripts/generate_device_ca.sh`: what it makes is right, what is there stays, what is wrong is
//! said. And `prepare.sh`, which gives each service of the stack its part.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use super::stack::{Stack, script, words};
use crate::support::dir::Scratch;
use crate::support::test_daemon::TestDaemon;

/// The services that have something of their own.
const PARTS: [&str; 5] = ["broker", "sluice", "guests", "postgres", "grafana"];

fn generate(dir: &Path, more: &[&str]) -> Output {
    script("scripts/generate_device_ca.sh").arg("--dir").arg(dir).args(more).output().unwrap()
}

/// It ends with this code and says this.
fn refused(dir: &Path, more: &[&str], code: i32, part: &str) {
    let output = generate(dir, more);
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    assert!(words(&output).contains(part), "{part}: {}", words(&output));
}

fn openssl(dir: &Path, arguments: &str) -> String {
    let output =
        Command::new("openssl").args(arguments.split(' ')).current_dir(dir).output().unwrap();
    assert!(output.status.success(), "{arguments}: {output:?}");
    words(&output)
}

/// Every file and what is in it.
fn contents(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let entries =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file());
    let mut files: Vec<_> =
        entries.map(|path| (path.to_str().unwrap().to_owned(), fs::read(&path).unwrap())).collect();
    files.sort();
    files
}

#[test]
fn openssl_finds_every_certificate_and_the_crl_right_and_keys_are_private() {
    let scratch = Scratch::new("authority");
    let dir = &scratch.path().join("new/certs");
    let made = generate(
        dir,
        &["--server-name", "mqtt.example.org", "--server-name", "2001:db8::7", "--crl-days", "9"],
    );
    assert!(made.status.success(), "{made:?}");
    for key in ["device-ca.key", "server-ca.key", "server.key"] {
        assert_eq!(
            fs::metadata(dir.join(key)).unwrap().permissions().mode() & 0o777,
            0o600,
            "{key}"
        );
        assert!(
            openssl(dir, &format!("pkey -in {key} -noout -text")).contains("NIST CURVE: P-256")
        );
    }
    openssl(dir, "verify -x509_strict -purpose sslserver -CAfile server-ca.crt server.crt");
    openssl(dir, "verify -x509_strict -CAfile combined-ca.crt server.crt device-ca.crt");
    for name in ["localhost", "mqtt.example.org"] {
        assert!(
            openssl(dir, &format!("x509 -in server.crt -noout -checkhost {name}"))
                .contains("does match")
        );
    }
    assert!(openssl(dir, "x509 -in server.crt -noout -checkip 2001:db8::7").contains("does match"));
    let authority = openssl(dir, "x509 -in device-ca.crt -noout -text");
    for part in
        ["CA:TRUE, pathlen:0", "Certificate Sign, CRL Sign", "X509v3 Basic Constraints: critical"]
    {
        assert!(authority.contains(part), "{part}: {authority}");
    }
    let crl = openssl(dir, "crl -in device-crl.pem -CAfile device-ca.crt -noout -text");
    for part in [
        "verify OK",
        "Version 2",
        "X509v3 CRL Number",
        "X509v3 Authority Key Identifier",
        "No Revoked",
    ] {
        assert!(crl.contains(part), "{part}: {crl}");
    }
}

#[test]
fn a_second_run_keeps_what_exists_and_a_third_makes_what_is_missing() {
    let scratch = Scratch::new("authority");
    let dir = scratch.path();
    assert!(generate(dir, &[]).status.success());
    let first = contents(dir);
    let again = generate(dir, &[]);
    assert!(again.status.success() && contents(dir) == first, "{again:?}");
    assert_eq!(words(&again).matches("kept: ").count(), 5, "{}", words(&again));
    assert!(!words(&again).contains("made: "), "{}", words(&again));
    fs::remove_file(dir.join("device-crl.pem")).unwrap();
    let third = generate(dir, &[]);
    assert!(words(&third).contains("made: the first CRL"), "{third:?}");
    assert_eq!(words(&third).matches("kept: ").count(), 4, "{third:?}");
    assert!(
        fs::read_dir(dir).unwrap().all(|entry| !entry
            .unwrap()
            .file_name()
            .to_str()
            .unwrap()
            .starts_with('.'))
    );
}

#[test]
fn what_is_there_and_not_right_is_named_and_left_alone() {
    let (scratch, other) = (Scratch::new("authority"), Scratch::new("authority"));
    let dir = scratch.path();
    assert!(generate(dir, &[]).status.success() && generate(other.path(), &[]).status.success());
    refused(dir, &["--server-name", "elsewhere.example"], 1, "is not for elsewhere.example");
    let put = |name: &str, content: &[u8]| {
        let before = fs::read(dir.join(name)).unwrap();
        fs::write(dir.join(name), content).unwrap();
        before
    };
    let foreign = |name: &str| fs::read(other.path().join(name)).unwrap();
    for (name, content, part) in [
        ("device-ca.key", foreign("device-ca.key"), "is not the key of"),
        ("device-ca.key", b"nonsense".to_vec(), "no private key"),
        ("device-crl.pem", foreign("device-crl.pem"), "is not a CRL signed by"),
        ("device-crl.pem", Vec::new(), "is not a CRL signed by"),
        ("combined-ca.crt", foreign("combined-ca.crt"), "holds other authorities"),
    ] {
        let before = put(name, &content);
        refused(dir, &[], 1, part);
        assert_eq!(put(name, &before), content, "left alone");
    }
    fs::set_permissions(dir.join("server.key"), fs::Permissions::from_mode(0o640)).unwrap();
    refused(dir, &[], 1, "chmod 600");
    fs::remove_file(dir.join("server.key")).unwrap();
    refused(dir, &[], 1, "its key");
}

#[test]
fn it_explains_itself_and_refuses_what_it_does_not_know() {
    let scratch = Scratch::new("authority");
    let dir = &scratch.path().join("none");
    assert!(words(&generate(dir, &["--help"])).contains("Usage: scripts/generate_device_ca.sh"));
    for arguments in [
        &["--what"][..],
        &["--server-name"],
        &["--server-name", "a b"],
        &["--crl-days", "0"],
        &["--crl-days", "x"],
    ] {
        refused(dir, arguments, 64, "error: ");
    }
    assert!(!dir.exists());
}

#[test]
fn each_service_gets_its_part_exactly_once() {
    let stack = Stack::prepared();
    let names = |part: &str| {
        let mut names: Vec<String> = fs::read_dir(stack.path(part))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names.join(" ")
    };
    assert_eq!(names("broker"), "device-ca.crt mosquitto_sub passwords server.crt server.key");
    let sluice = "admin_token database_url device-ca.crt device-ca.key mqtt_password publisher_proof_secret server-ca.crt";
    assert_eq!(names("sluice"), sluice);
    assert_eq!(
        (names("grafana"), names("crl")),
        ("admin_password dashboard_password".into(), "device-crl.pem".into())
    );
    assert_eq!(
        (names("postgres"), names("guests")),
        ("dashboard_password postgres_password sluice_password".into(), "bridge.conf".into())
    );
    for part in PARTS {
        for (file, _) in contents(&stack.path(part)) {
            let mode = fs::metadata(&file).unwrap().permissions().mode() & 0o077;
            assert_eq!(mode, 0, "{file} is private");
        }
    }
    assert!(!stack.read("broker/passwords").contains(&stack.read("sluice/mqtt_password")));
    let all = || {
        PARTS
            .into_iter()
            .chain(["authority"])
            .map(|part| contents(&stack.path(part)))
            .collect::<Vec<_>>()
    };
    let before = all();
    let said = stack.prepare();
    assert!(before == all() && !said.contains("made: "), "{said}");
}

#[test]
fn with_est_sluice_serves_the_brokers_certificate_which_devices_trust() {
    let stack = Stack::prepared();
    let prepare = || stack.prepare_with(&[("EST_BIND", "0.0.0.0:8443")]);
    prepare();
    let secret = |name: &str| stack.text(&format!("sluice/{name}"));
    let started = TestDaemon::builder()
        .database()
        .listener("EST_BIND")
        .set("CERT_AUTH_ENABLED", "1")
        .set("DEVICE_CA_CERT_PATH", &secret("device-ca.crt"))
        .set("DEVICE_CA_KEY_PATH", &secret("device-ca.key"))
        .set("EST_SERVER_CERT", &secret("server.crt"))
        .set("EST_SERVER_KEY", &secret("server.key"))
        .start();
    let port = started.listening("EST_BIND");
    for name in ["localhost", "mqtt.example.org"] {
        let mut curl = Command::new("curl");
        curl.args(["-sS", "--fail", "--max-time", "30", "--noproxy", "*", "-o", "/dev/null"]);
        curl.arg("--cacert").arg(stack.path("authority/server-ca.crt"));
        curl.args(["--resolve", &format!("{name}:{port}:127.0.0.1")]);
        let url = format!("https://{name}:{port}/.well-known/est/cacerts");
        let output = curl.arg(url).output().unwrap();
        assert!(output.status.success(), "{name}: {output:?}");
    }
    // A new certificate of the broker reaches Sluice at the next start of the stack.
    let before = stack.read("sluice/server.crt");
    for file in ["server.crt", "server.key"] {
        fs::remove_file(stack.path(&format!("authority/{file}"))).unwrap();
    }
    prepare();
    assert_ne!(stack.read("sluice/server.crt"), before);
    for file in ["server.crt", "server.key"] {
        let copy = format!("sluice/{file}");
        assert_eq!(stack.read(&copy), stack.read(&format!("broker/{file}")));
        assert_eq!(fs::metadata(stack.path(&copy)).unwrap().permissions().mode() & 0o077, 0);
    }
}
