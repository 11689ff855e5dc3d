//! Starts load generators, and receives their results.

use std::{path::PathBuf, process::Stdio, time::Duration};

use anyhow::{Context, bail};
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
};

use super::{
    job::{Job, Outcome, Protocol, Told},
    system::Peers,
};

fn command(peers: &Peers, job: &Job) -> anyhow::Result<Command> {
    let (program, args): (PathBuf, Vec<String>) = match job.protocol {
        Protocol::Etcd => (peers.etcd_load().map_err(|why| anyhow::anyhow!(why))?, vec![]),
        _ => (std::env::current_exe()?, vec!["load".to_owned()]),
    };
    let mut command = Command::new(program);
    command.args(args).arg(serde_json::to_string(job)?);
    // It ends when its standard input closes, however this process ends.
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    Ok(command)
}

/// Has the job done.
pub(super) async fn carry_out(peers: &Peers, job: &Job) -> anyhow::Result<Outcome> {
    let mut child = command(peers, job)?.spawn().context("the load generator cannot be started")?;
    let _stdin = child.stdin.take();
    // A fill may take any time; it has the patience of the slowest disk.
    let patience = Duration::from_secs_f64(job.warm_up + job.seconds + 3_600.0);
    let done = tokio::time::timeout(patience, child.wait_with_output()).await.context("the load does not end")??;
    if !done.status.success() {
        bail!("the load generator failed: {}", String::from_utf8_lossy(&done.stderr).trim());
    }
    let outcome: Outcome = serde_json::from_slice(&done.stdout).context("the load generator's result")?;
    if outcome.total_operations == 0 {
        bail!("no operation succeeded; the first failure: {}", outcome.first_failure);
    }
    Ok(outcome)
}

/// Writers that report when none was acknowledged. Dropping it ends them.
#[derive(Debug)]
pub(super) struct Watch {
    _child: Child,
    _stdin: Option<ChildStdin>,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Watch {
    pub(super) fn start(peers: &Peers, job: &Job) -> anyhow::Result<Watch> {
        let mut child = command(peers, job)?.stderr(Stdio::null()).spawn()?;
        let stdout = child.stdout.take().context("no output of the load generator")?;
        Ok(Watch { _stdin: child.stdin.take(), _child: child, lines: BufReader::new(stdout).lines() })
    }

    pub(super) async fn next(&mut self) -> anyhow::Result<Told> {
        let line = tokio::time::timeout(Duration::from_secs(60), self.lines.next_line()).await;
        let line = line.context("the writers say nothing")??.context("the writers ended")?;
        serde_json::from_str(&line).with_context(|| format!("the writers say {line:?}"))
    }
}
