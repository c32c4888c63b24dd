//! `sluice man` and `sluice completion`: the man pages and the completions for shells, from the
//! declaration of the command line and from the table of settings.
//!
//! No page is written by hand. They read no setting and open no connection.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use clap_complete::{Shell, generate};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, italic, roman};

use crate::command::failure::Failure;
use crate::config::setting::Setting;
use crate::config::table;

/// The name of the manual in the footer of each page.
const MANUAL: &str = "Sluice";

/// Options of `sluice completion`.
#[derive(Clone, Copy, Debug, Args)]
pub struct CompletionArgs {
    /// The shell
    shell: CompletedShell,
}

/// The shells with completions.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum CompletedShell {
    Bash,
    Zsh,
    Fish,
}

/// Options of `sluice man`.
#[derive(Clone, Debug, Args)]
pub struct ManArgs {
    /// The directory for the pages; it is created if it does not exist
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

/// Prints the completions of `root` for one shell.
pub fn complete(args: CompletionArgs, mut root: clap::Command) -> Result<(), Failure> {
    let shell = match args.shell {
        CompletedShell::Bash => Shell::Bash,
        CompletedShell::Zsh => Shell::Zsh,
        CompletedShell::Fish => Shell::Fish,
    };
    let mut script = Vec::new();
    generate(shell, &mut root, "sluice", &mut script);
    Ok(io::stdout().write_all(&script)?)
}

/// Writes a page for each command of `root`, and that of the settings file.
pub fn write_pages(args: &ManArgs, root: clap::Command) -> Result<(), Failure> {
    let count = write_all(&args.out, root).map_err(|error| {
        let out = args.out.display();
        Failure::unavailable(format!("cannot write man pages to {out}: {error}"))
    })?;
    writeln!(io::stdout(), "{count} man pages are in {}.", args.out.display())?;
    Ok(())
}

fn write_all(out: &Path, root: clap::Command) -> io::Result<usize> {
    fs::create_dir_all(out)?;
    let mut root = root.disable_help_subcommand(true);
    root.build();
    let count = write_command(&root, out)?;
    settings_page().to_writer(&mut File::create(out.join("sluice.toml.5"))?)?;
    Ok(count + 1)
}

/// The page of a command, and those of its subcommands; returns how many.
fn write_command(command: &clap::Command, out: &Path) -> io::Result<usize> {
    let mut count = 1;
    for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
        count += write_command(sub, out)?;
    }
    let source = format!("sluice {}", env!("CARGO_PKG_VERSION"));
    Man::new(command.clone()).source(source).manual(MANUAL).generate_to(out)?;
    Ok(count)
}

fn settings_page() -> Roff {
    let mut page = Roff::new();
    let source = concat!("sluice ", env!("CARGO_PKG_VERSION"));
    page.control("TH", ["sluice.toml", "5", "", source, MANUAL]);
    page.control("SH", ["NAME"]);
    page.text([roman("sluice.toml - the settings of Sluice")]);
    page.control("SH", ["SYNOPSIS"]);
    page.text([roman("/etc/sluice/sluice.toml")]);
    page.control("SH", ["DESCRIPTION"]);
    page.text([roman(
        "The file is TOML: a section for each area, and in it a name and a value for each setting. A later source wins: the \
         defaults, this file, the environment (there the names are in capitals), --set NAME=VALUE. An unknown name is an error. A \
         secret can also be in a file that <name>_file names; both at once are an error.",
    )]);
    for area in &table::AREAS {
        page.control("SH", [format!("[{}]", area.name).as_str()]);
        page.text([roman(area.doc)]);
        for setting in area.settings {
            add_setting(&mut page, setting);
        }
    }
    page.control("SH", ["SEE ALSO"]);
    page.text([bold("sluice"), roman("(1), "), bold("sluice-config"), roman("(1)")]);
    page
}

fn add_setting(page: &mut Roff, setting: &Setting) {
    page.control("TP", []);
    let default = setting.default.map_or_else(|| "not set".to_owned(), ToOwned::to_owned);
    page.text([bold(setting.key()), roman(" (default: "), italic(default), roman(")")]);
    let file = setting.file_name().map_or_else(String::new, |name| {
        format!(" Or the file that contains it: {}.", name.to_lowercase())
    });
    page.text([roman(format!("{} Allowed: {}.{file}", setting.doc, setting.kind))]);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::cli::command;

    fn page_names(command: &clap::Command, name: &str, names: &mut BTreeSet<String>) {
        names.insert(format!("{name}.1"));
        for sub in command.get_subcommands() {
            page_names(sub, &format!("{name}-{}", sub.get_name()), names);
        }
    }

    #[test]
    fn every_command_has_its_page_and_the_settings_have_one() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("new/man");
        let count = write_all(&out, command()).unwrap();
        let mut expected = BTreeSet::from(["sluice.toml.5".to_owned()]);
        page_names(&command(), "sluice", &mut expected);
        let files = fs::read_dir(&out).unwrap().map(|file| file.unwrap().file_name());
        let found: BTreeSet<_> = files.map(|name| name.into_string().unwrap()).collect();
        assert_eq!(found, expected);
        assert_eq!(count, expected.len());
        let page = fs::read_to_string(out.join("sluice-device-add.1")).unwrap();
        assert!(page.contains("sluice device add acme pump\\-1"), "{page}");
    }

    #[test]
    fn the_page_of_settings_has_each_of_them() {
        let page = settings_page().to_roff();
        for (_, setting) in table::all() {
            let name = setting.key();
            assert!(page.contains(&format!("\\fB{name}\\fR")), "{name} is missing:\n{page}");
        }
        assert!(page.contains(".SH [broker]"), "{page}");
    }

    #[test]
    fn each_shell_gets_a_script_that_knows_the_commands() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let mut script = Vec::new();
            generate(shell, &mut command(), "sluice", &mut script);
            let script = String::from_utf8(script).unwrap();
            assert!(script.contains("quarantine") && script.contains("replay"), "{shell}");
        }
    }
}
