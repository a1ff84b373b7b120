//! Runs the listener on a thread of its own.
//!
//! Other work of the process, such as reading a list of thousands of pods, then delays no response. A response is cheaper
//! too: on a runtime with several threads one thread wakes another for nearly each request. With few connections this
//! costs a third of the time of a request. One thread answers about ten thousand reviews a second.

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::thread;

use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;

use super::error::ServeError;

/// The name of the thread in `ps` and `top`.
const NAME: &str = "admission";

/// The payload of a panic. The caller's task resumes the panic with it.
type Panic = Box<dyn Any + Send>;

/// Runs [`serve`](crate::serve) and all tasks that it starts on a dedicated thread.
///
/// The thread ends when the caller drops the returned future.
pub async fn run<F>(serving: F) -> Result<(), ServeError>
where
    F: Future<Output = Result<(), ServeError>> + Send + 'static,
{
    output_of(serving).await.map_err(|source| ServeError::Thread { source })?
}

async fn output_of<F>(future: F) -> io::Result<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let (sender, receiver) = oneshot::channel();
    thread::Builder::new().name(NAME.to_owned()).spawn(move || block_on(runtime, future, sender))?;
    match receiver.await {
        Ok(Ok(output)) => Ok(output),
        Ok(Err(panic)) => resume_unwind(panic),
        Err(_) => Err(io::Error::other("the thread ended early")),
    }
}

fn block_on<F: Future>(runtime: Runtime, future: F, mut sender: oneshot::Sender<Result<F::Output, Panic>>) {
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        runtime.block_on(async {
            tokio::select! {
                output = future => Some(output),
                () = sender.closed() => None,
            }
        })
    }));
    // Don't wait for a blocking task that decodes a body: its response has no receiver any more.
    runtime.shutdown_background();
    if let Some(outcome) = outcome.transpose() {
        // The caller may have dropped its future in the meantime.
        drop(sender.send(outcome));
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio::task::{JoinSet, yield_now};

    use super::*;

    #[tokio::test]
    async fn a_future_runs_on_a_thread_of_its_own_and_its_output_comes_back() {
        let here = thread::current().id();
        let (name, there) = output_of(async {
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
    async fn a_panic_reaches_the_caller() {
        let mut waiting = JoinSet::new();
        waiting.spawn(output_of(async { panic!("on purpose") }));
        let panic = waiting.join_next().await.unwrap().unwrap_err().into_panic();
        assert_eq!(panic.downcast_ref::<&str>(), Some(&"on purpose"));
    }

    #[tokio::test]
    async fn the_future_is_dropped_when_the_caller_stops_waiting() {
        let (alive, mut dropped) = oneshot::channel::<()>();
        let mut waiting = JoinSet::new();
        waiting.spawn(output_of(async move {
            let _alive = alive;
            pending::<()>().await;
        }));
        yield_now().await;
        assert!(dropped.try_recv().is_err_and(|error| error == oneshot::error::TryRecvError::Empty));
        drop(waiting);
        assert!(dropped.await.is_err());
    }
}
