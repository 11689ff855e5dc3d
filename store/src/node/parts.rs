//! The parts of a node: tasks with names, none of which ends unseen.

use std::collections::HashMap;
use std::future::Future;

use tokio::runtime;
use tokio::task::{Id, JoinError, JoinSet};
use tracing::info;

use super::error::{NodeError, Part};
use crate::driver::{Driver, End};

/// The tasks of all parts. Dropped, it ends those that are left.
#[derive(Default)]
pub(super) struct Parts {
    tasks: JoinSet<Option<End>>,
    parts: HashMap<Id, Part>,
}

impl Parts {
    pub(super) fn spawn(&mut self, part: Part, task: impl Future<Output = ()> + Send + 'static) {
        self.spawn_on(&runtime::Handle::current(), part, task);
    }

    pub(super) fn spawn_on(
        &mut self,
        runtime: &runtime::Handle,
        part: Part,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        let task = async {
            task.await;
            None
        };
        let id = self.tasks.spawn_on(task, runtime);
        self.parts.insert(id.id(), part);
    }

    pub(super) fn spawn_driver(&mut self, driver: Driver) {
        let id = self.tasks.spawn(async { Some(driver.run().await) });
        self.parts.insert(id.id(), Part::Driver);
    }

    /// The next one to end, and how. Pending if none is left.
    async fn next(&mut self) -> (Part, Result<Option<End>, JoinError>) {
        loop {
            let (id, ended) = match self.tasks.join_next_with_id().await {
                Some(Ok((id, end))) => (id, Ok(end)),
                Some(Err(error)) => (error.id(), Err(error)),
                None => std::future::pending().await,
            };
            if let Some(part) = self.parts.remove(&id) {
                return (part, ended);
            }
        }
    }

    /// Waits for the driver's end, or for a part that should not have ended.
    pub(super) async fn first_to_end(&mut self) -> Result<(), NodeError> {
        match self.next().await {
            (Part::Driver, Ok(Some(End::Drained))) => {
                info!("drained");
                Ok(())
            }
            (Part::Driver, Ok(Some(End::Failed { reason }))) => Err(NodeError::Failed { reason }),
            (Part::Driver, Ok(Some(End::Unreadable { what }))) => Err(NodeError::Unreadable { what }),
            (Part::Driver, Ok(Some(End::Wiped { winner }))) => Err(NodeError::Wiped { winner }),
            (part, ended) => {
                let why = ended.err().map_or("it returned".to_owned(), |error| error.to_string());
                Err(NodeError::PartEnded { part, why })
            }
        }
    }

    /// Waits until all of these have ended; returns at once for those that have ended already.
    pub(super) async fn all_ended(&mut self, wanted: &[Part]) {
        while self.parts.values().any(|part| wanted.contains(part)) {
            // However it ended: this is the end of all.
            let _ = self.next().await;
        }
    }
}
