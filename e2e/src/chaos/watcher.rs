//! Watches the collections of `traders`: every commit of them, told by one pod after the other, some of them by several.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, ensure};
use http_body_util::BodyExt;
use tokio::task::JoinHandle;

use super::scene::Scene;
use crate::history::Commit;

/// So long one pod is watched; then the next one tells the last commits again, and goes on.
const STAYS: Duration = Duration::from_secs(4);
/// So many sequences are told again.
const AGAIN: u64 = 30;

/// A watch that goes on until it is stopped.
#[derive(Debug)]
pub(super) struct Watcher {
    over: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Watcher {
    /// From behind this sequence on, at which there was none of the collections.
    pub(super) fn start(scene: &Arc<Scene>, collections: &'static str, from: u64) -> Watcher {
        scene.recorder.note(|noted| (noted.from, noted.upto) = (from, from));
        let over = Arc::new(AtomicBool::new(false));
        let task = tokio::spawn(go_on(scene.clone(), collections, over.clone()));
        Watcher { over, task }
    }

    /// # Errors
    /// It panicked.
    pub(super) async fn stop(self) -> anyhow::Result<()> {
        self.over.store(true, Ordering::Relaxed);
        self.task.await.context("the watcher died")
    }
}

async fn go_on(scene: Arc<Scene>, collections: &str, over: Arc<AtomicBool>) {
    let mut turn = 0;
    while !over.load(Ordering::Relaxed) {
        let stores = scene.stores();
        turn += 1;
        let Some((pod, _)) = stores.get(turn % stores.len().max(1)) else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        // What cannot be read is a violation; that a pod is away, behind, or does not remember so much, is none.
        let watched = watch(&scene, *pod, collections, &over);
        if let Ok(Err(error)) = tokio::time::timeout(STAYS, watched).await
            && let Some(wrong) = error.downcast_ref::<Wrong>()
        {
            scene.recorder.violation(format!("watching pod {pod}: {wrong}"));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// What no pod may tell.
#[derive(Debug)]
struct Wrong(String);

impl std::fmt::Display for Wrong {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Wrong {}

async fn watch(scene: &Scene, pod: u16, collections: &str, over: &AtomicBool) -> anyhow::Result<()> {
    let address = scene.store(pod).context("nobody knows where it is")?;
    let mut known = (0, 0);
    scene.recorder.note(|noted| known = (noted.from, noted.upto));
    let (from, upto) = known;
    let after = upto.saturating_sub(AGAIN).max(from);
    let path = format!("/api/watch?after={after}&collections={collections}");
    let (status, mut body) = scene.http.open(address, &path).await?;
    ensure!(status == 200, "{status}");
    let (mut text, mut last) = (String::new(), after);
    while !over.load(Ordering::Relaxed) {
        let frame = body.frame().await.context("the watch ended")??;
        let Some(data) = frame.data_ref() else { continue };
        text.push_str(&String::from_utf8_lossy(data));
        while let Some(end) = text.find("\n\n") {
            let event: String = text.drain(..end + 2).collect();
            let data = event.lines().find_map(|line| line.strip_prefix("data: "));
            let kind = event.lines().find_map(|line| line.strip_prefix("event: "));
            match (kind, data) {
                (Some("end"), _) => return Ok(()),
                (None, Some(data)) => {
                    let commit = Commit::of_event(data).map_err(|error| Wrong(format!("{error:#}")))?;
                    if commit.sequence <= last {
                        return Err(Wrong(format!("after {last} it tells {}", commit.sequence)).into());
                    }
                    last = commit.sequence;
                    scene.recorder.note(|noted| {
                        noted.upto = noted.upto.max(commit.sequence);
                        noted.commits.push(commit);
                    });
                }
                _ => {}
            }
        }
    }
    Ok(())
}
