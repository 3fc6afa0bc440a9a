//! The program's main help, with the commands in groups.

use super::Cli;
use clap::{Command, CommandFactory};
use std::fmt::Write;

/// The commands by purpose. A test compares the list with the existing commands.
const GROUPS: &[(&str, &[&str])] = &[
    ("Make and move models", &["init", "pack", "push", "pull", "unpack", "cp", "attach"]),
    ("Examine models", &["inspect", "diff", "scan", "lint", "validate", "verify"]),
    ("Manage the store and registries", &["ls", "tag", "rm", "prune", "cache", "login", "logout", "serve"]),
    ("Use the names and flags of modctl", &["build", "fetch", "modelfile"]),
    ("Other commands", &["demo", "completion", "version"]),
];

/// The width of the text, in characters.
const WIDTH: usize = 100;

/// The commands and options of the program, with the grouped help.
pub(super) fn command() -> Command {
    let command = Cli::command();
    let template = format!(
        "{{before-help}}{{about-with-newline}}\n{{usage-heading}} {{usage}}\n\n{}{}\n{{options}}{{after-help}}",
        groups(&command),
        heading(&command, "Options"),
    );
    command.help_template(template)
}

fn heading(command: &Command, text: &str) -> String {
    let style = command.get_styles().get_header();
    format!("{style}{text}:{style:#}")
}

fn groups(command: &Command) -> String {
    let column = 4 + command.get_subcommands().map(|command| command.get_name().len()).max().unwrap_or(0);
    let mut text = String::new();
    for (title, names) in GROUPS {
        writeln!(text, "{}", heading(command, title)).expect("a string takes everything");
        for command in names.iter().filter_map(|name| command.find_subcommand(name)) {
            let mut about = command.get_about().map(ToString::to_string).unwrap_or_default();
            for alias in command.get_visible_aliases() {
                write!(about, " [alias: {alias}]").expect("a string takes everything");
            }
            let style = command.get_styles().get_literal();
            let name = command.get_name();
            let space = " ".repeat(column - 2 - name.len());
            let lines = wrap(&about, WIDTH - column).join(&format!("\n{}", " ".repeat(column)));
            writeln!(text, "  {style}{name}{style:#}{space}{lines}").expect("a string takes everything");
        }
        text.push('\n');
    }
    text
}

/// The text in lines of at most `width` characters; only a longer word exceeds the width.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_is_in_one_group() {
        let command = Cli::command();
        let mut there: Vec<&str> = command.get_subcommands().map(Command::get_name).collect();
        let mut grouped: Vec<&str> = GROUPS.iter().flat_map(|(_, names)| names.iter().copied()).collect();
        there.sort_unstable();
        grouped.sort_unstable();
        assert_eq!(grouped, there);
    }

    #[test]
    fn the_help_shows_every_command_and_option() {
        let mut command = command();
        let help = command.render_help().to_string();
        for command in command.get_subcommands() {
            assert!(help.lines().any(|line| line.split_whitespace().next() == Some(command.get_name())), "{}", command.get_name());
        }
        for long in command.get_arguments().filter_map(clap::Arg::get_long) {
            assert!(help.contains(&format!("--{long}")), "{long}");
        }
        assert!(help.lines().all(|line| line.chars().count() <= WIDTH), "{help}");
    }

    #[test]
    fn text_is_wrapped_between_words() {
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("incomprehensible", 3), ["incomprehensible"]);
    }
}
