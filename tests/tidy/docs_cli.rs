//! docs/reference/cli.md follows from the help of the commands: each command with its options and
//! examples, and the options that all commands share once.
//!
//! The introduction is written by hand.

use std::fmt::Write as _;

use clap::{Arg, Command};

use super::docs_generated::is_current;

/// The columns of the help on the page.
const WIDTH: usize = 100;

#[test]
fn the_page_of_commands_is_current() {
    is_current("cli", &commands(sluice::cli::command()));
}

#[test]
fn a_page_has_each_command_and_the_shared_options_once() {
    let leaf = Command::new("add").about("Add one").arg(Arg::new("site").long("site"));
    let old = Arg::new("old").long("old").hide(true);
    let root = Command::new("sluice")
        .arg(
            Arg::new("file")
                .long("file")
                .help("The file")
                .global(true)
                .help_heading("Common options"),
        )
        .subcommand(Command::new("device").about("Manage devices").subcommand(leaf.arg(old)));
    let page = commands(root);
    for expected in [
        "| `--file` | The file |",
        "## `sluice device`\n\nManage devices.\n",
        "### `sluice device add`",
    ] {
        assert!(page.contains(expected), "{expected}\n{page}");
    }
    assert!(page.contains("--site <site>") && page.contains("Usage: sluice device add"), "{page}");
    assert_eq!(page.matches("--file").count(), 1, "{page}");
    assert!(!page.contains("--old") && !page.contains("help`"), "{page}");
}

fn commands(mut root: Command) -> String {
    root.build();
    let mut page = "## Common options\n\n| option | meaning |\n|---|---|\n".to_owned();
    for arg in root.get_arguments().filter(|arg| is_common(arg)) {
        let _ = writeln!(page, "| {} | {} |", names(arg), cell(arg));
    }
    let name = root.get_name().to_owned();
    for command in subcommands(&root) {
        section(command, &format!("{name} {}", command.get_name()), "##", &mut page);
    }
    page
}

/// One command; of a group, each of its commands.
fn section(command: &Command, name: &str, level: &str, page: &mut String) {
    let _ = write!(page, "\n{level} `{name}`\n\n");
    let mut own = subcommands(command).peekable();
    if own.peek().is_none() {
        let _ = writeln!(page, "```text\n{}\n```", help(command));
        return;
    }
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    let _ = writeln!(page, "{}.", about.trim_end_matches('.'));
    for sub in own {
        section(sub, &format!("{name} {}", sub.get_name()), &format!("{level}#"), page);
    }
}

fn subcommands(command: &Command) -> impl Iterator<Item = &Command> {
    command.get_subcommands().filter(|sub| sub.get_name() != "help" && !sub.is_hide_set())
}

/// The long help without the options that all commands share.
fn help(command: &Command) -> String {
    let own = command.clone().term_width(WIDTH).mut_args(|arg| {
        let is_common = is_common(&arg);
        if is_common { arg.hide(true) } else { arg }
    });
    let help = own.clone().render_long_help().to_string();
    let lines: Vec<&str> = help.lines().map(str::trim_end).collect();
    lines.join("\n").trim().to_owned()
}

fn is_common(arg: &Arg) -> bool {
    arg.get_help_heading() == Some("Common options")
}

fn names(arg: &Arg) -> String {
    let short = arg.get_short().map(|short| format!("`-{short}`, ")).unwrap_or_default();
    let value = if arg.get_action().takes_values() {
        arg.get_value_names().map(|names| format!(" {}", names[0])).unwrap_or_default()
    } else {
        String::new()
    };
    format!("{short}`--{}{value}`", arg.get_long().unwrap_or_default())
}

fn cell(arg: &Arg) -> String {
    let mut text = arg.get_help().map(ToString::to_string).unwrap_or_default();
    let values: Vec<String> =
        arg.get_possible_values().iter().map(|value| format!("`{}`", value.get_name())).collect();
    if !values.is_empty() && arg.get_action().takes_values() {
        let _ = write!(text, ": {}", values.join(" or "));
    }
    text
}
