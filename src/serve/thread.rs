//! A thread for the port alone.
//!
//! The runtime of the whole process has several threads that hand each other work, and with each call that wakes one of
//! them another is woken to look for more. A review is a few microseconds of work, so the waking costs as much as the
//! review. In a runtime of one thread nobody is woken, and what else the process does (a list of ten thousand pods, say)
//! takes no turn before a review. Only long bodies are worth another thread, see `admission`.

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::thread;

use tokio::runtime::Builder;
use tokio::sync::oneshot;

/// Runs what `make` returns in a thread of its own; a panic there is one here. Dropping this does not end it.
pub(super) async fn alone<T, F>(name: &str, make: impl FnOnce() -> F + Send + 'static) -> io::Result<T>
where
    T: Send + 'static,
    F: Future<Output = T>,
{
    let (tell, told) = oneshot::channel();
    let run = move || -> Result<io::Result<T>, Box<dyn Any + Send>> {
        catch_unwind(AssertUnwindSafe(|| {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            Ok(runtime.block_on(async { make().await }))
        }))
    };
    // Nobody to tell is a process that ends.
    let told_by = move || drop(tell.send(run()));
    // Its end is told, and waited for below.
    drop(thread::Builder::new().name(name.to_owned()).spawn(told_by)?);
    match told.await {
        Ok(Ok(ended)) => ended,
        Ok(Err(panic)) => resume_unwind(panic),
        Err(_) => Err(io::Error::other("its thread is gone")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_runs_alone_has_a_thread_and_a_runtime_of_its_own() {
        let here = (thread::current().id(), tokio::runtime::Handle::current().id());
        let there = alone("test", || async {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            (thread::current().id(), tokio::runtime::Handle::current().id())
        });
        let there = there.await.unwrap();
        assert!(here.0 != there.0 && here.1 != there.1);
    }

    #[tokio::test]
    #[should_panic(expected = "on purpose")]
    async fn a_panic_there_is_one_here() {
        let _ended: io::Result<()> = alone("test", || async { panic!("on purpose") }).await;
    }
}
