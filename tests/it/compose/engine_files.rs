//! The files of `compose/engines`: a real parser puts each on top of the stack, and a shell reads the
//! image's only step. The image itself is not built here: no source of its packages is reached.

use std::fs;
use std::process::Command;

use super::stack::repository;
use super::stackfile::{parsed_with, service};
use crate::support::dir::Scratch;
use crate::support::process::run_to_end;

#[test]
fn each_engine_replaces_the_image_of_postgres_and_nothing_else() {
    for (engine, library, version) in
        [("citus", "citus", "CITUS: 14.0"), ("timescale", "timescaledb", "TIMESCALE: 2.29")]
    {
        let file = format!("compose/engines/{engine}.yml");
        // Releases of docker-compose quote numbers in their own way.
        let postgres = service(&parsed_with("", Some(&file)), "postgres").replace(['"', '\''], "");
        for line in [
            format!("image: sluice-postgres-{engine}"),
            format!("ENGINE: {engine}"),
            "POSTGRES_IMAGE: postgres:18-trixie".to_owned(),
            "PACKAGES: https://packagecloud.io".to_owned(),
            version.to_owned(),
            format!("shared_preload_libraries={library}"),
            "user: 999:999".to_owned(),
            "POSTGRES_PASSWORD_FILE: /run/secrets/postgres_password".to_owned(),
        ] {
            assert!(postgres.contains(&line), "{engine} lacks {line}:\n{postgres}");
        }
        let context = repository("compose/engines").display().to_string();
        assert!(postgres.contains(&context), "{postgres}");
        let plain = service(&parsed_with("", None), "postgres");
        assert!(plain.contains("image: postgres:18-trixie"), "{plain}");
    }
}

#[test]
fn a_shell_reads_the_step_of_the_image_for_both_engines() {
    let text = fs::read_to_string(repository("compose/engines/Dockerfile")).unwrap();
    let (head, step) = text.split_once("\nRUN ").expect("one step");
    assert!(
        head.contains("\nARG POSTGRES_IMAGE=postgres:18-trixie\nFROM ${POSTGRES_IMAGE}\n")
            && !step.contains("\nRUN "),
        "{text}"
    );
    let scratch = Scratch::new("engines");
    let script = scratch.write("step.sh", step);
    run_to_end(Command::new("/bin/sh").arg("-n").arg(script));
    // The programs are stand-ins that say how they are called.
    for name in ["apt-get", "curl", "rm"] {
        let path = scratch.write(name, format!("#!/bin/sh\necho {name} \"$@\" >&2\n"));
        run_to_end(Command::new("chmod").arg("755").arg(path));
    }
    let list = scratch.path().join("engine.list").display().to_string();
    let step = step.replace("/etc/apt/sources.list.d/engine.list", &list);
    for (engine, packages) in [
        ("citus", &["postgresql-18-citus-14.0"][..]),
        (
            "timescale",
            &["timescaledb-2-postgresql-18=2.29.*", "timescaledb-2-loader-postgresql-18=2.29.*"],
        ),
    ] {
        let output = Command::new("/bin/sh")
            .args(["-c", &step])
            .env("PATH", scratch.path())
            // What the file sets, what the image of Postgres sets, and what the build overrides.
            .envs(head.lines().filter_map(|line| line.strip_prefix("ARG ")?.split_once('=')))
            .envs([("PG_MAJOR", "18"), ("PACKAGES", "https://mirror.test"), ("ENGINE", engine)])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{engine}: {said}");
        let installs = format!("install -y --no-install-recommends {}\n", packages.join(" "));
        assert!(said.contains(&installs), "{engine}: {said}");
        let source = fs::read_to_string(&list).unwrap();
        assert!(
            source.contains("] https://mirror.test/") && source.ends_with(" main\n"),
            "{source}"
        );
    }
    let refused =
        Command::new("/bin/sh").args(["-c", &step]).env("ENGINE", "other").output().unwrap();
    assert_eq!(refused.status.code(), Some(64), "{refused:?}");
}
