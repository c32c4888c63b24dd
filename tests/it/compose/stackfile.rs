//! `docker-compose.yml`, read by a real parser: `docker compose` where it is installed, else
//! Debian's `docker-compose`.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use super::stack::{repository, words};
use crate::support::dir::Scratch;
use crate::support::process::find_program;

/// The services, and the user each runs as.
const USERS: [(&str, &str); 7] = [
    ("mosquitto", "1883:1883"),
    ("guests", "1883:1883"),
    ("postgres", "999:999"),
    ("sluice", "65532:65532"),
    ("prometheus", "65534:65534"),
    ("grafana", "472:0"),
    // Gives each file to its user, without a network, and ends.
    ("prepare", "0:0"),
];

/// The stack as the parser understands it: every default filled in, one key a line, two spaces a
/// level, no quotes.
fn parsed(settings: &str) -> String {
    parsed_with(settings, None)
}

/// The same with another file on top.
pub(super) fn parsed_with(settings: &str, above: Option<&str>) -> String {
    let scratch = Scratch::new("compose");
    let text = fs::read_to_string(repository("compose/docker-compose.yml")).unwrap();
    let settings = scratch.write(".env", settings);
    let mut command = if plugin().is_some() {
        let mut command = Command::new("docker");
        command.arg("compose").arg("-f").arg(scratch.write("docker-compose.yml", text));
        command
    } else {
        // Version 1 does not know the project's name in the file; the rest it reads alike.
        let nameless: Vec<&str> = text.lines().filter(|line| !line.starts_with("name: ")).collect();
        let program = find_program("docker-compose")
            .expect("docker-compose is not installed; scripts/test installs it");
        let mut command = Command::new(program);
        command.arg("-f").arg(scratch.write("docker-compose.yml", nameless.join("\n")));
        command
    };
    if let Some(file) = above {
        command.arg("-f").arg(repository(file));
    }
    command
        .arg("--project-directory")
        .arg(repository("compose"))
        .arg("--env-file")
        .arg(settings)
        .arg("config");
    // What the shell exports would come before the file. With the services that are off unless one
    // asks for them.
    let places =
        ["PATH", "HOME"].into_iter().filter_map(|name| Some((name, std::env::var_os(name)?)));
    let output =
        command.env_clear().envs(places).env("COMPOSE_PROFILES", "guests").output().unwrap();
    assert!(output.status.success(), "{}", words(&output));
    words(&output).replace(['"', '\''], "")
}

/// Whether `docker` has its compose plugin.
fn plugin() -> Option<PathBuf> {
    let docker = find_program("docker")?;
    Command::new(&docker)
        .args(["compose", "version"])
        .output()
        .ok()?
        .status
        .success()
        .then_some(docker)
}

/// The lines of one service.
pub(super) fn service(text: &str, name: &str) -> String {
    let services = text.split_once("\nservices:\n").expect("services").1;
    let lines = services.lines().skip_while(|line| *line != format!("  {name}:")).skip(1);
    lines.take_while(|line| line.starts_with("   ")).flat_map(|line| [line, "\n"]).collect()
}

#[test]
fn a_real_parser_reads_it_with_and_without_settings() {
    let plain = parsed("");
    assert!(service(&plain, "mosquitto").contains("8883"), "{plain}");
    let changed =
        parsed("MQTT_TLS_PORT=18883\nSERVER_NAMES=a.example b.example\nLOG_LEVEL=debug\n");
    assert!(service(&changed, "mosquitto").contains("18883"), "{changed}");
    assert!(
        service(&changed, "prepare").contains("SERVER_NAMES: a.example b.example"),
        "{changed}"
    );
    assert!(service(&changed, "sluice").contains("LOG_LEVEL: debug"), "{changed}");
}

#[test]
fn the_lines_of_the_example_turn_est_on() {
    assert!(service(&parsed(""), "sluice").contains("EST_SERVER_CERT: \n"), "{}", parsed(""));
    let example = fs::read_to_string(repository("compose/.env.example")).unwrap();
    let lines = example.lines().filter_map(|line| line.strip_prefix('#'));
    let of_est: Vec<&str> = lines.filter(|line| line.starts_with("EST_")).collect();
    assert_eq!(of_est.len(), 4, "{example}");
    let text = parsed(&of_est.join("\n"));
    let bind = "EST_BIND: 0.0.0.0:8443\n";
    assert!(service(&text, "prepare").contains(bind), "{text}");
    let sluice = service(&text, "sluice");
    for line in [
        bind,
        "EST_SERVER_CERT: /run/secrets/server.crt",
        "EST_SERVER_KEY: /run/secrets/server.key",
    ] {
        assert!(sluice.contains(line), "{line}: {sluice}");
    }
}

#[test]
fn the_line_of_the_example_turns_links_on_and_the_example_of_a_file_has_no_fault() {
    let example = fs::read_to_string(repository("compose/.env.example")).unwrap();
    let line = example.lines().find_map(|line| line.strip_prefix("#LINKS_PATH=")).unwrap();
    let sluice = service(&parsed(&format!("LINKS_PATH={line}\n")), "sluice");
    assert!(sluice.contains(&format!("LINKS_PATH: {line}\n")), "{sluice}");
    assert!(
        sluice.contains("/compose/links") && line.starts_with("/etc/sluice/links/"),
        "{sluice}"
    );
    let links = sluice::link::file::load(&repository("compose/links/links.example.toml")).unwrap();
    let names: BTreeSet<&str> = links.links.iter().map(|link| link.name.as_str()).collect();
    assert_eq!(names, BTreeSet::from(["aws", "azure", "head-office"]));
}

#[test]
fn every_service_is_fenced_in_and_waits_for_the_secrets() {
    let text = parsed("");
    for (name, user) in USERS {
        let service = service(&text, name);
        let user = format!("    user: {user}\n");
        for line in [
            user.as_str(),
            "read_only: true",
            "no-new-privileges:true",
            "cap_drop:\n",
            "- ALL\n",
            "max-size: 10m",
        ] {
            assert!(service.contains(line), "{name} has {line:?}:\n{service}");
        }
        if name != "prepare" {
            for line in ["healthcheck:\n", "pids_limit: ", "mem_limit: ", "restart: unless-stopped"]
            {
                assert!(service.contains(line), "{name} has {line:?}:\n{service}");
            }
        }
        // Prometheus alone has no secret.
        if !["prepare", "prometheus"].contains(&name) {
            assert!(service.contains("condition: service_completed_successfully"), "{service}");
            assert!(service.contains("/run/secrets"), "{service}");
        }
    }
    assert!(service(&text, "prepare").contains("network_mode: none"));
    assert!(!service(&text, "mosquitto").contains("1883/tcp\n    - 1883"), "1883 stays inside");
}

#[test]
fn the_authorities_keys_and_each_secret_reach_one_service_only() {
    let text = parsed("");
    for (volume, owner) in [
        ("sluice-secrets", Some("sluice")),
        ("broker-secrets", Some("mosquitto")),
        ("guests-secrets", Some("guests")),
        ("postgres-secrets", Some("postgres")),
        ("grafana-secrets", Some("grafana")),
        ("authority", None),
    ] {
        for (name, _) in USERS.iter().filter(|(name, _)| *name != "prepare") {
            let has = service(&text, name).contains(volume);
            assert_eq!(has, Some(*name) == owner, "{volume} in {name}");
        }
    }
}

#[test]
fn every_setting_it_gives_sluice_is_one() {
    let template =
        Command::new(env!("CARGO_BIN_EXE_sluice")).args(["config", "template"]).output().unwrap();
    let template = words(&template);
    let service = service(&parsed(""), "sluice");
    let environment = service.split_once("    environment:\n").unwrap().1;
    let names = environment.lines().take_while(|line| line.starts_with("      "));
    let names: Vec<&str> = names
        .map(|line| line.trim().split(':').next().unwrap().trim_end_matches("_FILE"))
        .collect();
    assert!(names.len() > 10, "{service}");
    for name in names {
        assert!(
            template.contains(&format!("\n#{} = ", name.to_lowercase())),
            "{name} is no setting of Sluice:\n{template}"
        );
    }
}

#[test]
fn the_example_lists_exactly_the_settings_that_compose_uses() {
    let stack = fs::read_to_string(repository("compose/docker-compose.yml")).unwrap();
    let example = fs::read_to_string(repository("compose/.env.example")).unwrap();
    let used = stack.split("${").skip(1).map(|rest| rest.split([':', '-', '}']).next().unwrap());
    let offered = example
        .lines()
        .filter_map(|line| line.strip_prefix('#')?.split_once('='))
        .map(|(name, _)| name);
    let mut offered: Vec<&str> = offered.collect();
    offered.sort_unstable();
    // Two services may use one setting; the example has one line for it.
    assert_eq!(used.collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>(), offered);
}

#[test]
fn the_lines_of_the_example_turn_the_plugin_off() {
    let plain = parsed("");
    assert!(service(&plain, "mosquitto").contains("mosquitto-plugin.conf"), "{plain}");
    assert!(service(&plain, "sluice").contains("PLUGIN_SOCKET: /run/sluice/plugin.sock\n"));
    let example = fs::read_to_string(repository("compose/.env.example")).unwrap();
    let lines = example.lines().filter_map(|line| line.strip_prefix('#'));
    let names = ["BROKER_CONFIG=", "PLUGIN_SOCKET=", "PLUGIN_PEER_UIDS="];
    let off: Vec<&str> =
        lines.filter(|line| names.iter().any(|name| line.starts_with(name))).collect();
    assert_eq!(off.len(), 3, "{example}");
    let text = parsed(&off.join("\n"));
    let broker = service(&text, "mosquitto");
    assert!(broker.contains("MOSQUITTO_CONF: /mosquitto/config/mosquitto.conf\n"), "{broker}");
    let sluice = service(&text, "sluice");
    for line in ["PLUGIN_SOCKET: \n", "PLUGIN_PEER_UIDS: \n"] {
        assert!(sluice.contains(line), "{line}: {sluice}");
    }
}

#[test]
fn each_base_image_is_the_default_of_its_argument() {
    let dockerfile = fs::read_to_string(repository("compose/Dockerfile")).unwrap();
    let stack = fs::read_to_string(repository("compose/docker-compose.yml")).unwrap();
    for name in ["BUILD_IMAGE", "RUNTIME_IMAGE", "BROKER_IMAGE"] {
        let line = dockerfile.lines().find_map(|line| line.strip_prefix(&format!("ARG {name}=")));
        let image = line.unwrap_or_else(|| panic!("{name} has no default"));
        assert!(stack.contains(&format!("{name}: ${{{name}:-{image}}}\n")), "{name}: {image}");
    }
}
