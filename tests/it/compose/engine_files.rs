//! The files of `compose/engines`: a real parser puts each on top of the stack, and a shell reads the
//! image's only step. The image itself is not built here: its packages are at another source.

use std::fs;
use std::process::Command;

use super::stack::repository;
use super::stackfile::{parsed_with, service};
use crate::support::dir::Scratch;
use crate::support::process::run_to_end;

#[test]
fn each_engine_replaces_the_image_of_postgres_and_nothing_else() {
    for (engine, library) in [("citus", "citus"), ("timescale", "timescaledb")] {
        let file = format!("compose/engines/{engine}.yml");
        let postgres = service(&parsed_with("", Some(&file)), "postgres");
        for line in [
            format!("image: sluice-postgres-{engine}"),
            format!("ENGINE: {engine}"),
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
    assert!(head.contains("\nFROM postgres:16-bookworm\n") && !step.contains("\nRUN "), "{text}");
    let scratch = Scratch::new("engines");
    let script = scratch.write("step.sh", step);
    run_to_end(Command::new("/bin/sh").arg("-n").arg(script));
    // The programs are stand-ins that say how they are called.
    for name in ["apt-get", "curl", "gpg", "rm"] {
        let path = scratch.write(name, format!("#!/bin/sh\necho {name} \"$@\" >&2\n"));
        run_to_end(Command::new("chmod").arg("755").arg(path));
    }
    let list = scratch.path().join("engine.list").display().to_string();
    let step = step.replace("/etc/apt/sources.list.d/engine.list", &list);
    for (engine, packages) in [
        ("citus", &["postgresql-16-citus-13.2"][..]),
        (
            "timescale",
            &["timescaledb-2-postgresql-16=2.28.*", "timescaledb-2-loader-postgresql-16=2.28.*"],
        ),
    ] {
        let output = Command::new("/bin/sh")
            .args(["-c", &step])
            .env("PATH", scratch.path())
            .env("ENGINE", engine)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{engine}: {said}");
        let installs = format!("install -y --no-install-recommends {}\n", packages.join(" "));
        assert!(said.contains(&installs), "{engine}: {said}");
        assert!(fs::read_to_string(&list).unwrap().contains("packagecloud.io"), "{engine}");
    }
    let refused =
        Command::new("/bin/sh").args(["-c", &step]).env("ENGINE", "other").output().unwrap();
    assert_eq!(refused.status.code(), Some(64), "{refused:?}");
}
