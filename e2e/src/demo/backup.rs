//! `e2e demo --backup`: an agent beside the pods, and what is to be said of it.

use super::shell::quoted;
use crate::{
    archive::{Agent, Archive},
    cluster::{Cluster, Signal},
};

/// The agent and its archive, in the cluster's folder.
#[derive(Debug)]
pub(super) struct Backup {
    archive: Archive,
    agent: Agent,
}

/// What the view shows of it.
#[derive(Debug, PartialEq)]
pub(super) struct BackupView {
    pid: Option<u32>,
    /// The last entry in the archive, over all clusters in it.
    end: u64,
}

impl Backup {
    pub(super) fn start(cluster: &Cluster) -> anyhow::Result<Backup> {
        let archive = Archive::at(&cluster.folder().join("archive"))?;
        let agent = archive.agent(cluster, 0, &[])?;
        Ok(Backup { archive, agent })
    }

    /// What to try, each with a line that says what it is.
    pub(super) fn commands(&self) -> [(&'static str, String); 3] {
        let program = quoted(&self.archive.program().display().to_string());
        let url = quoted(&self.archive.url());
        let again = format!("make demo ARGS={}", quoted(&format!("--restore {}", self.archive.url())));
        [
            ("the archive: what can be restored, and is it right", format!("{program} list --url {url}")),
            ("", format!("{program} verify --url {url}")),
            ("another cluster that begins with these data (end this one first, and keep it: --data)", again),
        ]
    }

    pub(super) fn view(&self) -> BackupView {
        let clusters = std::fs::read_dir(self.archive.folder()).into_iter().flatten().flatten();
        // A folder that cannot be read now is read at the next look.
        let ends = clusters.filter_map(|cluster| self.archive.end(cluster.file_name().to_str()?).ok());
        BackupView { pid: self.agent.process().pid(), end: ends.max().unwrap_or(0) }
    }

    /// Lets it upload what it has. It is killed if it hangs.
    pub(super) fn end(self) {
        let _ = self.agent.end(Signal::TERM);
    }
}

impl BackupView {
    /// A line of the table.
    pub(super) fn line(&self) -> String {
        let pid = self.pid.map_or("-".to_owned(), |pid| pid.to_string());
        format!("archive: up to sequence {}, by the agent {pid}", self.end)
    }

    /// As a change: the archive grows with every write.
    pub(super) fn change_since(&self, before: Option<&BackupView>) -> Option<String> {
        let is_new = before.is_none_or(|before| before.pid != self.pid || (before.end == 0) != (self.end == 0));
        is_new.then(|| self.line())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_that_ends_is_a_change_and_more_in_the_archive_is_none() {
        let view = |pid: Option<u32>, end: u64| BackupView { pid, end };
        let line = view(Some(7), 0).change_since(None);
        assert_eq!(line.as_deref(), Some("archive: up to sequence 0, by the agent 7"));
        assert!(view(Some(7), 12).change_since(Some(&view(Some(7), 0))).is_some(), "the first copy of all data");
        assert_eq!(view(Some(7), 99).change_since(Some(&view(Some(7), 12))), None);
        let line = view(None, 99).change_since(Some(&view(Some(7), 99)));
        assert_eq!(line.as_deref(), Some("archive: up to sequence 99, by the agent -"));
    }
}
