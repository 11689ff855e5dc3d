//! Where targets run that need timers and tasks.

/// One runtime for all runs of a thread: to make one takes longer than most of them.
pub(super) fn on_runtime(run: impl Future<Output = ()>) {
    thread_local! {
        static RUNTIME: tokio::runtime::Runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    }
    RUNTIME.with(|runtime| runtime.block_on(run));
}
