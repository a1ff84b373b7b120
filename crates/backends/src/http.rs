//! One HTTP request on a fresh connection, and what its failure means.

mod request_failure;
mod response;
mod send_once;
mod timeouts;

pub(crate) use self::request_failure::{EndpointLabel, RequestFailure};
pub(crate) use self::response::BackendResponse;
pub(crate) use self::send_once::{bearer, client, send_once};
pub(crate) use self::timeouts::RequestTimeouts;
