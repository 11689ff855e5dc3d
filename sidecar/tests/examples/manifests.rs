//! What stands in the repository is what `sidecar inject` makes now.

use std::fs;
use std::process::Command;

use super::{folder, pod::PROGRAM};

/// The example, and the flags that its page names besides `--lease`.
const INJECTED: [(&str, &[&str]); 6] =
    [("go", &[]), ("python", &[]), ("node", &[]), ("java", &[]), ("bash", &["--exec"]), ("postgres", &[])];

#[test]
fn each_deployment_is_what_inject_makes_of_its_app() {
    for (example, flags) in INJECTED {
        let folder = folder(example);
        let lease = format!("{example}-worker");
        let mut command = Command::new(PROGRAM);
        command.args(["inject", "-f", "app.yaml", "--lease", &lease]).args(flags).current_dir(&folder);
        let output = command.output().unwrap();
        let injected = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{example}: {}", String::from_utf8_lossy(&output.stderr));
        let typed = format!("sidecar inject -f app.yaml --lease {lease} {}", flags.join(" "));
        let typed = format!("{} >deployment.yaml", typed.trim_end());
        let there = fs::read_to_string(folder.join("deployment.yaml")).unwrap_or_default();
        assert_eq!(there, injected, "{example}/deployment.yaml is written anew by: {typed}");
        let page = fs::read_to_string(folder.join("README.md")).unwrap();
        assert!(page.contains(&typed), "{example}/README.md does not say: {typed}");
    }
}
