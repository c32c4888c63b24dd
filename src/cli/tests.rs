//! Every command has an example of itself in its help, and the options of all commands under one heading.

use super::*;

/// Calls `visit` with each command that has no subcommands, and its full name.
fn each_leaf(command: &clap::Command, name: &str, visit: &mut impl FnMut(&str, &clap::Command)) {
    let mut own = command.get_subcommands().filter(|sub| sub.get_name() != "help").peekable();
    if own.peek().is_none() {
        return visit(name, command);
    }
    for sub in own {
        each_leaf(sub, &format!("{name} {}", sub.get_name()), visit);
    }
}

#[test]
fn every_command_has_an_example_of_itself_in_its_help() {
    let mut root = command();
    root.build();
    let mut count = 0;
    each_leaf(&root, "sluice", &mut |name, command| {
        let help = command.clone().render_long_help().to_string();
        let examples = help.split_once("Example").map_or("", |(_, examples)| examples);
        assert!(examples.contains(name), "`{name} --help` has no example of it:\n{help}");
        count += 1;
    });
    assert!(count > 30, "{count}");
}

#[test]
fn options_that_every_command_has_stand_under_a_heading_of_their_own() {
    let mut root = command();
    root.build();
    each_leaf(&root, "sluice", &mut |name, command| {
        let help = command.clone().render_long_help().to_string();
        let common = help.split_once("Common options:\n").map(|(_, common)| common);
        let Some(common) = common else { panic!("`{name}` has no common options:\n{help}") };
        for option in ["--config", "--set", "--output", "--help", "--version"] {
            assert!(common.contains(option), "`{name}`: {option} is not common:\n{help}");
        }
    });
}
