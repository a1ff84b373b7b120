//! Changing the one node that tests share, for as long as one of them looks.

use std::panic::{AssertUnwindSafe, resume_unwind};

use futures::FutureExt;
use futures::future::LocalBoxFuture;

use super::error::NodeError;
use crate::must::must;

/// Changes the node for as long as `body` runs, and puts it right whatever comes of it.
pub fn with_modified_node<'a, C, R>(
    change: impl Future<Output = Result<C, NodeError>> + 'a,
    put_right: impl Future<Output = Result<R, NodeError>> + 'a,
    body: impl Future<Output = ()> + 'a,
) -> LocalBoxFuture<'a, ()> {
    let changed_and_seen = async {
        drop(must("change the node", change.await));
        body.await;
    };
    async {
        let outcome = AssertUnwindSafe(changed_and_seen).catch_unwind().await;
        drop(must("put the node right", put_right.await));
        if let Err(panic) = outcome {
            resume_unwind(panic);
        }
    }
    .boxed_local()
}
