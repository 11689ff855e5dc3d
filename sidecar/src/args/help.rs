//! What `--help` of a command shows of the sidecar's own flags: those that do something there.

use clap::Command;

/// The commands that read few of them, and which those are. (The others work as the sidecar's operator, who may need any.)
const READ: [(&str, &[&str]); 4] = [
    ("copy", &[]),
    ("exec", &["directory", "log_format", "log"]),
    (
        "inject",
        &[
            "namespace",
            "lease",
            "health_url",
            "health_file",
            "health_max_age",
            "health_period",
            "notify",
            "app_port",
            "address",
            "listen",
            "lease_duration",
            "lost_time",
            "leader_service",
            "log_format",
            "log",
        ],
    ),
    ("step-down", &["directory", "namespace", "lease", "name", "listen", "log_format", "log"]),
];

/// They remain flags everywhere, because their environment variables stand in the pod for all commands.
pub(super) fn of_commands(command: Command) -> Command {
    let global: Vec<_> = command.get_arguments().filter(|arg| arg.is_global_set()).cloned().collect();
    READ.into_iter().fold(command, |command, (name, read)| {
        let hidden: Vec<_> = global.iter().filter(|arg| !read.contains(&arg.get_id().as_str())).cloned().collect();
        command.mut_subcommand(name, |sub| {
            let own: Vec<_> = sub.get_arguments().map(|arg| arg.get_id().clone()).collect();
            let hidden = hidden.into_iter().filter(|arg| !own.contains(arg.get_id())).map(|arg| arg.hide(true));
            sub.args(hidden).after_help("Other flags of the sidecar (`sidecar --help`) mean nothing here.")
        })
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::program::Args;
    use clap::{CommandFactory as _, FromArgMatches as _};

    fn help(name: &str) -> String {
        let mut command = of_commands(Args::command());
        command.build();
        command.find_subcommand_mut(name).unwrap().render_long_help().to_string()
    }

    #[test]
    fn a_commands_own_flags_come_first_and_none_that_means_nothing_there() {
        let own = [("exec", "--stop-signal"), ("copy", "--to"), ("inject", "--workload"), ("step-down", "--timeout")];
        for (name, flag) in own {
            let help = help(name);
            let at = |text: &str| help.find(text).unwrap_or(usize::MAX);
            assert!(at(flag) < at("Options of the sidecar:"), "{name}: {help}");
            assert!(!help.contains("--member-address") && !help.contains("--stateful-set"), "{name}: {help}");
        }
        assert!(!help("inject").contains("--directory"));
        assert!(help("exec").contains("--directory") && help("inject").contains("--leader-service"));
        assert!(help("status").contains("--member-sidecar-address"), "an operator's");
    }

    #[test]
    fn a_name_that_it_read_is_a_flag() {
        let command = Args::command();
        let known: Vec<_> = command.get_arguments().map(|arg| arg.get_id().as_str()).collect();
        for (name, read) in READ {
            assert!(command.find_subcommand(name).is_some(), "{name}");
            assert!(read.iter().all(|id| known.contains(id)), "{name}: {read:?}");
        }
    }

    #[test]
    fn what_help_does_not_show_is_read_all_the_same_and_on_both_sides_of_the_command() {
        let of = |line: &[&str]| {
            let matches = of_commands(Args::command()).try_get_matches_from(line).unwrap();
            Args::from_arg_matches(&matches).unwrap()
        };
        let base = ["--namespace", "n", "--lease", "l", "--name", "a", "--address", "a:1", "--peer-port", "7"];
        let behind: Vec<&str> = ["sidecar", "step-down"].into_iter().chain(base).collect();
        let before: Vec<&str> = ["sidecar"].into_iter().chain(base).chain(["step-down"]).collect();
        for line in [behind, before] {
            let config = of(&line).config().unwrap();
            assert_eq!(
                (config.lease.as_str(), config.name.as_str(), config.address.as_deref()),
                ("l", "a", Some("a:1"))
            );
        }
        assert_eq!(of(&["sidecar", "exec", "--directory", "/d", "--", "true"]).directory(), std::path::Path::new("/d"));
    }
}
