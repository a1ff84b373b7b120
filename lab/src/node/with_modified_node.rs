//! Changes the node that all tests share, for the time of one test.

use std::panic::{AssertUnwindSafe, resume_unwind};

use futures::FutureExt;
use futures::future::LocalBoxFuture;

use super::error::NodeError;
use crate::must::must;

/// Changes the node, runs `body` and restores the node, even if `body` panics.
pub fn with_modified_node<'a, C, R>(
    change: impl Future<Output = Result<C, NodeError>> + 'a,
    restore: impl Future<Output = Result<R, NodeError>> + 'a,
    body: impl Future<Output = ()> + 'a,
) -> LocalBoxFuture<'a, ()> {
    let changed_and_seen = async {
        drop(must("change the node", change.await));
        body.await;
    };
    async {
        let outcome = AssertUnwindSafe(changed_and_seen).catch_unwind().await;
        drop(must("restore the node", restore.await));
        if let Err(panic) = outcome {
            resume_unwind(panic);
        }
    }
    .boxed_local()
}
