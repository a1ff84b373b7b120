//! The port on a thread of its own.
//!
//! What the rest of the process does, such as reading a list of thousands of pods, can then hold up no answer. And a review
//! costs less: on a runtime of several threads one wakes the other for nearly each request, which for few connections is
//! a third of all that a request takes. One thread answers some ten thousand reviews a second.

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::thread;

use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;

/// As the system shows it.
const NAME: &str = "admission";

/// Why there is no outcome; a panic is handed on as one.
type Panic = Box<dyn Any + Send>;

/// Runs the future on a thread of its own, with all tasks that it starts; both end when the caller does not wait any more.
pub(super) async fn apart<F>(future: F) -> io::Result<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let (tell, told) = oneshot::channel();
    thread::Builder::new().name(NAME.to_owned()).spawn(move || drive(runtime, future, tell))?;
    match told.await {
        Ok(Ok(output)) => Ok(output),
        Ok(Err(panic)) => resume_unwind(panic),
        Err(_) => Err(io::Error::other("the thread ended early")),
    }
}

fn drive<F: Future>(runtime: Runtime, future: F, mut tell: oneshot::Sender<Result<F::Output, Panic>>) {
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        runtime.block_on(async {
            tokio::select! {
                output = future => Some(output),
                () = tell.closed() => None,
            }
        })
    }));
    // Without waiting for a body that is decoded at the moment: nobody would hear of it.
    runtime.shutdown_background();
    if let Some(outcome) = outcome.transpose() {
        // Whoever waited may have gone meanwhile.
        drop(tell.send(outcome));
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio::task::{JoinSet, yield_now};

    use super::*;

    #[tokio::test]
    async fn what_runs_apart_has_its_own_thread_and_its_output_comes_back() {
        let here = thread::current().id();
        let (name, there) = apart(async {
            yield_now().await;
            let thread = thread::current();
            (thread.name().map(str::to_owned), thread.id())
        })
        .await
        .unwrap();
        assert_eq!(name.as_deref(), Some(NAME));
        assert_ne!(here, there);
    }

    #[tokio::test]
    async fn a_panic_reaches_the_one_who_waits() {
        let mut waiting = JoinSet::new();
        waiting.spawn(apart(async { panic!("on purpose") }));
        let panic = waiting.join_next().await.unwrap().unwrap_err().into_panic();
        assert_eq!(panic.downcast_ref::<&str>(), Some(&"on purpose"));
    }

    #[tokio::test]
    async fn nothing_runs_on_when_nobody_waits() {
        let (alive, mut dropped) = oneshot::channel::<()>();
        let mut waiting = JoinSet::new();
        waiting.spawn(apart(async move {
            let _alive = alive;
            pending::<()>().await;
        }));
        yield_now().await;
        assert!(dropped.try_recv().is_err_and(|error| error == oneshot::error::TryRecvError::Empty));
        drop(waiting);
        assert!(dropped.await.is_err());
    }
}
